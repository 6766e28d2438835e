'use strict';
'require baseclass';
'require inverter-capture.status as status';

// The picture of one inverter: where the power flows now.

const svg = status.svg, flows = status.flows;

const RADIUS = 52, HUB = 34;
// In the middle of each: x and y. The texts: x, y, and which end of them is there.
const PLACES = {
	solar: [ 240, 60, 306, 40, 'start' ],
	battery: [ 78, 208, 78, 284, 'middle' ],
	grid: [ 402, 208, 402, 284, 'middle' ],
	home: [ 240, 356, 306, 378, 'start' ],
	hub: [ 240, 208 ],
	aux: [ 0, 0, 174, 378, 'end' ]
};
// Drawn in a square of 24.
const ICONS = {
	solar: 'M12 7.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9M12 2v2.5M12 19.5V22M2 12h2.5M19.5 12H22M5 5l1.7 1.7M17.3 17.3L19 19M5 19l1.7-1.7M17.3 6.7L19 5',
	battery: 'M7.5 5h9a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1h-9a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1M10 5V3h4v2',
	grid: 'M12 2L6 22M12 2l6 20M8.7 13h6.6M7.3 17.5h9.4M10.2 8h3.6M4.5 8h15M6.5 13h11M4.5 8v2M19.5 8v2M8.7 13l8 4.5M15.3 13l-8 4.5',
	home: 'M3 12l9-8l9 8M5.5 10v10.5h13V10M10 20.5v-6h4v6',
	hub: 'M.7 6.7h8.2M.7 10.2h8.2M12.6 16.7c1.8-5.3 3.5-5.3 5.3 0s3.5 5.3 5.3 0M21.4 2L2.6 22'
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
	const x = PLACES[name][0] - PLACES.hub[0], y = PLACES[name][1] - PLACES.hub[1], length = Math.hypot(x, y);
	const point = far => (PLACES.hub[0] + x / length * far) + ' ' + (PLACES.hub[1] + y / length * far);
	const ends = [ point(length - RADIUS), point(HUB) ];
	if (power < 0)
		ends.reverse();
	const path = 'M' + ends.join('L');
	const parts = [ svg('path', { 'd': path, 'class': 'ic-line' }) ];
	if (flows(power))
		parts.push(svg('path', {
			'd': path, 'class': 'ic-dots',
			'style': 'animation-duration:' + Math.min(2.4, Math.max(0.35, 1600 / Math.abs(power))).toFixed(2) + 's'
		}));
	return svg('g', {
		'class': 'ic-' + name + (flows(power) ? '' : ' ic-idle'),
		'data-direction': flows(power) ? power > 0 ? 'in' : 'out' : 'none'
	}, parts);
}

// The part of a ring between two shares of it, clockwise from the top.
function arc(name, x, y, from, to) {
	const point = share => (x + RADIUS * Math.sin(2 * Math.PI * share)).toFixed(2) + ' ' + (y - RADIUS * Math.cos(2 * Math.PI * share)).toFixed(2);
	return svg('path', {
		'class': 'ic-ring ic-' + name,
		'd': 'M' + point(from) + 'A' + RADIUS + ' ' + RADIUS + ' 0 ' + (to - from > 0.5 ? 1 : 0) + ' 1 ' + point(Math.min(to, from + 0.9999))
	});
}

// shares: what stands on the ring, as [ name, part of the whole ].
function node(name, power, shares) {
	const x = PLACES[name][0], y = PLACES[name][1];
	const parts = [ svg('circle', { 'cx': x, 'cy': y, 'r': RADIUS, 'class': 'ic-disc ic-ring' + (shares.length ? ' ic-faint' : '') }) ];
	let from = 0;
	shares.forEach(share => {
		if (share[1] > 0.005)
			parts.push(arc(share[0], x, y, from, from + share[1]));
		from += share[1];
	});
	if (name == 'battery' && shares.length)
		parts.push(svg('rect', { 'x': x - 7.2, 'y': y - 4 - 20.8 * shares[0][1], 'width': 14.4, 'height': 20.8 * shares[0][1], 'class': 'ic-charge' }));
	parts.push(icon(name, x, y - 15, 1.4), text(x, y + 25, 'ic-number', power == null ? '–' : status.power(Math.abs(power))));
	return svg('g', { 'class': 'ic-' + name + (shares.length || flows(power) ? '' : ' ic-idle') }, parts);
}

function beside(name, title, lines) {
	const place = PLACES[name];
	return svg('g', { 'class': 'ic-' + name, 'text-anchor': place[4] },
		[ text(place[2], place[3], 'ic-name', title) ].concat(lines.filter(Boolean).map((words, index) => text(place[2], place[3] + 19 + 17 * index, 'ic-detail', words))));
}

return baseclass.extend({
	// Positive: importing, discharging.
	render(inverter) {
		const get = name => inverter.values[name] ?? null;
		const energy = (name, words) => get(name) == null ? '' : words.format(status.number(get(name), 1) + ' kWh');
		// What strings or phases give, where there are several. An input without a string gives nothing.
		const parts = (name, wanted) => {
			const found = [ 1, 2, 3, 4 ].map(number => get(name + number)).filter(wanted);
			const kilo = found.some(watts => Math.abs(watts) >= 1000);
			return found.filter(Boolean).length < 2 ? '' :
				found.map(watts => status.number(kilo ? watts / 1000 : watts, kilo ? 1 : 0)).join(' · ') + (kilo ? ' kW' : ' W');
		};
		const phases = name => parts(name, watts => watts != null);
		const solar = get('pv_power'), home = get('load_power'), grid = get('grid_power'), battery = get('battery_power');
		const soc = get('battery_soc'), aux = get('aux_power');
		const sources = [ [ 'solar', solar ], [ 'battery', battery ], [ 'grid', grid ] ].map(source => [ source[0], Math.max(0, source[1]) ]);
		const sum = sources.reduce((before, source) => before + source[1], 0);
		const details = {
			solar: [ energy('pv_production_today', _('%s today')), parts('pv_power_', Boolean) ],
			battery: [ status.way('battery_power', battery), energy('battery_charge_today', _('%s charged')), energy('battery_discharge_today', _('%s discharged')) ],
			grid: [ status.way('grid_power', grid), energy('grid_import_today', _('%s imported')), energy('grid_export_today', _('%s exported')), phases('grid_power_l') ],
			home: [ energy('load_consumption_today', _('%s today')), phases('load_power_l') ]
		};
		const titles = { solar: _('Solar'), battery: _('Battery'), grid: _('Grid'), home: _('Home') };
		if (soc != null)
			titles.battery += ' ' + status.number(soc, 0) + ' %';
		const said = (name, power) => titles[name] + ': ' + [ power == null ? '' : status.power(Math.abs(power)) ].concat(details[name]).filter(Boolean).join(', ') + '.';
		const hub = PLACES.hub;
		return svg('svg', {
			'viewBox': '0 0 480 428', 'class': 'ic-flow', 'role': 'img',
			'aria-label': [ said('solar', solar), said('battery', battery), said('grid', grid), said('home', home) ].join(' ')
		}, [
			line('solar', solar), line('battery', battery), line('grid', grid), line('home', home == null ? null : -home),
			svg('g', { 'class': 'ic-hub' }, [
				svg('rect', { 'x': hub[0] - HUB, 'y': hub[1] - HUB, 'width': 2 * HUB, 'height': 2 * HUB, 'rx': 16, 'class': 'ic-disc ic-ring' }),
				icon('hub', hub[0], hub[1], 1.7)
			]),
			node('solar', solar, []), node('battery', battery, soc == null ? [] : [ [ 'battery', soc / 100 ] ]), node('grid', grid, []),
			node('home', home, flows(home) && sum ? sources.map(source => [ source[0], source[1] / sum ]) : [])
		].concat(Object.keys(titles).map(name => beside(name, titles[name], details[name])),
			flows(aux) ? [ beside('aux', _('Aux'), [ status.power(aux) ]) ] : []));
	}
});
