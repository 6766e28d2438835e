"""Poll maps: how the server tells a dongle which registers to send, and what follows from it for its reports.

Source: the one poll map on record, of a dongle of 2026, and the reports that followed it. Of its entries those whose
first flag is 0 make up the report, in their order; what the others are for is not known.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from inverter_capture.protocol.layouts import REGISTERS_OFFSET, WORD_BYTES, Layout
from inverter_capture.protocol.messages import HEADER_LENGTH, MESSAGE_LENGTH_MAX, POLL_MAP, Message

TEXT_LENGTH = 16
"""Bytes of text at the beginning of the body, as "1.4"; behind it stands the number of entries, in one byte."""
_ENTRIES_OFFSET = HEADER_LENGTH + TEXT_LENGTH + 1
_ENTRY = Struct(">BBBHB")
_READ_HOLDING_REGISTERS = 3
"""Modbus function."""
_REGISTERS = 1 << 16
WORDS_MAX = (MESSAGE_LENGTH_MAX - REGISTERS_OFFSET) // WORD_BYTES
"""Maximum number of registers in a report. A poll map that asks for more is rejected."""


class Entry(NamedTuple):
    """Registers to poll."""

    flags: tuple[int, int]
    """What they mean is likely, for the first, and not known, for the second."""
    first: int
    length: int
    """How many registers."""

    @property
    def last(self) -> int:
        """The last register."""
        return self.first + self.length - 1

    @property
    def in_report(self) -> bool:
        """Whether the registers are in the report."""
        return self.flags[0] == 0


class PollMap(NamedTuple):
    """What the server has asked the dongle for."""

    entries: tuple[Entry, ...]
    layout: Layout
    """Of the reports that follow."""


def parse_poll_map(message: Message) -> PollMap | None:
    """Parse a message as a poll map. Returns None for other messages and for maps without registers. Never raises."""
    data = message.data
    if message.from_dongle or message.type != POLL_MAP or len(data) <= _ENTRIES_OFFSET:
        return None
    count = data[_ENTRIES_OFFSET - 1]
    if len(data) - _ENTRIES_OFFSET != count * _ENTRY.size:
        return None
    entries = []
    for flag, other_flag, function, first, length in _ENTRY.iter_unpack(data[_ENTRIES_OFFSET:]):
        if function != _READ_HOLDING_REGISTERS or length == 0 or first + length > _REGISTERS:
            return None
        entries.append(Entry((flag, other_flag), first, length))
    ranges = [(entry.first, entry.last) for entry in entries if entry.in_report]
    words = sum(last - first + 1 for first, last in ranges)
    return PollMap(tuple(entries), Layout(ranges)) if 0 < words <= WORDS_MAX else None
