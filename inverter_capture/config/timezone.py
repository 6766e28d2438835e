"""The `timezone` setting: what it can be, and which zone fits an inverter's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from inverter_capture.config.values import SettingError, ValueType, check_name, nearest
from inverter_capture.protocol.clock import QUARTER_HOUR, ClockError

OFFSETS = range(-12 * 3600, 14 * 3600 + 1, QUARTER_HOUR)
"""The offsets from UTC, in seconds, at which people live."""

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


def check_timezone(value: str) -> str:
    if check_name(value) == "local":
        return value
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(value)
    except (KeyError, ImportError, ValueError, OSError):  # ImportError: any unknown name with python3-light on 3.11
        area, _, city = value.rpartition("/")
        known = zones()
        same_city = [zone for zone in known if zone.casefold().endswith("/" + city.casefold())]
        near = same_city[0] if same_city else nearest(value, known, 0.8)
        # Other areas' packages have other names in each release of OpenWrt.
        package = area.lower() if area in ("Africa", "Asia", "Atlantic", "Europe", "Pacific") else "all"
        install = f"install its data (on OpenWrt zoneinfo-{package}, elsewhere tzdata), or use local"
        if not known:
            problem = "this system has no time zone data: "
        elif near:
            problem = f"unknown time zone: did you mean {near}? Or "
        else:
            problem = "unknown time zone: check its spelling, "
        raise SettingError(problem + install) from None
    return value


def zones() -> list[str]:
    """The time zones of this system by area and city; those by offset are left out, for their signs are upside down.

    Read from the folders, for available_timezones() cannot be had with OpenWrt's python3-light alone on Python 3.11.
    """
    import os
    import zoneinfo

    names = []
    for root in zoneinfo.TZPATH:
        for folder, _, files in os.walk(root):
            area = os.path.relpath(folder, root)
            if area[0].isupper() and area != "Etc":
                names += [f"{area}/{file}" for file in files]
    return sorted(names)


TIMEZONE = ValueType((str,), "local, or a name", check_timezone, "Europe/Paris")


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
