"""Frames to readings: numbers with units, in UTC; what is not plausible is left out.

A frame holds the inverter's local wall clock, so the time zone decides what moment it means.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from functools import cache
from math import inf
from operator import itemgetter, truediv
from struct import Struct
from typing import NamedTuple

from inverter_capture.protocol.counts import Counts
from inverter_capture.protocol.layouts import REGISTERS_OFFSET, WORD_BYTES, Layout
from inverter_capture.protocol.registers import FIELDS, Field
from inverter_capture.protocol.reports import Report
from inverter_capture.protocol.times import SECOND

AHEAD_SECONDS_MAX = 24 * 3600
"""A reading of a live capture that lies further in the future than this is not believed."""

CLOCK_SET_AFTER = 1704067200
"""2024-01-01. A router without a battery starts in the past; before this its clock says nothing about a reading's."""

_ONE_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1)
_WORD_BITS = 16


class Reading(NamedTuple):
    """What an inverter measured at one moment."""

    serial: str
    time: int
    """Nanoseconds since the epoch, UTC."""
    values: dict[str, int | float]
    """By field id, in the order of the register table. A value that is absent has no key."""


class ReadingCounts(Counts):
    """What became of the frames and their values."""

    __slots__ = ("ahead", "implausible", "readings")

    readings: int
    ahead: int
    """Frames of a live capture that claim to be from the future."""
    implausible: int
    """Values outside their range."""


class ReportReader:
    """Takes reports, gives readings."""

    def __init__(self, zone: tzinfo | None = None, *, live: bool = False) -> None:
        """`zone` is the inverter's time zone, None the system's. `live`: the capture's clock is now's."""
        self.counts = ReadingCounts()
        self.implausible: dict[str, int] = {}
        """How often each field, by id, was outside its range."""
        self._zone = zone
        self._live = live

    def read(self, report: Report, captured: int) -> Reading | None:
        """The reading in a frame that was captured at a time (ns since the epoch); None when it is not believed."""
        now = captured // SECOND
        moment = utc_seconds(report.clock, self._zone, now)
        if self._live and moment - now > AHEAD_SECONDS_MAX and now > CLOCK_SET_AFTER:
            self.counts.ahead += 1
            return None
        self.counts.readings += 1
        assert report.layout is not None
        return Reading(report.serial, moment * SECOND, self._values(report.data, report.layout))

    def _values(self, data: bytes, layout: Layout) -> dict[str, int | float]:
        plan = _plan(layout)
        words = [*plan.words.unpack_from(data, REGISTERS_OFFSET), 1]
        for first, second, factor in plan.sums:
            words.append(words[first] + words[second] * factor)
        # The copy has all keys in the table's order, and need not grow.
        values = plan.blank.copy()
        values.update(zip(plan.whole_names, plan.whole(words), strict=True))
        values.update(zip(plan.scaled_names, map(truediv, plan.scaled(words), plan.divisors), strict=True))
        if not plan.plausible(words):
            self._leave_out_implausible(values, plan)
        return values

    def _leave_out_implausible(self, values: dict[str, int | float], plan: _Plan) -> None:
        for name, low, high, absent in plan.bounds:
            value = values[name]
            if not low <= value <= high:
                del values[name]
                if value != absent:
                    self.counts.implausible += 1
                    self.implausible[name] = self.implausible.get(name, 0) + 1


class _Plan:
    """How to get every field out of a frame of one length with few steps: a router's processor is slow.

    Steps work on the list of the frame's 16-bit words, followed by a 1, followed by the results of the steps before.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._count = (layout.length - REGISTERS_OFFSET) // WORD_BYTES
        self._signed: set[int] = set()
        self.sums: list[tuple[int, int, int]] = []
        """Where two summands stand, and a factor for the second: joined words, sums of fields, biases."""
        fields = [field for field in FIELDS if all(register in layout for register in field.registers)]
        places = {field.id: self._place(field) for field in fields}
        whole = [field for field in fields if field.divisor == 1]
        scaled = [field for field in fields if field.divisor != 1]
        formats = ("h" if word in self._signed else "H" for word in range(self._count))
        self.words = Struct(">" + "".join(formats))
        self.whole_names = [field.id for field in whole]
        self.whole = itemgetter(*(places[field.id] for field in whole))
        self.scaled_names = [field.id for field in scaled]
        self.scaled = itemgetter(*(places[field.id] for field in scaled))
        self.divisors = [field.divisor for field in scaled]
        self.blank: dict[str, int | float] = dict.fromkeys(places, 0)
        self.bounds: list[tuple[str, float, float, float | None]] = []
        """Field id, minimum, maximum, and the value that stands for a sensor that is not fitted."""
        maxima: dict[int, list[int]] = {}
        minima: dict[int, list[int]] = {}
        for field in fields:
            low = -inf if field.minimum is None else field.minimum
            high = inf if field.maximum is None else field.maximum
            if (low, high) != (-inf, inf):
                self.bounds.append((field.id, low, high, field.bias if field.absent_when_zero else None))
            if field.maximum is not None:
                maxima.setdefault(field.maximum * field.divisor, []).append(places[field.id])
            if field.minimum is not None and (field.signed or field.bias < field.minimum):
                minima.setdefault(field.minimum * field.divisor, []).append(places[field.id])
        self._maxima = [(_all_of(group), limit) for limit, group in maxima.items()]
        self._minima = [(_all_of(group), limit) for limit, group in minima.items()]

    def plausible(self, words: list[int]) -> bool:
        """Whether all fields are within their bounds. Many have the same, so that the extremes of a few groups tell."""
        for group, limit in self._maxima:
            if max(group(words)) > limit:
                return False
        return all(min(group(words)) >= limit for group, limit in self._minima)

    def _place(self, field: Field) -> int:
        """Where the field's number will stand, not yet divided; adds the steps that put it there."""
        one = self._count
        words = [
            (self._layout.register_offset(register) - REGISTERS_OFFSET) // WORD_BYTES for register in field.registers
        ]
        if field.signed:
            # The sign is in the highest word, which stands last.
            self._signed.add(words[-1])
        place = words[0]
        for count, word in enumerate(words[1:], 1):
            place = self._add(place, word, 1 if field.summed else 1 << _WORD_BITS * count)
        if field.bias:
            place = self._add(place, one, field.bias * field.divisor)
        return place

    def _add(self, first: int, second: int, factor: int) -> int:
        self.sums.append((first, second, factor))
        return self._count + len(self.sums)


def _all_of(places: list[int]) -> Callable[[list[int]], tuple[int, ...]]:
    """Gives the numbers at these places, as a tuple also where there is but one."""
    return itemgetter(*places, places[0])


@cache
def _plan(layout: Layout) -> _Plan:
    return _Plan(layout)


def utc_seconds(clock: datetime, zone: tzinfo | None, near: int) -> int:
    """The moment a wall clock shows, in seconds since the epoch. `zone` None is the system's.

    A time that occurs twice means the occurrence nearest to `near`; one that does not exist is moved on by the hour.
    """
    again = clock.replace(fold=1)
    if zone is None:
        first, second = int(clock.timestamp()), int(again.timestamp())
    else:
        wall = (clock - _EPOCH) // _ONE_SECOND
        first, second = wall - _offset(zone, clock), wall - _offset(zone, again)
    # Where the clock is put forward, the first reading of the missing hour (PEP 495) is the one moved on.
    if first >= second or abs(near - first) <= abs(near - second):
        return first
    return second


def _offset(zone: tzinfo, clock: datetime) -> int:
    """Seconds ahead of UTC."""
    offset = zone.utcoffset(clock)
    return 0 if offset is None else offset // _ONE_SECOND
