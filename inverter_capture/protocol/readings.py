"""Reports to readings: values with units, and the time in UTC. Values that are not plausible or certain are left out.

A report contains the inverter's local time; the configured time zone is needed to convert it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple, Self

from inverter_capture.protocol.counts import Counts
from inverter_capture.protocol.field_values import field_values
from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.inverter_kinds import SINGLE_PHASE, Kind
from inverter_capture.protocol.kind_detection import Detection, KindDetector
from inverter_capture.protocol.layouts import LAYOUTS, Layout
from inverter_capture.protocol.reports import Report
from inverter_capture.protocol.times import SECOND

AHEAD_SECONDS_MAX = 24 * 3600  # A reading of a live capture that is further in the future is rejected

CLOCK_SET_AFTER = 1704067200
"""2024-01-01. A router without a battery-backed clock starts in the past: a clock before this time is not set yet."""

_NOTHING = timedelta()
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1)


class Reading(NamedTuple):
    """The values of an inverter at one time."""

    serial: str
    time: int  # Nanoseconds since the epoch, UTC
    ids: tuple[str, ...]  # Ids of the fields that have a value, in the order of the register table
    numbers: tuple[int | float, ...]  # Their values
    kind: Kind = SINGLE_PHASE
    layout: Layout = LAYOUTS[292]  # Of the report

    @classmethod
    def of(
        cls,
        serial: str,
        time: int,
        values: Mapping[str, int | float],
        kind: Kind = SINGLE_PHASE,
        layout: Layout = LAYOUTS[292],
    ) -> Self:
        """A reading with these values, by field id."""
        return cls(serial, time, tuple(values), tuple(values.values()), kind, layout)

    @property
    def values(self) -> dict[str, int | float]:
        """The values by field id, made anew each time."""
        return dict(zip(self.ids, self.numbers, strict=True))

    def with_values(self, values: Mapping[str, int | float]) -> Self:
        """The same reading with other values."""
        return self._replace(ids=tuple(values), numbers=tuple(values.values()))

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields in the report, in the order of the register table. Some may have no value."""
        return self.kind.fields_in(self.layout)


class ReadingCounts(Counts):
    """Counters of readings and values."""

    __slots__ = ("ahead", "foreign", "implausible", "readings")

    readings: int
    ahead: int  # Reports of a live capture from the future
    foreign: int  # Reports of a learnt layout whose values are not those of an inverter that has such registers
    implausible: int  # Values outside their range


class ReportReader:
    """Turns reports into readings."""

    def __init__(self, zone: tzinfo | None = None, *, live: bool = False) -> None:
        """`zone`: the inverter's time zone; None: the system's. `live`: the reports are captured now."""
        self.counts = ReadingCounts()
        self.implausible: dict[str, int] = {}  # How often each field, by id, was outside its range
        self.zone = zone  # May be replaced at any time
        self._live = live
        self._local_times = LocalTimes()
        self._detector = KindDetector()
        self._detection: Detection | None = None  # Of the last report, as are its layout and the function that reads it
        self._layout: Layout | None = None

    def read(self, report: Report, captured: int) -> Reading | None:
        """The reading of a report captured at this time (ns since the epoch); None when it is rejected."""
        serial, clock, data, layout, _ = report
        assert layout is not None
        now = captured // SECOND
        moment = self._local_times.utc_seconds(clock, self.zone, now)
        if self._live and moment - now > AHEAD_SECONDS_MAX and now > CLOCK_SET_AFTER:
            self.counts.ahead += 1
            return None
        detection = self._detector.detect(report)
        if detection is None:
            self.counts.foreign += 1
            return None
        self.counts.readings += 1
        # Looking up even in a cache takes time: nearly all reports are like the last one.
        if detection is not self._detection or layout is not self._layout:
            self._detection, self._layout, self._values_of = detection, layout, field_values(detection, layout).read
        ids, numbers, implausible = self._values_of(data)
        for name in implausible:
            self.counts.implausible += 1
            self.implausible[name] = self.implausible.get(name, 0) + 1
        return Reading(serial, moment * SECOND, ids, numbers, detection.kind, layout)


class LocalTimes:
    """`utc_seconds` for many times: remembers the day of the last one, in which the next one mostly is, too."""

    def __init__(self) -> None:
        self._zone: tzinfo | None = None
        self._start = self._end = datetime.min
        self._moment = 0  # The start of the day in seconds since the epoch

    def utc_seconds(self, clock: datetime, zone: tzinfo | None, near: int) -> int:
        """See there."""
        if zone is not self._zone or not self._start <= clock < self._end:
            start = clock.replace(hour=0, minute=0, second=0)
            end = start + _DAY
            moments = {*_moments(start, zone), *(moment - 86400 for moment in _moments(end, zone))}
            # No zone changes twice within a day (since 2000 not within six): the offset at both ends, if it is the same
            # with both folds, is that of the whole day.
            if len(moments) > 1:
                return utc_seconds(clock, zone, near)
            self._zone, self._start, self._end, self._moment = zone, start, end, moments.pop()
        return self._moment + (clock - self._start).seconds


def utc_seconds(clock: datetime, zone: tzinfo | None, near: int) -> int:
    """A local time as seconds since the epoch. `zone` None: the system's.

    Of a time that occurs twice, the occurrence nearest to `near`. A time that does not exist is moved on by the hour.
    """
    first, second = _moments(clock, zone)
    # For a time that does not exist, fold 0 is the one that is moved on (PEP 495).
    if first >= second or abs(near - first) <= abs(near - second):
        return first
    return second


def _moments(clock: datetime, zone: tzinfo | None) -> tuple[int, int]:
    """A local time with fold 0 and with fold 1, in seconds since the epoch."""
    again = clock.replace(fold=1)
    if zone is None:
        return int(clock.timestamp()), int(again.timestamp())
    first, second = zone.utcoffset(clock) or _NOTHING, zone.utcoffset(again) or _NOTHING
    return _seconds(clock - _EPOCH - first), _seconds(clock - _EPOCH - second)


def _seconds(time: timedelta) -> int:
    """Rounded down. Faster than a division by a `timedelta`."""
    return 86400 * time.days + time.seconds
