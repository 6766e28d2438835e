"""An inverter's reports: what it measured at a moment, the frame that says so, and what should be decoded from it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from tests.dongle.frames import encode
from tests.dongle.house import SOUTH_AFRICA, House
from tests.dongle.profiles import Profile

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Report(NamedTuple):
    """One reading of one inverter."""

    serial: str
    moment: datetime
    """In UTC, to the second."""
    values: dict[str, int | float]
    frame: bytes

    def expected(self) -> dict[str, Any]:
        """The reading as the JSON contract has it."""
        return {
            "timestamp": (self.moment - EPOCH) // timedelta(seconds=1) * 1_000_000_000,
            "time": self.moment.isoformat(),
            "serial": self.serial,
            "values": self.values,
        }

    def to_json(self) -> str:
        """The same as one line."""
        return json.dumps(self.expected())


class Inverter:
    """A house's inverter, which reports when asked."""

    def __init__(self, profile: Profile, start: datetime, seed: int = 1, zone: tzinfo = SOUTH_AFRICA) -> None:
        """As House."""
        self.profile = profile
        self.zone = zone
        self._house = House(profile, start, seed, zone)

    def report(self, moment: datetime) -> Report:
        """What it says at an aware moment, cut to the second. Moments must not go back."""
        moment = moment.astimezone(UTC).replace(microsecond=0)
        values = self._house.at(moment)
        clock = moment.astimezone(self.zone).replace(tzinfo=None)
        frame = encode(self.profile.serial, clock, values, self.profile.frame_length)
        return Report(self.profile.serial, moment, values, frame)


def parse_zone(text: str) -> tzinfo:
    """An IANA name, or an offset such as +02:00. Raises ValueError or zoneinfo's own errors."""
    if text[:1] in "+-":
        return datetime.strptime(text, "%z").tzinfo or UTC
    return ZoneInfo(text)
