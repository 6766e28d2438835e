"""Layouts: which registers a report holds, and their offsets.

The server tells the dongle which registers to poll, and a report holds them one after the other. Therefore a layout is
a list of register ranges, and every offset follows from it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from struct import Struct
from typing import NamedTuple

REGISTERS_OFFSET = 44  # Bytes from the start of a report to its first register

WORD_BYTES = 2  # A register is a big-endian 16-bit word


class Block(NamedTuple):
    """Adjacent registers in a report."""

    first: int
    last: int
    offset: int  # Bytes from the start of the report to the first register

    @property
    def end(self) -> int:
        """Bytes from the start of the report to the end of the last register."""
        return self.offset + WORD_BYTES * (self.last - self.first + 1)


class Layout:
    """The registers of a report, in their order. Two layouts with the same ranges are equal."""

    __slots__ = ("_hash", "blocks", "length", "ranges")

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        """`ranges`: the first and the last register of each range, in the order of the report."""
        self.ranges = tuple(ranges)
        self._hash = hash(self.ranges)
        blocks = []
        offset = REGISTERS_OFFSET
        for first, last in self.ranges:
            blocks.append(Block(first, last, offset))
            offset = blocks[-1].end
        self.blocks = tuple(blocks)
        self.length = offset  # Length of a report in bytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.ranges == other.ranges

    def __hash__(self) -> int:
        return self._hash

    def __contains__(self, register: int) -> bool:
        return any(first <= register <= last for first, last in self.ranges)

    def __str__(self) -> str:
        """The ranges, such as 13, 16-17, 59-124."""
        return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in self.ranges)

    def __repr__(self) -> str:
        return f"Layout({self})"

    def register_offset(self, register: int) -> int:
        """Bytes from the start of a report to a register: to the first one if it is sent twice.

        Raises KeyError when the layout does not hold the register.
        """
        for block in self.blocks:
            if block.first <= register <= block.last:
                return block.offset + WORD_BYTES * (register - block.first)
        raise KeyError(register)

    def in_order(self, registers: Iterable[int]) -> list[int]:
        """Those of the registers that the layout holds, in the order of a report."""
        return sorted((register for register in registers if register in self), key=self.register_offset)

    def struct(self, registers: Iterable[int], signed: Container[int]) -> Struct:
        """Unpacks registers of the layout, given in the order of a report; the `signed` ones as two's complement."""
        text, end = ">", 0
        for register in registers:
            offset = self.register_offset(register)
            text += f"{offset - end}x{'h' if register in signed else 'H'}"
            end = offset + WORD_BYTES
        return Struct(text)


LAYOUTS: dict[int, Layout] = {
    layout.length: layout
    for layout in (
        # From a capture of 2022.
        Layout([(59, 124), (150, 199), (312, 319)]),
        # Newer firmware. Offsets that earlier decoders found by trial follow from these ranges.
        Layout([(13, 13), (16, 17), (54, 54), (59, 124), (150, 199), (204, 204), (312, 319)]),
        # Firmware of 2026, from a capture of its poll map and reports.
        Layout([(13, 13), (16, 17), (54, 54), (59, 124), (150, 199), (204, 204), (244, 244), (312, 319), (491, 491)]),
    )
}
"""Layouts that are known without a poll map, by the length of a report in bytes."""
