'use strict';
'require baseclass';
'require fs';
'require rpc';

// What the pages know of the service, and how they write numbers and times.

const STATUS_FILE = '/var/run/inverter-capture/status.json';
// Without an interval between reports that was observed: as long as discover listens.
const INTERVAL = 330;
// Less than this is drawn as no power.
const LEAST_POWER = 10;

const callState = rpc.declare({ object: 'inverter-capture', method: 'state' });
const callProblems = rpc.declare({ object: 'inverter-capture', method: 'problems' });
const callService = rpc.declare({ object: 'inverter-capture', method: 'service', params: [ 'action' ] });

function number(value, decimals) {
	return Number(value).toLocaleString(document.documentElement.lang || undefined,
		{ minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

return baseclass.extend({
	LEAST_POWER: LEAST_POWER,

	// The settings' state and the service's own status, which is null while it does not run.
	load() {
		return Promise.all([ callState(), L.resolveDefault(fs.read(STATUS_FILE), '') ]).then(found => {
			let status = null;
			try {
				status = found[0].running ? JSON.parse(found[1]) : null;
			} catch (error) {
				status = null;
			}
			// Ages are told by the router's clock: the browser's may be another.
			return { state: found[0], status: status, text: found[1] };
		});
	},

	problems() {
		return callProblems().then(answer => answer.messages);
	},

	service(action) {
		return callService(action).then(answer => answer.messages || []);
	},

	number: number,

	power(watts) {
		const kilo = Math.abs(watts) >= 1000;
		return number(kilo ? watts / 1000 : watts, kilo ? 2 : 0) + ' ' + (kilo ? 'kW' : 'W');
	},

	span(seconds) {
		seconds = Math.max(0, Math.round(seconds));
		if (seconds < 5)
			return _('a moment');
		if (seconds < 120)
			return _('%d seconds').format(seconds);
		if (seconds < 7200)
			return _('%d minutes').format(Math.round(seconds / 60));
		if (seconds < 172800)
			return _('%d hours').format(Math.round(seconds / 3600));
		return _('%d days').format(Math.round(seconds / 86400));
	},

	clock(seconds) {
		return new Date(seconds * 1000).toLocaleTimeString(document.documentElement.lang || undefined,
			{ hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
	},

	date(seconds) {
		return new Date(seconds * 1000).toLocaleString(document.documentElement.lang || undefined,
			{ dateStyle: 'medium', timeStyle: 'medium', hourCycle: 'h23' });
	},

	// After two readings that did not come, the last one is not shown as the present any more.
	isStale(inverter, now) {
		return now > inverter.received + 2 * (inverter.interval || INTERVAL) + 15;
	},

	// The elements of a picture.
	svg(tag, attributes, children) {
		const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
		for (let name in attributes)
			node.setAttribute(name, attributes[name]);
		(Array.isArray(children) ? children : children == null ? [] : [ children ]).forEach(child => {
			node.appendChild(typeof child === 'object' ? child : document.createTextNode(child));
		});
		return node;
	},

	style() {
		return E('link', { 'rel': 'stylesheet', 'href': L.resource('inverter-capture/style.css') });
	}
});
