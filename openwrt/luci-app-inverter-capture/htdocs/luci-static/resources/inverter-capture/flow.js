'use strict';
'require baseclass';
'require inverter-capture.status as status';

// The picture of one inverter: where the power flows now.

const svg = status.svg;

const WIDTH = 440, HEIGHT = 416, RADIUS = 52, HUB = 36;
const PLACES = {
	solar: [ 220, 60 ],
	battery: [ 66, 208 ],
	grid: [ 374, 208 ],
	home: [ 220, 356 ],
	hub: [ 220, 208 ]
};
// Drawn around the middle of a square of 24.
const ICONS = {
	solar: 'M12 7.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9M12 2v2.5M12 19.5V22M2 12h2.5M19.5 12H22M5 5l1.7 1.7M17.3 17.3L19 19M5 19l1.7-1.7M17.3 6.7L19 5',
	battery: 'M7 5h10v16H7zM10 5V3h4v2M12.6 9l-2.6 4.4h4l-2.6 4.2',
	grid: 'M12 2L6 22M12 2l6 20M8.7 13h6.6M7.3 17.5h9.4M10.2 8h3.6M4.5 8h15M6.5 13h11M4.5 8v2M19.5 8v2M8.7 13l8 4.5M15.3 13l-8 4.5',
	home: 'M3 12l9-8l9 8M5.5 10v10.5h13V10M10 20.5v-6h4v6'
};

function text(x, y, name, words) {
	return svg('text', { 'x': x, 'y': y, 'class': name }, words);
}

function icon(name, x, y, scale) {
	return svg('path', {
		'd': ICONS[name], 'class': 'ic-icon',
		'transform': 'translate(' + (x - 12 * scale) + ' ' + (y - 12 * scale) + ') scale(' + scale + ')'
	});
}

// A line between a place and the inverter; power is positive towards the inverter.
function line(name, power) {
	const from = PLACES[name], to = PLACES.hub;
	const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
	const step = [ (to[0] - from[0]) / length, (to[1] - from[1]) / length ];
	const start = [ from[0] + step[0] * RADIUS, from[1] + step[1] * RADIUS ];
	const end = [ to[0] - step[0] * HUB, to[1] - step[1] * HUB ];
	const ends = power >= 0 ? [ start, end ] : [ end, start ];
	const path = 'M' + ends[0].join(' ') + 'L' + ends[1].join(' ');
	const parts = [ svg('path', { 'd': path, 'class': 'ic-line' }) ];
	if (power != null && Math.abs(power) >= status.LEAST_POWER) {
		const seconds = Math.min(2.4, Math.max(0.35, 1600 / Math.abs(power)));
		parts.push(svg('path', {
			'd': path, 'class': 'ic-dots', 'style': 'animation-duration:' + seconds.toFixed(2) + 's'
		}));
	}
	return svg('g', {
		'class': 'ic-' + name + (parts.length > 1 ? '' : ' ic-idle'),
		'data-line': name,
		'data-direction': parts.length == 1 ? 'none' : power > 0 ? 'in' : 'out'
	}, parts);
}

// The part of a ring, clockwise from the top.
function arc(x, y, radius, share) {
	const angle = 2 * Math.PI * Math.min(0.9999, Math.max(0, share));
	return 'M' + x + ' ' + (y - radius) + 'A' + radius + ' ' + radius + ' 0 ' + (angle > Math.PI ? 1 : 0) + ' 1 ' +
		(x + radius * Math.sin(angle)).toFixed(2) + ' ' + (y - radius * Math.cos(angle)).toFixed(2);
}

function node(name, power, share) {
	const x = PLACES[name][0], y = PLACES[name][1];
	const parts = [
		svg('circle', { 'cx': x, 'cy': y, 'r': RADIUS - 3, 'class': 'ic-disc' }),
		svg('circle', { 'cx': x, 'cy': y, 'r': RADIUS - 3, 'class': share == null ? 'ic-ring' : 'ic-ring ic-faint' })
	];
	if (share != null)
		parts.push(svg('path', { 'd': arc(x, y, RADIUS - 3, share), 'class': 'ic-ring ic-share' }));
	parts.push(icon(name, x, y - 14, 1.25), text(x, y + 24, 'ic-number', power == null ? '–' : status.power(Math.abs(power))));
	const idle = share == null && (power == null || Math.abs(power) < status.LEAST_POWER);
	return svg('g', { 'class': 'ic-' + name + (idle ? ' ic-idle' : '') }, parts);
}

return baseclass.extend({
	// Positive: importing, discharging.
	render(inverter) {
		const values = inverter.values;
		const get = name => typeof values[name] === 'number' ? values[name] : null;
		const energy = (name, words) => get(name) == null ? '' : words.format(status.number(get(name), 1) + ' kWh');
		const way = (power, positive, negative) => {
			return power == null ? '' : power >= status.LEAST_POWER ? positive :
				power <= -status.LEAST_POWER ? negative : _('idle');
		};
		const pv = get('pv_power'), load = get('load_power'), grid = get('grid_power'), battery = get('battery_power');
		const soc = get('battery_soc');
		const batteryWay = way(battery, _('discharging'), _('charging')), gridWay = way(grid, _('importing'), _('exporting'));
		const said = [];
		if (pv != null)
			said.push(_('Solar: %s.').format(status.power(pv)));
		if (battery != null)
			said.push(_('Battery: %s, %s.').format(batteryWay, status.power(Math.abs(battery))));
		if (soc != null)
			said.push(_('State of charge: %d %%.').format(soc));
		if (grid != null)
			said.push(_('Grid: %s, %s.').format(gridWay, status.power(Math.abs(grid))));
		if (load != null)
			said.push(_('Home: %s.').format(status.power(load)));

		const beside = (name, x, y, anchor, title, lines) => {
			return svg('g', { 'class': 'ic-' + name, 'text-anchor': anchor },
				[ text(x, y, 'ic-name', title) ].concat(lines.filter(Boolean).map((words, index) => text(x, y + 19 + 17 * index, 'ic-detail', words))));
		};
		const hub = PLACES.hub;
		return svg('svg', {
			'viewBox': '0 0 ' + WIDTH + ' ' + HEIGHT, 'class': 'ic-flow', 'role': 'img', 'aria-label': said.join(' ')
		}, [
			line('solar', pv), line('battery', battery), line('grid', grid), line('home', load == null ? null : -load),
			svg('g', { 'class': 'ic-hub' }, [
				svg('rect', { 'x': hub[0] - HUB + 3, 'y': hub[1] - HUB + 3, 'width': 2 * HUB - 6, 'height': 2 * HUB - 6, 'rx': 14, 'class': 'ic-disc' }),
				svg('rect', { 'x': hub[0] - HUB + 3, 'y': hub[1] - HUB + 3, 'width': 2 * HUB - 6, 'height': 2 * HUB - 6, 'rx': 14, 'class': 'ic-ring' }),
				svg('path', { 'd': 'M201 199h14M201 205h14M221 216c3-9 6-9 9 0s6 9 9 0M236 191L204 225', 'class': 'ic-icon' })
			]),
			node('solar', pv), node('battery', battery, soc == null ? null : soc / 100), node('grid', grid), node('home', load),
			beside('solar', 284, 46, 'start', _('Solar'), [ energy('pv_production_today', _('%s today')) ]),
			beside('home', 284, 368, 'start', _('Home'), [ energy('load_consumption_today', _('%s today')) ]),
			beside('battery', 66, 284, 'middle', soc == null ? _('Battery') : _('Battery') + ' ' + status.number(soc, 0) + ' %', [
				batteryWay, energy('battery_charge_today', '↓ %s'), energy('battery_discharge_today', '↑ %s')
			]),
			beside('grid', 374, 284, 'middle', _('Grid'), [
				gridWay, energy('grid_import_today', '↓ %s'), energy('grid_export_today', '↑ %s')
			])
		]);
	}
});
