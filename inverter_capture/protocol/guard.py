"""Holds back implausible values: one wrong counter damages statistics permanently.

What it does: each guarded field of each inverter is checked separately, by its row in the register table of the
inverter's kind. A value that breaks a rule is left out of its reading; the other values stay. If the following readings
agree with the value, and not with the last accepted one, it is accepted: the inverter was reset, or the last accepted
value was wrong.

The rules:
- The first value of a field is accepted. Exceptions: a total of 0 or below the counter of the day, and 0 in the counter
  of a day, month or year with such a total, since inverters send 0 after their start. Values that were published before
  a restart of the service count as earlier values (`recall`).
- A total does not fall. The counter of a day, month or year falls only when its period ends. Net counters count both
  directions, and can fall at any time.
- No counter rises, and no net counter falls, faster than the field's limit, with a grace for clocks that are set.
- Other fields do not change by more than the limit between two readings; a state of charge by the limit more for each
  hour between them.
- A reading that the dongle sends late must fit between the readings before and after it.

The plan: for each field, `_Judge` remembers the accepted value, the last of the values held back since then, and how
many of these agree in a row. After `READINGS_CONFIRM` values that agree, the last one is accepted; zeros only after
some time, since intervals differ. Nearly all values are slightly above the last one and slightly later:
`_Inverter.judge` accepts these without a call of `_Judge`.

No I/O and no clock: times are those of the readings. They may jump, and readings may arrive late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from inverter_capture.protocol.counts import Counts
from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.inverter_kinds import INVERTERS_MAX, PLANS_MAX, Kind
from inverter_capture.protocol.readings import Reading
from inverter_capture.protocol.times import SECOND

READINGS_CONFIRM = 3
"""Number of consecutive readings that must agree to be accepted. The last of them is the first that is delivered."""

ZEROS_CONFIRM = 6
ZEROS_SECONDS = 20 * 60
"""The same for zeros, and the minimum time between the first and the last, unless fewer than READINGS_CONFIRM values
were accepted before. An inverter sends 0 for some minutes after its start. One that was reset counts on soon, and then
READINGS_CONFIRM applies."""

HELD_MAX = 24
HELD_SECONDS = 100 * 60
"""After this number of values held back in a row, and this time, the next one is accepted, to end a series."""

GRACE_SECONDS = 180  # Tolerance for times: counters and clock are not read at the same moment, and clocks are corrected

LATE_SECONDS = 30 * 60
"""Time from the start of a day, month or year during which its counter may still have the value of the last one."""

SILENCE_SECONDS = 15 * 60  # After this time without a reading, readings of the time in between may still arrive

LATENESS_MAX_SECONDS = 48 * 3600
"""Maximum age of a reading that is sent late, compared with the last one. With an older one, the clock was set back."""

READINGS_ALIKE = 8
"""Number of consecutive readings with the same fields before these are checked together: generating the function for
that takes as long as checking 30 readings, and forged values out of range can leave out any fields."""

_HOUR = 3600 * SECOND
_GRACE = timedelta(seconds=GRACE_SECONDS)
_SILENCE = SILENCE_SECONDS * SECOND
_PERIODS = ("day", "month", "year")
_UNKNOWN = -1  # Instead of a day, month or year: the value belongs to the current one or the one before


class Held(NamedTuple):
    """A value that was left out of its reading."""

    serial: str
    field: str  # The field id
    value: float
    kept: float  # The last accepted value
    why: str  # The reason, for the log


class GuardCounts(Counts):
    """Counters of values."""

    __slots__ = ("confirmed", "held")

    held: int  # Values held back
    confirmed: int  # Changes that were held back first, and then accepted


class Guard:
    """Checks readings in the order of their arrival. Never raises, whatever the values are."""

    def __init__(self) -> None:
        self.counts = GuardCounts()
        self._inverters: dict[str, _Inverter] = {}

    def check(self, clock: datetime, reading: Reading, *, learn: bool = True) -> tuple[Reading, list[Held]]:
        """The reading without the values held back, and those. `clock`: the inverter's local time, without a zone.

        The same reading again gets the same answer. Without `learn`, the reading does not change the accepted values.
        Of more than INVERTERS_MAX inverters, the longest silent one is forgotten.
        """
        inverter = self._inverters.get(reading.serial) or _Inverter()
        if inverter.reading == reading:
            return inverter.believed, inverter.held
        if learn:
            self._remember(reading.serial, inverter)
        else:
            inverter = inverter.copied()
        held = inverter.judge(clock, reading)
        believed = reading
        if held:
            self.counts.held += len(held)
            values = reading.values
            for doubtful in held:
                del values[doubtful.field]
            believed = reading.with_values(values)
        self.counts.confirmed += inverter.confirmed
        inverter.reading, inverter.believed, inverter.held = reading, believed, held
        return believed, held

    def recall(self, clock: datetime, reading: Reading) -> None:
        """Accept the values published before the service started, for fields without an accepted value.

        `clock` as in `check`.
        """
        known = self._inverters.get(reading.serial)
        if known is None and len(self._inverters) >= INVERTERS_MAX:
            return
        inverter = self._inverters.setdefault(reading.serial, known or _Inverter())
        inverter.recall(_Moment(clock, reading.time), reading)

    def _remember(self, serial: str, inverter: _Inverter) -> None:
        """Store as the newest."""
        self._inverters.pop(serial, None)
        if len(self._inverters) >= INVERTERS_MAX:
            del self._inverters[next(iter(self._inverters))]
        self._inverters[serial] = inverter


class _Moment:
    """The time of a reading: in UTC to measure time, and by the inverter's clock for the periods of counters."""

    __slots__ = ("_clock", "periods", "time")

    def __init__(self, clock: datetime, time: int) -> None:
        self._clock = clock
        self.time = time
        self.periods = _periods(clock)  # Numbers of the current day, month and year

    @property
    def day(self) -> date:
        """The day by the inverter's clock."""
        return self._clock.date()

    def coming(self, period: str) -> int:
        """The period a little later: counters may be reset shortly before the clock's midnight."""
        return _periods(self._clock + _GRACE)[period]

    def seconds(self, period: str) -> int:
        """Seconds since the start of the day, month or year."""
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
    belongs: int  # As in _Judge


class _Inverter:
    """The fields of an inverter, and its last reading with the result of the check."""

    __slots__ = ("alike", "believed", "confirmed", "fields", "held", "kind", "reading", "settled", "time")

    def __init__(self) -> None:
        self.kind: Kind | None = None
        self.fields: list[_Judge] = []
        self.time = 0
        self.reading: Reading | None = None
        self.believed = Reading.of("", 0, {})
        self.held: list[Held] = []
        self.confirmed = 0  # Number of changes that the last reading has confirmed
        self.alike = 0  # Number of consecutive readings, up to the last one, with the fields of the one before
        self.settled: _Settled | None = None

    def copied(self) -> _Inverter:
        """A copy with the same accepted values."""
        self._unsettle()
        other = copy(self)
        other.fields = [copy(judge) for judge in self.fields]
        return other

    def judge(self, clock: datetime, reading: Reading) -> list[Held]:
        """The values of a reading to hold back."""
        self.confirmed = 0
        time = reading.time
        steady = 0 < time - self.time <= _SILENCE
        self.time = time
        if steady and self.settled is not None and self.settled.accepts(clock, reading):
            return []
        self._unsettle()
        if reading.kind is not self.kind:
            self._become(reading.kind)
        self.alike = self.alike + 1 if self.reading is not None and reading.ids == self.reading.ids else 0
        moment = _Moment(clock, time)
        periods = moment.periods
        values = reading.values
        held = []
        for field in self.fields:
            value = values.get(field.name)
            if value is None:
                continue
            # Nearly all values are slightly later and slightly larger.
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
        if self.alike >= READINGS_ALIKE and not held:
            self.settled = _Settled.of(self.fields, moment, reading)
        return held

    def _unsettle(self) -> None:
        if self.settled is not None:
            self.settled.tell_fields()
            self.settled = None

    def recall(self, moment: _Moment, reading: Reading) -> None:
        """Accept the counters of an earlier reading, for fields without an accepted value."""
        if self.kind is None:
            self._become(reading.kind)
        values = reading.values
        for field in self.fields:
            value = values.get(field.name)
            if value is not None and field.period and not field.agreed:
                field.recall(value, moment)

    def _become(self, kind: Kind) -> None:
        """Check by the table of another kind, which was detected now. Fields that are the same in both tables stay."""
        judges = {judge.name: judge for judge in self.fields}
        before = {} if self.kind is None else self.kind.fields_by_id
        self.fields = [
            judges[field.id] if before.get(field.id) == field else _Judge(field)
            for field in kind.fields
            if field.limit is not None
        ]
        self.kind = kind


class _Settled:
    """Checks all fields together while nothing special happens, since that is faster than each for itself.

    It begins with a reading of which all values were accepted, and lasts for the day.
    """

    __slots__ = ("_allows", "_count", "_day", "_fields", "_ids", "_kind", "_numbers", "_time")

    @classmethod
    def of(cls, fields: list[_Judge], moment: _Moment, reading: Reading) -> _Settled | None:
        """Begin with this reading, if its values allow it."""
        ids = set(reading.ids)
        present = [field for field in fields if field.name in ids]
        for field in present:
            if field.time != moment.time or field.belongs != moment.periods[field.period]:
                return None
        return cls(present, moment, reading)

    def __init__(self, present: list[_Judge], moment: _Moment, reading: Reading) -> None:
        self._kind = reading.kind
        self._day = moment.day
        self._fields = present
        self._ids = reading.ids
        self._allows = _usual_changes(reading.kind, reading.ids)
        self._numbers = reading.numbers
        self._time = reading.time
        self._count = 0  # Readings accepted since then

    def accepts(self, clock: datetime, reading: Reading) -> bool:
        """Whether a reading of the same day has the same fields, and all values are slightly later and larger."""
        if clock.date() != self._day or reading.kind is not self._kind or reading.ids != self._ids:
            return False
        if not self._allows(reading.numbers, self._numbers):
            return False
        self._numbers = reading.numbers
        self._time = reading.time
        self._count += 1
        return True

    def tell_fields(self) -> None:
        """Each field checks its next value for itself."""
        numbers = dict(zip(self._ids, self._numbers, strict=True))
        for field in self._fields:
            field.value, field.time = numbers[field.name], self._time
            field.agreed += self._count


_Numbers = tuple[float, ...]


@lru_cache(PLANS_MAX)
def _usual_changes(kind: Kind, ids: tuple[str, ...]) -> Callable[[_Numbers, _Numbers], bool]:
    """A function that tells whether no value has changed by more than its field allows within no time.

    It is generated as those in field_values.py, for the values of these fields:

        def allows(now, before): return not (
            now[1] != before[1] and not 0 <= now[1] - before[1] <= 2.2
            or now[4] != before[4] and not -40 <= now[4] - before[4] <= 40
        )
    """
    changes = []
    for place, field in enumerate(map(kind.fields_by_id.get, ids)):
        if field is not None and field.limit is not None:
            judge, now, before = _Judge(field), f"now[{place}]", f"before[{place}]"
            changes.append(f"{now} != {before} and not {judge.lowest} <= {now} - {before} <= {judge.highest}")
    names: dict[str, Any] = {}
    exec(f"def allows(now, before): return not ({' or '.join(changes) or False})", names)
    allows: Callable[[_Numbers, _Numbers], bool] = names["allows"]
    return allows


class _Judge:
    """Checks the values of one field of one inverter."""

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
        """The id of the counter to compare a first value with: for a total, that of the day; for others, the total.
        Empty for a generator, whose counters may stay 0."""
        if field.unit == "kWh" and field.group != "Generator":
            self.beside = field.id.rpartition("_")[0] + ("_today" if field.period == "total" else "_total")
        self.limit = field.limit or 0
        # The change that is possible within no time by the clock, with rounding.
        grace = self.limit * GRACE_SECONDS / 3600 + 2 / field.divisor
        self.highest = grace if field.period else self.limit
        self.steady = bool(field.period) or field.quantity.device_class == "battery"
        """Whether the maximum change grows with the time between readings."""
        self.lowest = -self.highest if field.quantity.net or not field.period else 0
        self.value: float = 0
        self.time = 0
        self.belongs = _UNKNOWN  # The day, month or year of the value, or _UNKNOWN
        self.agreed = 0  # Number of values accepted in a row. 0: there is no accepted value yet.
        self.doubted = self.doubted_since = 0  # Number of values held back in a row, and the time of the first one
        self.rival: _Value | None = None
        self.rivals = self.rivals_since = 0
        """The last value held back, how many agree in a row up to it, and the time of the first of these."""
        self.before: _Value | None = None  # The last value before the gap that late readings fill
        self.overruled = False  # Whether the last value was accepted against the accepted value before

    def recall(self, value: float, moment: _Moment) -> None:
        """Accept a value of an earlier run."""
        self._believe(value, moment.time, self._first(value, moment), READINGS_CONFIRM)

    def judge(self, value: float, moment: _Moment, values: Mapping[str, float]) -> str:
        """The reason why the value is held back; empty when it is accepted. `values`: those of the whole reading."""
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
            # The reading was sent late, or the inverter's clock was set back while its counters went on.
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
        """Hold the value back, unless it confirms the values held back before."""
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
        # A counter above the maximum since the start of its period is never accepted.
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
        """The period of a value that follows another one; None when it cannot follow."""
        allowed = self.highest
        # A net counter hardly ever changes to exactly 0: only the grace applies.
        elapsed = moment.time - kept.time
        if value and self.steady and (elapsed > 0 or not self.period):
            allowed += self.limit * abs(elapsed) / _HOUR
        period, coming = moment.periods[self.period], moment.coming(self.period)
        if (-allowed if self.lowest else 0) <= value - kept.value <= allowed:
            return kept.belongs if kept.belongs in (period, coming) else self._first(value, moment)
        # The counter starts again: at midnight, or whenever the inverter notices a new day.
        if kept.belongs not in (period, coming) and self._possible(value, moment):
            return period
        if coming not in (period, kept.belongs) and abs(value) <= self.highest:
            return coming
        return None

    def _fits_earlier(self, value: float, moment: _Moment) -> bool:
        """Whether a late reading fits between the readings before and after it, as far as they are known."""
        late = self.time - moment.time
        if late > LATENESS_MAX_SECONDS * SECOND:
            return False
        allowed = self.highest + self.limit * late / _HOUR
        belongs = self._first(value, moment)
        near = (-allowed if self.lowest else 0) <= self.value - value <= allowed
        # It may belong to an earlier period than the accepted value.
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
        """The period of a value without another one to compare."""
        if self._young(moment) or not self._possible(value, moment):
            return _UNKNOWN
        return moment.periods[self.period]

    def _young(self, moment: _Moment) -> bool:
        """Whether the period has just begun."""
        return self.period in _PERIODS and moment.seconds(self.period) < LATE_SECONDS

    def _possible(self, value: float, moment: _Moment) -> bool:
        """Whether the value is possible within the time since the start of the period."""
        if self.period not in _PERIODS:
            return True
        counted = self.highest + self.limit * moment.seconds(self.period) / 3600
        return (-counted if self.lowest else 0) <= value <= counted
