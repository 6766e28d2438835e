'use strict';
'require baseclass';

// Written by openwrt/tools/luci_tables.py (from the register tables). After a change there: make luci

return baseclass.extend({ groups: [
	[_('Inverter'), [
		['', 0, {
			inverter_state: _('State'),
			sd_status: _('SD card status'),
			inverter_warnings: _('Warnings'),
			inverter_faults: _('Faults'),
			comm_board_failure: _('Communication board failure'),
			inverter_on: _('Switched on'),
			relay_status: _('Relays')
		}],
		['W', 0, {
			inverter_power: _('Power'),
			'inverter_power_l#': [_('Power L%d'), 1, 3]
		}],
		['VA', 0, {
			inverter_apparent_power: _('Apparent power')
		}],
		['V', 1, {
			inverter_voltage: _('Output voltage'),
			'inverter_voltage_l#': [_('Output voltage L%d'), 1, 3],
			inverter_voltage_l1_l2: _('Output voltage L1-L2')
		}],
		['A', 2, {
			inverter_current: _('Output current'),
			'inverter_current_l#': [_('Output current L%d'), 1, 3]
		}],
		['Hz', 2, {
			inverter_frequency: _('Output frequency')
		}],
		['°C', 1, {
			inverter_temperature_dc: _('DC Temperature'),
			inverter_temperature_ac: _('AC Temperature')
		}],
		['s', 0, {
			grid_time_today: _('Time on grid today')
		}],
		['kWh', 1, {
			inverter_energy_today: _('Active energy today'),
			inverter_energy_month: _('Active energy this month'),
			inverter_energy_year: _('Active energy this year'),
			inverter_energy_total: _('Active energy total')
		}],
		['kvarh', 1, {
			inverter_reactive_energy_today: _('Reactive energy today'),
			inverter_reactive_energy_total: _('Reactive energy total')
		}]
	]],
	[_('PV'), [
		['W', 0, {
			pv_power: _('Power'),
			'pv_power_#': [_('Power %d'), 1, 8]
		}],
		['V', 1, {
			'pv_voltage_#': [_('Voltage %d'), 1, 8]
		}],
		['A', 1, {
			'pv_current_#': [_('Current %d'), 1, 8]
		}],
		['kWh', 1, {
			'pv_energy_today_#': [_('Energy today %d'), 1, 4],
			pv_production_today: _('Production today'),
			pv_production_month: _('Energy this month'),
			pv_production_year: _('Energy this year'),
			pv_production_total: _('Total production')
		}]
	]],
	[_('Battery'), [
		['%', 0, {
			battery_soc: _('SOC')
		}],
		['W', 0, {
			battery_power: _('Power')
		}],
		['V', 2, {
			battery_voltage: _('Voltage')
		}],
		['A', 2, {
			battery_current: _('Current')
		}],
		['°C', 1, {
			battery_temperature: _('Temperature')
		}],
		['Ah', 0, {
			battery_capacity: _('Capacity')
		}],
		['kWh', 1, {
			battery_charge_today: _('Charge today'),
			battery_discharge_today: _('Discharge today'),
			battery_charge_total: _('Total charge'),
			battery_discharge_total: _('Total discharge')
		}]
	]],
	[_('Battery 2'), [
		['%', 0, {
			battery_2_soc: _('SOC')
		}],
		['W', 0, {
			battery_2_power: _('Power')
		}],
		['V', 2, {
			battery_2_voltage: _('Voltage')
		}],
		['A', 2, {
			battery_2_current: _('Current')
		}],
		['°C', 1, {
			battery_2_temperature: _('Temperature')
		}]
	]],
	[_('BMS'), [
		['', 0, {
			bms_alarm: _('Alarm flags'),
			bms_fault: _('Fault flags'),
			bms_flags: _('Other flags'),
			bms_protocol: _('Protocol'),
			battery_manufacturer: _('Battery manufacturer')
		}],
		['%', 0, {
			bms_soc: _('SOC'),
			bms_soh: _('SOH')
		}],
		['V', 2, {
			bms_voltage: _('Voltage'),
			bms_charge_voltage: _('Charge Voltage'),
			bms_discharge_voltage: _('Discharge Voltage')
		}],
		['A', 1, {
			bms_current: _('Current')
		}],
		['A', 0, {
			bms_max_charge_current: _('Maximum charge current'),
			bms_charge_limit_current: _('Charge Limit Current'),
			bms_max_discharge_current: _('Maximum discharge current'),
			bms_discharge_limit_current: _('Discharge Limit Current')
		}],
		['°C', 1, {
			bms_temperature: _('Temperature')
		}],
		['Ah', 0, {
			bms_rated_capacity: _('Rated capacity')
		}]
	]],
	[_('BMS 2'), [
		['', 0, {
			bms2_alarm: _('Alarm flags'),
			bms2_fault: _('Fault flags'),
			bms2_flags: _('Other flags')
		}],
		['%', 0, {
			bms2_soc: _('SOC')
		}],
		['V', 1, {
			bms2_voltage: _('Voltage'),
			bms2_charge_voltage: _('Charge Voltage'),
			bms2_discharge_voltage: _('Discharge Voltage')
		}],
		['A', 1, {
			bms2_current: _('Current')
		}],
		['A', 0, {
			bms2_max_charge_current: _('Maximum charge current (off-grid)'),
			bms2_charge_limit_current: _('Charge Limit Current'),
			bms2_max_discharge_current: _('Maximum discharge current (off-grid)'),
			bms2_discharge_limit_current: _('Discharge Limit Current')
		}],
		['°C', 1, {
			bms2_temperature: _('Temperature')
		}]
	]],
	[_('Grid'), [
		['', 0, {
			grid_connected: _('Connected')
		}],
		['%', 1, {
			grid_power_factor: _('Power factor')
		}],
		['W', 0, {
			grid_power: _('Power'),
			'grid_power_l#': [_('Power L%d (grid port)'), 1, 1],
			grid_power_l2: _('Power L2'),
			grid_power_l3: _('Power L3'),
			grid_power_ct: _('Power CT'),
			'grid_ct_power_l#': [_('CT power L%d'), 1, 3],
			grid_inner_power: _('Power (grid port)'),
			'grid_inner_power_l#': [_('Power L%d (grid port)'), 1, 3]
		}],
		['VA', 0, {
			grid_ct_apparent_power: _('CT apparent power'),
			grid_inner_apparent_power: _('Apparent power (grid port)')
		}],
		['V', 1, {
			grid_voltage: _('Voltage'),
			'grid_voltage_l#': [_('Voltage L%d'), 1, 3],
			grid_voltage_l1_l2: _('Voltage L1-L2'),
			grid_voltage_l2_l3: _('Voltage L2-L3'),
			grid_voltage_l3_l1: _('Voltage L3-L1')
		}],
		['A', 2, {
			grid_current: _('Current'),
			'grid_current_l#': [_('Current L%d'), 1, 3],
			grid_ct_current: _('CT current'),
			'grid_ct_current_l#': [_('CT current L%d'), 1, 3]
		}],
		['Hz', 2, {
			grid_frequency: _('Frequency')
		}],
		['kWh', 1, {
			grid_import_today: _('Import today'),
			grid_export_today: _('Export today'),
			grid_import_total: _('Total import'),
			grid_export_total: _('Total export')
		}]
	]],
	[_('Load'), [
		['W', 0, {
			load_power: _('Power'),
			'load_power_l#': [_('Power L%d'), 1, 3],
			essential_power: _('Essential (UPS) power'),
			'essential_power_l#': [_('Essential (UPS) power L%d'), 1, 3],
			nonessential_power: _('Non-essential power')
		}],
		['V', 1, {
			load_voltage: _('Voltage'),
			'load_voltage_l#': [_('Voltage L%d'), 1, 3]
		}],
		['Hz', 2, {
			load_frequency: _('Frequency')
		}],
		['kWh', 1, {
			load_consumption_today: _('Consumption today'),
			load_consumption_month: _('Energy this month'),
			load_consumption_year: _('Consumption this year'),
			load_consumption_total: _('Total consumption')
		}]
	]],
	[_('Generator'), [
		['', 0, {
			generator_relay: _('Relay')
		}],
		['V', 1, {
			generator_voltage: _('Voltage'),
			'generator_voltage_l#': [_('Voltage L%d'), 1, 3]
		}],
		['Hz', 2, {
			generator_frequency: _('Frequency')
		}],
		['h', 1, {
			generator_hours_today: _('Running time today'),
			generator_hours_total: _('Running time total')
		}],
		['kWh', 1, {
			generator_energy_today: _('Energy today'),
			generator_energy_total: _('Energy total')
		}]
	]],
	[_('Aux'), [
		['W', 0, {
			aux_power: _('Generator, micro-inverter'),
			'aux_power_l#': [_('Power L%d'), 1, 3]
		}]
	]],
	[_('Info'), [
		['', 0, {
			firmware_main: _('Control board firmware'),
			firmware_comm: _('Communication board firmware'),
			safety_type: _('Safety type'),
			mppt_count: _('MPPT count'),
			eeprom_init: _('EEPROM initialise'),
			inverter_variant: _('Inverter variant'),
			device_type: _('Device type'),
			protocol_version: _('Protocol version'),
			model_index: _('Model')
		}],
		['W', 1, {
			rated_power: _('Rated power')
		}]
	]],
	[_('Settings'), [
		['', 0, {
			remote_lock: _('Remote lock'),
			inverter_enabled: _('Inverter enabled'),
			island_protection: _('Island protection'),
			gfdi_enabled: _('GFDI'),
			rcd_enabled: _('RCD'),
			riso_enabled: _('Insulation check'),
			grid_standard_code: _('Grid standard'),
			limiter_enabled: _('Limiter'),
			battery_control_mode: _('Battery control mode'),
			battery_operation_mode: _('Battery operation mode'),
			battery_wake_up: _('Battery wake-up'),
			generator_charge_enabled: _('Generator charging'),
			grid_charge_enabled: _('Grid charging'),
			solar_as_psu: _('Solar input as power supply'),
			generator_force: _('Force generator as load'),
			aux_port_mode: _('AUX port mode'),
			charging_signal: _('Charging signal'),
			priority_load: _('Energy priority'),
			work_mode: _('Work mode'),
			ct_direction: _('CT direction'),
			solar_export: _('Solar export'),
			use_timer: _('Use timer'),
			peak_shaving_flags: _('Special functions'),
			arc_fault_mode: _('Arc fault detection'),
			grid_standard: _('Grid standard'),
			grid_frequency_setting: _('Grid frequency (set)'),
			grid_type: _('Grid type'),
			generator_on_grid_input: _('Generator on the grid input'),
			special_flags: _('Special functions 2'),
			comm_board_flags: _('Communication board settings'),
			parallel_config: _('Parallel operation'),
			parallel_count: _('Inverters in parallel'),
			grid_voltage_type: _('Output voltage level'),
			phase_order: _('Grid phase order'),
			grid_meter_source: _('Grid measurement'),
			ct_ratio: _('CT ratio'),
			batteries_parallel: _('Batteries 1 and 2 in parallel')
		}],
		['%', 0, {
			battery_low_soc: _('Battery low SOC'),
			smart_load_on_soc: _('Smart load on SOC'),
			smart_load_off_soc: _('Smart load off SOC'),
			over_frequency_rate: _('Over-frequency derating'),
			battery_restart_soc: _('Battery restart SOC'),
			battery_shutdown_soc: _('Battery shutdown SOC'),
			grid_charge_start_soc: _('Grid charge start SOC'),
			generator_charge_start_soc: _('Generator charge start SOC')
		}],
		['%', 1, {
			output_power_factor: _('Output power factor (set)'),
			active_power_regulation: _('Active power regulation'),
			battery_charge_efficiency: _('Battery charge efficiency')
		}],
		['W', 0, {
			max_sell_power: _('Maximum sell power'),
			max_solar_power: _('Maximum solar power'),
			zero_export_power: _('Zero export power'),
			generator_start_min_pv: _('Minimum PV power for generator'),
			grid_peak_shaving_power: _('Grid peak shaving power'),
			generator_peak_shaving_power: _('Generator peak shaving power')
		}],
		['V', 1, {
			dc_voltage_limit: _('DC voltage limit'),
			grid_voltage_upper: _('Grid voltage upper limit'),
			grid_voltage_lower: _('Grid voltage lower limit'),
			start_voltage_upper: _('Starting voltage upper limit'),
			start_voltage_lower: _('Starting voltage lower limit'),
			grid_voltage_limit_low: _('Grid voltage limit low'),
			grid_voltage_limit_high: _('Grid voltage limit high')
		}],
		['V', 2, {
			battery_low_voltage: _('Battery low voltage'),
			battery_float_voltage: _('Battery float voltage'),
			smart_load_on_voltage: _('Smart load on voltage'),
			battery_empty_voltage: _('Battery empty voltage'),
			smart_load_off_voltage: _('Smart load off voltage'),
			battery_restart_voltage: _('Battery restart voltage'),
			battery_shutdown_voltage: _('Battery shutdown voltage'),
			grid_charge_start_voltage: _('Grid charge start voltage'),
			battery_absorption_voltage: _('Battery absorption voltage'),
			battery_equalization_voltage: _('Battery equalization voltage'),
			generator_charge_start_voltage: _('Generator charge start voltage')
		}],
		['A', 1, {
			grid_current_limit: _('Grid current limit')
		}],
		['A', 0, {
			grid_charge_current: _('Grid charge current'),
			generator_charge_current: _('Generator charge current'),
			battery_max_charge_current: _('Battery maximum charge current'),
			battery_max_discharge_current: _('Battery maximum discharge current')
		}],
		['Hz', 2, {
			grid_frequency_upper: _('Grid frequency upper limit'),
			grid_frequency_lower: _('Grid frequency lower limit'),
			over_frequency_start: _('Over-frequency derating start'),
			ac_couple_frequency_max: _('AC couple frequency limit'),
			grid_frequency_limit_low: _('Grid frequency limit low'),
			grid_frequency_limit_high: _('Grid frequency limit high')
		}],
		['mΩ', 0, {
			battery_resistance: _('Battery resistance')
		}],
		['kΩ', 1, {
			insulation_min: _('Minimum insulation resistance')
		}],
		['mV/°C', 0, {
			battery_temperature_compensation: _('Battery temperature compensation')
		}],
		['Ah', 0, {
			battery_capacity_setting: _('Battery capacity (set)')
		}],
		['s', 0, {
			self_check_time: _('Self-check time'),
			grid_reconnect_time: _('Grid reconnection time')
		}],
		['min', 0, {
			smart_load_delay: _('Smart load delay')
		}],
		['h', 1, {
			generator_max_run_time: _('Generator maximum run time'),
			generator_cooling_time: _('Generator cooling time'),
			battery_equalization_hours: _('Battery equalization time')
		}],
		['d', 0, {
			battery_equalization_days: _('Battery equalization interval')
		}]
	]],
	[_('Program'), [
		['', 0, {
			'prog#_time': [_('%d time'), 1, 6],
			'prog#_charge': [_('%d charging'), 1, 6]
		}],
		['%', 0, {
			'prog#_soc': [_('%d SOC'), 1, 6]
		}],
		['W', 0, {
			'prog#_power': [_('%d power'), 1, 6]
		}],
		['V', 2, {
			'prog#_voltage': [_('%d voltage'), 1, 6]
		}]
	]]
] });
