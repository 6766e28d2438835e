"""What passed by, from tcpdump's files, read with the tests' own description of the protocol, not with the program."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tests.databases import Point
from tests.dongle.house import SOUTH_AFRICA
from tests.dongle.inverter import Report
from tests.dongle.messages import HEADER_LENGTH, REPORT, parse_header
from tests.dongle.profiles import SMALL
from tests.dongle.reports import RANGES, REGISTERS_OFFSET, registers_in
from tests.programs import PORT, Json
from tests.wire import MAC_A

WAIT_SECONDS = 10
"""For so long the program waits for a part of a message that others have overtaken."""

Interval = tuple[float, float]
Stream = dict[int, tuple[float, int]]
"""When each byte was first captured, and the byte, by sequence number."""


class Passed(NamedTuple):
    """A report whose every byte was captured."""

    first: float
    last: float
    """When the first of its bytes was captured, and the last; in seconds since the epoch."""
    reading: Json

    def is_due(self, heard: Iterable[Interval]) -> bool:
        """Whether a program that listened at these times must have read it."""
        quickly = self.last - self.first < WAIT_SECONDS
        return quickly and all(any(begin <= at <= end for begin, end in heard) for at in (self.first, self.last))

    @property
    def points(self) -> list[Point]:
        """What a database stores of it."""
        tags = (("serial", self.reading["serial"]),)
        return [Point(self.reading["timestamp"], tags, name, float(v)) for name, v in self.reading["values"].items()]


def passed(captures: Iterable[Path]) -> list[Passed]:
    """The reports in these captures of a bridge, one after the other."""
    streams: dict[tuple[bytes, int], Stream] = {}
    for capture in captures:
        for at, source, port, sequence, data in segments(capture):
            # Connections begin at random numbers: those of one port do not meet.
            stream = streams.setdefault((source, port), {})
            for place, byte in enumerate(data, sequence):
                stream.setdefault(place, (at, byte))
    return [report for stream in streams.values() for report in reports(stream)]


def segments(capture: Path) -> Iterator[tuple[float, bytes, int, int, bytes]]:
    """Time, source, port, sequence number and data of the TCP segments to the cloud, over IPv4 on Ethernet. Those that
    the stranger made by hand are left out."""
    data = capture.read_bytes()
    at = 24
    while at + 16 <= len(data):
        seconds, microseconds, kept = struct.unpack_from("<III", data, at)
        frame = data[at + 16 : at + 16 + kept]
        at += 16 + kept
        if frame[6:12] == MAC_A:
            continue
        packet = frame[14:]
        packet = packet[: int.from_bytes(packet[2:4], "big")]
        segment = packet[4 * (packet[0] & 15) :]
        port, to, sequence, _, words = struct.unpack_from(">HHIIB", segment)
        if to == PORT:
            yield seconds + microseconds / 1e6, packet[12:16], port, sequence, segment[4 * (words >> 4) :]


def reports(stream: Stream) -> Iterator[Passed]:
    """The reports whose every byte is there."""
    end = 0
    for at in sorted(stream):
        message = whole(stream, at) if at >= end else None
        if message is None:
            continue
        end = at + len(message)
        times = [stream[place][0] for place in range(at, end)]
        if parse_header(message).type == REPORT and (reading := reading_of(message)):
            yield Passed(min(times), max(times), reading)


def whole(stream: Stream, at: int) -> bytes | None:
    """The message that begins here, if one does and all of it is there."""

    def bytes_of(count: int) -> bytes:
        return bytes(stream[place][1] for place in range(at, at + count) if place in stream)

    if stream.get(at, (0, 0))[1] != 0xA5:
        return None
    try:
        length = parse_header(bytes_of(HEADER_LENGTH)).length
    except ValueError:
        return None
    message = bytes_of(length)
    return message if len(message) == length else None


def reading_of(message: bytes) -> Json | None:
    """What a report says; nothing if it is none that an inverter sends."""
    ranges = RANGES.get(len(message))
    serial = message[HEADER_LENGTH : HEADER_LENGTH + 10]
    if ranges is None or not serial.isalnum():
        return None
    year, month, day, hour, minute, second = message[37:43]
    try:
        clock = datetime(2000 + year, month, day, hour, minute, second)
    except ValueError:
        return None
    registers = registers_in(ranges)
    words = dict(zip(registers, struct.unpack_from(f">{len(registers)}H", message, REGISTERS_OFFSET), strict=True))
    moment = clock.replace(tzinfo=SOUTH_AFRICA).astimezone(UTC)
    return Report(serial.decode(), moment, clock, words, {}, ranges, SMALL.kind).expected()
