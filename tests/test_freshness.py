"""Which readings are the present, with clocks that are wrong and dongles that keep what they could not send."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inverter_capture.backends.mqtt.freshness import Freshness

SECOND = 1_000_000_000
START = 1_800_000_000
"""Seconds since the epoch, when a test begins."""
STALE_AFTER = 900
INTERVAL = 300

errors = st.integers(-20 * 3600, 30 * 3600)
"""Seconds by which a clock is behind."""


class House:
    """An inverter and the system that listens, at a time of day that the test sets."""

    def __init__(self, behind: int = 0) -> None:
        self.behind = behind
        self.now = 0.0
        self.freshness = Freshness(STALE_AFTER)

    def hear(self, measured: float) -> bool:
        """A reading comes now that was measured at this time."""
        time = round((START + measured - self.behind) * SECOND)
        return self.freshness.take(time, round((START + self.now) * SECOND), self.now)

    def live(self, seconds: float) -> bool:
        """After some time, one comes that has just been measured."""
        self.now += seconds
        return self.hear(self.now)

    @property
    def fresh(self) -> bool:
        return self.now < self.freshness.until


@given(st.integers(-60, 60).map(lambda tenth: tenth / 2), st.lists(st.floats(0, 5), min_size=1))
def test_live_readings_are_all_shown(behind: float, delays: list[float]) -> None:
    house = House()
    for number, delay in enumerate(delays):
        house.now = number * INTERVAL + delay
        assert house.hear(number * INTERVAL - behind)
        assert house.freshness.until >= house.now + STALE_AFTER - 60


@given(errors)
def test_a_clock_that_is_wrong_for_ever(behind: int) -> None:
    house = House(behind)
    for _ in range(2):
        assert house.live(INTERVAL)
    for _ in range(10):
        assert house.live(INTERVAL)
        assert house.freshness.until == house.now + STALE_AFTER
        assert abs(house.freshness.behind - behind) <= 60 or behind <= 60


@given(errors, errors)
def test_a_clock_that_is_set(before: int, after: int) -> None:
    """At most one reading later all is right again."""
    house = House(before)
    for _ in range(5):
        house.live(INTERVAL)
    house.behind = after
    house.live(INTERVAL)
    assert house.live(INTERVAL)
    assert house.fresh
    for _ in range(5):
        assert house.live(INTERVAL)
        assert house.freshness.until == house.now + STALE_AFTER


@given(errors, st.integers(1, 200), st.floats(0.01, 40), st.integers(1, 5))
def test_what_was_kept_is_not_new(behind: int, kept: int, pause: float, rounds: int) -> None:
    """A dongle that was away sends what it kept, oldest first, and then goes on as before."""
    house = House(behind)
    for _ in range(4):
        house.live(INTERVAL)
    for _ in range(rounds):
        began = house.now
        house.now += (kept + 1) * INTERVAL
        assert house.fresh == ((kept + 1) * INTERVAL < STALE_AFTER)
        for number in range(1, kept + 1):
            measured = began + number * INTERVAL
            house.hear(measured)
            assert house.freshness.until <= max(measured, began) + STALE_AFTER + 60
            house.now += pause
        house.hear(house.now)
        assert house.freshness.until == house.now + STALE_AFTER


@given(errors, st.lists(st.integers(1, 50), min_size=1))
def test_what_is_older_than_the_newest_is_not_shown(behind: int, ages: list[int]) -> None:
    house = House(behind)
    for _ in range(4):
        house.live(INTERVAL)
    house.now += 10
    newest, until = house.freshness.newest, house.freshness.until
    for age in sorted(set(ages), reverse=True):
        house.now += 0.1
        assert not house.hear(house.now - age * INTERVAL)
    assert (house.freshness.newest, house.freshness.until) == (newest, until)
    assert house.live(INTERVAL)


def test_the_same_again() -> None:
    house = House()
    assert house.live(1)
    house.now += 5
    assert not house.hear(1)
    assert house.freshness.until == 1 + STALE_AFTER


def test_a_system_without_a_clock() -> None:
    """A router starts in 1970; a while later it learns the time."""
    freshness = Freshness(STALE_AFTER)
    time = START * SECOND
    assert freshness.take(time, 100 * SECOND, 100)
    assert freshness.until == 100 + STALE_AFTER
    assert freshness.take(time + INTERVAL * SECOND, 400 * SECOND, 400)
    assert freshness.until == 400 + STALE_AFTER
    assert freshness.take(time + 2 * INTERVAL * SECOND, time + 2 * INTERVAL * SECOND, 700)
    assert (freshness.until, freshness.behind) == (700 + STALE_AFTER, 0)


@given(errors, st.integers(0, 5000), errors)
def test_a_restart(behind: int, away: int, other: int) -> None:
    """What is known goes on, whatever the clocks show."""
    house = House(behind)
    for _ in range(4):
        house.live(INTERVAL)
    known = house.freshness
    assert known.newest is not None
    again = House(behind)
    again.now = other
    again.freshness.restore(known.newest, known.behind, round((START + house.now + away) * SECOND), other)
    assert abs(again.freshness.until - (other + STALE_AFTER - away)) <= 60
    assert again.freshness.newest == known.newest
    assert again.freshness.behind == known.behind
