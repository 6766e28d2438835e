"""What the status file holds in a test, as the service's own writer makes it from simulated inverters' days."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from inverter_capture.backends.status import BackendStatus, Status
from inverter_capture.protocol.readings import Reading
from inverter_capture.service.recent_readings import RecentReadings
from inverter_capture.service.status_file import content
from tests.dongle.inverter import EPOCH, Inverter
from tests.dongle.profiles import PROFILES

Json = dict[str, Any]

INTERVAL = 300
SUNNY = datetime(2024, 6, 21, 9, 0, tzinfo=UTC)
"""Late morning in South Africa: sun, and a battery that is being charged."""
NIGHT = datetime(2024, 6, 21, 19, 0, tzinfo=UTC)


def backend(name: str = "influxdb2 http://192.168.1.10:8086", **changes: Any) -> BackendStatus:
    """A backend, which is well unless something else is said."""
    usual = BackendStatus(name, connected=True, delivered=288, waiting=0, dropped=0, problem="")
    return usual._replace(**changes)


def status(*profiles: str, until: datetime = SUNNY, hours: int = 24, **changes: Any) -> Json:
    """The content of the file: inverters of these profiles that have reported for so many hours, the last time now.

    `changes` are of the service's Status.
    """
    now = time.time()
    recent = RecentReadings(chart=True)
    shift = round(now) * 10**9 - (until - EPOCH) // timedelta(microseconds=1) * 1000
    for name in profiles:
        inverter = Inverter(PROFILES[name], until - timedelta(hours=hours + 1))
        inverter.report(until - timedelta(hours=hours))
        for number in range(hours * 3600 // INTERVAL + 1):
            report = inverter.report(until - timedelta(hours=hours) + timedelta(seconds=number * INTERVAL))
            moment = (report.moment - EPOCH) // timedelta(microseconds=1) * 1000 + shift
            recent.take(Reading.of(report.serial, moment, report.values, report.kind))
    count = sum(hours * 3600 // INTERVAL + 1 for _ in profiles)
    service = Status(
        started=round(now - hours * 3600) * 10**9,
        device="br-lan",
        capturing=True,
        packets=9 * count,
        reports=count,
        readings=count,
        held_back=0,
        backends=(backend(),),
    )
    told: Json = content(service._replace(**changes), recent.all())
    for each in told["inverters"]:
        each |= {"received": round(now), "interval": INTERVAL, "due": round(now) + INTERVAL}
    return told
