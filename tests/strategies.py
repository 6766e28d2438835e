"""What the property tests draw from: messages, reports, what is neither, scenarios, cuts, wrappings of packets."""

from __future__ import annotations

import random
import string
import struct
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from hypothesis import strategies as st

from tests import wire
from tests.dongle import messages
from tests.dongle.chance import Dice
from tests.dongle.messages import Entry, Ranges, entries_of
from tests.dongle.reports import RANGES, encode, length_of
from tests.dongle.scenarios import SCENARIOS, random_words

SERIALS = ("1235687108", "2211229876", "AB12cd34EF")


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
    """Random bytes in which no message begins: registers that look so by chance are what no parser can know."""
    return random.Random(seed).randbytes(length).replace(b"\xa5\x06", b"\xa5\x07")


serials = st.sampled_from(SERIALS) | st.text(string.ascii_letters + string.digits, min_size=10, max_size=10)
clocks = st.datetimes(datetime(2000, 1, 1), datetime(2255, 12, 31)).map(lambda clock: clock.replace(microsecond=0))
seeds = st.integers(0, 2**32 - 1)


numbers = st.integers(0, 255)
known_ranges = st.sampled_from(list(RANGES.values()))


@st.composite
def any_ranges(draw: st.DrawFn) -> Ranges:
    """Of a report of any layout, in any order; some may overlap."""
    pairs = draw(st.lists(st.tuples(st.integers(0, 65535), st.integers(1, 60)), min_size=1, max_size=12))
    return tuple((first, min(65535, first + count - 1)) for first, count in pairs)


unknown_ranges = any_ranges().filter(lambda ranges: length_of(ranges) not in RANGES)


@st.composite
def reports_of(draw: st.DrawFn, ranges: st.SearchStrategy[Ranges]) -> bytes:
    """A report with random registers."""
    drawn = draw(ranges)
    registers = random_words(Dice(draw(seeds)), drawn)
    return encode(draw(serials), draw(clocks), registers, drawn, number=draw(numbers))


reports = reports_of(known_ranges)
unknown_reports = reports_of(unknown_ranges)

entries = st.builds(Entry, st.integers(0, 65535), st.integers(0, 255), st.tuples(st.integers(0, 3), st.integers(0, 1)))
"""Of poll maps, also such as make no sense."""
poll_maps = st.builds(messages.poll_map, any_ranges().map(entries_of), number=numbers)
any_poll_maps = st.builds(
    messages.poll_map,
    st.lists(entries, max_size=255),
    number=numbers,
    from_dongle=st.booleans(),
    said=st.none() | numbers,
)
"""In both directions, and with counts that may be wrong."""


@st.composite
def other_messages(draw: st.DrawFn) -> bytes:
    """Messages that hold no registers and no map, of known types and others, in both directions."""
    kind = draw(numbers.filter(lambda number: number not in (messages.REPORT, messages.POLL_MAP)))
    body = filler(draw(seeds), draw(st.integers(0, 200)))
    return messages.message(kind, body, number=draw(numbers), from_dongle=draw(st.booleans()))


@st.composite
def solarman_messages(draw: st.DrawFn) -> bytes:
    """Solarman V5: 0xA5, a little-endian length, control code, sequence, logger number, payload, checksum, 0x15."""
    payload = filler(draw(seeds), draw(st.integers(0, 300)))
    control = draw(st.sampled_from([0x4110, 0x4210, 0x4310, 0x4710, 0x1110, 0x4510]))
    body = struct.pack("<HHHI", len(payload), control, draw(st.integers(0, 65535)), draw(seeds)) + payload
    return b"\xa5" + body + bytes((sum(body) & 0xFF, 0x15))


dongle_messages = (
    other_messages()
    | st.builds(messages.login, number=numbers)
    | st.builds(messages.control, numbers)
    | st.builds(messages.ask_for_poll_map, numbers)
)
server_messages = (
    poll_maps
    | st.builds(messages.answer, reports)
    | st.builds(messages.answer, st.builds(messages.login, number=numbers), clocks)
)
a5_led = dongle_messages | solarman_messages()
"""All that begins with 0xA5 and is no report."""
noise = (
    st.builds(filler, seeds, st.integers(1, 700))
    | st.integers(1, 60).map(lambda count: b"\xa5" * count)
    | st.text(string.printable, min_size=1, max_size=100).map(str.encode)
)

scenarios = st.builds(lambda name, seed: SCENARIOS[name](seed), st.sampled_from(list(SCENARIOS)), seeds)


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
