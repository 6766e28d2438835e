"""Registers -> the bytes of a report, and field values -> registers.

A report holds the registers that the poll map asks for, one behind the other; so all that `encode` needs is their
ranges. The ranges are written out here once more, from the description of the protocol.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from datetime import datetime

from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.registers import FIELDS
from tests.dongle.messages import REPORT, SIGNAL, Ranges, message, pack_clock

REGISTERS_OFFSET = 44

RANGES: dict[int, Ranges] = {
    292: ((59, 124), (150, 199), (312, 319)),
    302: ((13, 13), (16, 17), (54, 54), (59, 124), (150, 199), (204, 204), (312, 319)),
    306: (
        *((13, 13), (16, 17), (54, 54), (59, 124), (150, 199)),
        *((204, 204), (244, 244), (312, 319), (491, 491)),
    ),
}
"""The ranges of the three reports that are known, by their length in bytes."""

OTHER_REGISTERS = {
    # As in the capture of 2026: firmware, rated power, battery capacity, work mode.
    13: 0x3388,
    16: 50000,
    204: 100,
    244: 2,
    # Registers that no field shows. They are not all zero, so that a wrong offset shows; 62 is from a real report.
    62: 0x097A,
    93: 0x0033,
    153: 0x1111,
    199: 0x2222,
}
"""What registers hold that no value is given for; all others hold 0."""


def encode(
    serial: str, clock: datetime, registers: Mapping[int, int], ranges: Ranges, *, number: int = 0, signal: int = SIGNAL
) -> bytes:
    """A report that holds these ranges of registers, each with the word it has in `registers`, or else 0.

    `clock` is the inverter's wall clock. Raises ValueError when a word has more than 16 bits, and when the serial
    number has not ten ASCII characters.
    """
    name = serial.encode("ascii")
    if len(name) != 10:
        raise ValueError(f"a serial number has ten characters, not {serial!r}")
    body = name + bytes(16) + pack_clock(clock) + b"\x01"
    for first, last in ranges:
        for register in range(first, last + 1):
            word = registers.get(register, 0)
            if not 0 <= word <= 0xFFFF:
                raise ValueError(f"{word} does not fit register {register}")
            body += struct.pack(">H", word)
    return message(REPORT, body, number=number, status=2, signal=signal)


def encode_values(
    serial: str, clock: datetime, values: Mapping[str, float], length: int = 292, *, number: int = 0
) -> bytes:
    """A report of one of the known lengths from a single-phase inverter, with these values by field id.

    A field without a value is sent as OTHER_REGISTERS says, or as raw 0, which for a temperature means that there is no
    sensor. Raises ValueError as `encode` and `words_of` do.
    """
    return encode(serial, clock, OTHER_REGISTERS | words_of(values), RANGES[length], number=number)


def words_of(values: Mapping[str, float], fields: Iterable[Field] = FIELDS) -> dict[int, int]:
    """Register -> word, of fields of any kind of inverter. Raises ValueError when a value does not fit."""
    words: dict[int, int] = {}
    for field in fields:
        if not field.registers or field.id not in values:
            continue
        # Whole numbers of 64 bits stay whole.
        scaled = round((values[field.id] - field.quantity.bias) * field.divisor)
        raw = scaled if field.quantity.factor == 1 else round(scaled / field.quantity.factor)
        mask = field.quantity.mask
        if mask:
            (register,) = field.registers
            words[register] = words.get(register, 0) | raw << lowest_bit(mask)
            continue
        bits = 16 * len(field.registers)
        low, high = (-(1 << bits - 1), 1 << bits - 1) if field.quantity.signed else (0, 1 << bits)
        if not low <= raw < high:
            raise ValueError(f"{field.id}: {values[field.id]} does not fit {bits} bits")
        for position, register in enumerate(field.registers):
            words[register] = raw >> 16 * position & 0xFFFF
    return words


def lowest_bit(mask: int) -> int:
    """The number of a mask's lowest bit."""
    return (mask & -mask).bit_length() - 1


def registers_in(ranges: Ranges) -> list[int]:
    """Every register of a report, in its order."""
    return [register for first, last in ranges for register in range(first, last + 1)]


def length_of(ranges: Ranges) -> int:
    """The bytes of a report."""
    return REGISTERS_OFFSET + 2 * len(registers_in(ranges))
