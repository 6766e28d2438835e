"""What a dongle and its server say, but for the reports: header, login, device information, poll map, answers.

Written from the description of the protocol alone, and independent of the package: if the package's own numbers were
wrong, tests would see it. Bodies that the description does not give are made up, and say so.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

LOGIN, DEVICE_INFORMATION, UNKNOWN_04, CONTROL, REDIRECT, REPORT, UNKNOWN_0A, POLL_MAP = 1, 2, 4, 5, 7, 9, 10, 11
"""The types that were seen."""

HEADER_LENGTH = 11
SIGNAL = 0xB8
"""Byte 5 of the capture of 2026; other dongles have 0xb0 to 0xce there."""

REGISTER_KEY = "SECRETK3"
"""The key in every login that is made here. It must never appear in any output."""
DONGLE_SERIAL = "E00000000001"


class Header(NamedTuple):
    """The first eleven bytes of a message, but for the two that all begin with and the two zeros."""

    from_dongle: bool
    type: int
    status: int
    signal: int
    number: int
    length: int
    """Of the whole message; in the header stands what follows it."""


def message(
    type: int, body: bytes = b"", *, number: int = 0, from_dongle: bool = True, status: int = 0, signal: int = SIGNAL
) -> bytes:
    """A message of any type. `number` is taken modulo 256."""
    direction = 0x01 if from_dongle else 0xA1
    header = struct.pack(">BBBBBBHBH", 0xA5, 0x06, direction, type, status, signal, 0, number % 256, len(body))
    return header + body


def from_server(type: int, body: bytes = b"", *, number: int = 0) -> bytes:
    """A message of the server: status 1, and no signal."""
    return message(type, body, number=number, from_dongle=False, status=1, signal=0)


def parse_header(data: bytes) -> Header:
    """The header that `data` begins with. Raises ValueError when it is none, also when it is not whole."""
    if len(data) < HEADER_LENGTH or data[:2] != b"\xa5\x06" or data[2] not in (0x01, 0xA1):
        raise ValueError(f"no message begins with {data[:HEADER_LENGTH].hex()}")
    (length,) = struct.unpack_from(">H", data, 9)
    return Header(data[2] == 0x01, data[3], data[4], data[5], data[8], HEADER_LENGTH + length)


def cut_messages(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole messages in a stream, and the rest. Raises ValueError where no message begins."""
    messages = []
    while len(data) >= HEADER_LENGTH and len(data) >= (length := parse_header(data).length):
        messages.append(data[:length])
        data = data[length:]
    return messages, data


def pack_clock(clock: datetime) -> bytes:
    """Six bytes: year - 2000, month, day, hour, minute, second."""
    return struct.pack("6B", clock.year - 2000, clock.month, clock.day, clock.hour, clock.minute, clock.second)


# --- the dongle's ---------------------------------------------------------------------------------------------------


def login(dongle_serial: str = DONGLE_SERIAL, *, key: str = REGISTER_KEY, number: int = 0) -> bytes:
    """43 bytes: the dongle's serial number, of twelve characters, and its key, of eight, each with zeros behind it."""
    body = dongle_serial.encode("ascii").ljust(16, b"\0") + key.encode("ascii").ljust(16, b"\0")
    if (len(dongle_serial), len(key)) != (12, 8):
        raise ValueError(f"{dongle_serial!r} must have 12 characters, and the key 8")
    return message(LOGIN, body, number=number)


def device_information(dongle_serial: str = DONGLE_SERIAL, *, number: int = 0) -> bytes:
    """The body is made up."""
    return message(DEVICE_INFORMATION, dongle_serial.encode("ascii") + b"made up 0.0.0".ljust(48, b"\0"), number=number)


def ask_for_poll_map(number: int = 0) -> bytes:
    """123 bytes, of which all behind the header are zero."""
    return message(POLL_MAP, bytes(112), number=number, status=2)


def control(number: int = 0) -> bytes:
    """A short message between reports. The body is made up."""
    return message(CONTROL, b"\x00\x01", number=number)


def unknown(type: int, number: int = 0) -> bytes:
    """Of a type of which nothing is known; the body is made up."""
    return message(type, bytes(range(23)), number=number)


def greeting(dongle_serial: str = DONGLE_SERIAL, number: int = 0) -> list[bytes]:
    """What a dongle says at the beginning of a connection, in its order, with numbers from this one on.

    The server answers each before the next comes: see `answer_to`. Where 04 and 0a belong is made up.
    """
    return [
        login(dongle_serial, number=number),
        device_information(dongle_serial, number=number + 1),
        unknown(UNKNOWN_04, number + 2),
        ask_for_poll_map(number + 3),
        unknown(UNKNOWN_0A, number + 4),
    ]


# --- the server's ---------------------------------------------------------------------------------------------------


def answer(data: bytes, clock: datetime | None = None) -> bytes:
    """The answer to a message: its type and number. With a clock, 19 bytes, as a login has it; else 11."""
    asked = parse_header(data)
    body = b"" if clock is None else pack_clock(clock) + b"\x00\x1d"
    return from_server(asked.type, body, number=asked.number)


def answer_to(data: bytes, clock: datetime, entries: Sequence[Entry]) -> bytes:
    """What a server with this clock answers to a dongle's message, when it wants these registers."""
    asked = parse_header(data)
    if asked.type == POLL_MAP:
        return poll_map(entries, number=asked.number)
    return answer(data, clock if asked.type == LOGIN else None)


def redirect(host: str, port: int, number: int = 0) -> bytes:
    """Sends the dongle to another server. The body is a guess: the name in the description makes the 34 bytes there."""
    return from_server(REDIRECT, f"{host}:{port}".encode("ascii"), number=number)


def redirected_to(data: bytes) -> str:
    """HOST:PORT out of a redirect."""
    return data[HEADER_LENGTH:].decode("ascii")


# --- poll maps ------------------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """Registers that a dongle shall poll."""

    first: int
    length: int
    flags: tuple[int, int] = (0, 0)
    """Those whose first flag is 0 make up the report."""


Ranges = tuple[tuple[int, int], ...]
"""The first and the last register of each range of a report, in their order."""

RECORDED_MAP = (
    *(Entry(13, 1), Entry(15, 1, (1, 0)), Entry(16, 2), Entry(20, 2, (1, 0)), Entry(25, 14, (1, 0))),
    *(Entry(40, 1, (1, 0)), Entry(43, 16, (1, 0)), Entry(46, 2, (3, 0)), Entry(48, 4, (2, 0)), Entry(54, 1)),
    *(Entry(59, 66), Entry(150, 50), Entry(200, 100, (1, 0)), Entry(204, 1), Entry(244, 1, (0, 1))),
    *(Entry(300, 16, (1, 0)), Entry(312, 8), Entry(320, 100, (1, 0)), Entry(433, 55, (1, 0)), Entry(491, 1, (0, 1))),
)
"""The one map on record, of a dongle of 2026."""


def entries_of(ranges: Iterable[tuple[int, int]]) -> tuple[Entry, ...]:
    """A map that asks for nothing but a report of these ranges."""
    return tuple(Entry(first, last - first + 1) for first, last in ranges)


def ranges_of(entries: Iterable[Entry]) -> Ranges:
    """The ranges of the reports that follow a map."""
    return tuple((entry.first, entry.first + entry.length - 1) for entry in entries if entry.flags[0] == 0)


def poll_map(entries: Sequence[Entry], *, number: int = 0, from_dongle: bool = False, said: int | None = None) -> bytes:
    """The server's answer with a map. `from_dongle` is the wrong direction; `said`, a wrong number of entries."""
    body = b"1.4".ljust(16, b"\0") + bytes((len(entries) if said is None else said,))
    for first, length, flags in entries:
        body += struct.pack(">BBBHB", *flags, 3, first, length)
    return message(
        POLL_MAP, body, number=number, from_dongle=from_dongle, status=1, signal=SIGNAL if from_dongle else 0
    )


def parse_poll_map(data: bytes) -> tuple[Entry, ...]:
    """The entries of a map, for the dongle, which trusts its server."""
    found = struct.iter_unpack(">BBBHB", data[HEADER_LENGTH + 17 :])
    return tuple(Entry(first, length, (flag, other)) for flag, other, _, first, length in found)
