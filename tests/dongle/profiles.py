"""The two inverters that the simulator knows."""

from __future__ import annotations

from typing import NamedTuple

from inverter_capture.protocol.inverter_kinds import LOW_VOLTAGE, SINGLE_PHASE, Kind
from tests.dongle.messages import RECORDED_MAP, Entry, Ranges, entries_of, ranges_of
from tests.dongle.reports import RANGES


class PvString(NamedTuple):
    """Solar panels in series."""

    peak: float
    """Watts in full sun."""
    voltage: float
    """At the working point."""
    facing: float
    """Degrees west of due north (or south, towards the equator): when in the day they do best."""


class History(NamedTuple):
    """What the counters show when the simulation begins, in tenths of a kilowatt-hour."""

    pv: int
    charge: int
    discharge: int
    imported: int
    exported: int
    inverter: int
    generator: int


class Profile(NamedTuple):
    """An inverter with what is connected to it."""

    number: int
    """Makes the chances of one inverter differ from the other's."""
    serial: str
    dongle_serial: str
    poll_map: tuple[Entry, ...]
    """What the server asks this dongle for."""
    inverter_power: int
    """The most that it gives, in watts."""
    strings: tuple[PvString, ...]
    battery_capacity: int
    """Ampere-hours at 51.2 volts."""
    battery_current: int
    """The most that it takes and gives, in amperes."""
    exports: bool
    """Sells to the grid. Otherwise panels are held back when there is too much sun."""
    has_ct: bool
    """There are loads between the meter and the inverter, which a current transformer at the meter sees. Otherwise
    all loads are behind the inverter."""
    has_generator_input: bool
    smart_load: int
    """Watts of the load that is switched on when the battery is full; 0 for none."""
    base_load: int
    has_ac_sensor: bool
    """Whether the AC temperature sensor is fitted."""
    sd_status: int
    history: History
    kind: Kind = SINGLE_PHASE

    @property
    def ranges(self) -> Ranges:
        """The registers of its reports."""
        return ranges_of(self.poll_map)


SMALL = Profile(
    number=1,
    serial="2205164738",
    dongle_serial="E10200000292",
    poll_map=entries_of(RANGES[292]),
    inverter_power=5000,
    strings=(PvString(peak=3300, voltage=172, facing=0),),
    battery_capacity=100,
    battery_current=90,
    exports=False,
    has_ct=True,
    has_generator_input=True,
    smart_load=1200,
    base_load=190,
    has_ac_sensor=True,
    sd_status=2000,
    # The imported energy passes 6553.6 kWh, where its high register begins to count, within a day or two.
    history=History(
        pv=123_457, charge=48_211, discharge=44_870, imported=65_360, exported=212, inverter=113_204, generator=36
    ),
)
"""The firmware of 2022: 292-byte reports, a small battery, nothing sold, a generator input that idles."""

LARGE = Profile(
    number=2,
    serial="E47R2K0193",
    dongle_serial="E10200000306",
    poll_map=RECORDED_MAP,
    inverter_power=8000,
    strings=(
        PvString(peak=4400, voltage=338, facing=-35),
        PvString(peak=3900, voltage=301, facing=40),
        PvString(peak=900, voltage=96, facing=0),
    ),
    battery_capacity=300,
    battery_current=150,
    exports=True,
    has_ct=False,
    has_generator_input=False,
    smart_load=0,
    base_load=340,
    has_ac_sensor=False,
    sd_status=1000,
    history=History(
        pv=411_902, charge=160_333, discharge=149_804, imported=31_022, exported=98_770, inverter=385_118, generator=0
    ),
)
"""The firmware of 2026: 306-byte reports, letters in the serial number, a large battery, no generator, energy sold."""

THREE_PHASE_MAP = entries_of(((14, 15), (20, 21), (500, 558), (586, 708), (210, 219)))
"""A guess of what a three-phase inverter is asked for: no report of one is on record."""

THREE_PHASE = LARGE._replace(
    number=3,
    serial="2710200333",
    dongle_serial="E10200000333",
    poll_map=THREE_PHASE_MAP,
    inverter_power=12_000,
    kind=LOW_VOLTAGE,
)
"""A three-phase inverter with a low-voltage battery. All of its load is on the first phase.

A decoder is certain of its kind from the third report on; before, it leaves out what depends on that.
"""

PROFILES = {"small": SMALL, "large": LARGE, "three-phase": THREE_PHASE}
