"""What the property tests draw from: frames, what is no frame, cuts, and every way in which a packet can be wrapped."""

from __future__ import annotations

import random
import re
import string
import struct
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from hypothesis import strategies as st

from tests import wire
from tests.dongle import messages

Bytes = st.SearchStrategy[bytes]

FRAME_LENGTHS = (292, 302)
SERIALS = ("1235687108", "2211229876", "AB12cd34EF")

HEADER_LIKE = re.compile(rb"\xa5.{10}[0-9A-Za-z]{10}", re.DOTALL)
"""How every message of a dongle begins. Registers that look so by chance are what no parser can know."""


class Wrapping(NamedTuple):
    """One way in which packets come from a capture."""

    link_type: int
    """As libpcap tells it."""
    file_link_type: int
    """As a file tells it."""
    wrap: Callable[[bytes], bytes]


def _ethernet(*tags: int) -> Callable[[bytes], bytes]:
    return lambda packet: wire.ethernet(packet, tags=[(tag, 100 + place) for place, tag in enumerate(tags)])


def _pppoe(*tags: int) -> Callable[[bytes], bytes]:
    pairs = [(tag, 100 + place) for place, tag in enumerate(tags)]
    return lambda packet: wire.ethernet(wire.pppoe(packet), tags=pairs, ethertype=wire.ETHERTYPE_PPPOE)


def _tagged(cooked: Callable[..., bytes]) -> Callable[[bytes], bytes]:
    """Cooked captures of tagged packets: the tag follows the header, the type in the header is the tag's."""

    def wrap(packet: bytes) -> bytes:
        return cooked(struct.pack(">HH", 100, wire.ethertype_of(packet)) + packet, ethertype=wire.ETHERTYPE_VLAN)

    return wrap


VLAN, QINQ, OLD_QINQ = wire.ETHERTYPE_VLAN, wire.ETHERTYPE_QINQ, 0x9100
COOKED, COOKED_V2 = wire.LINK_SLL, wire.LINK_SLL2

WRAPPINGS: dict[str, Wrapping] = {
    "ethernet": Wrapping(1, 1, _ethernet()),
    "ethernet-trailer": Wrapping(1, 1, lambda packet: wire.ethernet(packet, trailer=b"\xa5" * 7)),
    "vlan": Wrapping(1, 1, _ethernet(VLAN)),
    "vlan-vlan": Wrapping(1, 1, _ethernet(VLAN, VLAN)),
    "qinq": Wrapping(1, 1, _ethernet(QINQ, VLAN)),
    "old-qinq": Wrapping(1, 1, _ethernet(OLD_QINQ, VLAN)),
    "pppoe": Wrapping(1, 1, _pppoe()),
    "vlan-pppoe": Wrapping(1, 1, _pppoe(VLAN)),
    "qinq-pppoe": Wrapping(1, 1, _pppoe(QINQ, VLAN)),
    "cooked": Wrapping(113, COOKED, wire.sll),
    "cooked-vlan": Wrapping(113, COOKED, _tagged(wire.sll)),
    "cooked-v2": Wrapping(276, COOKED_V2, wire.sll2),
    "cooked-v2-vlan": Wrapping(276, COOKED_V2, _tagged(wire.sll2)),
    "raw": Wrapping(12, wire.LINK_RAW, lambda packet: packet),
}
LINK_TYPES = {1: 1, 12: wire.LINK_RAW, 113: COOKED, 276: COOKED_V2}
"""libpcap's number and the file's."""


def filler(seed: int, length: int) -> bytes:
    """Random bytes in which nothing looks like the header of a message."""
    data = random.Random(seed).randbytes(length)
    while HEADER_LIKE.search(data):
        seed += 1
        data = random.Random(seed).randbytes(length)
    return data


serials = st.sampled_from(SERIALS) | st.text(string.ascii_letters + string.digits, min_size=10, max_size=10)
clocks = st.datetimes(datetime(2000, 1, 1), datetime(2255, 12, 31)).map(lambda clock: clock.replace(microsecond=0))
seeds = st.integers(0, 2**32 - 1)


@st.composite
def raw_frames(draw: st.DrawFn, lengths: st.SearchStrategy[int], field: int | None = None) -> bytes:
    """A frame with random registers. `field` is its length field, if not the right one."""
    length = draw(lengths)
    clock = draw(clocks)
    head = filler(draw(seeds), 8).replace(b"\xa5", b"\x06")
    head = b"\xa5" + head + struct.pack(">H", length - 11 if field is None else field) + draw(serials).encode()
    head += bytes(16) + bytes((clock.year - 2000, clock.month, clock.day, clock.hour, clock.minute, clock.second))
    return head + filler(draw(seeds), length - len(head))


frames = raw_frames(st.sampled_from(FRAME_LENGTHS))
unknown_frames = raw_frames(st.integers(44, 1024).filter(lambda length: length not in FRAME_LENGTHS))


def _is_clock(data: bytes) -> bool:
    try:
        datetime(2000 + data[0], *data[1:6])
    except ValueError:
        return False
    return True


@st.composite
def other_messages(draw: st.DrawFn) -> bytes:
    """Messages with the outline of a frame that are no frames, as there is no time where frames have one."""
    body = filler(draw(seeds), draw(st.integers(1, 400)))
    if len(body) >= 22 and _is_clock(body[16:22]):
        body = bytes(len(body))
    return messages.message(draw(st.integers(0, 255)), draw(serials), body)


@st.composite
def solarman_messages(draw: st.DrawFn) -> bytes:
    """Solarman V5: 0xA5, a little-endian length, control code, sequence, logger number, payload, checksum, 0x15."""
    payload = filler(draw(seeds), draw(st.integers(0, 300)))
    control = draw(st.sampled_from([0x4110, 0x4210, 0x4310, 0x4710, 0x1110, 0x4510]))
    body = struct.pack("<HHHI", len(payload), control, draw(st.integers(0, 65535)), draw(seeds)) + payload
    return b"\xa5" + body + bytes((sum(body) & 0xFF, 0x15))


a5_led = (
    other_messages()
    | solarman_messages()
    | st.builds(messages.login, serials)
    | st.builds(messages.heartbeat, serials, st.integers(0, 2**64 - 1))
)
noise = (
    st.builds(filler, seeds, st.integers(1, 700))
    | st.integers(1, 60).map(lambda count: b"\xa5" * count)
    | st.text(string.printable, min_size=1, max_size=100).map(str.encode)
    | st.builds(messages.answer, seeds)
)


@st.composite
def cuts(draw: st.DrawFn, length: int, pieces_max: int = 12) -> list[int]:
    """Where something of this length is cut: sorted places, 0 and the end among them."""
    places = draw(st.sets(st.integers(1, max(1, length - 1)), max_size=pieces_max - 1))
    return sorted({0, length} | {place for place in places if place < length})


@st.composite
def pieces(draw: st.DrawFn, data: bytes, pieces_max: int = 12) -> list[bytes]:
    """The data in random pieces."""
    places = draw(cuts(len(data), pieces_max))
    return [data[start:end] for start, end in pairwise(places)]
