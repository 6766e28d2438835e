// Stands in for LuCI's runtime in the tests of the app: as much of it as the pages use, with the same names and habits.
// It is stricter than LuCI in one thing: text that LuCI would take for HTML is an error here.
'use strict';

(function() {
	const classes = {}, loading = {};
	const env = JSON.parse(document.getElementById('environment').textContent);
	const translations = env.translations;

	// Read by the tests: nothing may go wrong unseen.
	window.errors = [];
	window.missing = [];
	window.addEventListener('error', function(event) { window.errors.push(String(event.message)); });
	window.addEventListener('unhandledrejection', function(event) {
		if (!event.reason || !event.reason.expected)
			window.errors.push(String(event.reason && event.reason.stack || event.reason));
	});

	String.prototype.format = function() {
		const values = Array.from(arguments);
		let next = 0;
		return this.replace(/%([sdh%])/g, function(whole, kind) {
			if (kind == '%')
				return '%';
			const value = values[next++];
			if (value === undefined)
				window.errors.push('format: no value for ' + whole);
			return kind == 'd' ? String(Math.trunc(+value)) : String(value);
		});
	};

	window._ = function(text) {
		if (env.language != 'en' && !(text in translations))
			window.missing.push(text);
		return translations[text] || text;
	};

	window.E = function(tag, attributes, children) {
		if (typeof tag != 'string' || tag.charAt(0) == '<')
			throw new Error('E: not the name of an element');
		const node = document.createElement(tag);
		Object.keys(attributes || {}).forEach(function(name) {
			const value = attributes[name];
			if (typeof value == 'function')
				node.addEventListener(name, value);
			else if (value != null)
				node.setAttribute(name, value);
		});
		append(node, children);
		return node;
	};

	function append(node, children) {
		if (typeof children == 'string')
			throw new Error('LuCI takes text outside of a list for HTML: ' + children);
		(Array.isArray(children) ? children : children == null ? [] : [ children ]).forEach(function(child) {
			if (Array.isArray(child))
				throw new Error('a list in a list of children');
			if (child != null)
				node.appendChild(child instanceof Node ? child : document.createTextNode(String(child)));
		});
	}

	function extend(properties) {
		const parent = this;
		const child = function() {
			if (typeof this.__init__ == 'function')
				this.__init__.apply(this, arguments);
		};
		child.prototype = Object.assign(Object.create(parent.prototype), properties);
		child.prototype.constructor = child;
		child.extend = extend;
		return child;
	}
	const Base = function() {};
	Base.extend = extend;

	// One instance of each class that is required, as LuCI has it.
	function load(name) {
		if (!loading[name])
			loading[name] = name in classes ? Promise.resolve(classes[name]) :
				fetch('/luci-static/resources/' + name.replace(/\./g, '/') + '.js').then(function(answer) {
					if (!answer.ok)
						throw new Error('no such class: ' + name);
					return answer.text();
				}).then(function(source) {
					const head = /^\s*(?:'use strict'|'require [^']+')\s*;/;
					const names = [];
					for (let rest = source, found; (found = rest.match(head)); rest = rest.slice(found[0].length)) {
						const words = found[0].match(/'require (\S+)(?: as (\w+))?'/);
						if (words)
							names.push([ words[1], words[2] || words[1].replace(/\W/g, '_') ]);
					}
					return Promise.all(names.map(function(pair) { return load(pair[0]); })).then(function(instances) {
						const make = new Function(names.map(function(pair) { return pair[1]; }).join(','), source);
						return new (make.apply(window, instances))();
					});
				});
		return loading[name];
	}

	function ubus(object, method, params) {
		return fetch('/ubus', {
			method: 'POST',
			body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'call', params: [ env.session, object, method, params ] })
		}).then(function(answer) { return answer.json(); }).then(function(answer) {
			if (answer.error)
				throw new Error(answer.error.message);
			if (answer.result[0] != 0)
				throw new Error(object + '.' + method + ' failed with ' + answer.result[0]);
			return answer.result[1];
		});
	}

	window.L = {
		env: env,
		url: function() {
			// As LuCI does: what is no path is left out.
			return [ '/cgi-bin/luci' ].concat(Array.from(arguments).filter(function(part) { return /^[\w.%,;/-]+$/.test(part); })).join('/');
		},
		resource: function(path) { return '/luci-static/resources/' + path; },
		resolveDefault: function(value, otherwise) {
			return Promise.resolve(value).catch(function() { return otherwise; });
		},
		hasViewPermission: function() { return env.writable; }
	};

	classes.baseclass = Base;

	classes.rpc = {
		declare: function(spec) {
			return function() {
				const params = {}, values = arguments;
				(spec.params || []).forEach(function(name, index) {
					if (values[index] !== undefined)
						params[name] = values[index];
				});
				return ubus(spec.object, spec.method, params);
			};
		}
	};

	classes.fs = {
		read: function(path) {
			return ubus('file', 'read', { path: path }).then(function(answer) { return answer.data; });
		},
		exec_direct: function(command, params) {
			return ubus('cgi-io', 'exec', { command: command, params: params }).then(function(answer) { return answer.stdout; });
		}
	};

	// Only the test says when the pages ask, so that nothing changes while it reads.
	classes.poll = {
		tasks: [],
		add: function(task) { this.tasks.push(task); }
	};
	window.pollNow = function() { return Promise.all(classes.poll.tasks.map(function(task) { return task(); })); };

	classes.ui = {
		showModal: function(title, children) {
			const modal = document.getElementById('modal');
			modal.replaceChildren(E('h4', {}, [ title ]));
			append(modal, children);
			document.body.classList.add('modal-active');
		},
		hideModal: function() {
			document.body.classList.remove('modal-active');
			document.getElementById('modal').replaceChildren();
		},
		addNotification: function(title, children, kind) {
			const note = E('div', { 'class': 'alert-message ' + (kind || '') }, title == null ? [] : [ E('h4', {}, [ title ]) ]);
			append(note, children);
			document.getElementById('maincontent').prepend(note);
		},
		createHandlerFn: function(context, handler) {
			const given = Array.prototype.slice.call(arguments, 2);
			const act = typeof handler == 'string' ? context[handler] : handler;
			if (typeof act != 'function')
				throw new Error('no handler');
			return function(event) {
				const button = event.currentTarget;
				button.classList.add('spinning');
				button.disabled = true;
				return Promise.resolve(act.apply(context, given.concat(event))).finally(function() {
					button.classList.remove('spinning');
					button.disabled = false;
				});
			};
		},
		changes: { apply: function() { return ubus('uci', 'apply', {}); } }
	};

	// The settings as they are in the form: nothing reaches the router before `save`.
	classes.uci = {
		packages: {},
		calls: [],
		load: function(name) {
			return ubus('uci', 'get', { config: name }).then(function(answer) {
				this.packages[name] = Object.values(answer.values);
				this.calls = [];
			}.bind(this));
		},
		sections: function(name, type) {
			return this.packages[name].filter(function(section) { return !type || section['.type'] == type; });
		},
		find: function(name, id) {
			return this.packages[name].filter(function(section) { return section['.name'] == id; })[0];
		},
		get: function(name, id, option) {
			const section = this.find(name, id);
			return !section ? null : !option ? section : section[option] === undefined ? null : section[option];
		},
		set: function(name, id, option, value) {
			this.find(name, id)[option] = value;
			this.calls.push([ 'set', { config: name, section: id, values: { [option]: value } } ]);
		},
		unset: function(name, id, option) {
			delete this.find(name, id)[option];
			this.calls.push([ 'delete', { config: name, section: id, options: [ option ] } ]);
		},
		add: function(name, type, id) {
			this.packages[name].push({ '.type': type, '.name': id });
			this.calls.push([ 'add', { config: name, type: type, name: id } ]);
			return id;
		},
		remove: function(name, id) {
			this.packages[name] = this.packages[name].filter(function(section) { return section['.name'] != id; });
			this.calls.push([ 'delete', { config: name, section: id } ]);
		},
		move: function(name, id, by) {
			const all = this.packages[name], at = all.findIndex(function(section) { return section['.name'] == id; });
			const type = all[at]['.type'];
			let to = at + by;
			while (all[to] && all[to]['.type'] != type)
				to += by;
			if (all[to]) {
				all.splice(to, 0, all.splice(at, 1)[0]);
				this.calls.push([ 'order', { config: name, sections: all.map(function(section) { return section['.name']; }) } ]);
			}
		},
		save: function() {
			const calls = this.calls;
			this.calls = [];
			return calls.reduce(function(before, call) {
				return before.then(function() { return ubus('uci', call[0], call[1]); });
			}, Promise.resolve());
		}
	};

	const View = Base.extend({
		load: function() {},
		render: function() {},
		handleSave: function() {},
		handleReset: function() {},
		handleSaveApply: function(event) { return this.handleSave(event).then(function() { return classes.ui.changes.apply(); }); },
		show: function() {
			return Promise.resolve(this.load()).then(this.render.bind(this)).then(function(node) {
				const place = document.getElementById('view');
				place.replaceChildren(node);
				const button = function(action, words) {
					return this[action] ? E('button', { 'class': 'btn cbi-button cbi-button-' + action, 'click': classes.ui.createHandlerFn(this, action) }, [ words ]) : null;
				}.bind(this);
				if (this.handleSave)
					place.appendChild(E('div', { 'class': 'cbi-page-actions' }, [ button('handleSaveApply', 'Save & Apply'), button('handleSave', 'Save') ]));
				document.body.setAttribute('data-ready', 'true');
			}.bind(this));
		}
	});
	classes.view = View;

	// --- form ---

	const Option = Base.extend({
		__init__: function(section, option, title, description) {
			Object.assign(this, { section: section, map: section.map, option: option, title: title, description: description, rmempty: true, keys: [], labels: [], widgets: {} });
		},
		value: function(key, label) {
			this.keys.push(String(key));
			this.labels.push(label == null ? String(key) : label);
		},
		place: function(section_id) { return this.ucisection || section_id; },
		cfgvalue: function(section_id) { return classes.uci.get(this.map.config, this.place(section_id), this.option); },
		write: function(section_id, value) { classes.uci.set(this.map.config, this.place(section_id), this.option, value); },
		remove: function(section_id) {
			if (this.cfgvalue(section_id) != null)
				classes.uci.unset(this.map.config, this.place(section_id), this.option);
		},
		render: function(section_id) {
			return E('div', { 'class': 'cbi-value', 'data-name': this.option }, [
				E('label', { 'class': 'cbi-value-title' }, [ this.title ]),
				E('div', { 'class': 'cbi-value-field' }, [
					this.renderWidget(section_id),
					this.description ? E('div', { 'class': 'cbi-value-description' }, [ this.description ]) : null
				])
			]);
		},
		renderWidget: function(section_id) {
			const value = this.cfgvalue(section_id);
			const input = E('input', { 'class': 'cbi-input-text', 'type': this.password ? 'password' : 'text', 'placeholder': this.placeholder || null });
			input.value = value == null ? '' : value;
			this.widgets[section_id] = input;
			if (!this.keys.length)
				return input;
			const id = 'choices-' + section_id + '-' + this.option;
			input.setAttribute('list', id);
			return E('div', {}, [ input, E('datalist', { 'id': id }, this.keys.map(function(key, index) {
				return E('option', { 'value': key }, [ this.labels[index] ]);
			}, this)) ]);
		},
		formvalue: function(section_id) { return this.widgets[section_id] ? this.widgets[section_id].value : null; },
		getUIElement: function(section_id) {
			const widget = this.widgets[section_id];
			return { getValue: function() { return widget.value; }, setValue: function(value) { widget.value = value; } };
		},
		textvalue: function(section_id) { return this.cfgvalue(section_id); },
		problem: function(section_id) {
			const value = this.formvalue(section_id);
			return this.rmempty || value && value.length ? '' : 'must not be empty';
		},
		parse: function(section_id) {
			if (!this.widgets[section_id])
				return;
			const problem = this.problem(section_id), value = this.formvalue(section_id), old = this.cfgvalue(section_id);
			if (problem) {
				const error = new Error(this.title + ': ' + problem);
				error.expected = true;
				throw error;
			}
			if (!value || !value.length)
				this.remove(section_id);
			else if (JSON.stringify(value) != JSON.stringify(old))
				this.write(section_id, value);
		}
	});

	const Flag = Option.extend({
		renderWidget: function(section_id) {
			const value = this.cfgvalue(section_id);
			const input = this.widgets[section_id] = E('input', { 'type': 'checkbox' });
			input.checked = (value == null ? this.default : value) == '1';
			return input;
		},
		formvalue: function(section_id) {
			const widget = this.widgets[section_id];
			return widget ? widget.checked ? '1' : '0' : null;
		},
		parse: function(section_id) {
			const value = this.formvalue(section_id);
			if (value == null)
				return;
			if (value == (this.default || '0') && this.rmempty)
				this.remove(section_id);
			else if (value != this.cfgvalue(section_id))
				this.write(section_id, value);
		}
	});

	const ListValue = Option.extend({
		renderWidget: function(section_id) {
			const value = this.cfgvalue(section_id);
			const select = this.widgets[section_id] = E('select', { 'class': 'cbi-input-select' }, this.keys.map(function(key, index) {
				return E('option', { 'value': key }, [ this.labels[index] ]);
			}, this));
			select.value = value == null ? this.default : value;
			return select;
		}
	});

	const DynamicList = Option.extend({
		renderWidget: function(section_id) {
			const value = this.cfgvalue(section_id);
			const area = this.widgets[section_id] = E('textarea', { 'placeholder': this.placeholder || null, 'rows': 2 });
			area.value = value == null ? '' : [].concat(value).join('\n');
			return area;
		},
		formvalue: function(section_id) {
			const widget = this.widgets[section_id];
			return widget ? widget.value.split('\n').filter(Boolean) : null;
		}
	});

	const DummyValue = Option.extend({ parse: function() {}, formvalue: function() { return null; } });

	const Section = Base.extend({
		__init__: function(map, type, title) {
			Object.assign(this, { map: map, sectiontype: type, title: title, options: [], tabs: [] });
		},
		tab: function(name, title) { this.tabs.push([ name, title ]); },
		taboption: function(tab, type, name, title, description) {
			const option = new type(this, name, title, description);
			option.tab = tab;
			this.options.push(option);
			return option;
		},
		ids: function() {
			return classes.uci.sections(this.map.config, this.sectiontype).map(function(section) { return section['.name']; });
		},
		formvalue: function(section_id, name) {
			const option = this.options.filter(function(each) { return each.option == name; })[0];
			return option ? option.formvalue(section_id) : null;
		},
		renderForm: function(section_id) {
			return E('div', { 'class': 'cbi-section-node', 'data-section': section_id }, this.tabs.map(function(tab) {
				const options = this.options.filter(function(option) { return option.tab == tab[0]; });
				return E('details', { 'open': tab == this.tabs[0] ? '' : null, 'data-tab': tab[0] }, [ E('summary', {}, [ tab[1] ]) ].concat(
					options.map(function(option) { return option.render(section_id); })));
			}, this));
		},
		render: function() {
			return E('div', { 'class': 'cbi-section', 'data-type': this.sectiontype }, [ E('h3', {}, [ this.title ]) ].concat(this.ids().map(this.renderForm, this)));
		},
		parse: function() {
			this.ids().forEach(function(id) {
				this.options.forEach(function(option) { option.parse(id); });
			}, this);
		}
	});

	const NamedSection = Section.extend({ ids: function() { return [ this.sectiontype ]; } });

	const GridSection = Section.extend({
		handleAdd: function(event, name) {
			classes.uci.add(this.map.config, this.sectiontype, name);
			return this.renderMoreOptionsModal(name);
		},
		renderMoreOptionsModal: function(section_id) {
			const inner = new Map(this.map.config);
			const form = inner.section(NamedSection, section_id, '');
			form.sectiontype = section_id;
			form.tabs = this.tabs;
			this.options.forEach(function(option) {
				const copy = form.taboption(option.tab, option.constructor, option.option, option.title, option.description);
				Object.keys(option).forEach(function(name) {
					if ([ 'section', 'map', 'widgets', 'editable' ].indexOf(name) < 0)
						copy[name] = option[name];
				});
			});
			const done = function() {
				inner.parse();
				classes.ui.hideModal();
				this.map.show();
			}.bind(this);
			classes.ui.showModal(this.modaltitle(section_id), [
				form.renderForm(section_id),
				E('div', { 'class': 'right' }, [ E('button', { 'class': 'btn cbi-button cbi-button-positive', 'data-action': 'done', 'click': done }, [ 'Save' ]) ])
			]);
		},
		render: function() {
			const shown = this.options.filter(function(option) { return !option.modalonly; });
			const button = function(action, words, act) { return E('button', { 'class': 'btn cbi-button', 'data-action': action, 'click': act }, [ words ]); };
			const change = function(act) {
				this.map.parse();
				act();
				this.map.show();
			}.bind(this);
			return E('div', { 'class': 'cbi-section', 'data-type': this.sectiontype }, [
				E('h3', {}, [ this.title ]),
				E('table', { 'class': 'table' }, this.ids().map(function(id) {
					return E('tr', { 'class': 'tr', 'data-section': id }, [ E('th', { 'class': 'td' }, [ this.sectiontitle(id) ]) ].concat(shown.map(function(option) {
						return E('td', { 'class': 'td', 'data-name': option.option }, [ option.editable ? option.renderWidget(id) : option.textvalue(id) || '-' ]);
					}), [ E('td', { 'class': 'td' }, [
						button('up', '▲', function() { change(function() { classes.uci.move(this.map.config, id, -1); }.bind(this)); }.bind(this)), ' ',
						button('edit', 'Edit', this.renderMoreOptionsModal.bind(this, id)), ' ',
						button('remove', 'Delete', function() { change(function() { classes.uci.remove(this.map.config, id); }.bind(this)); }.bind(this))
					]) ]));
				}, this)),
				button('add', 'Add', this.handleAdd.bind(this))
			]);
		},
		parse: function() {
			this.ids().forEach(function(id) {
				this.options.forEach(function(option) {
					if (option.editable)
						option.parse(id);
				});
			}, this);
		}
	});

	const Map = Base.extend({
		__init__: function(config, title, description) {
			Object.assign(this, { config: config, title: title, description: description, sections: [], node: E('div', { 'class': 'cbi-map' }) });
		},
		section: function(type, name, title) {
			const section = new type(this, name, title);
			this.sections.push(section);
			return section;
		},
		render: function() { return Promise.resolve(this.show()); },
		show: function() {
			this.node.replaceChildren(E('h2', {}, [ this.title || '' ]), E('p', {}, [ this.description || '' ]));
			append(this.node, this.sections.map(function(section) { return section.render(); }));
			return this.node;
		},
		lookupOption: function(name, section_id) {
			for (const section of this.sections)
				for (const option of section.options)
					if (option.option == name && section.ids().indexOf(section_id) >= 0)
						return [ option, section_id ];
			return null;
		},
		parse: function() {
			this.sections.forEach(function(section) { section.parse(); });
			return Promise.resolve();
		},
		save: function(told) {
			return Promise.resolve().then(this.parse.bind(this)).then(told).then(function() { return classes.uci.save(); })
				.then(function() { return classes.uci.load(this.config); }.bind(this)).then(this.show.bind(this))
				.catch(function(error) {
					error.expected = true;
					throw error;
				});
		}
	});

	classes.form = {
		Map: Map, TypedSection: Section, GridSection: GridSection,
		Value: Option, Flag: Flag, ListValue: ListValue, DynamicList: DynamicList, DummyValue: DummyValue
	};

	document.addEventListener('DOMContentLoaded', function() {
		load('view.inverter-capture.' + env.page).then(function(view) { return view.show(); }).catch(function(error) {
			window.errors.push(String(error.stack || error));
			document.body.setAttribute('data-ready', 'failed');
		});
	});
})();
