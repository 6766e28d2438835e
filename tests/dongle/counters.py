"""Energy counters, as an inverter keeps them: total, year, month and day, by its own clock."""

from __future__ import annotations

from datetime import date

UNIT = 6000
"""Watt-minutes in a tenth of a kilowatt-hour, the step of all counters."""


class Counter:
    """One energy. It is kept in whole watt-minutes, so that nothing is lost to rounding."""

    def __init__(self, total: int, year: int = 0, month: int = 0) -> None:
        """Begins with these, in tenths of a kilowatt-hour."""
        self._total = total * UNIT
        self._year = year * UNIT
        self._month = month * UNIT
        self._day = 0

    def add(self, power: int) -> None:
        """One minute with this power in watts."""
        self._total += power
        self._year += power
        self._month += power
        self._day += power

    def begin_day(self, day: date) -> None:
        """Midnight has passed on the inverter's clock."""
        self._day = 0
        if day.day == 1:
            self._month = 0
            if day.month == 1:
                self._year = 0

    @property
    def total(self) -> int:
        """Tenths of a kilowatt-hour, like the rest."""
        return self._total // UNIT

    @property
    def year(self) -> int:
        return self._year // UNIT

    @property
    def month(self) -> int:
        return self._month // UNIT

    @property
    def day(self) -> int:
        return self._day // UNIT
