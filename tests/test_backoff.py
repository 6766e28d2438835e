"""Waits: they double, are capped, honour what a server asks for within reason, and chance never makes them longer."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from inverter_capture.backends.backoff import (
    ASKED_SECONDS_MAX,
    FIRST_SECONDS,
    JITTER,
    LASTING_SECONDS,
    LONGEST_SECONDS,
    Backoff,
)

chances = st.integers().map(random.Random)


class NoChance(random.Random):
    def random(self) -> float:
        return 0.0


def test_they_double_until_the_longest() -> None:
    backoff = Backoff(NoChance())
    waits = [backoff.passing() for _ in range(5000)]
    assert waits[0] == FIRST_SECONDS
    assert all(after == min(2 * before, LONGEST_SECONDS) for before, after in pairwise(waits))
    assert waits[-1] == LONGEST_SECONDS
    assert backoff.lasting() == LASTING_SECONDS
    backoff.reset()
    assert backoff.passing() == FIRST_SECONDS


@given(chances, st.integers(0, 20))
def test_chance_takes_up_to_a_share_away(chance: random.Random, failures: int) -> None:
    backoff = Backoff(chance)
    for _ in range(failures):
        backoff.passing()
    whole = min(FIRST_SECONDS * 2**failures, LONGEST_SECONDS)
    assert (1 - JITTER) * whole <= backoff.passing() <= whole
    assert (1 - JITTER) * LASTING_SECONDS <= backoff.lasting() <= LASTING_SECONDS


def test_chance_has_its_say() -> None:
    assert len({Backoff(random.Random(seed)).passing() for seed in range(20)}) > 10
    assert len({Backoff().lasting() for _ in range(20)}) > 10


@given(chances, st.none() | st.floats(), st.integers(0, 10))
def test_what_is_asked_for_is_honoured_and_capped(chance: random.Random, asked: float | None, failures: int) -> None:
    backoff = Backoff(chance)
    for _ in range(failures):
        backoff.passing(asked)
    wait = backoff.passing(asked)
    assert 0 < wait <= max(LONGEST_SECONDS, ASKED_SECONDS_MAX)
    if asked is not None and asked > 0:
        assert wait >= min(asked, ASKED_SECONDS_MAX)
