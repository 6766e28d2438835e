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
// OpenWrt has the data of these areas' time zones in packages of their own names, and of others in zoneinfo-all.
const ZONE_PACKAGES = [ 'Africa', 'Asia', 'Atlantic', 'Europe', 'Pacific' ];

const ENDED = _('It ended too early: try again.');

const callSettings = status.declare('settings');
const callCheck = status.declare('check', [ 'settings' ]);
const callTest = status.declare('test', [ 'settings' ]);
const callFind = status.declare('find', [ 'device' ]);
const callProgress = status.declare('progress');
const callCancel = status.declare('cancel');
const callDevices = rpc.declare({ object: 'luci-rpc', method: 'getNetworkDevices', expect: { '': {} } });
const callTimezones = rpc.declare({ object: 'luci', method: 'getTimezones', expect: { '': {} } });

function named(list, name) {
	return list.find(each => each.name == name);
}

// The name of the only section of this type, or of its first.
function first(type) {
	return uci.sections(PACKAGE, type)[0]['.name'];
}

// What is wrong with a setting. The program's remedy for a missing one is a command.
function reason(problem, setting) {
	return setting && problem.message == 'missing' ? _('missing') + ' (' + _(setting.help) + ')' : status.words(problem);
}

function say(node, kind, lines) {
	node.replaceChildren(...lines.map(line => E('p', { 'class': 'ic-' + kind }, [ line ])));
}

// A section as the command uci export prints it.
function exported(type, name, options) {
	const lines = [ 'config ' + type + " '" + name + "'" ];
	Object.keys(options).filter(option => option.charAt(0) != '.').forEach(option => {
		const word = Array.isArray(options[option]) ? 'list ' : 'option ';
		[].concat(options[option]).forEach(value => { lines.push(word + option + " '" + value.replace(/'/g, "'\\''") + "'"); });
	});
	return lines.join('\n') + '\n';
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
		this.problems = E('div', { 'role': 'alert' });
		this.map = new form.Map(PACKAGE, _('Inverter Capture'), _('Captures what the inverter\'s dongle sends to its cloud, without sending anything itself, and delivers it to your own servers.'));
		this.map.tabbed = true;
		this.sections.forEach(section => {
			// A configuration of another origin may not have it.
			if (!section.repeated && !uci.sections(PACKAGE, section.name).length)
				uci.add(PACKAGE, section.name, section.name);
			if (section.repeated)
				this.addServers(section);
			else if (section.name != 'service')
				this.addSection(section);
		});
		// Where the overview sends whoever has no server yet, or no dongle.
		const start = { '#find': this.find, '#server': this.addFirst }[window.location.hash];
		if (start == this.addFirst)
			uci.set(PACKAGE, first('service'), 'enabled', '1');
		return this.map.render().then(node => {
			if (start)
				window.setTimeout(start.bind(this), 0);
			return E('div', { 'class': 'ic-page' }, [ status.style(), this.problems, node ]);
		});
	},

	addSection(section) {
		const s = this.map.section(form.TypedSection, section.name, _(section.title));
		s.anonymous = true;
		s.addremove = false;
		this.addTabs(s, section);
		if (section.name == 'pcap') {
			const o = this.addOption(s, named(this.sections, 'service').settings[0]);
			o.ucisection = first('service');
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
		section.settings.forEach((setting, index) => {
			const o = this.addOption(s, setting);
			o.editable = setting.name == 'enabled';
			// The list shows the first two: whether a server is enabled, and its address.
			o.modalonly = index < 2 ? null : true;
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
		o.password = setting.secret;
		setting.choices.forEach(choice => { o.value(choice); });
		if (setting.type == 'switch') {
			if (setting.default == '1')
				o.value('1', _('Yes'));
			o.value('0', _('No'));
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
			if (setting.name != 'enabled' && value != null && value.length)
				options[setting.name] = value;
		});
		say(result, 'plain', [ _('Testing …') ]);
		return callTest(exported('pcap', 'pcap', { device: 'any' }) + exported(section.name, 'test', options)).then(answer => {
			if (answer.problems.length)
				return say(result, 'bad', answer.problems.map(problem => status.words(problem)));
			return follow(() => {}, () => document.body.contains(result)).then(done => {
				const good = done.found && done.found.every(problem => problem.warning);
				say(result, good ? 'good' : 'bad', [].concat(good ? _('It works.') : [], done.found ? done.found.map(problem => {
					const setting = named(section.settings, problem.setting);
					return (setting ? _(setting.title) + ': ' : '') + reason(problem, setting);
				}) : ENDED));
			});
		}).catch(error => { say(result, 'bad', [ error.message ]); });
	},

	// The widget of a setting of the capture.
	widget(name) {
		const found = this.map.lookupOption(name, first('pcap'));
		return found[0].getUIElement(found[1]);
	},

	find() {
		const device = this.widget('device').getValue() || 'any', begun = Date.now();
		const text = E('p', { 'role': 'status' }, [
			_('Listening on %s. Most dongles report every five minutes. Leave this open, or finish as soon as you like.').format(device)
		]);
		const bar = E('progress', { 'class': 'ic-progress' }), counts = E('p', {}), report = E('div', { 'class': 'ic-result' });
		const finish = status.button('action', _('Finish now'), () => { callCancel(); });
		let open = true, heard = [];
		const close = () => {
			open = false;
			callCancel();
			ui.hideModal();
		};
		const tell = now => {
			const found = now.found || {}, seconds = Math.round((Date.now() - begun) / 1000);
			heard = found.candidates || heard;
			bar.max = now.seconds;
			bar.value = seconds;
			counts.replaceChildren(status.list([
				_('%d of %d seconds').format(seconds, now.seconds),
				_('packets: %d, reports: %d').format(found.packets || 0, found.reports || 0),
				heard.length && _('possible dongles: %s').format(heard.join(', '))
			]));
		};
		const done = (found, problems) => {
			bar.remove();
			counts.remove();
			if (!found.dongles || !found.dongles.length) {
				text.replaceChildren(_('No dongle was found.'));
				finish.remove();
				return say(report, 'bad', !found.dongles ? found.problems || problems : [ heard.length ?
					_('A dongle was heard at %s, but it sent no report. Search again, for at least ten minutes.').format(heard.join(', ')) :
					_('Choose the bridge of the dongle\'s network, or any, and search for at least ten minutes. If hardware flow offloading is on, switch it off.')
				]);
			}
			text.replaceChildren(_('This was found:'));
			report.append(...found.dongles.map(dongle => E('table', { 'class': 'ic-facts' }, this.describe(dongle, found.settings))));
			finish.replaceWith(status.button('positive', _('Use these settings'), () => {
				Object.keys(found.settings).forEach(name => { this.widget(name).setValue(found.settings[name]); });
				close();
			}));
		};
		ui.showModal(_('Find my dongle'), [ E('div', { 'class': 'ic-page' }, [
			text, bar, counts, report, E('div', { 'class': 'ic-buttons right' }, [ status.button('neutral', _('Close'), close), finish ])
		]) ]);
		return callFind(device).then(answer => {
			if (answer.problems.length)
				return done({}, answer.problems.map(problem => status.words(problem)));
			return follow(tell, () => open).then(now => {
				if (open)
					done(now.found || {}, [ ENDED ]);
			});
		}).catch(error => { done({}, [ error.message ]); });
	},

	// What the program has found out about a dongle.
	describe(dongle, settings) {
		const inverters = Object.keys(dongle.inverters).map(serial => serial + (dongle.inverters[serial] ? ' (' + _(dongle.inverters[serial]) + ')' : ''));
		const ahead = dongle.ahead, words = ahead > 0 ? _('%s fast') : _('%s slow');
		return [
			status.row(_('Dongle'), [ status.list([ dongle.host ].concat(dongle.dongles)) ]),
			status.row(_('Inverter'), [ inverters.join(', ') ]),
			status.row(_('Reports'), [ status.list([
				dongle.reports, dongle.interval && _('one every %s').format(status.span(dongle.interval)),
				Object.values(dongle.lengths).includes('unknown') && _('not all can be decoded yet')
			]) ]),
			status.row(_('Inverter\'s clock'), [ status.list([
				ahead == null ? _('unknown') : ahead ? words.format(status.span(Math.abs(ahead))) : _('correct'), settings.timezone
			]) ])
		];
	},

	// The program's own check, of what is in the form.
	check() {
		const settings = uci.sections(PACKAGE).map(section => exported(section['.type'], section['.name'], section));
		return callCheck(settings.join('')).then(answer => {
			const blocking = uci.get(PACKAGE, first('service'), 'enabled') == '1' && !this.anyway && !answer.right;
			this.showProblems(answer.right, answer.unset ? [ { message: _('Choose a device, and enable a server.') } ] : answer.problems, blocking);
			if (blocking)
				throw new Error(_('The settings contain mistakes'));
		});
	},

	showProblems(right, problems, blocking) {
		const title = blocking ? _('The settings contain mistakes and were not saved') : right ? _('Saved') : _('Saved, but the service cannot run with these settings yet');
		this.problems.replaceChildren(problems.length ? status.panel(blocking ? 'bad' : 'warn', title, problems.map(problem => {
			const section = named(this.sections, problem.section);
			if (!section)
				return status.words(problem, problem.label);
			const setting = named(section.settings, problem.setting);
			const place = [ _(section.title), problem.name, setting ? _(setting.title) : problem.setting ].filter(Boolean);
			return [ E('strong', {}, [ place.join(' » ') ]), problem.value ? ' ' + problem.value : '', ': ', reason(problem, setting) ];
		}), blocking && status.button('negative', _('Save anyway'), ui.createHandlerFn(this, 'saveAnyway'))) : '');
		if (problems.length)
			this.problems.scrollIntoView({ block: 'nearest' });
	},

	saveAnyway() {
		this.anyway = true;
		return this.handleSave().finally(() => { this.anyway = false; });
	},

	// Whether they were saved.
	handleSave() {
		return this.map.save(this.check.bind(this), true).then(() => true, error => {
			if (!this.problems.firstElementChild)
				ui.addNotification(null, [ E('p', {}, [ error.message ]) ], 'error');
			return false;
		});
	},

	handleSaveApply(ev, mode) {
		return this.handleSave().then(saved => saved ? ui.changes.apply(mode == '0') : null);
	}
});
