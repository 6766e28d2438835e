"""The guard: true houses pass unchanged, glitches are held back alone, what was doubted wrongly is soon believed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.guard import (
    GRACE_SECONDS,
    HELD_MAX,
    LATE_SECONDS,
    READINGS_ALIKE,
    READINGS_CONFIRM,
    ZEROS_CONFIRM,
    ZEROS_SECONDS,
    Guard,
    Held,
    _Settled,
    _usual_changes,
)
from inverter_capture.protocol.inverter_kinds import (
    HIGH_VOLTAGE,
    INVERTERS_MAX,
    KINDS,
    LOW_VOLTAGE,
    SINGLE_PHASE,
    THREE_PHASE,
    Kind,
)
from inverter_capture.protocol.readings import Reading
from inverter_capture.protocol.registers import FIELDS
from tests.dongle.day import expected_day
from tests.dongle.house import SOUTH_AFRICA, House
from tests.dongle.profiles import LARGE, SMALL, Profile
from tests.strategies import seeds
from tests.wire import SECOND

SERIAL = "1235687108"
BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2024, 6, 12, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
INTERVAL = 5 * MINUTE
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TOTALS = [field for field in FIELDS if field.period == "total"]
DAYS = [field for field in FIELDS if field.period == "day"]
COUNTERS = [field for field in FIELDS if field.period]
ENERGIES = [field for field in COUNTERS if field.unit == "kWh"]
MEASURED = [field for field in FIELDS if field.limit is not None and not field.period]
FIRST_NOT_ZERO = [field for field in TOTALS if field.group != "Generator"]
RISING = [field for field in COUNTERS if not field.quantity.net]
GUARDED = [field for field in FIELDS if field.limit is not None]


@pytest.fixture(scope="module", autouse=True)
def soon_checked_together() -> Iterator[None]:
    """Fields are checked together after a few readings already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inverter_capture.protocol.guard.READINGS_ALIKE", 0)
        yield


class Moment(NamedTuple):
    """One call of the guard."""

    clock: datetime
    reading: Reading


def moment(time: datetime, values: dict[str, int | float], zone: tzinfo = BERLIN, serial: str = SERIAL) -> Moment:
    """A reading that an inverter in this zone made at an aware time."""
    nanoseconds = (time - EPOCH) // timedelta(seconds=1) * SECOND
    return Moment(time.astimezone(zone).replace(tzinfo=None), Reading.of(serial, nanoseconds, values))


def series(field: str, values: Iterable[float], start: datetime = NOON, every: timedelta = INTERVAL) -> list[Moment]:
    """One field's values, every five minutes."""
    return [moment(start + number * every, {field: value}) for number, value in enumerate(values)]


def verdicts(moments: Iterable[Moment], guard: Guard | None = None) -> list[bool]:
    """Whether all of each reading is believed."""
    guard = guard or Guard()
    return [not guard.check(*each)[1] for each in moments]


def ids(field: Field) -> str:
    return field.id


def limit_of(field: Field) -> int:
    assert field.limit is not None
    return field.limit


def countable(field: Field, seconds: float) -> float:
    """The most that a counter can rise in a time, more than generously."""
    return limit_of(field) * (seconds + GRACE_SECONDS) / 3600 + 2 / field.divisor


# --- true readings --------------------------------------------------------------------------------------------------


@cache
def house_readings(profile: Profile, start: datetime, days: int) -> tuple[Moment, ...]:
    house = House(profile, start, 3, BERLIN)
    times = [start + number * INTERVAL + timedelta(seconds=number % 14) for number in range(days * 288)]
    return tuple(moment(time, house.at(time), serial=profile.serial) for time in times)


SPANS = {
    # Clocks go back on the 27th, a month ends.
    "autumn": (datetime(2024, 10, 25, 9, tzinfo=UTC), 9),
    # Clocks go forward on the 30th, a month ends.
    "spring": (datetime(2025, 3, 28, 9, tzinfo=UTC), 6),
    "new year": (datetime(2024, 12, 29, 9, tzinfo=UTC), 5),
}


@pytest.mark.parametrize("span", SPANS)
def test_two_houses_pass_unchanged(span: str) -> None:
    guard = Guard()
    start, days = SPANS[span]
    for readings in zip(house_readings(SMALL, start, days), house_readings(LARGE, start, days), strict=True):
        for clock, reading in readings:
            believed, held = guard.check(clock, reading)
            assert believed is reading
            assert held == []
    assert guard.counts.held == guard.counts.confirmed == 0


def test_the_simulated_day_passes_unchanged() -> None:
    guard = Guard()
    for each in expected_day():
        time = datetime.fromisoformat(each["time"])
        clock, reading = moment(time, each["values"], SOUTH_AFRICA, each["serial"])
        assert guard.check(clock, reading) == (reading, [])


@pytest.mark.parametrize("every", [2, 37, 288])
def test_a_house_seldom_heard_passes_unchanged(every: int) -> None:
    assert all(verdicts(house_readings(LARGE, *SPANS["autumn"])[::every]))


class Meter:
    """All counters of an imaginary inverter, which resets them at its own midnight, early or late by its clock."""

    def __init__(self, start: datetime, zone: tzinfo, late: timedelta, first: dict[str, float]) -> None:
        self.now = start
        self._zone = zone
        self._late = late
        self._counted = dict(first)

    def reading(self, seconds: float, power: dict[str, float]) -> Moment:
        """After so many seconds with this power of each counter, in thousands of its unit."""
        before = self._wall()
        self.now += timedelta(seconds=seconds)
        after = self._wall()
        for field in COUNTERS:
            begun = _begin(field.period, after)
            share = 1.0
            if begun > before:
                self._counted[field.id] = 0
                share = (after - begun) / max(after - before, timedelta(seconds=1))
            self._counted[field.id] += power[field.id] * min(share, 1) * seconds / 3600
        values = {field.id: int(self._counted[field.id] * 10) / 10 for field in COUNTERS}
        for field in COUNTERS:
            # A net counter that meets 0 by chance while much flows is held back for once.
            if field.quantity.net and not values[field.id] and self._counted[field.id]:
                values[field.id] = 0.1
        return moment(self.now, values, self._zone)

    def _wall(self) -> datetime:
        return self.now.astimezone(self._zone).replace(tzinfo=None) - self._late


def _begin(period: str, wall: datetime) -> datetime:
    """When the period has begun in which a time lies; a lifetime never begins."""
    if period == "total":
        return datetime.min
    day = wall.replace(hour=0, minute=0, second=0, microsecond=0)
    if period != "day":
        day = day.replace(day=1)
    return day.replace(month=1) if period == "year" else day


@st.composite
def meter_readings(draw: st.DrawFn) -> list[Moment]:
    """Any true house."""
    dice = random.Random(draw(seeds))
    zone = timezone(timedelta(hours=draw(st.integers(-12, 14))))
    start = datetime(2023, 12, 30, tzinfo=UTC) + timedelta(minutes=draw(st.integers(0, 4 * 1440)))
    late = timedelta(seconds=draw(st.sampled_from([0, 0, 5, 60, 290, 900, 1500, -5, -150])))
    first = {field.id: dice.choice([0, 0, 0.4, 12.3]) + (field.period == "total") * 6553 for field in COUNTERS}
    meter = Meter(start, zone, late, first)
    gaps = draw(st.lists(st.sampled_from([5, 60, 300, 300, 300, 301, 3600, 40_000, 86_400, 800_000]), max_size=60))
    strength = draw(st.sampled_from([0, 0.1, 0.5, 0.9]))
    readings = []
    for seconds in gaps:
        power = {
            field.id: limit_of(field) * strength * (dice.uniform(-1, 1) if field.quantity.net else dice.random())
            for field in COUNTERS
        }
        each = meter.reading(seconds, power)
        if seconds > 3600 and each.clock.hour == 0:
            # A day later, still the last day's value: that nobody can tell from a fall.
            each = meter.reading(LATE_SECONDS, power)
        readings.append(each)
    return readings


@given(meter_readings())
def test_any_true_house_passes_unchanged(readings: list[Moment]) -> None:
    guard = Guard()
    for clock, reading in readings:
        assert guard.check(clock, reading) == (reading, [])


@pytest.mark.parametrize("field", [field for field in COUNTERS if field.period != "total"], ids=ids)
def test_a_reset_just_before_midnight_by_the_clock_is_believed(field: Field) -> None:
    # 23:47:30, 23:52:30, 23:57:30; 0:02:30, ...
    start = datetime(2023, 12, 31, 22, 47, 30, tzinfo=UTC)
    assert all(verdicts(series(field.id, [12.3, 12.3, 0, 0, 0.1, 0.1, 0.2, 0.2], start)))
    assert verdicts(series(field.id, [12.3, 12.3, 0, 0.1, 0, 0.1], start)) == [True] * 4 + [field.quantity.net, True]
    # Nothing can have been counted in a day that is yet to come.
    assert verdicts(series(field.id, [32.3, 32.3, 10.3, 32.4, 0], start)) == [True, True, False, True, True]


def test_a_day_begins_once() -> None:
    name = "pv_production_today"
    before = series(name, [12.3, 12.3], datetime(2024, 6, 12, 21, 50, tzinfo=UTC))
    # Reset at 0:00, silent until 0:20.
    young = series(name, [0.0], datetime(2024, 6, 12, 22, tzinfo=UTC))
    later = series(name, [1.0, 0, 1.0], datetime(2024, 6, 12, 22, 20, tzinfo=UTC))
    assert verdicts(before + young + later) == [True] * 4 + [False, True]
    # Reset at 23:57:30, a minute apart.
    early = series(name, [0, 0.1, 0, 0.1], datetime(2024, 6, 12, 21, 57, 30, tzinfo=UTC), MINUTE)
    assert verdicts(before + early) == [True] * 4 + [False, True]


def test_an_earlier_reset_costs_the_values_until_midnight() -> None:
    # 23:45, 23:50, 23:55; 0:00, ...
    start = datetime(2024, 6, 12, 21, 45, tzinfo=UTC)
    assert verdicts(series("pv_production_today", [12.3, 0, 0, 0, 0.1, 0.1, 0.2], start)) == [
        True, False, False, True, True, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize("field", [field for field in COUNTERS if field.period in ("day", "month", "year")], ids=ids)
@pytest.mark.parametrize("value", [12.3, 0.5])
@pytest.mark.parametrize("late", range(5))
def test_a_late_reset_is_believed(field: Field, value: float, late: int) -> None:
    start = datetime(2023, 12, 31, 22, 32, tzinfo=UTC)
    values = [value] * (6 + late) + [0, 0, 0.1, 0.1, 0.2, 0.3]
    assert all(verdicts(series(field.id, values, start)))
    assert all(verdicts(series(field.id, values[6:], datetime(2023, 12, 31, 23, 2, tzinfo=UTC)))), "we have just begun"


def test_a_day_counter_that_its_midnight_did_not_reset_is_reset_at_any_hour() -> None:
    evening = datetime(2024, 6, 12, 20, tzinfo=UTC)
    assert all(verdicts(series("load_consumption_today", [700] * 40 + [0, 0.1, 0.2], evening)))


# --- glitches -------------------------------------------------------------------------------------------------------


GLITCHES: dict[str, Callable[[float], float]] = {
    "zero": lambda value: 0,
    "dip": lambda value: int(value * 5) / 10,
    "spike": lambda value: value + 6553.5,
    "all ones": lambda value: 6553.5,
    "far too much": lambda value: 429_496_729.5,
    "negative": lambda value: -value - 20,
}


def stands_out(field: Field, value: float, glitch: float, seconds: float) -> bool:
    """Whether a rule is broken by a value so much later; a net counter may do much."""
    allowed = countable(field, seconds)
    return glitch > value + allowed or glitch < value - (allowed if field.quantity.net else 0)


@given(
    data=st.data(),
    name=st.sampled_from(sorted(GLITCHES)),
    field=st.sampled_from([field for field in COUNTERS if field.unit != "kvarh"]),
    large=st.booleans(),
    span=st.sampled_from(sorted(SPANS)),
    length=st.integers(1, READINGS_CONFIRM - 1),
)
def test_a_glitch_is_held_back_alone(
    data: st.DataObject, name: str, field: Field, large: bool, span: str, length: int
) -> None:
    readings = house_readings(LARGE if large else SMALL, *SPANS[span])
    place = data.draw(st.integers(1, len(readings) - 10))
    if name == "zero" and place > READINGS_CONFIRM:
        length += ZEROS_CONFIRM - READINGS_CONFIRM
    begin = max(0, place - 300)
    glitches = {}
    for number in range(place, place + length):
        clock, reading = readings[number]
        value = reading.values[field.id]
        glitch = GLITCHES[name](value)
        before = readings[place - 1].reading.values[field.id]
        assume(stands_out(field, before, glitch, 320 * (number - place + 1)) and stands_out(field, value, glitch, 0))
        # While a day is young, or nearly over, its counter may fall. Not beyond what can be, though.
        begun = _begin(field.period, clock)
        young = (clock - begun).total_seconds() < LATE_SECONDS + 600
        young |= _begin(field.period, clock + timedelta(seconds=GRACE_SECONDS)) != begun
        assume(not young or glitch > countable(field, LATE_SECONDS + 600))
        glitches[number] = glitch
    guard = Guard()
    for number in range(begin, place + length + 3):
        clock, reading = readings[number]
        if number in glitches:
            bad = reading.with_values(reading.values | {field.id: glitches[number]})
            believed, held = guard.check(clock, bad)
            rest = reading.values.copy()
            del rest[field.id]
            assert believed == reading.with_values(rest)
            assert bad.values[field.id] == glitches[number], "what came is not touched"
            assert [(each.serial, each.field, each.value) for each in held] == [
                (reading.serial, field.id, glitches[number])
            ]
            assert held[0].kept == readings[place - 1].reading.values[field.id]
            assert held[0].why
        else:
            assert guard.check(clock, reading) == (reading, [])
    assert guard.counts.held == length
    assert guard.counts.confirmed == 0


def test_an_inverter_that_starts_with_zeros_everywhere_loses_only_these() -> None:
    readings = house_readings(LARGE, *SPANS["autumn"])[1130:1180]
    guard = Guard()
    for number, (clock, reading) in enumerate(readings):
        starting = 20 <= number < 20 + ZEROS_CONFIRM - 1
        if starting:
            reading = reading.with_values(dict.fromkeys(reading.values, 0))
        believed, held = guard.check(clock, reading)
        if not starting:
            assert held == []
            continue
        assert not any(believed.values.get(field.id) for field in COUNTERS)
        assert believed.values.keys() >= {field.id for field in FIELDS if field.limit is None} & reading.values.keys()
        assert {each.field for each in held} >= {field.id for field in TOTALS if field.id != "generator_energy_total"}


@pytest.mark.parametrize("field", MEASURED, ids=ids)
def test_a_spike_of_what_is_measured_is_held_back(field: Field) -> None:
    garbage = (2**16 - 1) / field.divisor
    usual = limit_of(field) * 0.3
    assert verdicts(series(field.id, [0, usual, 0, usual, garbage, usual, garbage, garbage, 0])) == [
        True, True, True, True, False, True, False, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("field", [field for field in FIELDS if field.limit is None], ids=ids)
def test_what_has_no_limit_can_be_anything(field: Field) -> None:
    assert all(verdicts(series(field.id, [0, 65535, 0, -32768, 0, 1])))


@pytest.mark.parametrize("field", RISING, ids=ids)
def test_a_counter_that_falls_by_one_step_is_held_back(field: Field) -> None:
    assert verdicts(series(field.id, [12.3, 12.3, 12.2, 12.3])) == [True, True, False, True]


@pytest.mark.parametrize("field", [field for field in COUNTERS if field.quantity.net], ids=ids)
def test_a_net_counter_can_fall(field: Field) -> None:
    assert all(verdicts(series(field.id, [1.3, 1.2, 0.7, 0.0, 1.0])))
    assert verdicts(series(field.id, [130.0, 100.0, 130.0])) == [True, False, True]


def test_a_net_month_below_zero_wraps_around_and_is_not_believed() -> None:
    # The register has no sign; the inverter charges from the grid in the first nights of a month.
    start = datetime(2024, 5, 31, 22, 7, tzinfo=UTC)
    below = [6553.5 - number / 10 for number in range(40)]
    moments = series("inverter_energy_month", [0, 0, *below, 0, 0.1], start)
    assert verdicts(moments) == [True, True] + [False] * 40 + [True, True]


def test_values_that_cannot_be_of_this_day_are_never_confirmed() -> None:
    morning = datetime(2024, 6, 12, 0, tzinfo=UTC)
    guard = Guard()
    assert verdicts(series("pv_production_today", [0.0, *[900] * 50, 1.0], morning), guard) == [
        True,
        *[False] * 50,
        True,
    ]
    assert guard.counts.held == 50


def test_other_fields_make_no_difference() -> None:
    dice = random.Random(5)
    readings = [each for each in house_readings(SMALL, *SPANS["autumn"])[:700] if each.reading.values]
    spoilt = []
    for clock, reading in readings:
        values = reading.values.copy()
        for field in GUARDED:
            if dice.random() < 0.05:
                values[field.id] = dice.choice([0, 1, 7.7, 6553.5, 65535])
            elif dice.random() < 0.05:
                values.pop(field.id, None)
        spoilt.append(Moment(clock, reading.with_values(values)))
    together = Guard()
    answers = [{each.field for each in together.check(*each)[1]} for each in spoilt]
    assert sum(map(len, answers)) > 300
    for field in GUARDED[::4]:
        alone = Guard()
        for (clock, reading), answer in zip(spoilt, answers, strict=True):
            values = {name: value for name, value in reading.values.items() if name == field.id}
            assert bool(alone.check(clock, reading.with_values(values))[1]) == (field.id in answer)


def test_a_state_of_charge_that_jumps_is_held_back() -> None:
    for name in ("battery_soc", "bms_soc"):
        assert verdicts(series(name, [54, 0, 54, 100, 54, 53])) == [True, False, True, False, True, True]
        assert all(verdicts(series(name, [54, 52, 30, 20, 11, 20, 0, 20])))
        # The battery counts anew, or we have heard nothing for hours.
        assert verdicts(series(name, [54, 99, 99, 99, 100])) == [True, False, False, True, True]
        assert all(verdicts(series(name, [95, 20], every=timedelta(hours=3))))
        assert verdicts(series(name, [95, 0, 94], every=timedelta(hours=3))) == [True, False, True]


# --- doubted, then believed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", TOTALS, ids=ids)
@pytest.mark.parametrize("after", [20.0, 90_000.0])
def test_a_replaced_inverter_is_believed_when_confirmed(field: Field, after: float) -> None:
    guard = Guard()
    values = [5000.0, 5000.1, 5000.2, 5000.3] + [after + number / 10 for number in range(READINGS_CONFIRM + 3)]
    assert verdicts(series(field.id, values), guard) == ([True] * 4 + [False] * (READINGS_CONFIRM - 1) + [True] * 4)
    assert guard.counts.held == READINGS_CONFIRM - 1
    assert guard.counts.confirmed == 1


@pytest.mark.parametrize("seconds", [69, 150, 300])
def test_zeros_take_as_long_however_often_the_dongle_reports(seconds: int) -> None:
    believed = verdicts(series("pv_production_total", [5000.0] * 4 + [0] * 40, every=timedelta(seconds=seconds)))
    until = believed.index(True, 4)
    assert not any(believed[4:until])
    assert all(believed[until:])
    assert ZEROS_SECONDS <= (until - 4) * seconds <= ZEROS_SECONDS + 2 * seconds


@pytest.mark.parametrize("field", TOTALS, ids=ids)
def test_zeros_are_believed_later(field: Field) -> None:
    values = [5000.0] * 4 + [0] * 8 + [0.1]
    assert verdicts(series(field.id, values)) == [True] * 4 + [False] * 5 + [True] * 4


def test_what_was_confirmed_is_as_good_as_what_was_believed_before() -> None:
    values = [5000.0] * 4 + [20.0, 20.1, 20.2] + [0] * (ZEROS_CONFIRM - 1) + [20.2]
    assert verdicts(series("load_consumption_total", values)) == (
        [True] * 4 + [False, False, True] + [False] * (ZEROS_CONFIRM - 1) + [True]
    )


def test_a_counter_that_counts_on_from_zero_is_believed_sooner() -> None:
    values = [5000.0] * 4 + [0, 0, 0.1, 0.1]
    assert verdicts(series("load_consumption_total", values)) == [True] * 4 + [False, False, True, True]


@pytest.mark.parametrize("field", [*MEASURED, *ENERGIES], ids=ids)
@pytest.mark.parametrize("garbage", [6553.5, 65535, 0])
def test_garbage_at_first_hides_the_truth_no_longer_than_a_confirmation(field: Field, garbage: float) -> None:
    seen = verdicts(series(field.id, [garbage, *[44.4] * 6]))
    assert seen[0] == (garbage != 0 or field not in FIRST_NOT_ZERO)
    assert all(seen[READINGS_CONFIRM:])
    if garbage:
        seen = verdicts(series(field.id, [garbage, *[0] * 6]))
        assert seen[0]
        assert all(seen[READINGS_CONFIRM:])


def test_values_that_do_not_agree_with_each_other_confirm_nothing() -> None:
    values = [100.0, 100.0, 100.0, 3, 900, 7, 1000, 2000, 5, 100.0]
    assert verdicts(series("pv_production_total", values)) == [True] * 3 + [False] * 6 + [True]


def test_a_true_value_between_ends_the_doubt() -> None:
    values = [100.0, 3, 3, 100.0, 3, 3, 100.1, 3, 3, 3]
    assert verdicts(series("pv_production_total", values)) == [
        True, False, False, True, False, False, True, False, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("field", GUARDED, ids=ids)
def test_nothing_is_held_back_for_ever(field: Field) -> None:
    dice = random.Random(field.id)
    # A counter far too fast for the limit; and noise.
    quick = [number * countable(field, 300) * 2 for number in range(200)]
    noise = [dice.randrange(0, 20_000) for _ in range(200)]
    for values in (quick, noise):
        # Late in its year, all of that can have been counted in it.
        start = datetime(2024, 12, 30, 20, tzinfo=UTC)
        seen = verdicts(series(field.id, values, start))
        if field.period != "day":
            longest = max(map(len, "".join("+" if good else "-" for good in seen).split("+")))
            assert longest <= HELD_MAX


# --- the first readings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", FIRST_NOT_ZERO, ids=ids)
def test_zeros_of_an_inverter_that_starts_are_not_its_first_totals(field: Field) -> None:
    assert verdicts(series(field.id, [0, 0, 5000.0, 5000.1])) == [False, False, True, True]
    # Those of a new inverter are believed later, or once it counts.
    assert verdicts(series(field.id, [0] * (ZEROS_CONFIRM + 1))) == [False] * (ZEROS_CONFIRM - 1) + [True] * 2
    assert verdicts(series(field.id, [0, 0, 0.1, 0.1])) == [False, False, True, True]


def test_nor_are_they_the_first_values_of_its_day() -> None:
    name = "grid_import_today"
    both = [moment(NOON + number * INTERVAL, {name: 0, "grid_import_total": 0}) for number in range(2)]
    assert verdicts([*both, *series(name, [7.5, 7.6], NOON + 2 * INTERVAL)]) == [False, False, True, True]
    guard = Guard()
    assert guard.check(*moment(NOON, {name: 0, "grid_import_total": 900.0}))[1] == []
    assert verdicts(series(name, [0, 0, 0.1], NOON + INTERVAL), guard) == [True] * 3


def test_a_generator_may_never_run() -> None:
    assert all(verdicts(series("generator_energy_total", [0.0] * 8)))


def test_a_first_total_below_the_day_is_held_back() -> None:
    def times(values: list[float]) -> list[Moment]:
        return [
            moment(NOON + number * INTERVAL, {"grid_import_total": value, "grid_import_today": 7.5})
            for number, value in enumerate(values)
        ]

    assert verdicts(times([3.2, 5000.0, 5000.1])) == [False, True, True]
    assert verdicts(times([7.5, 7.6])) == [True, True]
    # The counter of the day may be what is wrong.
    assert verdicts(times([3.2] * (READINGS_CONFIRM + 1))) == [False] * (READINGS_CONFIRM - 1) + [True] * 2


@pytest.mark.parametrize("field", [*TOTALS, *DAYS], ids=ids)
@pytest.mark.parametrize("early", [True, False])
def test_what_was_published_before_a_restart_counts(field: Field, early: bool) -> None:
    before, *after = series(field.id, [12.3, 0, 6553.5, 12.4, 12.4])
    guard = Guard()
    if early:
        guard.recall(*before)
    else:
        # A broker may answer when the first reading is judged already.
        assert verdicts([Moment(before.clock, before.reading.with_values({"pv_power_1": 5}))], guard) == [True]
        guard.recall(*before)
    assert verdicts(after, guard) == [False, False, True, True]


def test_what_was_published_replaces_nothing_that_is_believed() -> None:
    guard = Guard()
    now = moment(NOON, {"grid_import_total": 20.0, "grid_export_total": 0.0})
    assert [each.field for each in guard.check(*now)[1]] == ["grid_export_total"]
    guard.recall(*moment(NOON - INTERVAL, {"grid_import_total": 5000.0, "grid_export_total": 300.0}))
    later = moment(NOON + INTERVAL, {"grid_import_total": 20.1, "grid_export_total": 300.1})
    assert verdicts([later], guard) == [True]
    assert verdicts([moment(NOON + 2 * INTERVAL, {"grid_export_total": 0.0})], guard) == [False]


def test_too_many_inverters_of_earlier_runs_displace_none() -> None:
    guard = Guard()
    for number in range(2 * INVERTERS_MAX):
        guard.recall(*moment(NOON, {"pv_production_total": 5.0}, serial=f"{number:010}"))
    assert len(guard._inverters) == INVERTERS_MAX


# --- late, repeated, out of order -----------------------------------------------------------------------------------


def backlog_orders(readings: list[Moment], dice: random.Random) -> Iterator[list[Moment]]:
    """Ways in which the readings of a time offline can come: the last third is live."""
    cut = len(readings) // 3
    before, kept, live = readings[:cut], readings[cut : 2 * cut], readings[2 * cut :]
    yield before + kept + live
    yield [*before, live[0], *kept, *live[1:]]
    mixed = list(before)
    waiting, rest = list(kept), list(live)
    while waiting or rest:
        queue = waiting if waiting and (not rest or dice.random() < 0.5) else rest
        mixed.append(queue.pop(0))
    yield mixed
    yield before + live + kept
    # We have only begun, and know nothing of the time before.
    yield [live[0], *kept, *live[1:]]


@pytest.mark.parametrize("begin", [0, 130, 731])
@pytest.mark.parametrize("length", [9, 60, 250])
@pytest.mark.parametrize("profile", [SMALL, LARGE], ids=lambda profile: profile.serial)
def test_readings_that_come_late_pass(profile: Profile, begin: int, length: int) -> None:
    dice = random.Random(length)
    readings = list(house_readings(profile, *SPANS["autumn"])[begin : begin + length])
    for order in backlog_orders(readings, dice):
        assert all(verdicts(order))
        # All of it twice, and each twice at once.
        assert all(verdicts(order + order))
        assert all(verdicts(each for pair in zip(order, order, strict=True) for each in pair))


@pytest.mark.parametrize("field", [field for field in ENERGIES if not field.quantity.net], ids=ids)
@pytest.mark.parametrize("glitch", [0, 6553.5])
@pytest.mark.parametrize("place", [10, 11, 20, 29])
def test_a_glitch_in_what_comes_late_is_held_back(field: Field, glitch: float, place: int) -> None:
    values = [40 + number / 10 for number in range(40)]
    readings = series(field.id, values)
    clock, reading = readings[place]
    spoilt = readings[place] = Moment(clock, reading.with_values({field.id: glitch}))
    orders = [
        readings,
        readings[:10] + readings[30:31] + readings[10:30] + readings[31:],
        readings[:10] + readings[30:] + readings[10:30],
    ]
    if place > 10:
        # We have only begun, and know the late ones' neighbours alone.
        orders.append(readings[30:] + readings[10:30])
    for order in orders:
        seen = verdicts(order)
        assert [each for each, good in zip(order, seen, strict=True) if not good] == [spoilt]


@pytest.mark.parametrize("step", [0.1, 0])
def test_a_late_reading_is_no_measure_for_what_follows(step: float) -> None:
    readings = series("pv_production_total", [100 + step * number for number in range(60)])
    guard = Guard()
    assert all(verdicts([readings[0], readings[50], *readings[10:20]], guard))
    # Had the late ones taken the place of the newest, hours would have passed, and this would be believed.
    clock, reading = readings[51]
    spike = reading.with_values({"pv_production_total": 130})
    assert guard.check(clock, spike)[1] == [
        Held(SERIAL, "pv_production_total", 130, 100 + 50 * step, "it changes faster than it can")
    ]
    assert all(verdicts(readings[51:], guard))


@pytest.mark.parametrize("glitch", [0, 6553.5])
def test_the_same_reading_again_gets_the_same_answer_and_confirms_nothing(glitch: float) -> None:
    guard = Guard()
    good, bad, after = series("pv_production_total", [100.0, glitch, 100.0])
    assert verdicts([good, good], guard) == [True, True]
    answers = [guard.check(*bad) for _ in range(3 * ZEROS_CONFIRM)]
    assert all(answer == answers[0] for answer in answers)
    assert len(answers[0][1]) == 1
    assert guard.counts.held == 1
    assert verdicts([after], guard) == [True]


# --- clocks that jump -----------------------------------------------------------------------------------------------


JUMPS = [timedelta(minutes=m) for m in (-1, 1, -20, 20, -60, 60)] + [
    timedelta(hours=h) for h in (-5, 5, -13, 13, -24, 24, -700, 700, -200_000)
]


@pytest.mark.parametrize("jump", JUMPS, ids=str)
@pytest.mark.parametrize("begin", [30, 80, 166])
def test_a_clock_that_is_set_hides_nothing_for_long(jump: timedelta, begin: int) -> None:
    """The counters take no notice: their midnight moves with the next day."""
    readings = list(house_readings(LARGE, *SPANS["autumn"])[begin : begin + 700])
    guard = Guard()
    held: dict[str, int] = {}
    for number, (clock, reading) in enumerate(readings):
        if number >= 20:
            clock += jump
            reading = reading._replace(time=reading.time + int(jump.total_seconds()) * SECOND)
        if number >= 400:
            # The cloud sets it right again.
            clock -= jump
            reading = reading._replace(time=reading.time - int(jump.total_seconds()) * SECOND)
        for each in guard.check(clock, reading)[1]:
            held[each.field] = held.get(each.field, 0) + 1
    # Two jumps, and the resets between at another hour than the clock says.
    assert all(SINGLE_PHASE.fields_by_id[name].period not in ("total", "") for name in held)
    assert max(held.values(), default=0) <= 4 * (ZEROS_CONFIRM + READINGS_CONFIRM), held


@pytest.mark.parametrize("field", TOTALS, ids=ids)
@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_a_total_counts_on_while_the_clock_is_set(field: Field, jump: timedelta) -> None:
    before = series(field.id, [100 + number / 10 for number in range(20)])
    after = series(field.id, [102 + number / 10 for number in range(400)], NOON + 20 * INTERVAL + jump)
    assert all(verdicts(before + after + series(field.id, [142, 142.1], NOON + 500 * INTERVAL)))


@pytest.mark.parametrize("field", COUNTERS, ids=ids)
def test_a_clock_that_stands_still_hides_nothing(field: Field) -> None:
    assert all(verdicts(series(field.id, [0.1 + number / 10 for number in range(300)], every=timedelta(0))))


def test_a_set_clock_and_a_reset_together_are_believed_when_confirmed() -> None:
    # An inverter that was without power may begin with zeros in a year long past.
    before = series("pv_production_total", [100.0] * 5)
    after = series("pv_production_total", [20 + number / 10 for number in range(6)], NOON - timedelta(days=400))
    assert verdicts(before + after) == [True] * 5 + [False] * (READINGS_CONFIRM - 1) + [True] * 4


# --- Home Assistant's statistics ------------------------------------------------------------------------------------


class Statistics:
    """Home Assistant's sum of a total_increasing sensor: what falls by more than a tenth has been reset to zero."""

    def __init__(self) -> None:
        self.sum = 0.0
        self._last: float | None = None

    def add(self, value: float | None) -> None:
        if value is None:
            return
        if self._last is not None:
            self.sum += value if value < 0.9 * self._last else value - self._last
        self._last = value


def test_statistics_are_those_of_home_assistant() -> None:
    for values, total in (
        ([100, 0, 100.5], 100.5),
        ([100, 6553.5, 100.5], 6554),
        ([100, None, 100.5], 0.5),
        ([12.3, 0, 0.2], 0.2),
    ):
        statistics = Statistics()
        for value in values:
            statistics.add(value)
        assert statistics.sum == pytest.approx(total)


@given(
    seed=seeds,
    field=st.sampled_from([field for field in RISING if field.unit == "kWh"]),
    share=st.sampled_from([0.02, 0.2, 0.5]),
)
@example(seed=0, field=SINGLE_PHASE.fields_by_id["grid_import_today"], share=0.5)
def test_statistics_stay_true(seed: int, field: Field, share: float) -> None:
    dice = random.Random(seed)
    start = dice.randrange(2000)
    readings = house_readings(LARGE, *SPANS["autumn"])[start : start + 400]
    guard, truth, shown = Guard(), Statistics(), Statistics()
    bad_ones = 0
    for number, (clock, reading) in enumerate(readings):
        value = reading.values[field.id]
        truth.add(value)
        # While a day is young, or nearly over, its counter may fall.
        certain = field.period == "total" or 1 <= clock.hour < 23
        possible = 0 < number < len(readings) - 1 and bad_ones < READINGS_CONFIRM - 1
        wrong = certain and possible and dice.random() < share
        bad_ones = bad_ones + 1 if wrong else 0
        said: float = value
        if wrong:
            said = dice.choice([0, 6553.5, value + countable(field, 4000), value / 2])
        believed, _ = guard.check(clock, reading.with_values({field.id: said}))
        shown.add(believed.values.get(field.id))
        assert shown.sum <= truth.sum + 1e-6
    if field.period == "total":
        assert shown.sum == pytest.approx(truth.sum)


# --- bounds ---------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["A", "B"]),
            st.datetimes(datetime(2000, 1, 1), datetime(2255, 12, 31)),
            st.integers(0, 2**63),
            st.dictionaries(
                st.sampled_from([field.id for field in FIELDS] + ["unknown"]),
                st.integers(-(2**31), 2**64) | st.floats(),
                max_size=8,
            ),
        ),
        max_size=30,
    )
)
def test_anything_is_judged(calls: list[tuple[str, datetime, int, dict[str, int | float]]]) -> None:
    guard = Guard()
    seen: set[tuple[str, str]] = set()
    for serial, clock, time, values in calls:
        reading = Reading.of(serial, time, values)
        believed, held = guard.check(clock, reading)
        names = {each.field for each in held}
        assert believed == reading.with_values({name: value for name, value in values.items() if name not in names})
        first = {name for name in names if (serial, name) not in seen}
        assert first <= {field.id for field in ENERGIES if field.group != "Generator"}
        assert all(SINGLE_PHASE.fields_by_id[name].limit is not None for name in names)
        seen |= {(serial, name) for name in values}


def test_of_too_many_inverters_the_one_that_is_silent_is_forgotten() -> None:
    guard = Guard()

    def holds(serial: str, at: datetime, value: float) -> bool:
        return bool(guard.check(*moment(at, {"pv_production_total": value}, serial=serial))[1])

    for number in range(3 * INVERTERS_MAX):
        # One reports all the time.
        assert not holds("reporting", NOON + timedelta(seconds=number), 100 + number / 1000)
        assert not holds(f"{number:010}", NOON + timedelta(seconds=number), 100)
        assert len(guard._inverters) <= INVERTERS_MAX
    assert holds("reporting", NOON + INTERVAL, 0)
    assert holds(f"{3 * INVERTERS_MAX - 1:010}", NOON + INTERVAL, 0)
    assert not holds(f"{0:010}", NOON + INTERVAL, 1)


def test_what_is_not_to_be_learnt_from_is_judged_all_the_same() -> None:
    guard = Guard()
    guard.check(*moment(NOON, {"pv_production_total": 100.0}))
    for number in range(1, 40):
        # So many that agree would be believed.
        reading, held = guard.check(
            *moment(NOON + timedelta(seconds=number), {"pv_production_total": 900.0}), learn=False
        )
        assert "pv_production_total" not in reading.values
        assert held[0].kept == 100
    assert guard.check(*moment(NOON + timedelta(seconds=50), {"pv_production_total": 100.1}), learn=False)[1] == []
    assert guard.check(*moment(NOON + INTERVAL, {"pv_production_total": 100.0}))[1] == []
    # Others cannot even make it begin.
    guard.check(*moment(NOON, {"pv_production_total": 900.0}, serial="E47R2K0193"), learn=False)
    assert guard.check(*moment(NOON + timedelta(seconds=1), {"pv_production_total": 5.0}, serial="E47R2K0193"))[1] == []


def test_a_field_that_was_absent_is_judged_by_the_time_since() -> None:
    guard = Guard()
    first = moment(NOON, {"pv_production_total": 100.0})
    nothing = [moment(NOON + number * INTERVAL, {}) for number in range(1, 100)]
    late = moment(NOON + 100 * INTERVAL, {"pv_production_total": 200.0})
    too_much = moment(NOON + 100 * INTERVAL, {"pv_production_total": 900.0})
    assert all(verdicts([first, *nothing, late], guard))
    assert verdicts([first, *nothing, too_much]) == [True] * 100 + [False]


# --- kinds of inverters ---------------------------------------------------------------------------------------------


def of_kind(kind: Kind, values: list[float], field: str, start: datetime = NOON) -> list[Moment]:
    return [Moment(each.clock, each.reading._replace(kind=kind)) for each in series(field, values, start)]


@pytest.mark.parametrize(
    ("kind", "watts", "believed"),
    [
        (SINGLE_PHASE, 50_000, False),
        (LOW_VOLTAGE, 50_000, True),
        (LOW_VOLTAGE, 65_000, False),
        (HIGH_VOLTAGE, 65_000, True),
    ],
)
def test_limits_follow_the_kind(kind: Kind, watts: int, believed: bool) -> None:
    assert verdicts(of_kind(kind, [0, watts, 0], "pv_power_1")) == [True, believed, True]


@pytest.mark.parametrize("kind", KINDS.values(), ids=str)
def test_every_counter_of_a_kind_is_guarded(kind: Kind) -> None:
    for field in kind.fields:
        if field.period:
            spike = 2**31 / field.divisor
            assert verdicts(of_kind(kind, [12.3, 12.3, spike, 12.3], field.id)) == [True, True, False, True], field.id


def test_what_is_known_stays_when_the_kind_is_told() -> None:
    guard = Guard()
    assert all(verdicts(of_kind(THREE_PHASE, [10.0, 10.1, 10.2], "generator_hours_total"), guard))
    later = of_kind(HIGH_VOLTAGE, [500.0, 10.2], "generator_hours_total", NOON + timedelta(hours=1))
    assert verdicts(later, guard) == [False, True]
    energies = of_kind(HIGH_VOLTAGE, [900.0, 5000.0, 900.1], "grid_import_total", NOON + timedelta(hours=2))
    assert verdicts(energies, guard) == [True, False, True]


# --- all fields together --------------------------------------------------------------------------------------------


def eventful_readings(chance: random.Random) -> Iterator[tuple[datetime, Reading, bool]]:
    """Mostly ordinary readings of some days: with gaps, late resets, absent and wrong values, and another kind.

    Some readings have the time of the one before, or an earlier one.
    """
    clock = datetime(2026, 6, 28, 20)
    kind = SINGLE_PHASE
    counters = dict.fromkeys(("pv_production_today", "pv_production_month", "pv_production_total"), 0.5)
    day, reset_after = clock.date(), 0
    absent: dict[str, int] = {}
    for _ in range(1000):
        clock += timedelta(minutes=chance.choice((-10, 0, 0, 1, *36 * (5,), 10, 40, 40)))
        if chance.random() < 0.01:
            kind = chance.choice((SINGLE_PHASE, LOW_VOLTAGE))
        if clock.date() != day and clock.hour * 60 + clock.minute >= reset_after:
            day, reset_after = clock.date(), chance.choice((0, 50, 90))
            counters["pv_production_today"] = 0.0
        counters = {name: round(value + chance.choice((0, 0, 0, 0, 0.1)), 1) for name, value in counters.items()}
        values: dict[str, int | float] = {**counters, "battery_soc": 60, "battery_capacity": 200}
        for name in values:
            if chance.random() < 0.004:
                values[name] = chance.choice((0, 9999, 61, 5.0))
            if chance.random() < 0.005:
                absent[name] = chance.randrange(1, 5)
            absent[name] = absent.get(name, 0) - 1
        values = {name: value for name, value in values.items() if absent[name] < 0}
        time = int(clock.replace(tzinfo=UTC).timestamp()) * SECOND
        yield clock, Reading.of("2205164738", time, values, kind), chance.random() > 0.02


@pytest.mark.parametrize("seed", range(25))
def test_fields_are_checked_together_as_each_for_itself(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = list(eventful_readings(random.Random(seed)))
    together, apart = Guard(), Guard()
    results = [together.check(clock, reading, learn=learn) for clock, reading, learn in readings]
    monkeypatch.setattr(_Settled, "of", lambda *_: None)
    assert results == [apart.check(clock, reading, learn=learn) for clock, reading, learn in readings]
    assert together.counts.held == apart.counts.held > 0
    assert together.counts.confirmed == apart.counts.confirmed


def test_fields_that_come_and_go_cost_no_new_function_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forged values out of range can leave out any of the fields, and to generate a function takes long."""
    monkeypatch.setattr("inverter_capture.protocol.guard.READINGS_ALIKE", READINGS_ALIKE)
    guard, chance = Guard(), random.Random(1)
    guarded = [field.id for field in GUARDED]
    clock = datetime(2026, 6, 28, 8)

    def check(absent: Iterable[str]) -> None:
        nonlocal clock
        clock += timedelta(minutes=1)
        values: dict[str, int | float] = dict.fromkeys(sorted({*guarded}.difference(absent)), 5)
        time = int(clock.replace(tzinfo=UTC).timestamp()) * SECOND
        guard.check(clock, Reading.of(SERIAL, time, values), learn=chance.random() < 0.5)

    before = _usual_changes.cache_info().misses
    for _ in range(100):
        check(absent := chance.sample(guarded, 4))
        check(absent)
    assert _usual_changes.cache_info().misses == before
    for _ in range(100):
        check(())
    assert _usual_changes.cache_info().misses <= before + 1
    assert guard._inverters[SERIAL].settled is not None


def test_what_was_checked_together_counts_as_accepted_values() -> None:
    """Fewer zeros are believed after fewer accepted values than READINGS_CONFIRM."""
    values = [100, 100.1, 100.2, 100.3, 100.4]
    assert verdicts(series("pv_production_total", [*values, 0, 0, 0])) == [True] * 5 + [False] * 3


def test_a_late_reading_between_alike_ones_is_no_measure_for_what_follows() -> None:
    field = SINGLE_PHASE.fields_by_id["pv_production_total"]
    guard = Guard()
    known = series(field.id, [100, 100.1])
    assert verdicts(known, guard) == [True, True]
    late = moment(NOON + INTERVAL - 10 * MINUTE, {field.id: 100.1})
    assert verdicts([late], guard) == [True]
    jump = countable(field, 300) + 0.9 * countable(field, 600)
    assert verdicts([moment(NOON + 2 * INTERVAL, {field.id: 100.1 + jump})], guard) == [False]
