"""A battery of sixteen lithium iron phosphate cells with its management system."""

from __future__ import annotations

from tests.dongle.chance import on_line

REST_VOLTAGE = ((0, 47.0), (5, 50.2), (10, 51.2), (20, 51.8), (50, 52.7), (90, 53.4), (98, 53.9), (100, 55.0))
"""Volts without current, by state of charge in per cent."""

CHARGE_VOLTAGE = 56.1
RESERVE = 20.0
"""Per cent, below which the house is fed from the grid."""
BACKUP_RESERVE = 8.0
"""Per cent, below which even a house without grid gets nothing more."""
EFFICIENCY = 0.96
"""What share of the charge comes back."""


class Battery:
    """State of charge, voltage and temperature. Power and current are positive while discharging."""

    def __init__(self, capacity: int, limit: int, charge: float) -> None:
        self.capacity = capacity
        self.limit = limit
        """Amperes, both ways."""
        self.charge = charge
        """Per cent."""
        self.current = 0.0
        self.temperature = 20.0
        # A larger battery has more strings of cells beside each other.
        self._resistance = 1.6 / capacity

    @property
    def voltage(self) -> float:
        """At its terminals, with the present current."""
        return on_line(self.charge, REST_VOLTAGE) - self.current * self._resistance

    @property
    def charge_limit(self) -> float:
        """Amperes that it would take now: less when it is nearly full or cold."""
        taper = on_line(self.charge, ((92, 1.0), (98, 0.2), (100, 0.0)))
        return self.limit * taper * (0.5 if self.temperature < 5 else 1.0)

    def discharge_limit(self, *, backup: bool) -> float:
        """Amperes that it would give now; without grid it goes further down."""
        reserve = BACKUP_RESERVE if backup else RESERVE
        return self.limit * on_line(self.charge, ((reserve, 0.0), (reserve + 1, 1.0)))

    def run(self, power: float, surroundings: float) -> None:
        """One minute with this power in watts, in air of this temperature."""
        self.current = power / self.voltage
        used = self.current / 60 / self.capacity * 100
        self.charge = min(100.0, max(0.0, self.charge - (used if used > 0 else used * EFFICIENCY)))
        # Indoors the nights are mild; losses warm the cells. Such a mass takes hours.
        target = 16 + 0.3 * surroundings + 60 * (self.current / self.limit) * (self.current / self.limit)
        self.temperature += 0.005 * (target - self.temperature)
