'use strict';
'require view';
'require poll';
'require ui';
'require inverter-capture.chart as chart';
'require inverter-capture.fields as fields';
'require inverter-capture.flow as flow';
'require inverter-capture.status as status';

const SECONDS = 5;
const DIRECTIONS = {
	grid_power: [ _('importing'), _('exporting') ],
	battery_power: [ _('discharging'), _('charging') ]
};
// The inverter's states, as the program words them.
const STATES = {
	'standby': [ _('Standby'), '' ], 'self-check': [ _('Self-check'), '' ], 'normal': [ _('Normal'), 'good' ],
	'alarm': [ _('Alarm'), 'warn' ], 'fault': [ _('Fault'), 'bad' ], 'activating': [ _('Activating'), '' ]
};

function link(page, words) {
	return E('a', { 'class': 'btn cbi-button cbi-button-action', 'href': L.url('admin/services/inverter-capture', page) }, [ words ]);
}

function badge(kind, words) {
	return E('span', { 'class': 'ic-badge ic-' + (kind || 'plain') }, [ words ]);
}

// Rows of [id, name, unit, decimals] for the values that an inverter has, by group.
function groupsOf(values) {
	return fields.groups.map(group => {
		const rows = [];
		group[1].forEach(unit => {
			const add = (id, name) => {
				if (id in values)
					rows.push([ id, name, unit[0], unit[1] ]);
			};
			Object.keys(unit[2]).forEach(id => {
				const name = unit[2][id];
				if (!Array.isArray(name))
					return add(id, name);
				for (let number = name[1]; number <= name[2]; number++)
					add(id.replace('#', number), name[0].format(number));
			});
		});
		return [ group[0], rows ];
	}).filter(group => group[1].length);
}

function valueText(inverter, row) {
	const value = inverter.values[row[0]];
	if (row[0] in inverter.texts)
		return row[0] == 'inverter_state' ? stateOf(inverter)[0] : inverter.texts[row[0]];
	const way = DIRECTIONS[row[0]];
	return status.number(value, row[3]) + (row[2] ? ' ' + row[2] : '') +
		(way && value ? ' (' + way[value < 0 ? 1 : 0] + ')' : '');
}

function stateOf(inverter) {
	const words = inverter.texts.inverter_state;
	return words == null ? null : STATES[words] || [ words, '' ];
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
		this.service = E('div', { 'class': 'cbi-section ic-service' });
		this.cards = {};
		this.update(found);
		poll.add(() => status.load().then(this.update.bind(this), this.lost.bind(this)), SECONDS);
		return E('div', { 'class': 'ic-page' }, [
			status.style(), E('h2', {}, [ _('Inverter Capture') ]), this.face, this.inverters, this.service
		]);
	},

	lost() {
		this.face.replaceChildren(this.panel('bad', _('The router does not answer'), [
			_('What is shown below is what it said last. This page goes on asking.')
		], null));
		this.inverters.classList.add('ic-old');
	},

	update(found) {
		const state = found.state, present = found.status;
		this.inverters.classList.remove('ic-old');
		return this.wrongSettings(state, present).then(messages => {
			this.face.replaceChildren.apply(this.face, this.faces(state, present, messages));
			this.drawInverters(state, present);
			this.service.replaceChildren.apply(this.service, this.drawService(state, present));
		});
	},

	// The program is asked what is wrong with the settings when the service should run and does not, once.
	wrongSettings(state, present) {
		if (!state.enabled || state.running || !state.device || !state.backends) {
			this.messages = null;
			return Promise.resolve([]);
		}
		this.messages = this.messages || L.resolveDefault(status.problems(), []);
		return this.messages;
	},

	panel(kind, title, paragraphs, button) {
		return E('div', { 'class': 'ic-panel ic-' + kind, 'role': kind == 'bad' ? 'alert' : 'status' }, [
			E('div', {}, [ E('h3', {}, [ title ]) ].concat(paragraphs.filter(Boolean).map(words => E('p', {}, [ words ])))),
			button ? E('div', { 'class': 'ic-help' }, [ button ]) : ''
		]);
	},

	// What stands in the way, with the one button that helps.
	faces(state, present, messages) {
		if (!state.running)
			return [ this.notRunning(state, messages) ];
		if (!present)
			return [ this.panel('plain', _('The service is starting'), [ _('This takes a few seconds.') ], null) ];
		const panels = [];
		if (!present.capturing)
			panels.push(this.panel('bad', _('Nothing is captured from %s').format(present.device), [
				present.problem, _('The service tries again by itself. If this stays, choose another device.')
			], link('settings', _('Choose the device'))));
		else if (!present.inverters.length && present.unknown)
			panels.push(this.panel('warn', _('A dongle reports in a form that is not known'), [
				_('%d reports came, of a length that this version cannot decode yet. It learns the layout when the dongle connects anew: switch the dongle off and on.').format(present.unknown),
				_('If that does not help, the log tells what to send to the developers.')
			], link('log', _('Open the log'))));
		else if (!present.inverters.length && present.reports)
			panels.push(this.panel('warn', _('Waiting for a complete reading'), [
				_('%d reports came, and none of them held a reading yet.').format(present.reports)
			], link('log', _('Open the log'))));
		else if (!present.inverters.length)
			panels.push(this.panel('plain', _('No dongle seen yet'), [
				_('Listening on %s since %s. Most dongles report every five minutes.').format(present.device, status.clock(present.started)),
				_('Nothing after ten minutes? Then the dongle\'s traffic may pass elsewhere.')
			], link('settings#find', _('Find my dongle'))));
		present.backends.forEach(backend => {
			if (backend.problem)
				panels.push(this.panel('bad', _('%s cannot be reached').format(backend.name), [
					backend.problem,
					_('%d readings wait for it.').format(backend.waiting) +
						(backend.failing_since ? ' ' + _('It has failed since %s.').format(status.date(backend.failing_since)) : '')
				], link('settings', _('Check its settings'))));
		});
		return panels;
	},

	notRunning(state, messages) {
		if (!state.device)
			return this.panel('plain', _('Not configured yet'), [
				_('Choose the network device that your inverter\'s dongle is connected through, and where the readings go.')
			], link('settings', _('Open the settings')));
		if (!state.backends)
			return this.panel('plain', _('The readings have nowhere to go yet'), [
				_('Add a database or an MQTT broker. Then enable the service.')
			], link('settings', _('Add a server')));
		if (!state.enabled)
			return this.panel('plain', _('Not enabled'), [
				_('The service is configured, and does not run, now or when the router starts.')
			], this.button('enable', _('Enable and start'), 'positive'));
		if (messages.length)
			return this.panel('bad', _('The settings are not right'), messages, link('settings', _('Correct the settings')));
		return this.panel('warn', _('The service is stopped'), [
			_('Nothing is recorded until it is started.')
		], this.button('start', _('Start'), 'positive'));
	},

	button(action, words, kind) {
		return E('button', {
			'class': 'btn cbi-button cbi-button-' + kind, 'data-action': action,
			'disabled': L.hasViewPermission() ? null : '',
			'click': ui.createHandlerFn(this, 'control', action)
		}, [ words ]);
	},

	control(action) {
		return status.service(action).then(messages => {
			if (messages.length)
				ui.addNotification(_('That did not work'), messages.map(message => E('p', {}, [ message ])), 'error');
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
		card.node = E('div', { 'class': 'cbi-section ic-card', 'data-serial': inverter.serial }, [
			card.head, card.alarms,
			E('div', { 'class': 'ic-columns' }, [
				card.flow, E('div', { 'class': 'ic-past' }, [ E('h4', {}, [ _('Last 24 hours') ]), card.chart.node ])
			]),
			E('details', {}, [ card.count, card.search, card.values ])
		]);
		return card;
	},

	fill(card, inverter, now) {
		const stale = status.isStale(inverter, now);
		const age = status.span(now - inverter.received);
		const state = stateOf(inverter);
		card.node.classList.toggle('ic-old', stale);
		card.head.replaceChildren.apply(card.head, [
			E('h3', {}, [ _('Inverter %s').format(inverter.serial) ]),
			state && !stale ? badge(state[1], state[0]) : '',
			stale ? badge('warn', _('No reading for %s').format(age)) : E('span', { 'class': 'ic-age' }, [ _('%s ago').format(age) ])
		]);
		const key = inverter.received + ' ' + stale;
		if (card.key != key) {
			card.key = key;
			card.flow.replaceChildren(flow.render(inverter));
			const alarms = [ [ 'inverter_faults', 'bad', _('Faults') ], [ 'inverter_warnings', 'warn', _('Warnings') ] ];
			card.alarms.replaceChildren.apply(card.alarms, alarms.filter(alarm => inverter.values[alarm[0]] && inverter.texts[alarm[0]]).map(alarm => E('div', { 'class': 'ic-alarm ic-' + alarm[1], 'role': 'alert' }, [ E('strong', {}, [ alarm[2] ]), ' ', inverter.texts[alarm[0]] ])));
			card.inverter = inverter;
			this.list(card);
		}
		card.chart.update(inverter.chart, now);
	},

	list(card) {
		const groups = groupsOf(card.inverter.values);
		const count = groups.reduce((sum, group) => sum + group[1].length, 0);
		card.count.replaceChildren(_('All %d values').format(count) + ' · ' + card.inverter.kind);
		card.values.replaceChildren.apply(card.values, groups.map(group => {
			return E('table', {}, [ E('caption', {}, [ group[0] ]) ].concat(group[1].map(row => {
				return E('tr', { 'data-field': row[0], 'data-words': (group[0] + ' ' + row[1] + ' ' + row[0]).toLowerCase() }, [
					E('th', { 'scope': 'row' }, [ row[1] ]), E('td', {}, [ valueText(card.inverter, row) ])
				]);
			})));
		}));
		this.search(card);
	},

	search(card) {
		const words = card.search.value.toLowerCase().split(' ').filter(Boolean);
		card.values.querySelectorAll('table').forEach(table => {
			let shown = 0;
			table.querySelectorAll('tr').forEach(row => {
				row.hidden = !words.every(word => row.getAttribute('data-words').indexOf(word) >= 0);
				shown += row.hidden ? 0 : 1;
			});
			table.hidden = !shown;
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
		const buttons = state.running ?
			[ this.button('restart', _('Restart'), 'apply'), this.button('stop', _('Stop'), 'negative') ] :
			state.enabled ? [ this.button('start', _('Start'), 'positive') ] : [];
		buttons.push(state.enabled ? this.button('disable', _('Disable'), 'neutral') : this.button('enable', _('Enable'), 'apply'));
		return [
			E('h3', {}, [ _('Recording') ]), E('table', { 'class': 'ic-facts' }, rows),
			E('div', { 'class': 'ic-buttons' }, buttons)
		];
	}
});
