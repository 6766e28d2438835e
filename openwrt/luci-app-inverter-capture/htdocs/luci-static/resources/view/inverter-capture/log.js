'use strict';
'require view';
'require fs';
'require poll';
'require inverter-capture.status as status';

const LINES_MAX = 1000;
const SEVERITIES = [ 'debug', 'info', 'warning', 'error' ];
// Syslog's words; all others are errors.
const OF_SYSLOG = { debug: 0, info: 1, notice: 1, warn: 2 };
const LINE = /^.*? \[(\d+)\.\d+\] \w+\.(\w+) inverter-capture(?:\[\d+\])?: (.*)$/;

// What logread prints -> the lines of this program: time, severity, text.
function parse(text) {
	const lines = [];
	text.split('\n').forEach(line => {
		const found = line.match(LINE);
		if (found)
			lines.push({ time: +found[1], text: found[3], severity: OF_SYSLOG[found[2]] ?? 3 });
	});
	return lines.slice(-LINES_MAX);
}

return view.extend({
	handleSaveApply: null,
	handleSave: null,
	handleReset: null,

	load() {
		return L.resolveDefault(fs.exec_direct('/sbin/logread', [ '-t', '-e', 'inverter-capture' ]), '');
	},

	render(text) {
		const redraw = this.draw.bind(this);
		const titles = [ _('All messages'), _('Information, warnings and errors'), _('Warnings and errors'), _('Errors') ];
		this.least = E('select', { 'class': 'cbi-input-select', 'aria-label': _('Severity'), 'change': redraw },
			titles.map((title, index) => E('option', { 'value': index }, [ title ])));
		this.search = status.searchField(_('Filter'), redraw);
		this.follow = E('input', { 'type': 'checkbox', 'checked': '', 'id': 'ic-follow', 'change': redraw });
		this.lines = E('div', { 'class': 'ic-log', 'role': 'log', 'tabindex': '0' });
		this.text = text;
		poll.add(() => {
			return this.load().then(now => {
				if (now != this.text) {
					this.text = now;
					this.draw();
				}
			});
		});
		// It has no height before it is in the page.
		window.setTimeout(redraw, 0);
		return E('div', { 'class': 'ic-page' }, [
			status.style(), E('h2', {}, [ _('Log') ]),
			E('div', { 'class': 'ic-tools' }, [
				this.least, this.search, E('label', {}, [ this.follow, ' ', _('Follow new messages') ])
			]),
			this.lines
		]);
	},

	draw() {
		const least = +this.least.value, words = this.search.value.toLowerCase();
		const shown = parse(this.text).filter(line => line.severity >= least && line.text.toLowerCase().indexOf(words) >= 0);
		const names = [ _('debug'), _('info'), _('warning'), _('error') ];
		this.lines.replaceChildren(...shown.length ? shown.map(line => {
			return E('div', { 'class': 'ic-entry ic-' + SEVERITIES[line.severity] }, [
				E('time', {}, [ status.date(line.time) ]), E('b', {}, [ names[line.severity] ]), E('span', {}, [ line.text ])
			]);
		}) : [ E('em', {}, [ this.text ? _('No message matches.') : _('Nothing has been logged yet.') ]) ]);
		if (this.follow.checked)
			this.lines.scrollTop = this.lines.scrollHeight;
	}
});
