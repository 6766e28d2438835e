'use strict';
'require baseclass';

// Written by openwrt/tools/luci_tables.py (from the schema). After a change there: make luci

return baseclass.extend({
	sections: [
		{ name: 'service', title: _('Service'), settings: [
			{ name: 'enabled', title: _('Enabled'), type: 'flag', default: '0',
				help: _('Whether the service runs') }
		] },
		{ name: 'pcap', title: _('Capture'), settings: [
			{ name: 'device', title: _('Device'), required: true,
				help: _('Network device to capture on, or any; with file, the path of a capture file') },
			{ name: 'filter', title: _('Filter'),
				help: _('Packets to read, in tcpdump\'s syntax, such as host 192.168.1.50; if empty, the dongles are found') },
			{ name: 'file', title: _('File'), type: 'flag', default: '0',
				help: _('Whether device is the path of a capture file, which is read once') },
			{ name: 'timezone', title: _('Time zone'), default: 'local', example: 'Europe/Paris',
				help: _('Time zone of the inverter\'s clock, such as Europe/Paris (OpenWrt: package zoneinfo-europe), or local') },
			{ name: 'guard', title: _('Guard'), type: 'flag', default: '1',
				help: _('Whether implausible values are held back until later readings confirm them') },
			{ name: 'serials', title: _('Serials'), type: 'list', example: '2205164738',
				help: _('Serial numbers of the inverters to read; if empty, any') }
		] },
		{ name: 'influxdb2', title: _('InfluxDB'), repeated: true, settings: [
			{ name: 'enabled', title: _('Enabled'), type: 'flag', default: '1',
				help: _('Whether this backend is used') },
			{ name: 'host', title: _('Server'), required: true, example: 'http://192.168.1.10:8086',
				help: _('Server address, with http:// or https:// and the port') },
			{ name: 'org', title: _('Organisation'),
				help: _('Organisation that owns the bucket') },
			{ name: 'bucket', title: _('Bucket'),
				help: _('Bucket for the readings') },
			{ name: 'token', title: _('API token'), secret: true,
				help: _('API token with write permission') },
			{ name: 'db', title: _('Database'),
				help: _('Database for the readings, on servers that have databases instead of buckets') },
			{ name: 'path', title: _('Path'), default: '/api/v2/write', example: '/api/v2/write',
				help: _('Path of the server\'s write endpoint') },
			{ name: 'authentication', title: _('Authentication'), type: 'choice', choices: ['token', 'bearer', 'basic', 'none'], default: 'token',
				help: _('How the token is sent: token, bearer, basic (the token is user:password) or none') },
			{ name: 'measurement', title: _('Measurement'), default: 'inverter',
				help: _('InfluxDB measurement name') },
			{ name: 'tags', title: _('Tags'), type: 'list', example: 'site=farm',
				help: _('Tags that each line has in addition to the serial number') },
			{ name: 'schema', title: _('Schema'), type: 'choice', choices: ['wide', 'narrow'], default: 'wide',
				help: _('One line per reading (wide) or per value (narrow)') },
			{ name: 'timeout', title: _('Timeout'), datatype: 'range(0.1,300)', default: '10',
				help: _('Timeout for the server\'s answer, in seconds') },
			{ name: 'verify', title: _('Verify'), type: 'switch', default: '1',
				help: _('Whether to verify the server\'s certificate, or the path of a readable CA certificate file') },
			{ name: 'buffer', title: _('Buffer'), default: '4 MiB', example: '4 MiB',
				help: _('Memory limit for readings that wait for delivery') }
		] },
		{ name: 'mqtt', title: _('MQTT'), repeated: true, settings: [
			{ name: 'enabled', title: _('Enabled'), type: 'flag', default: '1',
				help: _('Whether this backend is used') },
			{ name: 'url', title: _('Broker'), required: true, example: 'mqtt://192.168.1.10:1883',
				help: _('Broker address with mqtt://, mqtts://, ws://, wss:// or unix://, and the port unless it is the usual one') },
			{ name: 'username', title: _('User name'),
				help: _('User name for the broker') },
			{ name: 'password', title: _('Password'), secret: true,
				help: _('Password of that user') },
			{ name: 'verify', title: _('Verify'), type: 'switch', default: '1',
				help: _('Whether to verify the broker\'s certificate, or the path of a readable CA certificate file') },
			{ name: 'certificate', title: _('Certificate'),
				help: _('Path of a readable client certificate, for brokers that require one') },
			{ name: 'key', title: _('Key'),
				help: _('Path of the client certificate\'s private key, if it is in a separate file') },
			{ name: 'base_topic', title: _('Base topic'), default: 'inverter-capture',
				help: _('Prefix of the topics that readings are published to') },
			{ name: 'discovery_prefix', title: _('Discovery prefix'), type: 'switch', default: 'homeassistant',
				help: _('Prefix of Home Assistant\'s discovery topics, or false for no discovery') },
			{ name: 'client_id', title: _('Client ID'),
				help: _('MQTT client ID; if empty, it is derived from this system') },
			{ name: 'keepalive', title: _('Keepalive'), datatype: 'range(5,3600)', default: '30',
				help: _('MQTT keep-alive interval, in seconds') },
			{ name: 'stale_after', title: _('Stale after'), default: '900', example: '15 min',
				help: _('Time without a reading after which an inverter is unavailable, in seconds or as in 15 min') },
			{ name: 'field_topics', title: _('Field topics'), type: 'flag', default: '0',
				help: _('Whether each value is also published to a topic of its own') }
		] },
		{ name: 'console', title: _('Console'), repeated: true, settings: [
			{ name: 'enabled', title: _('Enabled'), type: 'flag', default: '1',
				help: _('Whether this backend is used') },
			{ name: 'format', title: _('Format'), type: 'choice', choices: ['table', 'json', 'csv', 'line-protocol'], default: 'table',
				help: _('Output format: table, json, csv, line-protocol') }
		] },
		{ name: 'metrics', title: _('Metrics'), settings: [
			{ name: 'listen', title: _('Listen'), example: '127.0.0.1:9101',
				help: _('Address and port to serve metrics for Prometheus on, such as 127.0.0.1:9101; if empty, none are served') }
		] },
		{ name: 'log', title: _('Log'), settings: [
			{ name: 'level', title: _('Level'), type: 'choice', choices: ['error', 'warning', 'info', 'debug'], default: 'info',
				help: _('Lowest severity that is logged: error, warning, info or debug') }
		] }
	]
});
