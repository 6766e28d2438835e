"""Holds back values that cannot be true: one wrong counter spoils statistics for good.

What it does: each guarded field of each inverter is judged alone, by its row in the register table of the inverter's
kind. A value that breaks a rule is left out of its reading, and the rest of the reading stands. Once the readings that
follow agree with it, and not with what was believed before, it is true after all: the inverter was reset, or what was
believed was wrong.

The rules:
- The first value of a field is believed. But not a lifetime total of 0 or below the counter of the day, nor the 0 of a
  day, month or year beside such a total: inverters that start say 0. What was published before a restart of the service
  counts as earlier values (`recall`).
- A lifetime total does not fall. The counter of a day, month or year falls only when that is over. Net counters count
  in two directions, and can fall at any time.
- No counter rises, and no net counter falls, faster than the field's limit, with some grace for clocks that are set.
- What is no counter does not change by more than its limit from one reading to the next; a state of charge by as much
  more for each hour between them.
- A reading that comes late, since the dongle kept it, must fit between its neighbours.

The plan: `_Judge` remembers of a field the value that is believed, and of the values held back since then the last one
and how many in a row agree up to it. Values that agree `READINGS_CONFIRM` times become the believed ones, zeros only
after some time, however often the dongle reports. Nearly all values are a little more than the last, a little later:
`_Inverter.judge` passes these without asking the judge.

No I/O and no clock: time comes with the readings. It may jump, and readings may come late.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from datetime import datetime, timedelta
from typing import NamedTuple

from inverter_capture.protocol.counts import Counts
from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.inverter_kinds import INVERTERS_MAX, Kind
from inverter_capture.protocol.readings import Reading
from inverter_capture.protocol.times import SECOND

READINGS_CONFIRM = 3
"""That many readings that agree with each other are believed: the last of them is the first to be let through."""

ZEROS_CONFIRM = 6
ZEROS_SECONDS = 20 * 60
"""So many, for so long, when they say 0 and nothing or other things were believed as often as READINGS_CONFIRM. An
inverter that starts says 0 for some minutes; one that was reset soon counts on from there, and then READINGS_CONFIRM
will do."""

HELD_MAX = 24
HELD_SECONDS = 100 * 60
"""After so many values held back in a row, for so long, the next is believed: better than none for ever."""

GRACE_SECONDS = 180
"""Counters and clocks are not read at the same moment, and clocks are set by a little."""

LATE_SECONDS = 30 * 60
"""So long into a day, month or year its counter may still show the last one's value."""

SILENCE_SECONDS = 15 * 60
"""After so long without a reading, those of the time between may still come."""

LATENESS_MAX_SECONDS = 48 * 3600
"""A reading that is older than another by more was not sent late: the inverter's clock was put back."""

_HOUR = 3600 * SECOND
_GRACE = timedelta(seconds=GRACE_SECONDS)
_SILENCE = SILENCE_SECONDS * SECOND
_PERIODS = ("day", "month", "year")
_UNKNOWN = -1
"""No day, month or year: the value may belong to the present one or the one before."""


class Held(NamedTuple):
    """A value that was left out of its reading."""

    serial: str
    field: str
    """Its id."""
    value: float
    kept: float
    """The value that is believed instead."""
    why: str


class GuardCounts(Counts):
    """What became of doubtful values."""

    __slots__ = ("confirmed", "held")

    held: int
    """Values left out."""
    confirmed: int
    """Changes that were doubted at first, and then believed."""


class Guard:
    """Takes readings in the order in which they come, gives what is believed of them. Never raises on any values."""

    def __init__(self) -> None:
        self.counts = GuardCounts()
        self._inverters: dict[str, _Inverter] = {}

    def check(self, clock: datetime, reading: Reading, *, learn: bool = True) -> tuple[Reading, list[Held]]:
        """The reading without the values held back, and those. `clock` is the inverter's wall clock, without a zone.

        The same reading again gets the same answer. Without `learn` the reading does not change what is believed. Of
        more than INVERTERS_MAX inverters the one that has been silent for longest is forgotten.
        """
        inverter = self._inverters.get(reading.serial) or _Inverter()
        if inverter.reading == reading:
            return inverter.believed, inverter.held
        if learn:
            self._remember(reading.serial, inverter)
        else:
            inverter = inverter.copied()
        held = inverter.judge(_Moment(clock, reading.time), reading)
        believed = reading
        if held:
            self.counts.held += len(held)
            values = reading.values.copy()
            for doubtful in held:
                del values[doubtful.field]
            believed = reading._replace(values=values)
        self.counts.confirmed += inverter.confirmed
        inverter.reading, inverter.believed, inverter.held = reading, believed, held
        return believed, held

    def recall(self, clock: datetime, reading: Reading) -> None:
        """Believe what was published of an inverter before the service started, where nothing else is believed yet.

        `clock` as in `check`.
        """
        known = self._inverters.get(reading.serial)
        if known is None and len(self._inverters) >= INVERTERS_MAX:
            return
        inverter = self._inverters.setdefault(reading.serial, known or _Inverter())
        inverter.recall(_Moment(clock, reading.time), reading)

    def _remember(self, serial: str, inverter: _Inverter) -> None:
        """As the latest."""
        self._inverters.pop(serial, None)
        if len(self._inverters) >= INVERTERS_MAX:
            del self._inverters[next(iter(self._inverters))]
        self._inverters[serial] = inverter


class _Moment:
    """When a reading was made: by UTC for what can have been counted since, by the inverter's clock for its periods."""

    __slots__ = ("_clock", "periods", "time")

    def __init__(self, clock: datetime, time: int) -> None:
        self._clock = clock
        self.time = time
        self.periods = _periods(clock)
        """A number for the day, month and year that it is."""

    def coming(self, period: str) -> int:
        """The same for a little later: counters may be reset just before the clock's midnight."""
        return _periods(self._clock + _GRACE)[period]

    def seconds(self, period: str) -> int:
        """Since the day, month or year has begun."""
        clock = self._clock
        if period == "day":
            days = 0
        elif period == "month":
            days = clock.day - 1
        else:
            days = clock.timetuple().tm_yday - 1
        return 86400 * days + 3600 * clock.hour + 60 * clock.minute + clock.second


def _periods(clock: datetime) -> dict[str, int]:
    months = 12 * clock.year + clock.month
    return {"": 0, "total": 0, "day": clock.toordinal(), "month": months, "year": clock.year}


class _Value(NamedTuple):
    """A value of one field."""

    value: float
    time: int
    belongs: int
    """As _Judge has it."""


class _Inverter:
    """One inverter's fields, and its last reading with what was said of it."""

    __slots__ = ("believed", "confirmed", "fields", "held", "kind", "reading", "time")

    def __init__(self) -> None:
        self.kind: Kind | None = None
        self.fields: list[_Judge] = []
        self.time = 0
        self.reading: Reading | None = None
        self.believed = Reading("", 0, {})
        self.held: list[Held] = []
        self.confirmed = 0
        """Changes that the last reading has confirmed."""

    def copied(self) -> _Inverter:
        """Another one that believes the same."""
        other = copy(self)
        other.fields = [copy(judge) for judge in self.fields]
        return other

    def judge(self, moment: _Moment, reading: Reading) -> list[Held]:
        """What of a reading is not to be believed."""
        if reading.kind is not self.kind:
            self._become(reading.kind)
        time, values, periods = moment.time, reading.values, moment.periods
        steady = 0 < time - self.time <= _SILENCE
        self.time = time
        self.confirmed = 0
        held = []
        for field in self.fields:
            value = values.get(field.name)
            if value is None:
                continue
            # What nearly all values are: a little later, a little more.
            if (
                steady
                and field.lowest <= value - field.value <= field.highest
                and field.time < time
                and field.belongs == periods[field.period]
                and not field.doubted
            ):
                field.value = value
                field.time = time
                field.agreed += 1
                continue
            why = field.judge(value, moment, values)
            if why:
                held.append(Held(reading.serial, field.name, value, field.value, why))
            elif field.overruled:
                self.confirmed += 1
        return held

    def recall(self, moment: _Moment, reading: Reading) -> None:
        """Believe the counters of an earlier reading, where nothing is believed yet."""
        if self.kind is None:
            self._become(reading.kind)
        for field in self.fields:
            value = reading.values.get(field.name)
            if value is not None and field.period and not field.agreed:
                field.recall(value, moment)

    def _become(self, kind: Kind) -> None:
        """Judge by the table of another kind, since more is known of the inverter. What was the same stays."""
        judges = {judge.name: judge for judge in self.fields}
        before = {} if self.kind is None else self.kind.fields_by_id
        self.fields = [
            judges[field.id] if before.get(field.id) == field else _Judge(field)
            for field in kind.fields
            if field.limit is not None
        ]
        self.kind = kind


class _Judge:
    """Judges the values of one field of one inverter."""

    __slots__ = (
        "agreed",
        "before",
        "belongs",
        "beside",
        "doubted",
        "doubted_since",
        "highest",
        "limit",
        "lowest",
        "name",
        "overruled",
        "period",
        "rival",
        "rivals",
        "rivals_since",
        "steady",
        "time",
        "value",
    )

    def __init__(self, field: Field) -> None:
        self.name = field.id
        self.period = field.period
        self.beside = ""
        """The id of the counter that tells whether a first value can be right: of a lifetime total, the day's; of
        others, the total. Empty for a generator's, which can be 0 for ever."""
        if field.unit == "kWh" and field.group != "Generator":
            self.beside = field.id.rpartition("_")[0] + ("_today" if field.period == "total" else "_total")
        self.limit = field.limit or 0
        # What can change in no time at all, by the clock; the digits are cut off, too.
        grace = self.limit * GRACE_SECONDS / 3600 + 2 / field.divisor
        self.highest = grace if field.period else self.limit
        self.steady = bool(field.period) or field.device_class == "battery"
        """Whether it may change by more, the more time has passed."""
        self.lowest = -self.highest if field.net or not field.period else 0
        self.value: float = 0
        self.time = 0
        self.belongs = _UNKNOWN
        """The day, month or year in which the value was counted; it can still be the last one's."""
        self.agreed = 0
        """Values that came and were in order with the believed one, and itself. 0: there was none yet."""
        self.doubted = self.doubted_since = 0
        """Values in a row that were held back, and the time of the first."""
        self.rival: _Value | None = None
        self.rivals = self.rivals_since = 0
        """The last doubted value, how many in a row agree up to it, and the time of the first of them."""
        self.before: _Value | None = None
        """The last value of the time that readings sent late fill."""
        self.overruled = False
        """Whether the last value was believed against the one before."""

    def recall(self, value: float, moment: _Moment) -> None:
        """Take over what was believed before."""
        self._believe(value, moment.time, self._first(value, moment), READINGS_CONFIRM)

    def judge(self, value: float, moment: _Moment, values: Mapping[str, float]) -> str:
        """Why the value is held back; empty when it is believed. `values` are all of the reading's."""
        self.overruled = False
        time = moment.time
        if not self.agreed:
            if self.beside and not self._can_be_first(value, values):
                return self._doubt(value, moment)
            self._believe(value, time, self._first(value, moment), 1)
            return ""
        kept = _Value(self.value, self.time, self.belongs)
        belongs = None
        if time >= kept.time or not self.period:
            belongs = self._next(kept, value, moment)
            if time - kept.time > _SILENCE:
                self.before = kept
        else:
            # Kept by the dongle and sent late; or the inverter's clock was put back, and it has counted on.
            counted_on = self.lowest <= value - kept.value <= self.highest
            if not (counted_on and self.lowest) and self._fits_earlier(value, moment):
                return ""
            if counted_on:
                belongs = self._next(kept, value, moment)
        if belongs is None:
            return self._doubt(value, moment)
        self._believe(value, time, belongs, self.agreed + 1)
        return ""

    def _can_be_first(self, value: float, values: Mapping[str, float]) -> bool:
        if self.period != "total":
            return value != 0 or values.get(self.beside) != 0
        return value != 0 and (bool(self.lowest) or value >= values.get(self.beside, 0))

    def _believe(self, value: float, time: int, belongs: int, agreed: int) -> None:
        self.value, self.time, self.belongs, self.agreed = value, time, belongs, agreed
        self.rival = None
        self.rivals = self.doubted = 0

    def _doubt(self, value: float, moment: _Moment) -> str:
        """Hold the value back, unless it is the one that confirms."""
        belongs = None if self.rival is None else self._next(self.rival, value, moment)
        if belongs is None:
            belongs = self._first(value, moment)
            self.rivals = 0
            self.rivals_since = moment.time
        self.rival = _Value(value, moment.time, belongs)
        self.rivals += 1
        if not self.doubted:
            self.doubted_since = moment.time
        self.doubted += 1
        is_confirmed = self.rivals >= READINGS_CONFIRM
        if value == 0 and not 0 < self.agreed < READINGS_CONFIRM:
            is_confirmed = self.rivals >= ZEROS_CONFIRM and moment.time - self.rivals_since >= ZEROS_SECONDS * SECOND
        is_given_up = self.doubted > HELD_MAX and moment.time - self.doubted_since >= HELD_SECONDS * SECOND
        # More than can have been counted since the period has begun is never right.
        if (is_confirmed or is_given_up) and self._possible(value, moment):
            self._believe(value, moment.time, belongs, READINGS_CONFIRM)
            self.overruled = True
            return ""
        if not self.agreed:
            return "the first value cannot be so low"
        if not self.period:
            return "it changes too much at once"
        return "it falls" if value < self.value and not self.lowest else "it changes faster than it can"

    def _next(self, kept: _Value, value: float, moment: _Moment) -> int | None:
        """The period to which a value belongs that follows another; None when it cannot follow it."""
        allowed = self.highest
        # A net counter comes to exactly 0 hardly ever, in no more time than is granted to all.
        elapsed = moment.time - kept.time
        if value and self.steady and (elapsed > 0 or not self.period):
            allowed += self.limit * abs(elapsed) / _HOUR
        period, coming = moment.periods[self.period], moment.coming(self.period)
        if (-allowed if self.lowest else 0) <= value - kept.value <= allowed:
            return kept.belongs if kept.belongs in (period, coming) else self._first(value, moment)
        # It begins anew: at midnight, or at whatever hour the inverter finds that its day has changed.
        if kept.belongs not in (period, coming) and self._possible(value, moment):
            return period
        if coming not in (period, kept.belongs) and abs(value) <= self.highest:
            return coming
        return None

    def _fits_earlier(self, value: float, moment: _Moment) -> bool:
        """Whether a reading that comes late fits between its neighbours, as far as they are known."""
        late = self.time - moment.time
        if late > LATENESS_MAX_SECONDS * SECOND:
            return False
        allowed = self.highest + self.limit * late / _HOUR
        belongs = self._first(value, moment)
        near = (-allowed if self.lowest else 0) <= self.value - value <= allowed
        # It can be of an earlier period than the value that is believed.
        if not near and (belongs == self.belongs or (belongs == _UNKNOWN and not self._young(moment))):
            return False
        if self.before is not None and moment.time >= self.before.time:
            following = self._next(self.before, value, moment)
            if following is None:
                return False
            belongs = following
        self.before = _Value(value, moment.time, belongs)
        return True

    def _first(self, value: float, moment: _Moment) -> int:
        """The period to which a value belongs of which nothing else is known."""
        if self._young(moment) or not self._possible(value, moment):
            return _UNKNOWN
        return moment.periods[self.period]

    def _young(self, moment: _Moment) -> bool:
        """Whether the period has only begun."""
        return self.period in _PERIODS and moment.seconds(self.period) < LATE_SECONDS

    def _possible(self, value: float, moment: _Moment) -> bool:
        """Whether so much can have been counted since the period has begun."""
        if self.period not in _PERIODS:
            return True
        counted = self.highest + self.limit * moment.seconds(self.period) / 3600
        return (-counted if self.lowest else 0) <= value <= counted
