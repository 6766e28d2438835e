"""What a dongle sends beside its frames, and what its server answers.

All of it is MADE UP: such messages exist, and nobody has described them. They begin with 0xA5 as frames do, have a
serial number and a length field that fits them, and are no frames because of their length.
"""

from __future__ import annotations

import struct


def login(serial: str) -> bytes:
    """Sent once at the beginning of a connection. 65 bytes."""
    return message(0x01, serial, b"made-up login; firmware 0.0.0".ljust(44, b"\0"))


def heartbeat(serial: str, number: int) -> bytes:
    """Sent between frames. 29 bytes; `number` counts them."""
    return message(0x03, serial, struct.pack(">Q", number))


def answer(number: int) -> bytes:
    """The server's answer to whatever it got: 9 bytes, without 0xA5 at the beginning."""
    return b"\x5a\x06\x01\x09\x83" + struct.pack(">I", number)


def message(kind: int, serial: str, body: bytes) -> bytes:
    """A message with the outline of a frame: 0xA5, eight bytes, the length of the rest, the serial number, a body."""
    rest = serial.encode("ascii") + body
    return b"\xa5\x06\x01\x09" + bytes((kind,)) + b"\xce\x00\x00\xfa" + struct.pack(">H", len(rest)) + rest
