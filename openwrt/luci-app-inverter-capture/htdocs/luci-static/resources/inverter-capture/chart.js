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
	const unit = Math.pow(10, Math.floor(Math.log10(range / 8)));
	return unit * [ 1, 2, 5, 10 ].filter(factor => range / (unit * factor) <= 8)[0];
}

const Chart = baseclass.extend({
	// Keeps which lines are hidden, and the place of the pointer, from one set of values to the next.
	__init__() {
		this.hidden = {};
		this.moment = null;
		// A slider, for screen readers: they hand it the arrow keys, and read the values of the moment.
		this.picture = E('div', { 'class': 'ic-plot', 'tabindex': 0, 'role': 'slider', 'aria-label': LAST_HOURS, 'aria-valuemin': 0 });
		this.tip = E('div', { 'class': 'ic-tip', 'hidden': '' });
		this.legend = E('div', { 'class': 'ic-legend' });
		this.node = E('div', { 'class': 'ic-chart' }, [ this.legend, E('div', { 'class': 'ic-frame' }, [ this.picture, this.tip ]) ]);
		const heard = { pointermove: this.point, pointerdown: this.point, pointerleave: this.leave, blur: this.leave, keydown: this.press };
		Object.keys(heard).forEach(name => this.picture.addEventListener(name, heard[name].bind(this)));
		this.legend.replaceChildren.apply(this.legend, SERIES.map(this.button, this));
		new ResizeObserver(() => { window.requestAnimationFrame(this.draw.bind(this)); }).observe(this.picture);
	},

	button(name) {
		const button = E('button', { 'type': 'button', 'class': 'ic-key ic-' + name, 'aria-pressed': 'true' }, [ TITLES[name] ]);
		button.addEventListener('click', () => {
			this.hidden[name] = !this.hidden[name];
			button.setAttribute('aria-pressed', this.hidden[name] ? 'false' : 'true');
			this.draw();
		});
		return button;
	},

	update(columns, now) {
		this.columns = columns && columns.time ? columns : { time: [] };
		// An inverter's clock may be fast.
		this.now = Math.max.apply(null, this.columns.time.slice(-1).concat(now));
		this.draw();
	},

	draw() {
		const width = this.picture.clientWidth;
		if (!this.columns || !width)
			return;
		const times = this.columns.time;
		let low = 0, high = 1000;
		SERIES.forEach(name => {
			if (name != 'battery_soc' && !this.hidden[name])
				(this.columns[name] || []).forEach(value => {
					if (value != null) {
						low = Math.min(low, value);
						high = Math.max(high, value);
					}
				});
		});
		const step = stepFor(high - low);
		low = Math.floor(low / step) * step;
		high = Math.ceil(high / step) * step;
		const begin = this.now - DAY;
		this.x = time => LEFT + (time - begin) / DAY * (width - LEFT - RIGHT);
		const y = watts => TOP + (high - watts) / (high - low) * (HEIGHT - TOP - BOTTOM);
		const ySoc = percent => TOP + (100 - percent) / 100 * (HEIGHT - TOP - BOTTOM);
		this.scale = name => name == 'battery_soc' ? ySoc : y;

		const parts = [];
		for (let watts = low; watts <= high + step / 2; watts += step) {
			parts.push(svg('path', { 'd': 'M' + LEFT + ' ' + y(watts) + 'H' + (width - RIGHT), 'class': Math.abs(watts) < step / 2 ? 'ic-axis' : 'ic-rule' }),
				svg('text', { 'x': LEFT - 6, 'y': y(watts) + 4, 'text-anchor': 'end' }, status.number(watts / 1000, step < 1000 ? 1 : 0)));
		}
		parts.push(svg('text', { 'x': LEFT - 6, 'y': 11, 'text-anchor': 'end' }, 'kW'));
		if (!this.hidden.battery_soc)
			[ 0, 50, 100 ].forEach(percent => {
				parts.push(svg('text', { 'x': width - RIGHT + 6, 'y': ySoc(percent) + 4 }, percent + ' %'));
			});
		// Full hours of the browser's zone.
		const hours = width < 480 ? 6 : 3;
		const hour = new Date(begin * 1000);
		hour.setMinutes(0, 0, 0);
		for (hour.setHours(hour.getHours() + 1); hour.getTime() / 1000 <= this.now; hour.setHours(hour.getHours() + 1))
			if (hour.getHours() % hours == 0) {
				const at = this.x(hour.getTime() / 1000);
				parts.push(svg('path', { 'd': 'M' + at + ' ' + TOP + 'V' + (HEIGHT - BOTTOM), 'class': 'ic-rule' }),
					svg('text', { 'x': at, 'y': HEIGHT - 8, 'text-anchor': 'middle' }, status.clock(hour.getTime() / 1000)));
			}
		SERIES.forEach(name => {
			if (this.hidden[name])
				return;
			const scale = this.scale(name);
			const base = 'V' + y(0).toFixed(1) + 'Z';
			let path = '', area = '', last = null;
			(this.columns[name] || []).forEach((value, index) => {
				if (value == null || times[index] < begin)
					return;
				const connected = last != null && times[index] - last <= GAP;
				const at = this.x(times[index]).toFixed(1), point = at + ' ' + scale(value).toFixed(1);
				path += (connected ? 'L' : 'M') + point;
				area += (connected ? 'L' : (area && base) + 'M' + at + ' ' + y(0).toFixed(1) + 'L') + point;
				last = times[index];
			});
			if (name == 'pv_power')
				parts.push(svg('path', { 'class': 'ic-area ic-' + name, 'd': area && area + base }));
			if (path)
				parts.push(svg('path', { 'd': path, 'class': 'ic-curve ic-' + name }));
		});
		if (times.length < 2)
			parts.push(svg('text', { 'x': width / 2, 'y': HEIGHT / 2, 'text-anchor': 'middle' }, _('The chart fills as readings arrive.')));
		this.cursor = svg('g', { 'class': 'ic-cursor' });
		parts.push(this.cursor);
		this.picture.setAttribute('aria-valuemax', Math.max(0, times.length - 1));
		this.picture.replaceChildren(svg('svg', { 'width': width, 'height': HEIGHT, 'aria-hidden': 'true' }, parts));
		this.mark();
	},

	point(event) {
		if (!this.x || !this.columns.time.length)
			return;
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
		const times = this.columns ? this.columns.time : [];
		const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -Infinity, End: Infinity };
		if (!times.length || !(event.key in steps))
			return;
		event.preventDefault();
		const present = this.moment == null ? times.length : times.indexOf(this.moment);
		this.moment = times[Math.min(times.length - 1, Math.max(0, present + steps[event.key]))];
		this.mark();
	},

	// Show the values of the moment, if there is one.
	mark() {
		const index = this.moment == null || !this.cursor ? -1 : this.columns.time.indexOf(this.moment);
		this.tip.hidden = index < 0;
		if (!this.cursor)
			return;
		this.cursor.replaceChildren();
		if (index < 0)
			return;
		const at = this.x(this.moment);
		this.cursor.appendChild(svg('path', { 'd': 'M' + at + ' ' + TOP + 'V' + (HEIGHT - BOTTOM), 'class': 'ic-axis' }));
		const rows = [ E('strong', {}, [ status.clock(this.moment) ]) ], said = [ status.clock(this.moment) ];
		SERIES.forEach(name => {
			const value = (this.columns[name] || [])[index];
			if (value == null || this.hidden[name])
				return;
			const way = status.way(name, value), title = TITLES[name] + (way ? ' (' + way + ')' : '');
			const shown = name == 'battery_soc' ? status.number(value, 0) + ' %' : status.power(way ? Math.abs(value) : value);
			this.cursor.appendChild(svg('circle', { 'cx': at, 'cy': this.scale(name)(value), 'r': 4, 'class': 'ic-' + name }));
			rows.push(E('span', { 'class': 'ic-row' }, [ E('i', { 'class': 'ic-' + name }), E('span', {}, [ title ]), E('b', {}, [ shown ]) ]));
			said.push(title + ' ' + shown);
		});
		this.tip.replaceChildren.apply(this.tip, rows);
		this.picture.setAttribute('aria-valuenow', index);
		this.picture.setAttribute('aria-valuetext', said.join(', '));
		const width = this.picture.clientWidth;
		this.tip.style.left = (at < width / 2 ? at + 12 : Math.max(0, at - 12 - this.tip.offsetWidth)) + 'px';
	}
});

return baseclass.extend({
	create() { return new Chart(); }
});
