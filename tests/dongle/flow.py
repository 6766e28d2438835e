"""Who feeds whom: sun, battery and grid share the house's load."""

from __future__ import annotations

from typing import NamedTuple

from tests.dongle.appliances import Load
from tests.dongle.battery import Battery
from tests.dongle.profiles import Profile

EFFICIENCY = 0.95
"""From direct to alternating current."""
OWN_USE = 45
"""Watts that the inverter itself takes while it works."""


class Flow(NamedTuple):
    """Power in watts, averaged over a minute. What is counted and balanced is whole."""

    pv: tuple[int, ...]
    """By string."""
    battery: float
    """Positive while discharging."""
    inverter: int
    """From direct to alternating current; never negative, as the battery is not charged from the grid."""
    essential: int
    other: int
    aux: int

    @property
    def port(self) -> int:
        """Into the inverter's grid port."""
        return self.essential + self.aux - self.inverter

    @property
    def grid(self) -> int:
        """At the meter. Positive importing."""
        return self.port + self.other

    @property
    def load(self) -> int:
        """All that is used."""
        return self.essential + self.aux + self.other


def share(
    profile: Profile,
    available: tuple[float, ...],
    load: Load,
    aux: int,
    battery: Battery,
    *,
    connected: bool,
    error: int,
) -> Flow:
    """A working inverter's minute. The sun first, then the battery, then the grid; what the sun has left over goes
    to the battery, then to the grid if the profile sells, and else it is not taken from the panels.

    `available` is what each string could give. `error` is by how many watts the inverter misses a power of zero at
    the meter.
    """
    sun = 0.0
    for watts in available:
        sun += watts
    other = load.other if connected else 0
    aux = aux if connected else 0
    covers = other if profile.has_ct else 0
    wanted = load.essential + aux + covers + (error if connected else 0)
    wanted = max(0, min(wanted, profile.inverter_power))

    from_battery = battery.discharge_limit(backup=not connected) * battery.voltage
    into_battery = battery.charge_limit * battery.voltage

    needed = wanted / EFFICIENCY + OWN_USE
    if sun >= needed:
        inverter = wanted
        charging = min(sun - needed, into_battery)
        left = (sun - needed - charging) * EFFICIENCY
        if profile.exports and connected:
            inverter += int(min(left, profile.inverter_power - wanted))
        battery_power = -charging
    else:
        battery_power = min(needed - sun, from_battery)
        inverter = min(wanted, max(0, int((sun + battery_power - OWN_USE) * EFFICIENCY)))
    taken = inverter / EFFICIENCY + OWN_USE - battery_power
    used = min(1.0, max(0.0, taken / sun)) if sun > 0 else 0.0

    # Without grid nobody else feeds the house: what the inverter cannot give is not used.
    essential = load.essential if connected else inverter
    return Flow(tuple(round(watts * used) for watts in available), battery_power, inverter, essential, other, aux)


def stand_by(profile: Profile, load: Load, *, connected: bool) -> Flow:
    """The minute of an inverter that does not work yet: the grid feeds the house through it."""
    nothing = (0,) * len(profile.strings)
    if not connected:
        return Flow(nothing, 0.0, 0, 0, 0, 0)
    return Flow(nothing, 0.0, 0, load.essential, load.other, 0)
