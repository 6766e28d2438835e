'use strict';
'require baseclass';
'require inverter-capture.status as status';

// The last 24 hours of one inverter as lines. The pointer, or the arrow keys, show the values of a moment.

const svg = status.svg;

const DAY = 86400;
// A longer time without a value is a gap in the line.
const GAP = 1800;
const HEIGHT = 300, TOP = 26, BOTTOM = 26, LEFT = 36, RIGHT = 44;
const SERIES = [ 'pv_power', 'load_power', 'grid_power', 'battery_power', 'battery_soc' ];

const TITLES = {
	pv_power: _('Solar'), load_power: _('Home'), grid_power: _('Grid'), battery_power: _('Battery'),
	battery_soc: _('State of charge')
};
const LAST_HOURS = _('Chart of the last 24 hours; the arrow keys move along it');

// A step of 1, 2 or 5 and zeros, for at most eight steps.
function stepFor(range) {
	const unit = 10 ** Math.floor(Math.log10(range / 8));
	return unit * [ 1, 2, 5, 10 ].find(factor => range / (unit * factor) <= 8);
}

function upright(x, name) {
	return svg('path', { 'd': 'M' + x + ' ' + TOP + 'V' + (HEIGHT - BOTTOM), 'class': name });
}

function text(x, y, anchor, words) {
	return svg('text', { 'x': x, 'y': y, 'text-anchor': anchor }, words);
}

const Chart = baseclass.extend({
	// Keeps which lines are hidden, and the place of the pointer, from one set of values to the next.
	__init__() {
		this.hidden = {};
		this.moment = null;
		this.columns = { time: [] };
		this.cursor = svg('g', { 'class': 'ic-cursor' });
		// A slider, for screen readers: they hand it the arrow keys, and read the values of the moment.
		const point = this.point.bind(this), leave = this.leave.bind(this);
		this.picture = E('div', {
			'class': 'ic-plot', 'tabindex': 0, 'role': 'slider', 'aria-label': LAST_HOURS, 'aria-valuemin': 0,
			'pointermove': point, 'pointerdown': point, 'pointerleave': leave, 'blur': leave, 'keydown': this.press.bind(this)
		});
		this.tip = E('div', { 'class': 'ic-tip', 'hidden': '' });
		this.node = E('div', {}, [
			E('div', { 'class': 'ic-legend' }, SERIES.map(this.button, this)), E('div', { 'class': 'ic-frame' }, [ this.picture, this.tip ])
		]);
		new ResizeObserver(() => { window.requestAnimationFrame(this.draw.bind(this)); }).observe(this.picture);
	},

	button(name) {
		return E('button', { 'type': 'button', 'class': 'ic-key ic-' + name, 'aria-pressed': 'true', 'click': event => {
			this.hidden[name] = !this.hidden[name];
			event.currentTarget.setAttribute('aria-pressed', !this.hidden[name]);
			this.draw();
		} }, [ TITLES[name] ]);
	},

	update(columns, now) {
		if (columns && columns.time)
			this.columns = columns;
		// An inverter's clock may be fast.
		this.now = Math.max(now, ...this.columns.time.slice(-1));
		this.draw();
	},

	draw() {
		const width = this.picture.clientWidth;
		if (!width)
			return;
		const times = this.columns.time;
		const shown = SERIES.filter(name => !this.hidden[name]);
		const powers = shown.filter(name => name != 'battery_soc').flatMap(name => this.columns[name] || []);
		const least = Math.min(0, ...powers), most = Math.max(1000, ...powers), step = stepFor(most - least);
		const low = Math.floor(least / step) * step, high = Math.ceil(most / step) * step;
		const begin = this.now - DAY;
		this.x = time => LEFT + (time - begin) / DAY * (width - LEFT - RIGHT);
		const y = watts => TOP + (high - watts) / (high - low) * (HEIGHT - TOP - BOTTOM);
		const ySoc = percent => TOP + (100 - percent) / 100 * (HEIGHT - TOP - BOTTOM);
		this.scale = name => name == 'battery_soc' ? ySoc : y;

		const parts = [];
		for (let watts = low; watts <= high + step / 2; watts += step) {
			parts.push(svg('path', { 'd': 'M' + LEFT + ' ' + y(watts) + 'H' + (width - RIGHT), 'class': Math.abs(watts) < step / 2 ? 'ic-axis' : 'ic-rule' }),
				text(LEFT - 6, y(watts) + 4, 'end', status.number(watts / 1000, step < 1000 ? 1 : 0)));
		}
		parts.push(text(LEFT - 6, 11, 'end', 'kW'));
		if (!this.hidden.battery_soc)
			[ 0, 50, 100 ].forEach(percent => {
				parts.push(text(width - RIGHT + 6, ySoc(percent) + 4, 'start', percent + ' %'));
			});
		// Full hours of the browser's zone.
		const hours = width < 480 ? 6 : 3, hour = new Date(begin * 1000);
		hour.setMinutes(60, 0, 0);
		for (; hour / 1000 <= this.now; hour.setHours(hour.getHours() + 1))
			if (hour.getHours() % hours == 0) {
				const at = this.x(hour / 1000);
				parts.push(upright(at, 'ic-rule'), text(at, HEIGHT - 8, 'middle', status.clock(hour / 1000)));
			}
		shown.forEach(name => {
			const scale = this.scale(name);
			const zero = y(0).toFixed(1), base = 'V' + zero + 'Z';
			let path = '', area = '', last = null;
			(this.columns[name] || []).forEach((value, index) => {
				if (value == null || times[index] < begin)
					return;
				const connected = last != null && times[index] - last <= GAP;
				const at = this.x(times[index]).toFixed(1), point = at + ' ' + scale(value).toFixed(1);
				path += (connected ? 'L' : 'M') + point;
				area += (connected ? 'L' : (area && base) + 'M' + at + ' ' + zero + 'L') + point;
				last = times[index];
			});
			if (name == 'pv_power')
				parts.push(svg('path', { 'class': 'ic-area ic-' + name, 'd': area && area + base }));
			if (path)
				parts.push(svg('path', { 'd': path, 'class': 'ic-curve ic-' + name }));
		});
		if (times.length < 2)
			parts.push(text(width / 2, HEIGHT / 2, 'middle', _('The chart fills as readings arrive.')));
		parts.push(this.cursor);
		this.picture.setAttribute('aria-valuemax', Math.max(0, times.length - 1));
		this.picture.replaceChildren(svg('svg', { 'width': width, 'height': HEIGHT, 'aria-hidden': 'true' }, parts));
		this.mark();
	},

	point(event) {
		const at = event.clientX - this.picture.getBoundingClientRect().left;
		let best = 0;
		this.columns.time.forEach((time, index) => {
			if (Math.abs(this.x(time) - at) < Math.abs(this.x(this.columns.time[best]) - at))
				best = index;
		});
		this.moment = this.columns.time[best];
		this.mark();
	},

	leave(event) {
		// A finger is gone at once; what it has shown stays.
		if (event.pointerType == 'touch')
			return;
		this.moment = null;
		this.mark();
	},

	press(event) {
		const times = this.columns.time;
		const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -Infinity, End: Infinity };
		if (!(event.key in steps))
			return;
		event.preventDefault();
		const present = this.moment == null ? times.length : times.indexOf(this.moment);
		this.moment = times[Math.min(times.length - 1, Math.max(0, present + steps[event.key]))];
		this.mark();
	},

	// Show the values of the moment, if there is one.
	mark() {
		const index = this.columns.time.indexOf(this.moment);
		this.tip.hidden = index < 0;
		this.cursor.replaceChildren();
		if (index < 0)
			return;
		const at = this.x(this.moment);
		this.cursor.appendChild(upright(at, 'ic-axis'));
		const rows = [ E('strong', {}, [ status.clock(this.moment) ]) ];
		SERIES.forEach(name => {
			const value = (this.columns[name] || [])[index];
			if (value == null || this.hidden[name])
				return;
			const way = status.way(name, value), title = TITLES[name] + (way ? ' (' + way + ')' : '');
			const shown = name == 'battery_soc' ? status.number(value, 0) + ' %' : status.power(way ? Math.abs(value) : value);
			this.cursor.appendChild(svg('circle', { 'cx': at, 'cy': this.scale(name)(value), 'r': 4, 'class': 'ic-' + name }));
			rows.push(E('span', { 'class': 'ic-row' }, [ E('i', { 'class': 'ic-' + name }), E('span', {}, [ title ]), ' ', E('b', {}, [ shown ]) ]));
		});
		this.tip.replaceChildren(...rows);
		this.picture.setAttribute('aria-valuenow', index);
		this.picture.setAttribute('aria-valuetext', rows.map(row => row.textContent).join(', '));
		const width = this.picture.clientWidth;
		this.tip.style.left = (at < width / 2 ? at + 12 : Math.max(0, at - 12 - this.tip.offsetWidth)) + 'px';
	}
});

return baseclass.extend({
	create() { return new Chart(); }
});
