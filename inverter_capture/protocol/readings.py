"""Reports to readings: numbers with units, in UTC; what is not plausible or not certain is left out.

A report holds the inverter's local wall clock, so the time zone decides what moment it means.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from math import inf
from operator import itemgetter, truediv
from struct import Struct
from typing import NamedTuple

from inverter_capture.protocol.counts import Counts
from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.inverter_kinds import PLANS_MAX, SINGLE_PHASE, THREE_PHASE, Kind
from inverter_capture.protocol.kind_detection import KindDetector, Told
from inverter_capture.protocol.layouts import LAYOUTS, REGISTERS_OFFSET, WORD_BYTES, Layout
from inverter_capture.protocol.quantities import Quantity
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
        values = self._values(report.data, _plan(told, layout))
        return Reading(report.serial, moment * SECOND, values, told.kind, layout)

    def _values(self, data: bytes, plan: _Plan) -> dict[str, int | float]:
        words = [*plan.words.unpack_from(data, REGISTERS_OFFSET), 0, 1]
        for place, mask, shift in plan.masks:
            words.append((words[place] & mask) >> shift)
        for first, second, factor in plan.sums:
            words.append(words[first] + words[second] * factor)
        for first, second in plan.rests:
            words.append(max(0, words[first] - words[second]))
        # The copy has all keys in the table's order, and need not grow.
        values = plan.blank.copy()
        values.update(zip(plan.whole_names, plan.whole(words), strict=True))
        values.update(zip(plan.scaled_names, map(truediv, plan.scaled(words), plan.divisors), strict=True))
        if not plan.plausible(words):
            self._leave_out_implausible(values, plan)
        for names, places in plan.sensors:
            if not any(words[place] for place in places):
                for name in names:
                    values.pop(name, None)
        return values

    def _leave_out_implausible(self, values: dict[str, int | float], plan: _Plan) -> None:
        for name, low, high, absent in plan.bounds:
            value = values[name]
            if not low <= value <= high:
                del values[name]
                if value != absent:
                    self.counts.implausible += 1
                    self.implausible[name] = self.implausible.get(name, 0) + 1
        for name in plan.wide:
            if _ambiguous(values[name]):
                del values[name]
        for name, parts in plan.derived:
            if not values.keys() >= parts:
                del values[name]


def _ambiguous(value: float) -> bool:
    """Whether the high word of a power may be missing, so that what looks large is negative."""
    return 0x8000 <= value <= 0xFFFF


class _Plan:
    """How to get every field out of the reports of one layout with few steps: a router's processor is slow.

    Steps work on the list of the report's 16-bit words, followed by 0 and 1, followed by the results of the steps
    before.
    """

    def __init__(self, told: Told, layout: Layout) -> None:
        self._layout = layout
        self._high_words = told.high_words
        self._zero = (layout.length - REGISTERS_OFFSET) // WORD_BYTES
        self._signed: set[int] = set()
        self.masks: list[tuple[int, int, int]] = []
        """Where a word stands, the bits to take of it, and by how many bits to shift them down."""
        self.sums: list[tuple[int, int, int]] = []
        """Where two summands stand, and a factor for the second: joined words, sums of fields, biases, factors."""
        self.rests: list[tuple[int, int]] = []
        """Where two numbers stand, of which what the first is more than the second is wanted."""
        self.wide: list[str] = []
        """Fields with a high word that older firmware may leave 0."""
        self.derived: list[tuple[str, set[str]]] = []
        """Fields that follow from others, and those that they cannot do without."""
        self.sensors: list[tuple[list[str], list[int]]] = []
        """Fields that need a sensor or a BMS, and where numbers stand that are all 0 when there is none."""
        fields = _certain_fields(told, layout)
        places = self._places(fields)
        whole = [field for field in fields if field.divisor == 1]
        scaled = [field for field in fields if field.divisor != 1]
        formats = ("h" if word in self._signed else "H" for word in range(self._zero))
        self.words = Struct(">" + "".join(formats))
        self.whole_names = [field.id for field in whole]
        self.whole = _all_of([places[field.id] for field in whole])
        self.scaled_names = [field.id for field in scaled]
        self.scaled = _all_of([places[field.id] for field in scaled])
        self.divisors = [field.divisor for field in scaled]
        self.blank: dict[str, int | float] = dict.fromkeys((field.id for field in fields), 0)
        self.bounds: list[tuple[str, float, float, float | None]] = []
        """Field id, minimum, maximum, and the value that stands for a sensor that is not fitted."""
        maxima: dict[int, list[int]] = {}
        minima: dict[int, list[int]] = {}
        for field in fields:
            low = -inf if field.minimum is None else field.minimum
            high = inf if field.maximum is None else field.maximum
            if (low, high) != (-inf, inf):
                self.bounds.append((field.id, low, high, _absent(field.quantity)))
            if field.maximum is not None:
                maxima.setdefault(field.maximum * field.divisor, []).append(places[field.id])
            if field.minimum is not None and (field.signed or field.minimum > min(0, field.bias)):
                minima.setdefault(field.minimum * field.divisor, []).append(places[field.id])
        self._maxima = [(_all_of(group), limit) for limit, group in maxima.items()]
        self._minima = [(_all_of(group), limit) for limit, group in minima.items()]

    def plausible(self, words: list[int]) -> bool:
        """Whether all fields are within their bounds. Many have the same, so that the extremes of a few groups tell."""
        for group, limit in self._maxima:
            if max(group(words)) > limit:
                return False
        return not self.wide and all(min(group(words)) >= limit for group, limit in self._minima)

    def _places(self, fields: list[Field]) -> dict[str, int]:
        """Where each field's number will stand, not yet divided; adds the steps that put it there."""
        words = {
            field.id: [
                (self._layout.register_offset(register) - REGISTERS_OFFSET) // WORD_BYTES
                for register in field.registers
                if not field.quantity.wide or register in self._layout
            ]
            for field in fields
        }
        places: dict[str, int] = {}
        for field in fields:
            mask = field.quantity.mask
            if mask:
                # A mask takes one word.
                self.masks.append((words[field.id][0], mask, (mask & -mask).bit_length() - 1))
                places[field.id] = self._zero + 1 + len(self.masks)
        for field in fields:
            if field.derived is None:
                places[field.id] = self._joined(field, words[field.id], places.get(field.id))
            else:
                self.derived.append((field.id, set(field.derived.of)))
                if not field.derived.rest:
                    names = (*field.derived.of, *field.derived.also)
                    first, *others = (places[name] for name in names if name in places)
                    for other in others:
                        first = self._add(first, other, 1)
                    places[field.id] = first
        for field in fields:
            if field.derived is not None and field.derived.rest:
                self.rests.append((places[field.derived.of[0]], places[field.derived.of[1]]))
                self.sensors.append(
                    ([field.id], [places[name] for name in field.derived.unless_zero if name in places])
                )
                places[field.id] = self._zero + 1 + len(self.masks) + len(self.sums) + len(self.rests)
        for group in ("BMS", "BMS 2"):
            names = [field.id for field in fields if field.group == group]
            telling = [places[name] for name in names if name.endswith(("_voltage", "_soc"))]
            if telling:
                self.sensors.append((names, telling))
        return places

    def _joined(self, field: Field, words: list[int], masked: int | None) -> int:
        if masked is not None:
            return masked
        if field.signed:
            # The sign is in the highest word, which stands last.
            self._signed.add(words[-1])
        if field.quantity.wide and len(words) > 1 and not self._high_words:
            self.wide.append(field.id)
        place = words[0]
        for count, word in enumerate(words[1:], 1):
            place = self._add(place, word, 1 << _WORD_BITS * count)
        if field.factor != 1:
            place = self._add(self._zero, place, field.factor)
        if field.bias:
            place = self._add(place, self._zero + 1, field.bias * field.divisor)
        return place

    def _add(self, first: int, second: int, factor: int) -> int:
        self.sums.append((first, second, factor))
        return self._zero + 1 + len(self.masks) + len(self.sums)


def _certain_fields(told: Told, layout: Layout) -> list[Field]:
    """The fields that a layout holds and whose scale is known, with that scale."""
    factors = dict(told.factors)
    found: dict[str, Field] = {}
    for field in told.kind.fields_in(layout):
        factor = factors.get(field.quantity.doubt, 1)
        if factor is None or (told.common_only and field.id not in THREE_PHASE.fields_by_id):
            continue
        if field.derived is not None and not all(name in found for name in field.derived.of):
            continue
        found[field.id] = field if factor == 1 else field._replace(quantity=field.quantity.times(factor))
    return list(found.values())


def _absent(quantity: Quantity) -> float | None:
    """The value that the raw number for a missing sensor comes to."""
    if quantity.absent is None:
        return None
    return quantity.absent * quantity.factor / quantity.divisor + quantity.bias


def _all_of(places: list[int]) -> Callable[[list[int]], tuple[int, ...]]:
    """Gives the numbers at these places."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda words: tuple(words[place] for place in places)


@lru_cache(PLANS_MAX)
def _plan(told: Told, layout: Layout) -> _Plan:
    return _Plan(told, layout)


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
