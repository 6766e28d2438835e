"""What the house uses: base, fridge, people in the morning and evening, kettle, geyser."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from tests.dongle.chance import Dice, hill

KETTLE = 2000
KETTLE_MINUTES = 3
FRIDGE = 120
GEYSER = 2800


class Load(NamedTuple):
    """Watts."""

    essential: int
    """Behind the inverter's backup output."""
    other: int
    """Between the meter and the inverter: the geyser, which goes without backup."""


class Appliances:
    """The loads of one house, minute by minute."""

    def __init__(self, seed: int, base: int) -> None:
        self._seed = seed
        self._base = base
        self._dice = Dice(seed, 3)
        self._kettle: set[int] = set()
        self._busy = 1.0
        self._geyser: tuple[range, ...] = ()

    def begin_day(self, day: date) -> None:
        """The day's own luck, the same for a date whenever the simulation began."""
        luck = Dice(self._seed, 4, day.toordinal())
        self._busy = luck.between(0.8, 1.3)
        starts = [luck.whole(5 * 60 + 40, 7 * 60), luck.whole(10 * 60, 16 * 60), luck.whole(17 * 60, 21 * 60)]
        self._kettle = {minute + more for minute in starts for more in range(KETTLE_MINUTES)}
        morning, evening = luck.whole(260, 290), luck.whole(1080, 1110)
        self._geyser = (range(morning, morning + 55), range(evening, evening + 40))

    def at(self, minute: int) -> Load:
        """The loads in this minute of the day. Call it once a minute."""
        hour = minute / 60
        people = 450 * hill(hour, 7, 0.9) + 950 * hill(hour, 19, 1.5) + 180 * hill(hour, 13, 3)
        fridge = FRIDGE if (minute // 20) % 2 else 0
        kettle = KETTLE if minute in self._kettle else 0
        flutter = self._dice.between(0.97, 1.03)
        essential = (self._base + people * self._busy) * flutter + fridge + kettle
        other = GEYSER if any(minute in period for period in self._geyser) else 35
        return Load(round(essential), round(other * flutter))
