"""Whether an inverter's clock and the time zone fit together, and which zone would."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from inverter_capture.frames import Frame
from inverter_capture.readings import Reading

QUARTER_HOUR = 15 * 60
"""Seconds. Time zones differ by whole quarter hours."""
TOLERANCE_SECONDS = 120
"""How wrong inverter clocks are of themselves."""
BACKLOG_SECONDS = 60
"""Frames of a backlog follow each other faster than this; live ones do not."""
OFFSETS = range(-12 * 3600, 14 * 3600 + 1, QUARTER_HOUR)
"""The offsets from UTC, in seconds, at which people live."""

_SECOND = 1_000_000_000

# Where such inverters are sold, and one zone at least for each offset there is.
_ZONES = (
    "Africa/Johannesburg", "Europe/London", "Europe/Berlin", "Europe/Athens", "Africa/Lagos", "Africa/Nairobi",
    "Asia/Beirut", "Asia/Dubai", "Asia/Karachi", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Dhaka", "Asia/Yangon",
    "Asia/Bangkok", "Asia/Manila", "Asia/Shanghai", "Australia/Perth", "Australia/Eucla", "Asia/Tokyo",
    "Australia/Darwin", "Australia/Adelaide", "Australia/Brisbane", "Australia/Sydney", "Australia/Lord_Howe",
    "Pacific/Noumea", "Pacific/Fiji", "Pacific/Auckland", "Pacific/Chatham", "Pacific/Tongatapu", "Pacific/Kiritimati",
    "Asia/Tehran", "Asia/Kabul", "Atlantic/Azores", "Atlantic/Cape_Verde", "Atlantic/South_Georgia",
    "America/Sao_Paulo", "America/St_Johns", "America/Puerto_Rico", "America/New_York", "America/Chicago",
    "America/Denver", "America/Los_Angeles", "America/Anchorage", "Pacific/Gambier", "Pacific/Marquesas",
    "Pacific/Honolulu", "Pacific/Pago_Pago",
)  # fmt: skip


class ClockError(NamedTuple):
    """An inverter's clock, read in the configured zone, is off by whole quarter hours."""

    ahead: int
    """Seconds by which the readings lie ahead of the capture; negative: behind."""
    utc_offset: int
    """Seconds by which the inverter's wall clock lies ahead of UTC."""
    moment: int
    """When that was seen, in seconds since the epoch."""


class ClockWatch:
    """Compares the clocks of live frames with the capture's. What a dongle kept while offline is no evidence."""

    def __init__(self) -> None:
        self._behind: dict[str, tuple[int, int]] = {}

    def check(self, frame: Frame, reading: Reading, captured: int) -> ClockError | None:
        """What is wrong with the clock of the frame captured at this time (ns since the epoch), if that is certain."""
        now = captured // _SECOND
        quarters = off_by_quarters(reading, captured)
        before = self._behind.pop(frame.serial, None)
        if not quarters:
            return None
        if quarters < 0:
            # It may be an old frame. A live one is followed by another just as old, some time later.
            if before is None or before[0] != quarters or now - before[1] < BACKLOG_SECONDS:
                self._behind[frame.serial] = (quarters, now if before is None or before[0] != quarters else before[1])
                return None
            self._behind[frame.serial] = before
        wall = int(frame.clock.replace(tzinfo=UTC).timestamp())
        utc_offset = round((wall - now) / QUARTER_HOUR) * QUARTER_HOUR
        return ClockError(quarters * QUARTER_HOUR, utc_offset, now)


def off_by_quarters(reading: Reading, captured: int) -> int:
    """By how many quarter hours a reading lies ahead of its capture; 0 when it is not a whole number of them."""
    seconds = (reading.time - captured) // _SECOND
    quarters = round(seconds / QUARTER_HOUR)
    return quarters if abs(seconds - quarters * QUARTER_HOUR) <= TOLERANCE_SECONDS else 0


def remedy(error: ClockError) -> str:
    """What to set, in words."""
    zones = fitting_zones(error.utc_offset, error.moment)
    if not zones:
        return "no time zone fits: set the inverter's clock"
    examples = " or ".join(f'"{zone}"' for zone in zones[1:3])
    others = f", or another zone at {offset_text(error.utc_offset)} such as {examples}" if examples else ""
    return f'set [pcap] timezone = "{zones[0]}"{others}'


def fitting_zones(utc_offset: int, moment: int) -> list[str]:
    """Names of time zones at this offset from UTC (in seconds) at a moment (seconds since the epoch), `local` first."""
    if utc_offset not in OFFSETS:
        return []
    when = datetime.fromtimestamp(moment, UTC)
    names = ["local"] if when.astimezone().utcoffset() == timedelta(seconds=utc_offset) else []
    try:
        from zoneinfo import ZoneInfo

        names += [
            name for name in _ZONES if when.astimezone(ZoneInfo(name)).utcoffset() == timedelta(seconds=utc_offset)
        ]
    except (KeyError, ImportError):
        # A router without time zone data, or without all of it: the names that need none are left.
        pass
    if not names and utc_offset % 3600 == 0:
        # These names count the hours west of Greenwich.
        names = [f"Etc/GMT{-utc_offset // 3600:+d}" if utc_offset else "Etc/UTC"]
    return names


def offset_text(utc_offset: int) -> str:
    """An offset from UTC in seconds, as in UTC+05:45."""
    minutes = abs(utc_offset) // 60
    return f"UTC{'-' if utc_offset < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"


def distance_text(seconds: int) -> str:
    """How far that is ahead of something or behind it, in words that go before it."""
    hours, minutes = divmod(abs(seconds) // 60, 60)
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes or not hours)
    return f"{' '.join(parts)} {'ahead of' if seconds > 0 else 'behind'}"


def named_zone(name: str) -> tzinfo | None:
    """The time zone of a checked `timezone` setting; None is the system's."""
    if name == "local":
        return None
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)
