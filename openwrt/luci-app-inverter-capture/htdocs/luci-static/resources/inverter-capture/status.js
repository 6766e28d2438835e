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

// What positive and negative power mean.
const WAYS = {
	grid_power: [ _('importing'), _('exporting') ],
	battery_power: [ _('discharging'), _('charging') ]
};

const callState = rpc.declare({ object: 'inverter-capture', method: 'state' });
const language = document.documentElement.lang || undefined;

function flows(power) {
	return power != null && Math.abs(power) >= LEAST_POWER;
}

function number(value, decimals) {
	// Rounded first: there is no -0.
	return (Number(Number(value).toFixed(decimals)) + 0).toLocaleString(language, { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

return baseclass.extend({
	// The settings' state and the service's own status, which is null while it does not run.
	load() {
		return Promise.all([ callState(), L.resolveDefault(fs.read(STATUS_FILE), '') ]).then(found => {
			let status = null;
			try {
				status = found[0].running ? JSON.parse(found[1]) : null;
			} catch {
				// It is being started, or ended.
			}
			// Ages are told by the router's clock: the browser's may be another.
			return { state: found[0], status: status };
		});
	},

	number: number,
	flows: flows,

	// In words; nothing for what has only one way.
	way(name, power) {
		return power == null || !(name in WAYS) ? '' : flows(power) ? WAYS[name][power < 0 ? 1 : 0] : _('idle');
	},

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
		return new Date(seconds * 1000).toLocaleTimeString(language, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
	},

	date(seconds) {
		return new Date(seconds * 1000).toLocaleString(language, { dateStyle: 'medium', timeStyle: 'medium', hourCycle: 'h23' });
	},

	// What is wrong, in one line. label: where, if that does not stand there already.
	words(problem, label) {
		return [ label, problem.message, problem.remedy ].filter(Boolean).join(': ');
	},

	// After two readings that did not come, the last one is not shown as the present any more.
	isStale(inverter, now) {
		return now > inverter.received + 2 * (inverter.interval || INTERVAL) + 15;
	},

	// The elements of a picture.
	svg(tag, attributes, children) {
		const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
		for (const name in attributes)
			node.setAttribute(name, attributes[name]);
		node.append.apply(node, [].concat(children == null ? [] : children));
		return node;
	},

	// Show this in an element. What is the same as before stays, with the keyboard's place in it, and is not read out again.
	show(node, children) {
		const fresh = node.cloneNode();
		fresh.append.apply(fresh, children);
		if (!fresh.isEqualNode(node))
			node.replaceChildren.apply(node, Array.from(fresh.childNodes));
	},

	button(kind, words, act) {
		return E('button', { 'class': 'btn cbi-button cbi-button-' + kind, 'click': act }, [ words ]);
	},

	style() {
		return E('link', { 'rel': 'stylesheet', 'href': L.resource('inverter-capture/style.css') });
	}
});
