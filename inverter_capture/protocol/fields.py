"""The fields of the register tables, and their names.

A row of a table names its quantity (quantities.py), which gives unit, scale, bounds and Home Assistant classes. The
tables are in registers.py (single phase) and registers_three_phase.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from inverter_capture.protocol.quantities import Quantity


class Derived(NamedTuple):
    """How a field is computed from others. It is absent when one of `of` is absent."""

    of: tuple[str, ...]  # Field ids
    rest: bool = False  # First minus second, at least 0; otherwise the sum of all
    also: tuple[str, ...] = ()  # Further summands, which may be absent
    unless_zero: tuple[str, ...] = ()
    """Fields of a sensor. When all are 0, the sensor is not installed, and the field is absent."""


class Field(NamedTuple):
    """One value of a reading: its registers, meaning and names."""

    id: str  # The name in JSON, InfluxDB and MQTT. It never changes.
    registers: tuple[int, ...]  # Low word first; empty for a derived field
    group: str
    name: str  # The name in databases, within the group
    quantity: Quantity
    default: bool  # Whether it is published by default; otherwise it is optional
    confidence: str  # How certain the mapping is: high or medium
    limit: int | None  # The limit of the quantity, or of the group's power
    derived: Derived | None = None

    @property
    def unit(self) -> str:
        return self.quantity.unit

    @property
    def divisor(self) -> int:
        return self.quantity.divisor

    @property
    def period(self) -> str:
        return self.quantity.period

    @property
    def decimals(self) -> int:
        """Number of decimals to show."""
        return {1: 0, 2: 1, 10: 1, 100: 2}[self.divisor]

    @property
    def title(self) -> str:
        """The name for people, shown below the inverter's name."""
        stem, _, phase = self.id.rpartition("_l")
        if self.id not in TITLES and stem in TITLES:
            return f"{TITLES[stem]} L{phase}"
        return TITLES.get(self.id) or _title(self.group, self.name)


Row = tuple[str, tuple[int, ...], str, str, Quantity, bool, str]
"""Id, registers, group, name, quantity, publish, confidence."""
DerivedRow = tuple[str, tuple[int, ...], str, str, Quantity, bool, str, Derived]
"""The same for a field without registers, and how it is computed."""

DEFAULT, OPTIONAL = True, False
HIGH, MEDIUM = "high", "medium"


def field(
    limits_kw: Mapping[str, int],
    id: str,
    registers: tuple[int, ...],
    group: str,
    name: str,
    quantity: Quantity,
    default: bool,
    confidence: str,
    derived: Derived | None = None,
) -> Field:
    """The field of a row. `limits_kw`: the maximum power of each group, for this kind of inverter."""
    limit = quantity.limit
    if quantity.by_group:
        limit = quantity.by_group * limits_kw[group.rstrip(" 2")]
    return Field(id, registers, group, name, quantity, default, confidence, limit, derived)


TITLES: dict[str, str] = {
    "aux_power": "Auxiliary port power",
    "battery_charge_today": "Battery charge energy today",
    "battery_charge_total": "Battery charge energy total",
    "battery_discharge_today": "Battery discharge energy today",
    "battery_discharge_total": "Battery discharge energy total",
    "batteries_parallel": "Batteries in parallel",
    "bms_charge_limit_current": "BMS charge current limit",
    "bms_discharge_limit_current": "BMS discharge current limit",
    "bms_max_charge_current": "BMS maximum charge current",
    "bms_max_discharge_current": "BMS maximum discharge current",
    "bms2_max_charge_current": "BMS 2 maximum charge current",
    "bms2_max_discharge_current": "BMS 2 maximum discharge current",
    "essential_power": "Essential load power",
    "generator_charge_start_soc": "Generator start state of charge",
    "grid_connected": "Grid",
    "grid_export_today": "Grid export energy today",
    "grid_export_total": "Grid export energy total",
    "grid_import_today": "Grid import energy today",
    "grid_import_total": "Grid import energy total",
    "grid_inner_apparent_power": "Grid port apparent power",
    "grid_inner_power": "Grid port power",
    "grid_power_ct": "Grid CT power",
    "grid_power_l1": "Grid power L1",
    "grid_standard_code": "Grid standard code",
    "inverter_enabled": "Enabled",
    "inverter_power": "Output power",
    "inverter_variant": "Variant",
    "load_consumption_today": "Load energy today",
    "load_consumption_total": "Load energy total",
    "load_consumption_year": "Load energy this year",
    "nonessential_power": "Non-essential load power",
    "parallel_count": "Units in parallel",
    "pv_production_today": "PV energy today",
    "pv_production_total": "PV energy total",
    "sd_status": "SD card",
}
"""By field id, where a title is not the group and the name. Those of phases (_l1) follow."""

_PLAIN_GROUPS = ("Inverter", "Info", "Settings", "Program")  # Their titles do not begin with the group

_LONG = {"SOC": "state of charge", "SOH": "state of health"}


def _title(group: str, name: str) -> str:
    words = name.split()
    if group not in _PLAIN_GROUPS and words[0] != group:
        words.insert(0, group)
    # Abbreviations stay as they are.
    words = [_LONG.get(word, word if word[1:2].isupper() or word[1:2].isdigit() else word.lower()) for word in words]
    title = " ".join(words)
    return title[0].upper() + title[1:]
