"""The sun over the house, clouds, and the air's temperature."""

from __future__ import annotations

from datetime import date

from tests.dongle.chance import Dice, sine

CLOUDINESS = (0.0, 0.0, 0.02, 0.3, 0.5, 0.9)
"""What share of a day is cloudy: clear days are the most frequent, as in winter on the Highveld."""

MEAN_TEMPERATURE = 15.0
"""Degrees Celsius, over the year."""


class Weather:
    """The weather of one place in the southern subtropics, minute by minute.

    Hours are of the inverter's wall clock, which is near solar time in this place.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._dice = Dice(seed, 1)
        self._cloudiness = 0.0
        self._warmth = 0.0
        self._season = 0.0
        self._cover = 0.0
        self._cloud_overhead = False

    def begin_day(self, day: date) -> None:
        """The day's own luck, the same for a date whenever the simulation began."""
        luck = Dice(self._seed, 2, day.toordinal())
        self._cloudiness = luck.one_of(CLOUDINESS)
        self._warmth = luck.between(-3, 3)
        # 1 at midsummer, in December; -1 in June.
        self._season = sine(day.timetuple().tm_yday * 360 / 365 + 100)

    def pass_minute(self) -> None:
        """Clouds come and go."""
        if self._dice.happens(0.07):
            self._cloud_overhead = self._dice.happens(self._cloudiness)
        wanted = self._dice.between(0.5, 0.95) if self._cloud_overhead else 0.0
        self._cover += 0.3 * (wanted - self._cover)

    def sunlight(self, hour: float, facing: float) -> float:
        """The share of full sun, 0 to about 1, that falls on panels facing this many degrees west of the equator."""
        angle = 15 * (hour - 12)
        declination = 23.45 * self._season
        # At 26 degrees of latitude: cosine 0.899, sine 0.438.
        height = 0.438 * sine(declination) + 0.899 * sine(declination + 90) * sine(angle + 90)
        if height <= 0:
            return 0.0
        on_panels = max(0.05, sine(declination + 90) * sine(angle - 0.6 * facing + 90))
        return on_panels * min(1.0, 4 * height) * (1 - 0.85 * self._cover)

    def temperature(self, hour: float) -> float:
        """Of the air, in degrees Celsius: coldest at five, warmest at three in the afternoon."""
        return MEAN_TEMPERATURE + 5 * self._season + self._warmth + 7 * sine(15 * (hour - 9))
