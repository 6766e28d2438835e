"""What the inverter's registers show of a house: every field of the register table, rounded as it is sent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tests.dongle.battery import CHARGE_VOLTAGE
from tests.dongle.chance import Dice

if TYPE_CHECKING:
    from tests.dongle.house import House

Values = dict[str, float]
"""By field id, in the field's unit."""

IDLE_CURRENT = 1.2
"""Amperes of reactive current that the inverter's filters draw."""

SECOND_PHASE = (
    "grid_voltage_l2",
    "inverter_voltage_l2",
    "load_voltage_l2",
    "grid_current_l2",
    "grid_ct_current_l2",
    "inverter_current_l2",
    "grid_power_l2",
    "grid_ct_power_l2",
    "inverter_power_l2",
    "load_power_l2",
    "essential_power_l2",
)


def read_all(house: House) -> dict[str, int | float]:
    """All fields of the profile's table that a house knows, in the table's order. An absent field has no key."""
    noise = house.noise()
    values: Values = {}
    values.update(read_state(house))
    values.update(read_counters(house))
    values.update(read_pv(house, noise))
    values.update(read_alternating(house, noise))
    values.update(read_battery(house))
    values.update(read_generator(house, noise))
    return {
        field.id: as_sent(values[field.id], field.divisor) for field in house.profile.kind.fields if field.id in values
    }


def as_sent(value: float, divisor: int) -> int | float:
    """The value as a register holds it: a whole number of steps."""
    steps = round(value * divisor)
    return steps if divisor == 1 else steps / divisor


def read_state(house: House) -> Values:
    """States, warnings, faults and temperatures of the inverter."""
    values: Values = {
        "inverter_state": house.state,
        "sd_status": house.profile.sd_status,
        "inverter_warnings": house.warnings,
        "inverter_faults": house.faults,
        "grid_connected": int(house.grid.connected),
        "inverter_temperature_dc": house.temperature_dc,
    }
    if house.profile.has_ac_sensor:
        values["inverter_temperature_ac"] = house.temperature_ac
    return values


def read_counters(house: House) -> Values:
    """Energies, in kilowatt-hours."""
    tenths = {
        "inverter_energy_today": house.inverted.day,
        "inverter_energy_total": house.inverted.total,
        "inverter_energy_month": house.inverted.month,
        "inverter_energy_year": house.inverted.year,
        "pv_production_today": house.pv.day,
        "pv_production_total": house.pv.total,
        "pv_production_month": house.pv.month,
        "pv_production_year": house.pv.year,
        "load_consumption_today": house.used.day,
        "load_consumption_total": house.used.total,
        "load_consumption_month": house.used.month,
        "load_consumption_year": house.used.year,
        "battery_charge_today": house.charged.day,
        "battery_charge_total": house.charged.total,
        "battery_discharge_today": house.discharged.day,
        "battery_discharge_total": house.discharged.total,
        "grid_import_today": house.imported.day,
        "grid_import_total": house.imported.total,
        "grid_export_today": house.exported.day,
        "grid_export_total": house.exported.total,
    }
    return {name: value / 10 for name, value in tenths.items()}


def read_pv(house: House, noise: Dice) -> Values:
    """Panels. Volts times amperes are the watts, but for a little."""
    values: Values = {}
    total = 0
    for number in range(1, 5):
        volts, amperes, watts = 0.0, 0.0, 0
        if number <= len(house.profile.strings):
            string = house.profile.strings[number - 1]
            power = house.flow.pv[number - 1]
            volts = string.voltage * noise.between(0.97, 1.02) * (0.8 + 0.2 * min(1.0, power / (0.1 * string.peak)))
            volts = as_sent(volts if power else noise.between(0, 20), 10)
            amperes = as_sent(power / volts if power else 0, 10)
            watts = round(volts * amperes)
        elif number == 2:
            # An input without panels is not quite at zero.
            volts, amperes = noise.between(6.5, 8.5), 0.1
        values[f"pv_voltage_{number}"] = volts
        values[f"pv_current_{number}"] = amperes
        if number < 4:
            values[f"pv_power_{number}"] = watts
            total += watts
    values["pv_power"] = total
    return values


def read_alternating(house: House, noise: Dice) -> Values:
    """Grid, inverter output and load: powers in watts are exact, and currents follow them. There is no second phase."""
    flow, grid = house.flow, house.grid
    output = grid.voltage if grid.connected else noise.between(229.7, 230.3)
    frequency = grid.frequency if grid.connected else 50.0
    at_grid = flow.grid
    at_ct = flow.grid if house.profile.has_ct else 0
    values: Values = {
        "grid_voltage": grid.voltage,
        "grid_voltage_l1_l2": grid.voltage,
        "grid_frequency": grid.frequency,
        "inverter_voltage": output,
        "inverter_voltage_l1_l2": output,
        "load_voltage": output * 1.02,
        "load_frequency": frequency,
        "inverter_frequency": frequency,
        "grid_current": apparent_current(flow.port, grid.voltage),
        "grid_ct_current": apparent_current(at_ct, grid.voltage),
        "inverter_current": flow.inverter / output,
        "aux_power": flow.aux,
        "grid_power_l1": flow.port,
        "grid_power": at_grid,
        "grid_ct_power_l1": at_ct,
        "grid_power_ct": at_ct,
        "inverter_power_l1": flow.inverter,
        "inverter_power": flow.inverter,
        "load_power_l1": flow.load,
        "load_power": flow.load,
        "essential_power_l1": flow.essential,
        "essential_power": flow.essential,
    }
    return values | dict.fromkeys(SECOND_PHASE, 0)


def apparent_current(watts: int, volts: float) -> float:
    """Amperes with the reactive part; the sign is the power's."""
    if volts == 0:
        return 0.0
    active = watts / volts
    return math.copysign(math.sqrt(active * active + IDLE_CURRENT * IDLE_CURRENT), active)


def read_battery(house: House) -> Values:
    """The battery as the inverter measures it and as its management system says. Volts times amperes are the watts."""
    battery = house.battery
    volts = as_sent(battery.voltage, 100)
    amperes = as_sent(battery.current, 100)
    values: Values = {
        "battery_capacity": battery.capacity,
        "battery_voltage": volts,
        "battery_current": amperes,
        "battery_power": round(volts * amperes),
        "battery_soc": int(battery.charge),
        "battery_temperature": battery.temperature,
    }
    bms: Values = {
        "bms_charge_voltage": CHARGE_VOLTAGE,
        "bms_discharge_voltage": 46.0,
        "bms_charge_limit_current": battery.charge_limit,
        "bms_discharge_limit_current": battery.discharge_limit(backup=True),
        "bms_soc": int(battery.charge),
        "bms_voltage": volts - 0.04,
        "bms_current": -round(amperes),
    }
    if house.state == 0:
        # The management system has not been heard yet: zeros are sent.
        return values
    return values | bms | {"bms_temperature": battery.temperature + 0.4}


def read_generator(house: House, noise: Dice) -> Values:
    """A generator input on which there is only noise, or none."""
    fitted = house.profile.has_generator_input
    return {
        "generator_hours_today": 0,
        "generator_energy_total": house.profile.history.generator / 10,
        "generator_voltage": noise.between(11.8, 12.9) if fitted else 0,
        "generator_relay": 0x10 if fitted else 0,
        "generator_frequency": 0,
    }
