"""Values -> the bytes of a frame.

The places of the register blocks are written out here once more, from the description of the frame: if the
package's own table of blocks were wrong, tests would see it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import datetime

from inverter_capture.protocol.registers import FIELDS

HEADER = bytes.fromhex("06010902ce0000fa")
"""Bytes 1 to 8 of the one real frame that is known; nobody knows what they mean."""

BLOCKS: dict[int, tuple[tuple[int, int, int], ...]] = {
    292: ((59, 124, 44), (150, 199, 176), (312, 319, 276)),
    302: ((59, 124, 52), (150, 199, 184), (312, 319, 286)),
}
"""By frame length: first register, last register, offset of the first."""

OTHER_REGISTERS = {62: 0x097A, 93: 0x0033, 153: 0x1111, 199: 0x2222}
"""Registers that no field shows. They are not all zero, so that a wrong offset shows; only the first is from the
real frame."""


def encode(serial: str, clock: datetime, values: Mapping[str, float], length: int = 292) -> bytes:
    """A frame of this length, 292 or 302 bytes.

    `clock` is the inverter's wall clock. `values` are by field id; a field without a value is sent as raw 0, which
    for a temperature means that there is no sensor. Raises ValueError when a value does not fit its registers, when
    the serial number has not ten ASCII characters, and for another length.
    """
    if length not in BLOCKS:
        raise ValueError(f"there is no frame of {length} bytes")
    name = serial.encode("ascii")
    if len(name) != 10:
        raise ValueError(f"a serial number has ten characters, not {serial!r}")
    frame = bytearray(length)
    frame[0] = 0xA5
    frame[1:9] = HEADER
    struct.pack_into(">H", frame, 9, length - 11)
    frame[11:21] = name
    frame[37:43] = pack_clock(clock)
    frame[43] = 1
    if length == 302:
        # Unknown in reality; something that is no zero, so that a wrong offset shows.
        struct.pack_into(">HHHH", frame, 44, 0x0101, 0x1770, 0x0002, 0x03E8)
        struct.pack_into(">H", frame, 284, 0x0BB8)
    words = registers_of(values)
    for first, last, offset in BLOCKS[length]:
        for register in range(first, last + 1):
            struct.pack_into(">H", frame, offset + 2 * (register - first), words.get(register, 0))
    return bytes(frame)


def pack_clock(clock: datetime) -> bytes:
    """Six bytes: year - 2000, month, day, hour, minute, second."""
    return struct.pack("6B", clock.year - 2000, clock.month, clock.day, clock.hour, clock.minute, clock.second)


def registers_of(values: Mapping[str, float]) -> dict[int, int]:
    """Register -> word."""
    words = dict(OTHER_REGISTERS)
    for field in FIELDS:
        if field.summed:
            continue
        raw = round((values[field.id] - field.bias) * field.divisor) if field.id in values else 0
        bits = 16 * len(field.registers)
        low, high = (-(1 << bits - 1), 1 << bits - 1) if field.signed else (0, 1 << bits)
        if not low <= raw < high:
            raise ValueError(f"{field.id}: {values[field.id]} does not fit {bits} bits")
        for position, register in enumerate(field.registers):
            words[register] = raw >> 16 * position & 0xFFFF
    return words
