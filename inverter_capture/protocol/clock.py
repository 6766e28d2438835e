"""Whether an inverter's clock and the configured time zone fit together."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, NamedTuple

from inverter_capture.protocol.times import SECOND

if TYPE_CHECKING:  # the commands that only read a configuration need no registers
    from inverter_capture.protocol.readings import Reading
    from inverter_capture.protocol.reports import Report

QUARTER_HOUR = 15 * 60
"""Seconds. Time zones differ by whole quarter hours."""
CLOCK_TOLERANCE_SECONDS = 120
"""How wrong inverter clocks are of themselves."""
BACKLOG_SECONDS = 60
"""Reports of a backlog follow each other faster than this; live ones do not."""


class ClockError(NamedTuple):
    """An inverter's clock, read in the configured zone, is off by whole quarter hours."""

    ahead: int
    """Seconds by which the readings lie ahead of the capture; negative: behind."""
    utc_offset: int
    """Seconds by which the inverter's wall clock lies ahead of UTC."""
    moment: int
    """When that was seen, in seconds since the epoch."""


class ClockWatch:
    """Compares the clocks of live reports with the capture's. Reports that a dongle sends late are ignored."""

    def __init__(self) -> None:
        self._behind: dict[str, tuple[int, int]] = {}

    def check(self, report: Report, reading: Reading, captured: int) -> ClockError | None:
        """What is wrong with the clock of the report captured at this time (ns since the epoch), if that is certain."""
        now = captured // SECOND
        quarters = off_by_quarters(reading, captured)
        before = self._behind.pop(report.serial, None)
        if not quarters:
            return None
        if quarters < 0:
            # It may be an old report. A live one is followed by another just as old, some time later.
            if before is None or before[0] != quarters or now - before[1] < BACKLOG_SECONDS:
                self._behind[report.serial] = (quarters, now if before is None or before[0] != quarters else before[1])
                return None
            self._behind[report.serial] = before
        wall = int(report.clock.replace(tzinfo=UTC).timestamp())
        utc_offset = round((wall - now) / QUARTER_HOUR) * QUARTER_HOUR
        return ClockError(quarters * QUARTER_HOUR, utc_offset, now)


def off_by_quarters(reading: Reading, captured: int) -> int:
    """By how many quarter hours a reading lies ahead of its capture; 0 when it is not a whole number of them."""
    seconds = (reading.time - captured) // SECOND
    quarters = round(seconds / QUARTER_HOUR)
    return quarters if abs(seconds - quarters * QUARTER_HOUR) <= CLOCK_TOLERANCE_SECONDS else 0
