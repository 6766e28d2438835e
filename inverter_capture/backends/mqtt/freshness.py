"""Whether a reading is the present: dongles also send what they kept while they were offline, and clocks are wrong.

No I/O, no clock: times come as arguments.
"""

from __future__ import annotations

from inverter_capture.protocol.readings import CLOCK_SET_AFTER
from inverter_capture.protocol.times import SECOND

TOLERANCE_SECONDS = 60
"""Readings whose lags differ by no more come equally late."""
APART_SECONDS = 60
"""What a dongle had kept follows faster than this; live readings do not."""


class Presence:
    """What is known of one inverter's readings and clock.

    A live reading lags behind this system's clock by the same time always: that is how far the inverter's clock is
    behind, or ahead when negative. One that lags more was kept, unless the next one, some time later, lags as much:
    then the clock has been set.
    """

    def __init__(self, stale_after: float) -> None:
        """`stale_after` is in seconds."""
        self.stale_after = stale_after
        self.newest: int | None = None
        """The time of the reading that is the present, in nanoseconds since the epoch."""
        self.behind = 0.0
        """Seconds by which the inverter's clock is behind this system's."""
        self.until = 0.0
        """As long, by the monotonic clock, the reading counts as fresh."""
        self._unconfirmed: tuple[float, float] | None = None
        """A larger lag that was seen, and when."""

    def take(self, time: int, arrived: int, now: float) -> bool:
        """Whether a reading is the present: the newest there is, or live.

        `time` is the reading's, `arrived` when it came, both in nanoseconds since the epoch; `now` is the monotonic
        clock's time of its coming.
        """
        lag = (arrived - time) / SECOND
        if time == self.newest and lag <= self.behind + TOLERANCE_SECONDS:
            return False
        # A router without a battery starts in the past: its clock then tells nothing.
        knows = arrived > CLOCK_SET_AFTER * SECOND
        is_live = self._is_live(lag, now) if knows else False
        if self.newest is not None and time <= self.newest and not is_live:
            return False
        age = max(0.0, lag - self.behind) if knows and not is_live else 0.0
        self.newest = time
        self.until = max(self.until, now + self.stale_after - age)
        return True

    def restore(self, time: int, behind: float, wall: int, now: float) -> None:
        """What was known before a restart: the present reading's time, and `behind`. `wall` and `now` are now's."""
        self.newest = time
        self.behind = behind
        if wall > CLOCK_SET_AFTER * SECOND:
            self.until = now + self.stale_after - max(0.0, (wall - time) / SECOND - behind)

    def _is_live(self, lag: float, now: float) -> bool:
        if lag <= self.behind + TOLERANCE_SECONDS:
            self.behind = min(self.behind, lag)
            self._unconfirmed = None
            return True
        if self._unconfirmed is None or abs(lag - self._unconfirmed[0]) > TOLERANCE_SECONDS:
            self._unconfirmed = lag, now
            return False
        if now - self._unconfirmed[1] < APART_SECONDS:
            return False
        self.behind = lag
        self._unconfirmed = None
        return True
