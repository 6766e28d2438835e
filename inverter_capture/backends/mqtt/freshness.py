"""Tells live readings from delayed ones: dongles also send readings that they stored while offline.

The clocks of inverters are often wrong, so that the reading's time alone does not tell. No I/O, no clock: times are
arguments.
"""

from __future__ import annotations

from inverter_capture.protocol.readings import CLOCK_SET_AFTER
from inverter_capture.protocol.times import SECOND

LAG_TOLERANCE_SECONDS = 60  # Lags that differ by at most this many seconds count as equal
APART_SECONDS = 60  # Minimum seconds between live readings. Stored readings follow each other faster.


class Freshness:
    """The clock and the latest reading of one inverter.

    The lag of a reading is the time of its arrival minus the reading's time. All live readings have the same lag: the
    time by which the inverter's clock is behind this system's (negative: ahead). A reading with a larger lag was stored
    by the dongle, unless another reading with that lag follows some time later: then the inverter's clock was set.
    """

    def __init__(self, stale_after: float) -> None:
        """`stale_after`: seconds for which a reading is fresh."""
        self.stale_after = stale_after
        self.newest: int | None = None  # Time of the current reading, in nanoseconds since the epoch
        self.behind = 0.0  # Seconds by which the inverter's clock is behind this system's
        self.until = 0.0  # Monotonic deadline until which the reading is fresh
        self._unconfirmed: tuple[float, float] | None = None
        """A larger lag that no later reading has confirmed, and its monotonic time, both in seconds."""

    def take(self, time: int, arrived: int, now: float) -> bool:
        """Add a reading. Returns whether it is the current one: the newest, or live.

        `time`: the reading's time, `arrived`: the time of its arrival, in nanoseconds since the epoch. `now`: the
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
        """Continue after a restart with the `time` of the current reading and `behind`.

        `wall`: the current time in nanoseconds since the epoch, `now`: the monotonic time in seconds.
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
