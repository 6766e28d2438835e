'use strict';
'require view';
'require form';
'require rpc';
'require uci';
'require ui';
'require inverter-capture.status as status';

const PACKAGE = 'inverter-capture';
// What most people need. All other settings are on the tab "Advanced".
const USUAL = [ 'enabled', 'device', 'timezone', 'host', 'org', 'bucket', 'token', 'url', 'username', 'password', 'format', 'listen', 'level' ];
// What the list of servers shows of each.
const COLUMNS = [ 'enabled', 'host', 'url', 'format' ];
// OpenWrt has the data of these areas' time zones in packages of their own names, and of others in zoneinfo-all.
const ZONE_PACKAGES = [ 'Africa', 'Asia', 'Atlantic', 'Europe', 'Pacific' ];

const ENDED = _('It was ended before it was done: try again.');

const callSettings = rpc.declare({ object: PACKAGE, method: 'settings' });
const callCheck = rpc.declare({ object: PACKAGE, method: 'check', params: [ 'sections' ] });
const callTest = rpc.declare({ object: PACKAGE, method: 'test', params: [ 'type', 'options' ] });
const callFind = rpc.declare({ object: PACKAGE, method: 'find', params: [ 'device' ] });
const callProgress = rpc.declare({ object: PACKAGE, method: 'progress' });
const callCancel = rpc.declare({ object: PACKAGE, method: 'cancel' });
const callDevices = rpc.declare({ object: 'luci-rpc', method: 'getNetworkDevices', expect: { '': {} } });
const callTimezones = rpc.declare({ object: 'luci', method: 'getTimezones', expect: { '': {} } });

function named(list, name) {
	return (list || []).filter(each => each.name == name)[0];
}

function say(node, kind, lines) {
	node.replaceChildren.apply(node, lines.map(line => E('p', { 'class': 'ic-' + kind }, [ line ])));
}

// Ask how the job is, every second, until it has ended. told hears each answer; wanted ends the asking.
function follow(told, wanted) {
	return callProgress().then(answer => {
		told(answer);
		if (!answer.running || !wanted())
			return answer;
		return new Promise(resolve => { window.setTimeout(resolve, 1000); }).then(() => follow(told, wanted));
	});
}

return view.extend({
	load() {
		return Promise.all([
			callSettings(), L.resolveDefault(callDevices(), {}), L.resolveDefault(callTimezones(), {}), uci.load(PACKAGE)
		]);
	},

	render(found) {
		this.sections = found[0].sections;
		this.devices = found[1];
		this.zones = found[2];
		this.problems = E('div', { 'class': 'ic-problems' });
		this.map = new form.Map(PACKAGE, _('Inverter Capture'), _('Captures what the inverter\'s dongle sends to its cloud, without sending anything itself, and delivers it to your own servers.'));
		this.map.tabbed = true;
		this.sections.forEach(section => {
			if (section.repeated)
				this.addServers(section);
			else if (section.name != 'service')
				this.addSection(section);
		});
		// Where the overview sends whoever has no server yet, or no dongle.
		const start = { '#find': this.find, '#server': this.addFirst }[window.location.hash];
		if (start == this.addFirst)
			uci.set(PACKAGE, uci.sections(PACKAGE, 'service')[0]['.name'], 'enabled', '1');
		return this.map.render().then(node => {
			if (start)
				window.setTimeout(start.bind(this), 0);
			return E('div', { 'class': 'ic-page' }, [ status.style(), this.problems, node ]);
		});
	},

	addSection(section) {
		// A configuration of another origin may not have it.
		[ section.name ].concat(section.name == 'pcap' ? [ 'service' ] : []).forEach(name => {
			if (!uci.sections(PACKAGE, name).length)
				uci.add(PACKAGE, name, name);
		});
		const s = this.map.section(form.TypedSection, section.name, _(section.title));
		s.anonymous = true;
		s.addremove = false;
		this.addTabs(s, section);
		if (section.name == 'pcap') {
			const o = this.addOption(s, named(this.sections, 'service').settings[0]);
			o.ucisection = uci.sections(PACKAGE, 'service')[0]['.name'];
		}
		section.settings.forEach(setting => {
			this.addOption(s, setting);
			if (section.name == 'pcap' && setting.name == 'device')
				this.addAction(s, '_find', _('Find my dongle'), this.find.bind(this));
		});
	},

	// Sections of which there can be any number: a list, and a form for each.
	addServers(section) {
		const s = this.map.section(form.GridSection, section.name, _(section.title));
		s.anonymous = true;
		s.addremove = true;
		s.sortable = true;
		s.nodescriptions = true;
		if (section.name == 'mqtt')
			this.brokers = s;
		s.sectiontitle = section_id => section_id;
		s.modaltitle = section_id => _(section.title) + ' » ' + section_id;
		s.handleAdd = function(ev) {
			let name = section.name;
			for (let number = 2; uci.get(PACKAGE, name); number++)
				name = section.name + '_' + number;
			return form.GridSection.prototype.handleAdd.call(this, ev, name);
		};
		// LuCI draws the page anew when the form closes: keep what has been entered in the page.
		s.renderMoreOptionsModal = function() {
			return this.map.parse().catch(() => {}).then(() => form.GridSection.prototype.renderMoreOptionsModal.apply(this, arguments));
		};
		this.addTabs(s, section);
		section.settings.forEach(setting => {
			const o = this.addOption(s, setting);
			o.editable = setting.name == 'enabled';
			o.modalonly = COLUMNS.includes(setting.name) ? null : true;
		});
		if (section.name != 'console')
			this.addAction(s, '_test', _('Test'), this.test, section).modalonly = true;
	},

	// Opens the form of the first broker, which most people want, to be enabled.
	addFirst() {
		const broker = uci.sections(PACKAGE, 'mqtt')[0];
		return Promise.resolve(broker ? this.brokers.renderMoreOptionsModal(broker['.name']) : this.brokers.handleAdd()).then(() => {
			document.querySelectorAll('[role=dialog] [data-name=enabled] input:not(:checked)').forEach(box => box.click());
		});
	},

	addTabs(s, section) {
		s.tab('usual', _('General'));
		if (section.settings.some(setting => !USUAL.includes(setting.name)))
			s.tab('advanced', _('Advanced'));
	},

	addOption(s, setting) {
		const types = { flag: form.Flag, choice: form.ListValue, list: form.DynamicList };
		const o = s.taboption(USUAL.includes(setting.name) ? 'usual' : 'advanced', types[setting.type] || form.Value, setting.name, _(setting.title), _(setting.help));
		o.rmempty = !setting.required;
		if (setting.type == 'flag' || setting.type == 'choice')
			o.default = setting.default;
		else
			o.placeholder = setting.type == 'switch' && setting.default == '1' ? _('Yes') : setting.default || setting.example;
		if (setting.datatype)
			o.datatype = setting.datatype;
		if (setting.secret)
			o.password = true;
		if (setting.type == 'choice')
			setting.choices.forEach(choice => { o.value(choice); });
		if (setting.type == 'switch') {
			if (setting.default == '1')
				o.value('1', _('Yes'));
			o.value('0', setting.default == '1' ? _('No') : _('Off'));
		}
		if (setting.name == 'device') {
			o.value('any', _('any (all devices)'));
			Object.keys(this.devices).sort().forEach(name => { o.value(name); });
		}
		if (setting.name == 'timezone') {
			o.value('local', _('local (this router\'s)'));
			Object.keys(this.zones).sort().forEach(zone => {
				const area = zone.split('/')[0];
				if (zone != area)
					o.value(zone, zone + ' (' + _('package %s').format('zoneinfo-' + (ZONE_PACKAGES.includes(area) ? area.toLowerCase() : 'all')) + ')');
			});
		}
		// What is as the schema has it need not be written.
		if (setting.type == 'choice')
			o.write = (section_id, value) => {
				if (value == setting.default)
					o.remove(section_id);
				else
					uci.set(PACKAGE, section_id, setting.name, value);
			};
		return o;
	},

	// A button in the form, with room for what it has to say.
	addAction(s, name, title, act, section) {
		const o = s.taboption('usual', form.DummyValue, name, ' ');
		o.renderWidget = function(section_id) {
			const result = E('div', { 'class': 'ic-result', 'role': 'status' });
			return E('div', { 'class': 'ic-page' }, [
				status.button('action', title, ui.createHandlerFn(this, act, section_id, result, section)),
				result
			]);
		};
		return o;
	},

	// Runs as the method of an option: the form can be the list's own or a dialog.
	test(section_id, result, section) {
		const options = {};
		section.settings.forEach(setting => {
			const value = this.section.formvalue(section_id, setting.name);
			if (value != null && value.length)
				options[setting.name] = value;
		});
		say(result, 'plain', [ _('Testing …') ]);
		return callTest(section.name, options).then(answer => {
			if (answer.problems.length)
				return say(result, 'bad', answer.problems.map(problem => status.words(problem)));
			return follow(() => {}, () => document.body.contains(result)).then(done => {
				const good = done.found && done.found.every(problem => problem.warning);
				say(result, good ? 'good' : 'bad', [].concat(good ? _('It works.') : [],
					done.found ? done.found.map(problem => status.words(problem, problem.setting)) : ENDED));
			});
		}).catch(error => { say(result, 'bad', [ error.message ]); });
	},

	option(name) {
		const found = this.map.lookupOption(name, uci.sections(PACKAGE, 'pcap')[0]['.name']);
		return found ? found[0].getUIElement(found[1]) : null;
	},

	find() {
		const device = this.option('device').getValue() || 'any';
		const bar = E('progress', { 'class': 'ic-progress', 'value': 0 });
		const text = E('p', { 'role': 'status' }, [ _('Listening on %s.').format(device) ]);
		const counts = E('p', {});
		const hint = E('p', {}, [ _('A dongle reports about every five minutes. Leave this open, or finish as soon as you like.') ]);
		const report = E('div', {}), buttons = E('div', { 'class': 'right' });
		let open = true;
		const close = () => {
			open = false;
			callCancel();
			ui.hideModal();
		};
		const tell = now => {
			const found = now.found || {};
			bar.max = now.seconds;
			bar.value = now.elapsed;
			text.replaceChildren(_('Listening on %s: %d of %d seconds.').format(device, now.elapsed, now.seconds));
			counts.replaceChildren(_('%d packets, %d reports').format(found.packets || 0, found.reports || 0) +
				(found.candidates && found.candidates.length ? ' · ' + _('Possible dongles: %s').format(found.candidates.join(', ')) : ''));
		};
		const done = (problems, found) => {
			const dongles = found.dongles || [], settings = found.settings || {};
			[ bar, hint, counts ].forEach(node => node.remove());
			text.replaceChildren(dongles.length ? _('This was found:') : _('No dongle was found.'));
			report.replaceChildren.apply(report, dongles.map(dongle => E('table', { 'class': 'ic-facts' }, Object.keys(dongle).map(name => {
				return E('tr', {}, [ E('th', { 'scope': 'row' }, [ name ]), E('td', {}, [ String(dongle[name]) ]) ]);
			}))));
			const wrong = E('div', { 'class': 'ic-result' });
			say(wrong, 'bad', problems.concat(found.problems || []));
			report.append(wrong);
			buttons.replaceChildren(status.button('neutral', _('Close'), close));
			if (Object.keys(settings).length)
				buttons.append(' ', status.button('positive', _('Use these settings'), () => {
					Object.keys(settings).forEach(name => {
						const element = this.option(name);
						if (element)
							element.setValue(settings[name]);
					});
					close();
				}));
		};
		buttons.append(status.button('neutral', _('Close'), close), ' ', status.button('action', _('Finish now'), () => { callCancel(); }));
		ui.showModal(_('Find my dongle'), [ E('div', { 'class': 'ic-page' }, [ text, counts, bar, hint, report, buttons ]) ]);
		return callFind(device).then(answer => {
			if (answer.problems.length)
				return done(answer.problems.map(problem => status.words(problem)), {});
			return follow(tell, () => open).then(now => {
				if (open)
					done(now.found && now.found.problems ? [] : [ ENDED ], now.found || {});
			});
		}).catch(error => { done([ error.message ], {}); });
	},

	// The program's own check, of what is in the form.
	check() {
		return callCheck(uci.sections(PACKAGE).map(section => {
			const options = {};
			Object.keys(section).forEach(name => {
				if (name.charAt(0) != '.')
					options[name] = section[name];
			});
			return { type: section['.type'], name: section['.name'], options: options };
		})).then(answer => {
			const enabled = uci.sections(PACKAGE, 'service').some(section => section.enabled == '1');
			const blocking = enabled && !this.anyway && !answer.right;
			this.showProblems(answer.right, answer.unset ? [ { message: _('The capture device is missing, or a server that is enabled.') } ] : answer.problems, blocking);
			if (blocking)
				throw new Error(_('The settings are not right.'));
		});
	},

	showProblems(right, problems, blocking) {
		if (!problems.length)
			return this.problems.replaceChildren();
		this.problems.replaceChildren(E('div', { 'class': 'ic-panel ' + (blocking ? 'ic-bad' : 'ic-warn'), 'role': 'alert' }, [
			E('div', {}, [
				E('h3', {}, [ blocking ? _('The settings are not right, and were not saved') : right ? _('Saved') : _('Saved, but the service cannot run with these settings yet') ])
			].concat(problems.map(problem => {
				const section = named(this.sections, problem.section);
				if (!section)
					return E('p', {}, [ status.words(problem, problem.label) ]);
				const setting = named(section.settings, problem.setting);
				const place = [ _(section.title), problem.name, setting ? _(setting.title) : problem.setting ].filter(Boolean);
				const reason = setting && problem.message == 'missing' ? _('missing') + ' (' + _(setting.help) + ')' : status.words(problem);
				return E('p', {}, [ E('strong', {}, [ place.join(' » ') ]), problem.value ? ' ' + problem.value : '', ': ', reason ]);
			}))),
			blocking ? status.button('negative', _('Save anyway'), ui.createHandlerFn(this, 'saveAnyway')) : ''
		]));
		this.problems.scrollIntoView({ block: 'nearest' });
	},

	saveAnyway() {
		this.anyway = true;
		return this.handleSave().finally(() => { this.anyway = false; });
	},

	// Whether they were saved.
	handleSave() {
		return this.map.save(this.check.bind(this), true).then(() => true, error => {
			if (!this.problems.firstChild)
				ui.addNotification(null, [ E('p', {}, [ error.message ]) ], 'error');
			return false;
		});
	},

	handleSaveApply(ev, mode) {
		return this.handleSave().then(saved => saved ? ui.changes.apply(mode == '0') : null);
	}
});
