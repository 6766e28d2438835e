"""Poll maps: the one on record, and what is none."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inverter_capture.protocol.layouts import LAYOUTS
from inverter_capture.protocol.messages import MESSAGE_LENGTH_MAX, Message
from inverter_capture.protocol.poll_maps import WORDS_MAX, PollMap, parse_poll_map

DONGLE, SERVER = 0x01, 0xA1

RECORDED = [
    (0, 0, 13, 1), (1, 0, 15, 1), (0, 0, 16, 2), (1, 0, 20, 2), (1, 0, 25, 14), (1, 0, 40, 1), (1, 0, 43, 16),
    (3, 0, 46, 2), (2, 0, 48, 4), (0, 0, 54, 1), (0, 0, 59, 66), (0, 0, 150, 50), (1, 0, 200, 100), (0, 0, 204, 1),
    (0, 1, 244, 1), (1, 0, 300, 16), (0, 0, 312, 8), (1, 0, 320, 100), (1, 0, 433, 55), (0, 1, 491, 1),
]  # fmt: skip
"""Both flags, first register and count of each entry: the poll map of a dongle of 2026."""


def make(
    entries: Sequence[tuple[int, int, int, int]],
    *,
    function: int = 3,
    direction: int = SERVER,
    type: int = 0x0B,
    count: int | None = None,
) -> Message:
    body = b"1.4".ljust(16, b"\0") + bytes((len(entries) if count is None else count,))
    body += b"".join(
        struct.pack(">BBBHB", flag, other, function, first, length) for flag, other, first, length in entries
    )
    return Message(bytes((0xA5, 0x06, direction, type, 1, 0, 0, 0, 5)) + struct.pack(">H", len(body)) + body)


def parsed(message: Message) -> PollMap:
    poll_map = parse_poll_map(message)
    assert poll_map is not None
    return poll_map


def test_the_one_on_record() -> None:
    message = make(RECORDED)
    assert len(message.data) == 148
    poll_map = parsed(message)
    assert [(*entry.flags, entry.first, entry.length) for entry in poll_map.entries] == RECORDED
    assert poll_map.layout == LAYOUTS[306]


def test_without_the_entries_whose_second_flag_is_set_it_is_that_of_302_bytes() -> None:
    assert parsed(make([entry for entry in RECORDED if not entry[1]])).layout == LAYOUTS[302]


def test_registers_are_sent_in_the_order_of_the_entries() -> None:
    assert parsed(make([(0, 0, 600, 2), (1, 0, 7, 9), (0, 0, 5, 1), (0, 0, 600, 1)])).layout.ranges == (
        (600, 601), (5, 5), (600, 600)
    )  # fmt: skip


@pytest.mark.parametrize(
    "message",
    [
        make(RECORDED, direction=DONGLE),
        make(RECORDED, type=0x09),
        make(RECORDED, function=4),
        make([]),
        make([(1, 0, 59, 66)]),
        make([(0, 0, 59, 0)]),
        make([(0, 0, 65535, 2)]),
        make([(0, 0, 65500, 37)]),
        make(RECORDED, count=19),
        make(RECORDED, count=21),
        make([(0, 0, 0, 255)] * 4),
        Message(make(RECORDED).data[:28]),
        Message(make(RECORDED).data[:11]),
        Message(make(RECORDED).data + b"\0"),
    ],
)
def test_what_is_no_poll_map(message: Message) -> None:
    assert parse_poll_map(message) is None


def test_the_largest() -> None:
    assert parsed(make([(1, 0, 0, 255)] * 254 + [(0, 0, 65535, 1)])).layout.ranges == ((65535, 65535),)
    largest = parsed(make([(0, 0, 0, 255)] * 3 + [(0, 0, 0, WORDS_MAX - 3 * 255)])).layout
    assert MESSAGE_LENGTH_MAX - 2 < largest.length <= MESSAGE_LENGTH_MAX


@given(st.binary(max_size=600))
def test_any_bytes(body: bytes) -> None:
    header = b"\xa5\x06\xa1\x0b\x01\0\0\0\x05" + struct.pack(">H", len(body))
    poll_map = parse_poll_map(Message(header + body))
    if poll_map is not None:
        assert len(header + body) == 28 + 6 * len(poll_map.entries)
        assert all(0 <= first <= last <= 65535 for first, last in poll_map.layout.ranges)
        assert 44 < poll_map.layout.length <= MESSAGE_LENGTH_MAX
