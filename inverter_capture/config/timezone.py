"""The `timezone` setting: its check, and the time zones that fit an inverter's clock."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta, tzinfo

from inverter_capture.config.values import SettingError, ValueType, check_name, nearest
from inverter_capture.protocol.clock import ClockError

# Where such inverters are sold, and the other offsets that summer time brings; others are in _STEADY_ZONES.
_ZONES = (
    "Africa/Johannesburg", "Europe/London", "Europe/Berlin", "Europe/Athens", "Asia/Beirut", "Asia/Manila",
    "Australia/Perth", "Australia/Adelaide", "Australia/Sydney", "Australia/Lord_Howe", "Pacific/Auckland",
    "Pacific/Chatham", "Atlantic/Azores", "America/St_Johns", "America/New_York", "America/Chicago", "America/Denver",
    "America/Los_Angeles", "America/Anchorage",
)  # fmt: skip

# Zones that have had the same offset from UTC all year for long, by its hours.
_STEADY_ZONES = {
    -11: "Pacific/Pago_Pago", -10: "Pacific/Honolulu", -9.5: "Pacific/Marquesas", -9: "Pacific/Gambier",
    -8: "Pacific/Pitcairn", -7: "America/Phoenix", -6: "America/Costa_Rica", -5: "America/Bogota",
    -4: "America/Puerto_Rico", -3: "America/Sao_Paulo", -2: "Atlantic/South_Georgia", -1: "Atlantic/Cape_Verde",
    0: "Africa/Accra", 1: "Africa/Lagos", 2: "Africa/Johannesburg", 3: "Africa/Nairobi", 3.5: "Asia/Tehran",
    4: "Asia/Dubai", 4.5: "Asia/Kabul", 5: "Asia/Karachi", 5.5: "Asia/Kolkata", 5.75: "Asia/Kathmandu",
    6: "Asia/Dhaka", 6.5: "Asia/Yangon", 7: "Asia/Bangkok", 8: "Asia/Shanghai", 8.75: "Australia/Eucla",
    9: "Asia/Tokyo", 9.5: "Australia/Darwin", 10: "Australia/Brisbane", 11: "Pacific/Noumea", 12: "Pacific/Fiji",
    13: "Pacific/Tongatapu", 14: "Pacific/Kiritimati",
}  # fmt: skip

_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d\d))?", re.ASCII | re.IGNORECASE)

OPENWRT_FILE = "/etc/openwrt_release"  # Exists on OpenWrt


def check_timezone(value: str) -> str:
    if check_name(value) == "local":
        return value
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(value)
    # ImportError: any unknown name with python3-light on 3.11; RecursionError: a thousand dots in the name
    except (KeyError, ImportError, ValueError, OSError, RecursionError):
        if zone := _zone_at(value):
            installed = "" if _offset(zone, datetime.now(UTC)) is not None else f", and {_install_data(zone)}"
            raise SettingError("an offset, not the name of a time zone", f"write {zone}{installed}") from None
        known = zones()
        city = value.rpartition("/")[2]
        same_city = [zone for zone in known if zone.casefold().endswith("/" + city.casefold())]
        near = same_city[0] if same_city else nearest(value, known, 0.8)
        install = f"{_install_data(value)}, or use local"
        if not known:
            raise SettingError("this system has no time zone data", install) from None
        remedy = f"did you mean {near}? Or " if near else "check its spelling, "
        raise SettingError("unknown time zone", remedy + install) from None
    return value


def _zone_at(text: str) -> str:
    """The time zone without summer time at an offset such as UTC+2 or GMT-03:30; empty for other texts."""
    match = _OFFSET.fullmatch(text.replace(" ", ""))
    if match is None:
        return ""
    hours = (int(match[2]) + int(match[3] or 0) / 60) * (-1 if match[1] == "-" else 1)
    return _STEADY_ZONES.get(hours, "")


def zones() -> list[str]:
    """The time zones of this system by area and city, without those in Etc, whose signs are inverted.

    Read from the directories: available_timezones() does not work with OpenWrt's python3-light on Python 3.11.
    """
    import zoneinfo

    names = []
    for root in zoneinfo.TZPATH:
        for folder, _, files in os.walk(root):
            area = os.path.relpath(folder, root)
            if area[0].isupper() and area != "Etc":
                names += [f"{area}/{file}" for file in files]
    return sorted(names)


TIMEZONE = ValueType((str,), "local, or a name", check_timezone, "Europe/Paris")


def remedy(error: ClockError, action: str = "") -> str:
    """The remedy for a wrong clock or time zone. `action`: how to set the zone {}; by default, set [pcap] timezone."""
    zones = fitting_zones(error.utc_offset, error.moment)
    if not zones:
        return "no time zone fits: set the inverter's clock, or this system's"
    if not action:
        action = 'set [pcap] timezone = "{}"'
        if os.path.exists(OPENWRT_FILE):
            from inverter_capture.config.uci import PACKAGE

            action = f"uci set {PACKAGE}.@pcap[0].timezone='{{}}'; uci commit {PACKAGE}; reload_config"
    text = action.format(zones[0])
    if zones[0] != "local" and _offset(zones[0], datetime.now(UTC)) is None:
        text = f"{_install_data(zones[0])}, then {text}"
    examples = " or ".join(zones[1:3])
    return text + (f", or another zone at {offset_text(error.utc_offset)} such as {examples}" if examples else "")


def fitting_zones(utc_offset: int, moment: int) -> list[str]:
    """Names of time zones at this offset from UTC (in seconds) at a moment (seconds since the epoch), `local` first."""
    when, offset = datetime.fromtimestamp(moment, UTC), timedelta(seconds=utc_offset)
    steady = _STEADY_ZONES.get(utc_offset / 3600, "")
    names = ["local"] if when.astimezone().utcoffset() == offset else []
    names += [name for name in dict.fromkeys((*_ZONES, steady)) if name and _offset(name, when) == offset]
    # A router may have the data of no zone that fits.
    return names or ([steady] if steady else [])


def _offset(name: str, when: datetime) -> timedelta | None:
    """The offset of a time zone from UTC at this time; None when its data is not installed."""
    try:
        from zoneinfo import ZoneInfo

        return when.astimezone(ZoneInfo.no_cache(name)).utcoffset()
    except (KeyError, ImportError):
        return None


def _install_data(zone: str) -> str:
    """The remedy for missing time zone data, for messages."""
    area = zone.partition("/")[0]
    # Other areas' packages have other names in each release of OpenWrt.
    package = area.lower() if area in ("Africa", "Asia", "Atlantic", "Europe", "Pacific") else "all"
    return f"install its data (on OpenWrt zoneinfo-{package}, elsewhere tzdata)"


def offset_text(utc_offset: int) -> str:
    """An offset from UTC in seconds as text, such as UTC+05:45."""
    minutes = abs(utc_offset) // 60
    return f"UTC{'-' if utc_offset < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"


def distance_text(seconds: int) -> str:
    """A time difference in seconds as text, such as "2 h ahead of" or "5 min behind"."""
    hours, minutes = divmod(abs(seconds) // 60, 60)
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes or not hours)
    return f"{' '.join(parts)} {'ahead of' if seconds > 0 else 'behind'}"


def named_zone(name: str) -> tzinfo | None:
    """The time zone of a checked `timezone` setting; None for the system's."""
    if name == "local":
        return None
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)
