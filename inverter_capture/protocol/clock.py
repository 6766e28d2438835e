"""Checks an inverter's clock and the configured time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from inverter_capture.protocol.times import SECOND

if TYPE_CHECKING:  # the commands that only read a configuration need no registers
    from inverter_capture.protocol.readings import Reading
    from inverter_capture.protocol.reports import Report

QUARTER_HOUR = 15 * 60  # Seconds. Time zones differ by whole quarter hours.
CLOCK_TOLERANCE_SECONDS = 120  # Usual maximum error of inverter clocks
THROUGHOUT = 0.9  # Minimum part of a file's clocks that are wrong by whole quarter hours; by chance it is a quarter
BACKLOG_SECONDS = 60  # Reports of a backlog follow each other faster; live reports do not

_TOLERANCE = CLOCK_TOLERANCE_SECONDS * SECOND


class ClockError(NamedTuple):
    """An inverter's clock, in the configured zone, is wrong by whole quarter hours."""

    ahead: int  # Seconds by which readings are ahead of the capture; negative: behind
    utc_offset: int  # Seconds by which the inverter's clock is ahead of UTC
    moment: int  # When that was observed, in seconds since the epoch


class ClockWatch:
    """Compares the clocks of live reports with the capture's. Reports that a dongle sends late are ignored."""

    def __init__(self) -> None:
        self._behind: dict[str, tuple[int, int]] = {}

    def check(self, report: Report, reading: Reading, captured: int) -> ClockError | None:
        """The error of the clock of a report captured at this time (ns since the epoch); None unless it is certain."""
        now = captured // SECOND
        quarters = off_by_quarters(reading, captured)
        before = self._behind.pop(report.serial, None)
        if not quarters:
            return None
        if quarters < 0:
            # It may be a late report. A live one is followed by another with the same error, some time later.
            if before is None or before[0] != quarters or now - before[1] < BACKLOG_SECONDS:
                self._behind[report.serial] = (quarters, now if before is None or before[0] != quarters else before[1])
                return None
            self._behind[report.serial] = before
        return _clock_error(quarters, report.clock, now)


class FileClocks:
    """Compares the clocks of all reports in a capture file with its times."""

    def __init__(self) -> None:
        self.readings = 0
        self.right = 0  # Readings whose clock is right in the configured time zone
        self.wrong = 0  # Readings whose clock is wrong by whole quarter hours
        self._last_wrong = 0, datetime.min, 0  # Quarter hours, clock, and seconds since the epoch of its capture

    def add(self, report: Report, reading: Reading, captured: int) -> None:
        """Take a report captured at this time (ns since the epoch)."""
        self.readings += 1
        if abs(reading.time - captured) <= _TOLERANCE:
            self.right += 1
        elif quarters := off_by_quarters(reading, captured):
            self.wrong += 1
            self._last_wrong = quarters, report.clock, captured // SECOND

    @property
    def error(self) -> ClockError | None:
        """The error throughout the file: no clock is right, and nearly all are wrong by whole quarter hours."""
        is_wrong = self.wrong and not self.right and self.wrong >= THROUGHOUT * self.readings
        return _clock_error(*self._last_wrong) if is_wrong else None


def _clock_error(quarters: int, clock: datetime, now: int) -> ClockError:
    """The error of a clock that is ahead by so many quarter hours. `now`: seconds since the epoch."""
    offset = round((clock.replace(tzinfo=UTC).timestamp() - now) / QUARTER_HOUR)
    return ClockError(quarters * QUARTER_HOUR, offset * QUARTER_HOUR, now)


def off_by_quarters(reading: Reading, captured: int) -> int:
    """The quarter hours by which a reading is ahead of its capture; 0 if they are not a whole number."""
    seconds = (reading.time - captured) // SECOND
    quarters = round(seconds / QUARTER_HOUR)
    return quarters if abs(seconds - quarters * QUARTER_HOUR) <= CLOCK_TOLERANCE_SECONDS else 0
