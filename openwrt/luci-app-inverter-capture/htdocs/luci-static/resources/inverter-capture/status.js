'use strict';
'require baseclass';
'require fs';
'require rpc';

// What the pages know of the service, and how they write numbers and times.

const STATUS_FILE = '/var/run/inverter-capture/status.json';
// Less than this is drawn as no power.
const LEAST_POWER = 10;

// What positive and negative power mean.
const WAYS = {
	grid_power: [ _('importing'), _('exporting') ],
	battery_power: [ _('discharging'), _('charging') ]
};

// A method of the plugin.
function declare(method, params) {
	return rpc.declare({ object: 'inverter-capture', method: method, params: params });
}

const callState = declare('state');
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
			// Without the file, it is being started or stopped.
			return { state: found[0], status: found[0].running && found[1] ? JSON.parse(found[1]) : null };
		});
	},

	declare: declare,
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
		const minutes = Math.round(seconds / 60), hours = Math.round(minutes / 60);
		if (seconds < 5)
			return _('a moment');
		if (seconds < 120)
			return _('%d seconds').format(seconds);
		if (minutes < 120)
			return _('%d minutes').format(minutes);
		return hours < 48 ? _('%d hours').format(hours) : _('%d days').format(Math.round(hours / 24));
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

	// The elements of a picture.
	svg(tag, attributes, children = []) {
		const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
		for (const name in attributes)
			node.setAttribute(name, attributes[name]);
		node.append(...[].concat(children));
		return node;
	},

	// Show this in an element. What is the same as before stays, with the keyboard's place in it, and is not read out again.
	show(node, children) {
		const fresh = node.cloneNode();
		fresh.append(...children);
		if (!fresh.isEqualNode(node))
			node.replaceChildren(...Array.from(fresh.childNodes));
	},

	// What there is of these words, side by side.
	list(words) {
		return words.filter(Boolean).join(' · ');
	},

	// A message with the one button that helps.
	panel(kind, title, paragraphs, button) {
		return E('div', { 'class': 'ic-panel ic-' + kind }, [
			E('div', {}, [ E('h3', {}, [ title ]) ].concat(paragraphs.filter(Boolean).map(words => E('p', {}, [].concat(words))))),
			button || ''
		]);
	},

	// A line of a table of facts.
	row(title, parts) {
		return E('tr', {}, [ E('th', { 'scope': 'row' }, [ title ]), E('td', {}, parts) ]);
	},

	button(kind, words, act) {
		return E('button', { 'class': 'btn cbi-button cbi-button-' + kind, 'click': act }, [ words ]);
	},

	searchField(words, act) {
		return E('input', { 'type': 'search', 'class': 'cbi-input-text', 'placeholder': words, 'aria-label': words, 'input': act });
	},

	style() {
		return E('link', { 'rel': 'stylesheet', 'href': L.resource('inverter-capture/style.css') });
	}
});
