"""The public grid: voltage and frequency that wander, and hours without it."""

from __future__ import annotations

from datetime import date

from tests.dongle.chance import Dice, hill

OUTAGE_MINUTES = 130
OUTAGE_HOURS = (4, 10, 18, 20)


class Grid:
    """The grid at one house, minute by minute."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._dice = Dice(seed, 5)
        self._outage = range(0)
        self._drift = 0.0
        self._wander = 0.0
        self.connected = True
        self.voltage = 230.0
        self.frequency = 50.0

    def begin_day(self, day: date) -> None:
        """The day's own luck, the same for a date whenever the simulation began."""
        luck = Dice(self._seed, 6, day.toordinal())
        begins = luck.one_of(OUTAGE_HOURS) * 60 + luck.whole(0, 9)
        self._outage = range(begins, begins + OUTAGE_MINUTES) if luck.happens(0.4) else range(0)

    def pass_minute(self, minute: int) -> None:
        """One minute, of this number in the day."""
        self._drift += self._dice.between(-0.5, 0.5) - 0.05 * self._drift
        self._wander += self._dice.between(-0.015, 0.015) - 0.05 * self._wander
        self.connected = minute not in self._outage
        self.voltage = 233 + self._drift - 5 * hill(minute / 60, 19, 2) if self.connected else 0.0
        self.frequency = 50 + self._wander if self.connected else 0.0

    def lost_at(self, minute: int) -> bool:
        """Whether an outage began within the ten minutes before this one."""
        return minute in self._outage and minute - self._outage.start < 10
