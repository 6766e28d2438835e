"""Messages to reports: the dongle's messages with an inverter's registers."""

from __future__ import annotations

from datetime import datetime
from struct import Struct
from typing import NamedTuple

from inverter_capture.protocol.layouts import LAYOUTS, REGISTERS_OFFSET, Layout
from inverter_capture.protocol.messages import (
    CLOCK_LENGTH,
    CLOCK_OFFSET,
    DIRECTION_OFFSET,
    FROM_DONGLE,
    REPORT,
    SERIAL_LENGTH,
    SERIAL_OFFSET,
    TYPE_OFFSET,
    Message,
)

_CENTURY = 2000
_HEAD = Struct(
    f"{DIRECTION_OFFSET}xBB{SERIAL_OFFSET - TYPE_OFFSET - 1}x{SERIAL_LENGTH}s"
    f"{CLOCK_OFFSET - SERIAL_OFFSET - SERIAL_LENGTH}x{CLOCK_LENGTH}B"
)
"""Direction, type, serial number, clock."""


class Report(NamedTuple):
    """A report with a serial number and a valid time."""

    serial: str  # The inverter's serial number: ten ASCII letters or digits
    clock: datetime  # The inverter's local time, without a time zone
    data: bytes  # The message with its header
    layout: Layout | None = None  # The registers in the report. None when they are unknown.
    learnt: bool = False  # Whether the layout is from a poll map; otherwise it is one of LAYOUTS


def parse_report(message: Message) -> Report | None:
    """Parse a message as a report. Its layout is the known one of its length. None for other messages. Never raises."""
    data = message.data
    if len(data) <= REGISTERS_OFFSET:
        return None
    direction, message_type, serial, year, month, day, hour, minute, second = _HEAD.unpack_from(data)
    if direction != FROM_DONGLE or message_type != REPORT or not serial.isalnum():
        return None
    try:
        clock = datetime(_CENTURY + year, month, day, hour, minute, second)
    except ValueError:
        return None
    return Report(serial.decode("ascii"), clock, data, LAYOUTS.get(len(data)))
