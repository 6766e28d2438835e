'use strict';
'require view';
'require poll';
'require rpc';
'require ui';
'require inverter-capture.chart as chart';
'require inverter-capture.flow as flow';
'require inverter-capture.status as status';

const SECONDS = 5;
// The inverter's states that are not just plain, as the program words them.
const STATES = { normal: 'good', alarm: 'warn', fault: 'bad' };

const callProblems = rpc.declare({ object: 'inverter-capture', method: 'problems' });
const callService = rpc.declare({ object: 'inverter-capture', method: 'service', params: [ 'action' ] });
const callFields = rpc.declare({ object: 'inverter-capture', method: 'fields', params: [ 'kind' ] });

// L.url would leave out a part with a #.
function link(page, words, place) {
	return E('a', { 'class': 'btn cbi-button cbi-button-action', 'href': L.url('admin/services/inverter-capture', page) + (place || '') }, [ words ]);
}

function badge(kind, words) {
	return E('span', { 'class': 'ic-badge ic-' + kind }, [ words ]);
}

// What stands in the way, with the one button that helps.
function panel(kind, title, paragraphs, button) {
	return E('div', { 'class': 'ic-panel ic-' + kind }, [
		E('div', {}, [ E('h3', {}, [ title ]) ].concat(paragraphs.filter(Boolean).map(words => E('p', {}, [ words ])))),
		button || ''
	]);
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
	return worded(inverter.texts[row[0]] || '') || status.number(value, row[3]) + (row[2] ? ' ' + row[2] : '') + (meaning && value ? ' (' + _(meaning) + ')' : '');
}

return view.extend({
	handleSaveApply: null,
	handleSave: null,
	handleReset: null,

	load() {
		return status.load();
	},

	render(found) {
		this.face = E('div', { 'class': 'ic-faces', 'aria-live': 'polite' });
		this.inverters = E('div', {});
		this.facts = E('table', { 'class': 'ic-facts' });
		this.buttons = E('div', { 'class': 'ic-buttons' });
		this.cards = {};
		poll.add(() => status.load().then(this.update.bind(this), this.lost.bind(this)), SECONDS);
		return this.update(found).then(() => E('div', { 'class': 'ic-page' }, [
			status.style(), E('h2', {}, [ _('Inverter Capture') ]), this.face, this.inverters,
			E('div', { 'class': 'cbi-section ic-service' }, [ E('h3', {}, [ _('Recording') ]), this.facts, this.buttons ])
		]));
	},

	lost() {
		status.show(this.face, [ panel('bad', _('The router does not answer'), [
			_('What is shown below is what it said last. This page goes on asking.')
		]) ]);
		this.inverters.classList.add('ic-old');
	},

	update(found) {
		const state = found.state, present = found.status;
		return this.wrongSettings(state).then(messages => {
			this.inverters.classList.remove('ic-old');
			status.show(this.face, this.faces(state, present, messages));
			this.drawInverters(state, present);
			this.drawService(state, present);
		});
	},

	// The program is asked what is wrong with the settings when the service should run and does not, once.
	wrongSettings(state) {
		if (!state.enabled || state.running || !state.device || !state.backends) {
			this.messages = null;
			return Promise.resolve([]);
		}
		this.messages = this.messages || callProblems().then(answer => answer.problems.map(problem => status.words(problem, problem.label)), () => []);
		return this.messages;
	},

	faces(state, present, messages) {
		if (!state.running)
			return [ this.notRunning(state, messages) ];
		if (!present)
			return [ panel('plain', _('The service is starting'), [ _('This takes a few seconds.') ]) ];
		const panels = [];
		if (!present.capturing)
			panels.push(panel('bad', _('Nothing is captured from %s').format(present.device), [
				present.problem, _('The service tries again by itself. If this stays, choose another device.')
			], link('settings', _('Choose the device'))));
		else if (!present.inverters.length && present.unknown)
			panels.push(panel('warn', _('A dongle reports in a form that is not known'), [
				_('%d reports came, of a length that this version cannot decode yet. It learns the layout when the dongle connects anew: switch the dongle off and on.').format(present.unknown),
				_('If that does not help, the log tells what to send to the developers.')
			], link('log', _('Open the log'))));
		else if (!present.inverters.length && present.reports)
			panels.push(panel('warn', _('Waiting for a complete reading'), [
				_('%d reports came, and none of them held a reading yet.').format(present.reports)
			], link('log', _('Open the log'))));
		else if (!present.inverters.length)
			panels.push(panel('plain', _('No dongle seen yet'), [
				_('Listening on %s since %s. Most dongles report every five minutes.').format(present.device, status.clock(present.started)),
				_('Nothing after ten minutes? Then the dongle\'s traffic may pass elsewhere.')
			], link('settings', _('Find my dongle'), '#find')));
		present.backends.filter(backend => backend.problem).forEach(backend => {
			panels.push(panel('bad', _('%s cannot be reached').format(backend.name), [
				backend.problem,
				_('%d readings wait for it.').format(backend.waiting) +
					(backend.failing_since ? ' ' + _('It has failed since %s.').format(status.date(backend.failing_since)) : '')
			], link('settings', _('Check its settings'))));
		});
		return panels;
	},

	notRunning(state, messages) {
		if (!state.device)
			return panel('plain', _('Not configured yet'), [
				_('Choose the network device that your inverter\'s dongle is connected through, and where the readings go.')
			], link('settings', _('Open the settings')));
		if (!state.backends)
			return panel('plain', _('The readings have nowhere to go yet'), [
				_('Add an MQTT broker or a database.')
			], link('settings', _('Add a server'), '#server'));
		if (!state.enabled)
			return panel('plain', _('Not enabled'), [
				_('The service is configured, and does not run, now or when the router starts.')
			], this.button('enable', _('Enable and start'), 'positive'));
		if (messages.length)
			return panel('bad', _('The settings are not right'), messages, link('settings', _('Correct the settings')));
		return panel('warn', _('The service is stopped'), [
			_('Nothing is recorded until it is started.')
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
				ui.addNotification(_('That did not work'), answer.problems.map(problem => E('p', {}, [ status.words(problem) ])), 'error');
			return status.load();
		}).then(this.update.bind(this));
	},

	drawInverters(state, present) {
		const inverters = present ? present.inverters : [];
		Object.keys(this.cards).forEach(serial => {
			if (!inverters.some(inverter => inverter.serial == serial)) {
				this.cards[serial].node.remove();
				delete this.cards[serial];
			}
		});
		inverters.forEach((inverter, index) => {
			const card = this.cards[inverter.serial] = this.cards[inverter.serial] || this.card(inverter);
			if (this.inverters.children[index] != card.node)
				this.inverters.insertBefore(card.node, this.inverters.children[index] || null);
			this.fill(card, inverter, state.now);
		});
	},

	card(inverter) {
		const card = {
			head: E('div', { 'class': 'ic-head' }), flow: E('div', { 'class': 'ic-now' }), alarms: E('div', {}),
			chart: chart.create(), values: E('div', { 'class': 'ic-values' }),
			search: E('input', { 'type': 'search', 'class': 'cbi-input-text', 'placeholder': _('Search the values'), 'aria-label': _('Search the values') }),
			count: E('summary', {})
		};
		card.search.addEventListener('input', this.search.bind(this, card));
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
		const stale = status.isStale(inverter, now), age = status.span(now - inverter.received);
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
			.map(alarm => E('div', { 'class': 'ic-alarm ic-' + alarm[1], 'role': 'alert' }, [ E('strong', {}, [ alarm[2] ]), ' ', worded(inverter.texts[alarm[0]]) ])));
		card.count.replaceChildren(_('All %d values').format(Object.keys(inverter.values).length) + ' · ' + _(inverter.kind));
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
			card.values.replaceChildren.apply(card.values, groups.map(group => {
				return E('table', {}, [ E('caption', {}, [ named(group[0]) ]) ].concat(group[1].filter(row => row[0] in inverter.values).map(row => {
					return E('tr', { 'data-field': row[0], 'data-words': [ named(group[0]), named(row[1]), row[0] ].join(' ').toLowerCase() }, [
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
			rows.forEach(row => { row.hidden = !words.every(word => row.dataset.words.includes(word)); });
			table.hidden = rows.every(row => row.hidden);
		});
	},

	drawService(state, present) {
		const rows = [];
		const row = (title, parts) => {
			rows.push(E('tr', {}, [ E('th', { 'scope': 'row' }, [ title ]), E('td', {}, parts) ]));
		};
		row(_('Service'), [
			state.running ? badge('good', _('running')) : badge('plain', _('not running')), ' ',
			present ? _('version %s, since %s').format(present.version, status.date(present.started)) : ''
		]);
		if (present) {
			present.inverters.forEach(inverter => {
				const late = inverter.due == null ? null : state.now - inverter.due;
				row(_('Inverter %s').format(inverter.serial), [
					_('Last reading %s ago').format(status.span(state.now - inverter.received)),
					late == null ? '' : ' · ' + (late > 0 ? _('next overdue by %s') : _('next in %s')).format(status.span(Math.abs(late)))
				]);
			});
			row(_('Capture'), [
				present.capturing ? badge('good', _('capturing')) : badge('bad', _('not capturing')), ' ',
				_('on %s').format(present.device), ' · ',
				_('%d packets, %d reports, %d readings').format(present.packets, present.reports, present.readings),
				present.held_back ? ' · ' + _('%d implausible values held back').format(present.held_back) : '',
				present.unknown ? ' · ' + _('%d reports of unknown length').format(present.unknown) : ''
			]);
			present.backends.forEach(backend => {
				row(backend.name, [
					backend.connected ? badge('good', _('connected')) : badge(backend.problem ? 'bad' : 'plain', _('not connected')), ' ',
					_('%d delivered, %d waiting, %d dropped').format(backend.delivered, backend.waiting, backend.dropped),
					backend.problem ? E('div', { 'class': 'ic-problem' }, [ backend.problem ]) : ''
				]);
			});
		}
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
