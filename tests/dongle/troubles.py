"""The warnings that an inverter gives now and then."""

from __future__ import annotations

from datetime import date

from tests.dongle.chance import Dice

NO_GRID = 1 << 34
"""Fault F35, for the first minutes without grid."""

WARNINGS = (1 << 1, 1 << 3, 1 << 30)
"""W02 fan, W04 meter communication, W31 battery communication: bits of both registers."""


class Troubles:
    """On about every second day there is one warning, for some quarters of an hour."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._period = range(0)
        self._bit = 0

    def begin_day(self, day: date) -> None:
        """The day's own luck, the same for a date whenever the simulation began."""
        luck = Dice(self._seed, 7, day.toordinal())
        begins = luck.whole(0, 1300)
        length = luck.whole(20, 70)
        self._bit = luck.one_of(WARNINGS)
        self._period = range(begins, begins + length) if luck.happens(0.5) else range(0)

    def at(self, minute: int) -> int:
        """The warning bits in this minute of the day."""
        return self._bit if minute in self._period else 0
