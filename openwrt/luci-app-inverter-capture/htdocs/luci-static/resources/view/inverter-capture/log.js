'use strict';
'require view';
'require fs';
'require poll';
'require inverter-capture.status as status';

const LINES_MAX = 1000;
const SEVERITIES = [ 'debug', 'info', 'warning', 'error' ];
const OF_SYSLOG = { debug: 0, info: 1, notice: 1, warn: 2, warning: 2, err: 3, crit: 3, alert: 3, emerg: 3 };
const LINE = /^.*? \[(\d+)\.\d+\] \w+\.(\w+) inverter-capture(?:\[\d+\])?: (?:(error|warning|info|debug): )?(.*)$/;

// What logread prints -> the lines of this program: time, severity, text.
function parse(text) {
	const lines = [];
	text.split('\n').forEach(line => {
		const found = line.match(LINE);
		if (found)
			lines.push({
				time: +found[1], text: found[4],
				severity: found[3] ? SEVERITIES.indexOf(found[3]) : found[2] in OF_SYSLOG ? OF_SYSLOG[found[2]] : 1
			});
	});
	return lines.slice(-LINES_MAX);
}

return view.extend({
	handleSaveApply: null,
	handleSave: null,
	handleReset: null,

	read() {
		return L.resolveDefault(fs.exec_direct('/sbin/logread', [ '-t', '-e', 'inverter-capture' ]), '');
	},

	load() {
		return this.read();
	},

	render(text) {
		const redraw = this.draw.bind(this);
		const titles = [ _('Everything'), _('Information and worse'), _('Warnings and errors'), _('Errors') ];
		this.least = E('select', { 'class': 'cbi-input-select', 'aria-label': _('Severity') }, titles.map((title, index) => E('option', { 'value': index }, [ title ])));
		this.least.addEventListener('change', redraw);
		this.search = E('input', { 'type': 'search', 'class': 'cbi-input-text', 'placeholder': _('Filter'), 'aria-label': _('Filter') });
		this.search.addEventListener('input', redraw);
		this.follow = E('input', { 'type': 'checkbox', 'checked': '', 'id': 'ic-follow' });
		this.follow.addEventListener('change', redraw);
		this.lines = E('div', { 'class': 'ic-log', 'role': 'log', 'tabindex': '0' });
		this.text = text;
		poll.add(() => {
			return this.read().then(now => {
				if (now != this.text) {
					this.text = now;
					this.draw();
				}
			});
		}, 5);
		// It has no height before it is in the page.
		window.setTimeout(redraw, 0);
		return E('div', { 'class': 'ic-page' }, [
			status.style(), E('h2', {}, [ _('Log') ]),
			E('div', { 'class': 'ic-tools' }, [
				this.least, this.search, E('label', { 'for': 'ic-follow' }, [ this.follow, ' ', _('Follow') ])
			]),
			this.lines
		]);
	},

	draw() {
		const least = +this.least.value, words = this.search.value.toLowerCase();
		const shown = parse(this.text).filter(line => line.severity >= least && line.text.toLowerCase().indexOf(words) >= 0);
		const names = [ _('debug'), _('info'), _('warning'), _('error') ];
		this.lines.replaceChildren.apply(this.lines, shown.length ? shown.map(line => {
			return E('div', { 'class': 'ic-entry ic-' + SEVERITIES[line.severity] }, [
				E('time', {}, [ status.date(line.time) ]), E('b', {}, [ names[line.severity] ]), E('span', {}, [ line.text ])
			]);
		}) : [ E('em', {}, [ this.text ? _('No line fits.') : _('Nothing has been logged yet.') ]) ]);
		if (this.follow.checked)
			this.lines.scrollTop = this.lines.scrollHeight;
	}
});
