"""What is kept of the recent readings: the last one, how often they come, a day for a chart; and no more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inverter_capture.protocol.inverter_kinds import INVERTERS_MAX
from inverter_capture.protocol.readings import Reading
from inverter_capture.protocol.times import SECOND
from inverter_capture.service import recent_readings
from inverter_capture.service.recent_readings import CHART_FIELDS, CHART_SECONDS, SLOT_SECONDS, Chart, RecentReadings

NOON = 1_718_884_800


def reading(seconds: int, serial: str = "A", **values: Any) -> Reading:
    return Reading.of(serial, seconds * SECOND, values)


def columns(*readings: Reading) -> dict[str, Any]:
    chart = Chart()
    for each in readings:
        chart.add(each)
    return chart.columns()


def test_a_chart_has_the_values_in_whole_numbers() -> None:
    values: dict[str, Any] = dict(zip(CHART_FIELDS, (5000, 1234.5, -200, -3000.7, 98), strict=True))
    assert columns(reading(NOON, **values), reading(NOON + 300)) == {
        "time": [NOON, NOON + 300],
        "pv_power": [5000, None],
        "load_power": [1234, None],
        "grid_power": [-200, None],
        "battery_power": [-3001, None],
        "battery_soc": [98, None],
    }


def test_a_value_that_cannot_be_is_absent() -> None:
    assert columns(reading(NOON, pv_power=10**12, load_power=-(10**12)))["pv_power"] == [None]


def test_the_latest_of_a_slot_counts() -> None:
    found = columns(reading(NOON, pv_power=1), reading(NOON + SLOT_SECONDS - 1, pv_power=2))
    assert (found["time"], found["pv_power"]) == ([NOON + SLOT_SECONDS - 1], [2])


def test_old_reports_that_come_late_take_their_place() -> None:
    found = columns(*(reading(NOON + minute * 60, pv_power=minute) for minute in (0, 30, 10, 20)))
    assert found["pv_power"] == [0, 10, 20, 30]


def test_after_a_day_a_value_is_gone() -> None:
    found = columns(*(reading(NOON + at) for at in (0, 300, CHART_SECONDS, CHART_SECONDS + 300)))
    assert found["time"] == [NOON + 300, NOON + CHART_SECONDS, NOON + CHART_SECONDS + 300]


@given(st.lists(st.integers(NOON, NOON + 3 * CHART_SECONDS), max_size=100))
def test_a_chart_is_in_order_and_no_longer_than_a_day(times: list[int]) -> None:
    found = columns(*(reading(seconds, pv_power=seconds % 1000) for seconds in times))
    kept = found["time"]
    assert kept == sorted(set(kept) & set(times))
    assert len({seconds // SLOT_SECONDS for seconds in kept}) == len(kept)
    assert found["pv_power"] == [seconds % 1000 for seconds in kept]
    if times:
        assert kept[-1] - kept[0] <= CHART_SECONDS
        assert kept[-1] // SLOT_SECONDS == max(times) // SLOT_SECONDS


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(recent_readings, "time", made)
    return made


def test_the_interval_is_the_usual_one(clock: Clock) -> None:
    recent = RecentReadings(chart=False)
    seen = []
    for wait in (0, 300, 301, 600, 300, 5, 299):
        clock.now += wait
        recent.take(reading(NOON))
        seen.append(recent.all()[0].interval)
    assert seen[0] is None
    assert all(interval in (300, 301) for interval in seen[1:])
    assert recent.all()[0].received == clock.now


def test_the_last_reading_of_each_inverter() -> None:
    recent = RecentReadings(chart=False)
    for serial, power in (("B", 1), ("A", 2), ("B", 3)):
        recent.take(reading(NOON, serial, pv_power=power))
    assert [(each.reading.serial, each.reading.values) for each in recent.all()] == [
        ("A", {"pv_power": 2}),
        ("B", {"pv_power": 3}),
    ]
    assert recent.all()[0].chart == {}


def test_forged_serials_take_no_place_of_an_inverter_that_reports() -> None:
    recent = RecentReadings(chart=True)
    for number in range(10 * INVERTERS_MAX):
        if number % 50 == 0:
            recent.take(reading(NOON + number * 3, "real", pv_power=number))
        recent.take(reading(NOON, f"F{number}"))
        assert len(recent.all()) <= INVERTERS_MAX
    found = {each.reading.serial: each for each in recent.all()}
    assert len(found["real"].chart["time"]) == 10 * INVERTERS_MAX // 50 + 1
