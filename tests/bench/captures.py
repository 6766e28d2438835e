"""Capture files to measure with."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from tests import wire
from tests.dongle.house import SOUTH_AFRICA, House
from tests.dongle.profiles import SMALL
from tests.dongle.reports import encode_values

DONGLE_HOST = "192.168.8.202"
DONGLE_EVERY = 1000
"""One packet in so many is the dongle's."""
OTHER_SIZES = (0, 0, 536, 1436)
"""Payloads of the others: half of their packets are bare acknowledgements."""
START = datetime(2024, 6, 20, 22, tzinfo=UTC)
MONTH = 30 * 288
"""Readings of one inverter in thirty days, one every five minutes."""


@cache
def month() -> list[dict[str, float]]:
    """What a believable house measures in that time."""
    house = House(SMALL, START)
    return [house.at(START + timedelta(minutes=5 * number)) for number in range(MONTH)]


def reports(count: int, start: datetime = START) -> Iterator[tuple[int, bytes]]:
    """Reports of that house, whose months are alike: ns since the epoch, and bytes."""
    for number in range(count):
        moment = start + timedelta(minutes=5 * number)
        clock = moment.astimezone(SOUTH_AFRICA).replace(tzinfo=None)
        yield (
            int(moment.timestamp()) * wire.SECOND,
            encode_values(SMALL.serial, clock, month()[number % MONTH], number=number),
        )


def dongle_records(count: int, start: datetime = START) -> Iterator[wire.Record]:
    """The packets with reports of one long connection."""
    client, server = wire.Endpoint(DONGLE_HOST, 50586), wire.Endpoint("203.0.113.10", 51100, wire.MAC_B)
    connection = wire.Connection(client, server)
    for time, report in reports(count, start):
        connection.records.clear()
        connection.packet(time, client, connection.sequence, report, wire.PSH | wire.ACK)
        connection.sequence += len(report)
        yield connection.records[0]


def busy_records(packets: int) -> Iterator[wire.Record]:
    """This many packets, of which one in a thousand is the dongle's."""
    others = [other_packet(random.Random(number)) for number in range(DONGLE_EVERY - 1)]
    for record in dongle_records(packets // DONGLE_EVERY):
        yield record
        for number, data in enumerate(others, 1):
            yield wire.Record(record.time + number * wire.MILLISECOND, data)


def write_capture(path: Path, records: Iterable[wire.Record]) -> Path:
    """A capture file; returns its path."""
    with path.open("wb") as file:
        wire.write_pcap(file, records)
    return path


def other_packet(chance: random.Random) -> bytes:
    """Encrypted traffic of another device."""
    client = wire.Endpoint(f"192.168.8.{chance.randrange(10, 200)}", chance.randrange(32768, 61000))
    server = wire.Endpoint(f"198.51.100.{chance.randrange(1, 255)}", 443, wire.MAC_B)
    payload = chance.randbytes(chance.choice(OTHER_SIZES))
    connection = wire.Connection(client, server)
    connection.packet(0, chance.choice((client, server)), chance.randrange(1 << 32), payload)
    return connection.records[0].data
