"""Whether a reading shows the present. Dongles also send readings that they kept while offline, and clocks are wrong.

No I/O, no clock: times come as arguments.
"""

from __future__ import annotations

from inverter_capture.protocol.readings import CLOCK_SET_AFTER
from inverter_capture.protocol.times import SECOND

LAG_TOLERANCE_SECONDS = 60
"""Lags that differ by no more count as equal."""
APART_SECONDS = 60
"""Live readings are further apart than this; kept ones follow each other faster."""


class Presence:
    """The clock and the latest reading of one inverter.

    The lag of a reading is the time from its clock to its arrival. Live readings always have the same lag: how far the
    inverter's clock is behind this system's (ahead when negative). A reading with a larger lag was kept, unless another
    one with that lag follows some time later: then the inverter's clock has been set.
    """

    def __init__(self, stale_after: float) -> None:
        """`stale_after`: seconds for which a reading is fresh."""
        self.stale_after = stale_after
        self.newest: int | None = None
        """The time of the present reading, in nanoseconds since the epoch."""
        self.behind = 0.0
        """Seconds by which the inverter's clock is behind this system's."""
        self.until = 0.0
        """Monotonic deadline until which the reading is fresh."""
        self._unconfirmed: tuple[float, float] | None = None
        """The larger lag of the latest reading, and its monotonic time."""

    def take(self, time: int, arrived: int, now: float) -> bool:
        """Whether a reading shows the present: it is the newest, or it is live.

        `time` is the reading's time and `arrived` that of its arrival, in nanoseconds since the epoch. `now` is the
        monotonic time of its arrival, in seconds.
        """
        lag = (arrived - time) / SECOND
        if time == self.newest and lag <= self.behind + LAG_TOLERANCE_SECONDS:
            return False
        # A router without a battery-backed clock starts in the past.
        knows = arrived > CLOCK_SET_AFTER * SECOND
        is_live = self._is_live(lag, now) if knows else False
        if self.newest is not None and time <= self.newest and not is_live:
            return False
        age = max(0.0, lag - self.behind) if knows and not is_live else 0.0
        self.newest = time
        self.until = max(self.until, now + self.stale_after - age)
        return True

    def restore(self, time: int, behind: float, wall: int, now: float) -> None:
        """Continue after a restart with the `time` of the present reading and `behind`.

        `wall` is the present time in nanoseconds since the epoch, `now` the monotonic one in seconds.
        """
        self.newest = time
        self.behind = behind
        if wall > CLOCK_SET_AFTER * SECOND:
            self.until = now + self.stale_after - max(0.0, (wall - time) / SECOND - behind)

    def _is_live(self, lag: float, now: float) -> bool:
        if lag <= self.behind + LAG_TOLERANCE_SECONDS:
            self.behind = min(self.behind, lag)
            self._unconfirmed = None
            return True
        if self._unconfirmed is None or abs(lag - self._unconfirmed[0]) > LAG_TOLERANCE_SECONDS:
            self._unconfirmed = lag, now
            return False
        if now - self._unconfirmed[1] < APART_SECONDS:
            return False
        self.behind = lag
        self._unconfirmed = None
        return True
