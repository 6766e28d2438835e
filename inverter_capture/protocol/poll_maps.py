"""Poll maps: messages in which the server tells a dongle which registers to send in its reports.

Source: a capture of one poll map, for a dongle of 2026, and of the reports that followed. A report holds the registers
of the entries whose first flag is 0, in the order of the map. The purpose of the other entries is not known.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from inverter_capture.protocol.layouts import REGISTERS_OFFSET, WORD_BYTES, Layout
from inverter_capture.protocol.messages import HEADER_LENGTH, MESSAGE_LENGTH_MAX, POLL_MAP, Message

TEXT_LENGTH = 16  # Bytes of text at the beginning of the body, such as "1.4". The next byte is the number of entries.
_ENTRIES_OFFSET = HEADER_LENGTH + TEXT_LENGTH + 1
_ENTRY = Struct(">BBBHB")
_READ_HOLDING_REGISTERS = 3  # Modbus function
_REGISTERS = 1 << 16
WORDS_MAX = (MESSAGE_LENGTH_MAX - REGISTERS_OFFSET) // WORD_BYTES
"""Maximum number of registers in a report. A poll map that asks for more is rejected."""


class Entry(NamedTuple):
    """Registers to poll."""

    flags: tuple[int, int]  # The first: 0 if the registers are in the report, probably. The second: unknown.
    first: int
    length: int  # Number of registers

    @property
    def last(self) -> int:
        """The last register."""
        return self.first + self.length - 1

    @property
    def in_report(self) -> bool:
        """Whether the registers are in the report."""
        return self.flags[0] == 0


class PollMap(NamedTuple):
    """The registers that the server asks the dongle for."""

    entries: tuple[Entry, ...]
    layout: Layout  # The layout of the reports that follow


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
