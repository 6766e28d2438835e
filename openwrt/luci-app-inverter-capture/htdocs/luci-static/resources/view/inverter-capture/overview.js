'use strict';
'require view';
'require poll';
'require ui';
'require inverter-capture.chart as chart';
'require inverter-capture.flow as flow';
'require inverter-capture.status as status';

// Of a dongle that has reported only once.
const INTERVAL = 330;
// The inverter's states that are not just plain, as the program words them.
const STATES = { normal: 'good', alarm: 'warn', fault: 'bad' };

const panel = status.panel;

const callProblems = status.declare('problems');
const callService = status.declare('service', [ 'action' ]);
const callFields = status.declare('fields', [ 'kind' ]);

// L.url would leave out a part with a #.
function link(page, words, place) {
	return E('a', { 'class': 'btn cbi-button cbi-button-action', 'href': L.url('admin/services/inverter-capture', page) + (place || '') }, [ words ]);
}

function badge(kind, words) {
	return E('span', { 'class': 'ic-badge ic-' + kind }, [ words ]);
}

// Names that differ only in a number are one text for translators.
function named(name) {
	const numbers = name.match(/\d+/g) || [];
	return numbers.length == 1 ? _(name.replace(numbers[0], '%d')).format(numbers[0]) : _(name);
}

// The program's words for a code, such as "F35 no grid, F56 DC bus voltage low" or "off".
function worded(text) {
	return text.split(/, (?=[WF]\d\d )/).map(each => {
		const found = each.match(/^([WF]\d+ ?)?(.*)$/);
		return (found[1] || '') + (found[1] ? [ found[2] ] : found[2].split(', ')).map(words => words && _(words)).join(', ');
	}).join(', ');
}

// row: id, name, unit, decimals, and what a positive and a negative value mean.
function valueText(inverter, row) {
	const value = inverter.values[row[0]], meaning = row[value < 0 ? 5 : 4];
	return worded(inverter.texts[row[0]] || '') || status.number(value, row[3]) + (row[2] ? '\u00a0' + row[2] : '') + (meaning && value ? ' (' + _(meaning) + ')' : '');
}

return view.extend({
	handleSaveApply: null,
	handleSave: null,
	handleReset: null,

	load: status.load,

	render(found) {
		this.face = E('div', { 'aria-live': 'polite' });
		this.inverters = E('div', {});
		this.facts = E('table', { 'class': 'ic-facts' });
		this.buttons = E('div', { 'class': 'ic-buttons' });
		this.cards = {};
		poll.add(() => status.load().then(this.update.bind(this), this.lost.bind(this)));
		return this.update(found).then(() => E('div', { 'class': 'ic-page' }, [
			status.style(), E('h2', {}, [ _('Inverter Capture') ]), this.face, this.inverters,
			E('div', { 'class': 'cbi-section ic-service' }, [ E('h3', {}, [ _('Status') ]), this.facts, this.buttons ])
		]));
	},

	lost() {
		status.show(this.face, [ panel('bad', _('The router does not answer'), [
			_('What is shown below is old. This page keeps trying.')
		]) ]);
		this.inverters.classList.add('ic-old');
	},

	update(found) {
		const state = found.state, present = found.status;
		// The program is asked once what is wrong with the settings when the service should run and does not.
		this.messages = state.enabled && !state.running && state.device && state.backends ? this.messages || this.ask() : null;
		return Promise.resolve(this.messages || []).then(messages => {
			this.inverters.classList.remove('ic-old');
			status.show(this.face, this.faces(state, present, messages));
			this.drawInverters(state, present ? present.inverters : []);
			this.drawService(state, present);
		});
	},

	ask() {
		return callProblems().then(answer => answer.problems.map(problem => status.words(problem, problem.label)), () => []);
	},

	faces(state, present, messages) {
		if (!state.running)
			return [ this.notRunning(state, messages) ];
		if (!present)
			return [ panel('plain', _('The service is starting or stopping'), [ _('This takes a few seconds.') ]) ];
		const panels = [];
		if (!present.capturing)
			panels.push(panel('bad', _('Nothing is captured from %s').format(present.device), [
				present.problem, _('The service tries again by itself. If this lasts, choose another device.')
			], link('settings', _('Choose the device'))));
		else if (!present.inverters.length)
			panels.push(this.nothingYet(present));
		present.backends.filter(backend => backend.problem).forEach(backend => {
			panels.push(panel('bad', _('Readings do not reach %s').format(backend.name), [
				backend.problem,
				status.list([ _('Readings waiting: %d').format(backend.waiting), backend.failing_since && _('failing since %s').format(status.date(backend.failing_since)) ])
			], link('settings', _('Check its settings'))));
		});
		return panels;
	},

	nothingYet(present) {
		if (present.unknown)
			return panel('warn', _('The dongle\'s reports cannot be decoded yet'), [
				_('They have a length that this version does not know. It learns their layout when the dongle connects: restart the dongle.'),
				_('If that does not help, the log says what to send to the developers.')
			], link('log', _('Open the log')));
		if (present.reports)
			return panel('warn', _('Waiting for a complete reading'), [
				_('Reports arrive, but none of them has contained a complete reading yet.')
			], link('log', _('Open the log')));
		return panel('plain', _('No dongle seen yet'), [
			_('Capturing on %s since %s. Most dongles report every five minutes.').format(present.device, status.clock(present.started)),
			_('Nothing after ten minutes? Then the dongle\'s traffic may not pass this device.')
		], link('settings', _('Find my dongle'), '#find'));
	},

	notRunning(state, messages) {
		if (!state.device)
			return panel('plain', _('Not configured yet'), [
				_('Choose the network device that the inverter\'s dongle is connected to, and a server for the readings.')
			], link('settings', _('Open the settings')));
		if (!state.backends)
			return panel('plain', _('No server is enabled yet'), [
				_('Add an MQTT broker or a database for the readings.')
			], link('settings', _('Add a server'), '#server'));
		if (!state.enabled)
			return panel('plain', _('Not enabled'), [
				_('The service is configured, but does not run, and does not start with the router.')
			], this.button('enable', _('Enable and start'), 'positive'));
		if (messages.length)
			return panel('bad', _('The settings contain mistakes'), messages, link('settings', _('Correct the settings')));
		return panel('warn', _('The service is stopped'), [
			_('Nothing is captured until it is started.')
		], this.button('start', _('Start'), 'positive'));
	},

	button(action, words, kind) {
		const button = status.button(kind, words, ui.createHandlerFn(this, 'control', action));
		button.disabled = !L.hasViewPermission();
		return button;
	},

	control(action) {
		return callService(action).then(answer => {
			if (answer.problems.length)
				ui.addNotification(_('Error'), answer.problems.map(problem => E('p', {}, [ status.words(problem) ])), 'error');
			return status.load();
		}).then(this.update.bind(this));
	},

	drawInverters(state, inverters) {
		const cards = inverters.map(inverter => {
			const card = this.cards[inverter.serial] = this.cards[inverter.serial] || this.card(inverter);
			this.fill(card, inverter, state.now);
			return card.node;
		});
		const present = Array.from(this.inverters.children);
		if (cards.length != present.length || cards.some((card, index) => card != present[index]))
			this.inverters.replaceChildren(...cards);
	},

	card(inverter) {
		const card = {
			head: E('div', { 'class': 'ic-head' }), flow: E('div', { 'class': 'ic-now' }), alarms: E('div', { 'role': 'alert' }),
			chart: chart.create(), values: E('div', { 'class': 'ic-values' }),
			search: status.searchField(_('Search the values'), () => { this.search(card); }), count: E('summary', {})
		};
		card.details = E('details', { 'toggle': this.list.bind(this, card) }, [ card.count, card.search, card.values ]);
		card.node = E('div', { 'class': 'cbi-section ic-card', 'data-serial': inverter.serial }, [
			card.head, card.alarms,
			E('div', { 'class': 'ic-columns' }, [
				card.flow, E('div', { 'class': 'ic-past' }, [ E('h4', {}, [ _('Last 24 hours') ]), card.chart.node ])
			]),
			card.details
		]);
		return card;
	},

	fill(card, inverter, now) {
		// After two readings that did not come, the last one is not shown as the present any more.
		const stale = now > inverter.received + 2 * (inverter.interval || INTERVAL) + 15, age = status.span(now - inverter.received);
		const state = inverter.texts.inverter_state || '', words = worded(state);
		card.node.classList.toggle('ic-old', stale);
		status.show(card.head, [
			E('h3', {}, [ _('Inverter %s').format(inverter.serial) ]),
			state && !stale ? badge(STATES[state] || 'plain', words.charAt(0).toUpperCase() + words.slice(1)) : '',
			stale ? badge('warn', _('No reading for %s').format(age)) : E('span', { 'class': 'ic-age' }, [ _('%s ago').format(age) ])
		]);
		card.chart.update(inverter.chart, now);
		if (card.inverter && card.inverter.received == inverter.received)
			return;
		card.inverter = inverter;
		card.flow.replaceChildren(flow.render(inverter));
		status.show(card.alarms, [ [ 'inverter_faults', 'bad', _('Faults') ], [ 'inverter_warnings', 'warn', _('Warnings') ] ]
			.filter(alarm => inverter.values[alarm[0]] && inverter.texts[alarm[0]])
			.map(alarm => panel(alarm[1], alarm[2], [ worded(inverter.texts[alarm[0]]) ])));
		card.count.replaceChildren(status.list([ _('All %d values').format(Object.keys(inverter.values).length), _(inverter.kind) ]));
		this.list(card);
	},

	// The names are asked for when somebody wants to see them.
	list(card) {
		if (!card.details.open)
			return;
		const inverter = card.inverter;
		if (card.kind != inverter.kind) {
			card.kind = inverter.kind;
			card.groups = callFields(inverter.kind).then(answer => answer.groups || []);
		}
		card.groups.then(groups => {
			card.values.replaceChildren(...groups.map(group => {
				return E('table', {}, [ E('caption', {}, [ named(group[0]) ]) ].concat(group[1].filter(row => row[0] in inverter.values).map(row => {
					return E('tr', { 'data-field': row[0] }, [
						E('th', { 'scope': 'row' }, [ named(row[1]) ]), E('td', {}, [ valueText(inverter, row) ])
					]);
				})));
			}));
			this.search(card);
		});
	},

	search(card) {
		const words = card.search.value.toLowerCase().split(' ').filter(Boolean);
		card.values.querySelectorAll('table').forEach(table => {
			const rows = Array.from(table.querySelectorAll('tr'));
			rows.forEach(row => {
				const text = [ table.caption.textContent, row.dataset.field, row.textContent ].join(' ').toLowerCase();
				row.hidden = !words.every(word => text.includes(word));
			});
			table.hidden = rows.every(row => row.hidden);
		});
	},

	drawService(state, present) {
		const row = status.row, rows = [ row(_('Service'), [
			state.running ? badge('good', _('running')) : badge('plain', _('not running')), ' ',
			present ? _('version %s, since %s').format(present.version, status.date(present.started)) : ''
		]) ];
		if (present)
			rows.push(
				...present.inverters.map(inverter => {
					const late = inverter.due == null ? null : state.now - inverter.due;
					return row(_('Inverter %s').format(inverter.serial), [ status.list([
						_('Last reading %s ago').format(status.span(state.now - inverter.received)),
						late != null && (late > 0 ? _('next overdue by %s') : _('next in %s')).format(status.span(Math.abs(late)))
					]) ]);
				}),
				row(_('Capture'), [
					present.capturing ? badge('good', _('capturing')) : badge('bad', _('not capturing')), ' ',
					status.list([
						_('on %s').format(present.device),
						_('packets: %d, reports: %d, readings: %d').format(present.packets, present.reports, present.readings),
						present.held_back && _('implausible values held back: %d').format(present.held_back),
						present.unknown && _('reports of unknown length: %d').format(present.unknown)
					])
				]),
				...present.backends.map(backend => row(backend.name, [
					backend.connected ? badge('good', _('connected')) : badge(backend.problem ? 'bad' : 'plain', _('not connected')), ' ',
					_('readings delivered: %d, waiting: %d, dropped: %d').format(backend.delivered, backend.waiting, backend.dropped),
					backend.problem ? E('div', { 'class': 'ic-problem' }, [ backend.problem ]) : ''
				]))
			);
		status.show(this.facts, rows);
		const buttons = state.running ?
			[ this.button('restart', _('Restart'), 'apply'), this.button('stop', _('Stop'), 'negative') ] :
			state.enabled ? [ this.button('start', _('Start'), 'positive') ] : [];
		if (state.enabled)
			buttons.push(this.button('disable', _('Disable'), 'neutral'));
		else if (state.device && state.backends)
			buttons.push(this.button('enable', _('Enable'), 'apply'));
		status.show(this.buttons, buttons);
	}
});
