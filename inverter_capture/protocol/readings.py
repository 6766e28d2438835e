"""Reports to readings: numbers with units, in UTC; what is not plausible or not certain is left out.

A report holds the inverter's local wall clock, so the time zone decides what moment it means.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple

from inverter_capture.protocol.counts import Counts
from inverter_capture.protocol.field_values import Values, field_values
from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.inverter_kinds import SINGLE_PHASE, Kind
from inverter_capture.protocol.kind_detection import KindDetector
from inverter_capture.protocol.layouts import LAYOUTS, Layout
from inverter_capture.protocol.reports import Report
from inverter_capture.protocol.times import SECOND

AHEAD_SECONDS_MAX = 24 * 3600
"""A reading of a live capture that lies further in the future than this is not believed."""

CLOCK_SET_AFTER = 1704067200
"""2024-01-01. A router without a battery starts in the past; before this its clock says nothing about a reading's."""

_NOTHING = timedelta()
_ONE_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1)


class Reading(NamedTuple):
    """What an inverter measured at one moment."""

    serial: str
    time: int
    """Nanoseconds since the epoch, UTC."""
    values: Values
    """A value that is absent has no key."""
    kind: Kind = SINGLE_PHASE
    layout: Layout = LAYOUTS[292]
    """Of the report."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """What the report holds, in the order of the register table; not all need have a value."""
        return self.kind.fields_in(self.layout)


class ReadingCounts(Counts):
    """What became of the reports and their values."""

    __slots__ = ("ahead", "foreign", "implausible", "readings")

    readings: int
    ahead: int
    """Reports of a live capture that claim to be from the future."""
    foreign: int
    """Reports of a learnt layout whose values are not those of an inverter that has such registers."""
    implausible: int
    """Values outside their range."""


class ReportReader:
    """Takes reports, gives readings."""

    def __init__(self, zone: tzinfo | None = None, *, live: bool = False) -> None:
        """`zone` is the inverter's time zone, None the system's. `live`: the capture's clock is now's."""
        self.counts = ReadingCounts()
        self.implausible: dict[str, int] = {}
        """How often each field, by id, was outside its range."""
        self.zone = zone
        """May be changed at any time."""
        self._live = live
        self._detector = KindDetector()

    def read(self, report: Report, captured: int) -> Reading | None:
        """The reading in a report that was captured at a time (ns since the epoch); None when it is not believed."""
        layout = report.layout
        assert layout is not None
        now = captured // SECOND
        moment = utc_seconds(report.clock, self.zone, now)
        if self._live and moment - now > AHEAD_SECONDS_MAX and now > CLOCK_SET_AFTER:
            self.counts.ahead += 1
            return None
        told = self._detector.tell(report)
        if told is None:
            self.counts.foreign += 1
            return None
        self.counts.readings += 1
        values, implausible = field_values(told, layout).read(report.data)
        for name in implausible:
            self.counts.implausible += 1
            self.implausible[name] = self.implausible.get(name, 0) + 1
        return Reading(report.serial, moment * SECOND, values, told.kind, layout)


def utc_seconds(clock: datetime, zone: tzinfo | None, near: int) -> int:
    """The moment a wall clock shows, in seconds since the epoch. `zone` None is the system's.

    A time that occurs twice means the occurrence nearest to `near`; one that does not exist is moved on by the hour.
    """
    again = clock.replace(fold=1)
    if zone is None:
        first, second = int(clock.timestamp()), int(again.timestamp())
    else:
        wall = clock - _EPOCH
        first = (wall - (zone.utcoffset(clock) or _NOTHING)) // _ONE_SECOND
        second = (wall - (zone.utcoffset(again) or _NOTHING)) // _ONE_SECOND
    # Where the clock is put forward, the first reading of the missing hour (PEP 495) is the one moved on.
    if first >= second or abs(near - first) <= abs(near - second):
        return first
    return second
