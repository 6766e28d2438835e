"""Packets to segments: every way a packet can be wrapped, cut into fragments, cut off, and broken."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inverter_capture.protocol import packets
from inverter_capture.protocol.packets import Flow, Packet, PacketParser, Segment
from tests import wire
from tests.strategies import LINK_TYPES, WRAPPINGS, Wrapping, filler
from tests.wire import ACK, FIN, PSH, RST, SECOND, SYN

TIME = 1_667_629_970_123_456_789
CLIENT, SERVER = "192.168.0.202", "47.242.67.221"
CLIENT6, SERVER6 = "2001:db8::202", "2001:db8:1::dd"
PORT, SERVER_PORT, SEQUENCE = 50586, 51100, 0xFFFFFF00
FLOW = Flow(bytes([192, 168, 0, 202]), PORT, bytes([47, 242, 67, 221]), SERVER_PORT)
FLOW6 = Flow(wire.packed_address(CLIENT6), PORT, wire.packed_address(SERVER6), SERVER_PORT)

every_wrapping = pytest.mark.parametrize("wrapping", WRAPPINGS.values(), ids=WRAPPINGS.keys())


def tcp4(payload: bytes = b"", flags: int = PSH | ACK, options: bytes = b"") -> bytes:
    return wire.tcp(CLIENT, PORT, SERVER, SERVER_PORT, SEQUENCE, payload, flags=flags, options=options)


def tcp6(payload: bytes = b"", flags: int = PSH | ACK, options: bytes = b"") -> bytes:
    return wire.tcp(CLIENT6, PORT, SERVER6, SERVER_PORT, SEQUENCE, payload, flags=flags, options=options)


def ip4(payload: bytes = b"", flags: int = PSH | ACK, *, options: bytes = b"", tcp_options: bytes = b"") -> bytes:
    return wire.ipv4(CLIENT, SERVER, tcp4(payload, flags, tcp_options), options=options)


def ip6(
    payload: bytes = b"",
    flags: int = PSH | ACK,
    *,
    extensions: Iterable[tuple[int, bytes]] = (),
    tcp_options: bytes = b"",
) -> bytes:
    return wire.ipv6(CLIENT6, SERVER6, tcp6(payload, flags, tcp_options), extensions=list(extensions))


def parse(data: bytes, link_type: int = 12) -> Segment | None:
    return PacketParser().parse(Packet(TIME, link_type, data))


def check_counts(parser: PacketParser) -> None:
    """Every packet is in one of three classes."""
    counts = parser.counts
    assert counts.packets == counts.segments + counts.other + counts.malformed
    assert counts.cut <= counts.segments
    assert counts.fragments_dropped <= counts.fragments


# --- what a packet is wrapped in ------------------------------------------------------------------------------------


@every_wrapping
@pytest.mark.parametrize("length", [1, 5, 17, 18, 19, 292, 1436])
def test_segment_in_every_wrapping(wrapping: Wrapping, length: int) -> None:
    payload = filler(length, length)
    for packet, flow in ((ip4(payload), FLOW), (ip6(payload), FLOW6)):
        segment = parse(wrapping.wrap(packet), wrapping.link_type)
        assert segment == Segment(TIME, flow, SEQUENCE, PSH | ACK, payload, 0)


@every_wrapping
@pytest.mark.parametrize("flags", [SYN, SYN | ACK, FIN | ACK, RST, RST | ACK])
def test_beginnings_and_ends_without_data(wrapping: Wrapping, flags: int) -> None:
    for packet in (ip4(flags=flags), ip6(flags=flags)):
        segment = parse(wrapping.wrap(packet), wrapping.link_type)
        assert segment is not None
        assert (segment.flags, segment.payload, segment.cut) == (flags, b"", 0)


@every_wrapping
def test_acknowledgements_are_of_no_interest(wrapping: Wrapping) -> None:
    # Padding and trailers are not data.
    parser = PacketParser()
    for packet in (ip4(flags=ACK), ip6(flags=ACK)):
        assert parser.parse(Packet(TIME, wrapping.link_type, wrapping.wrap(packet))) is None
    assert (parser.counts.packets, parser.counts.other, parser.counts.malformed) == (2, 2, 0)


@pytest.mark.parametrize("ip_options", [0, 4, 20, 40])
@pytest.mark.parametrize("tcp_options", [0, 4, 12, 40])
def test_options(ip_options: int, tcp_options: int) -> None:
    for payload in (b"", b"\xa5" * 300):
        flags = PSH | ACK if payload else SYN
        packet = ip4(payload, flags, options=b"\1" * ip_options, tcp_options=b"\1" * tcp_options)
        assert parse(packet) == Segment(TIME, FLOW, SEQUENCE, flags, payload, 0)
        packet = ip6(payload, flags, tcp_options=b"\1" * tcp_options)
        assert parse(packet) == Segment(TIME, FLOW6, SEQUENCE, flags, payload, 0)


def test_total_length_left_to_the_network_card() -> None:
    payload = filler(1, 9000)
    packet = bytearray(ip4(payload))
    packet[2:4] = bytes(2)
    assert parse(bytes(packet)) == Segment(TIME, FLOW, SEQUENCE, PSH | ACK, payload, 0)
    packet = bytearray(ip6(payload))
    packet[4:6] = bytes(2)
    assert parse(bytes(packet)) == Segment(TIME, FLOW6, SEQUENCE, PSH | ACK, payload, 0)


@pytest.mark.parametrize(
    "packet",
    [
        wire.ipv4(CLIENT, SERVER, wire.udp(CLIENT, 53, SERVER, 53, b"\xa5" * 100), protocol=wire.PROTOCOL_UDP),
        wire.ipv4(CLIENT, SERVER, b"\xa5" * 100, protocol=1),
        wire.ipv6(CLIENT6, SERVER6, wire.udp(CLIENT6, 53, SERVER6, 53, b"\xa5" * 100), next_header=wire.PROTOCOL_UDP),
        wire.ipv6(CLIENT6, SERVER6, b"\xa5" * 100, next_header=58),
        wire.ipv6(CLIENT6, SERVER6, b"\xa5" * 100, next_header=50),
        wire.ipv6(CLIENT6, SERVER6, b"", next_header=59),
        # Tunnels are somebody else's packets.
        wire.ipv4(CLIENT, SERVER, ip4(b"\xa5" * 100), protocol=4),
        wire.ipv6(CLIENT6, SERVER6, ip6(b"\xa5" * 100), next_header=41),
    ],
)
def test_what_is_not_tcp(packet: bytes) -> None:
    parser = PacketParser()
    for wrapping in WRAPPINGS.values():
        assert parser.parse(Packet(TIME, wrapping.link_type, wrapping.wrap(packet))) is None
    assert parser.counts.other == parser.counts.packets == len(WRAPPINGS)


@pytest.mark.parametrize(
    ("link_type", "data"),
    [
        (1, wire.arp(wire.MAC_A, "192.168.0.1", "192.168.0.2")),
        (1, wire.ethernet(ip4(b"\xa5"), ethertype=0x88CC)),
        (1, wire.ethernet(ip4(b"\xa5"), ethertype=0x8863)),
        (1, wire.ethernet(ip4(b"\xa5"), tags=[(0x8100, 1)] * 3)),
        (1, wire.ethernet(ip4(b"\xa5"), ethertype=200)),
        (113, wire.sll(ip4(b"\xa5"), ethertype=0x0004)),
        (276, wire.sll2(ip4(b"\xa5"), ethertype=0x0004)),
        (147, ip4(b"\xa5")),
        (0, ip4(b"\xa5")),
        (105, wire.ethernet(ip4(b"\xa5"))),
    ],
)
def test_what_is_not_ip(link_type: int, data: bytes) -> None:
    parser = PacketParser()
    assert parser.parse(Packet(TIME, link_type, data)) is None
    assert (parser.counts.other, parser.counts.malformed) == (1, 0)


def test_ppp_control_is_not_ip() -> None:
    frame = bytearray(wire.ethernet(wire.pppoe(ip4(b"\xa5")), ethertype=wire.ETHERTYPE_PPPOE))
    frame[20:22] = b"\xc0\x21"
    assert parse(bytes(frame), 1) is None


@pytest.mark.parametrize("protocol", ["ip6", "ip4"])
def test_tunnels_in_tunnels_are_not_followed(protocol: str) -> None:
    packet = b""
    while len(packet) < 60_000:
        if protocol == "ip6":
            packet = wire.ipv6(CLIENT6, SERVER6, packet, next_header=41)
        else:
            packet = wire.ipv4(CLIENT, SERVER, packet, protocol=0)
    parser = PacketParser()
    assert parser.parse(Packet(TIME, 12, wire.ipv6(CLIENT6, SERVER6, packet, next_header=4))) is None
    assert parser.parse(Packet(TIME, 12, packet)) is None
    assert parser.counts.other == 2


# --- IPv6 -----------------------------------------------------------------------------------------------------------

HOPS = (wire.HOP_BY_HOP, wire.options_body())
LONG_HOPS = (wire.HOP_BY_HOP, wire.options_body(30))
ROUTE = (wire.ROUTING, bytes(6))
OPTIONS = (wire.DESTINATION_OPTIONS, wire.options_body(14))
ATOMIC = (wire.FRAGMENT, wire.fragment_body())


@pytest.mark.parametrize(
    "extensions",
    [[HOPS], [LONG_HOPS], [ROUTE], [OPTIONS], [ATOMIC], [HOPS, OPTIONS, ROUTE, ATOMIC, OPTIONS], [HOPS, ATOMIC]],
)
@every_wrapping
def test_extension_headers(wrapping: Wrapping, extensions: list[tuple[int, bytes]]) -> None:
    payload = filler(3, 292)
    segment = parse(wrapping.wrap(ip6(payload, extensions=extensions)), wrapping.link_type)
    assert segment == Segment(TIME, FLOW6, SEQUENCE, PSH | ACK, payload, 0)


@pytest.mark.parametrize("body", [wire.fragment_body(more=True), wire.fragment_body(8), wire.fragment_body(65528)])
@pytest.mark.parametrize("before", [[], [HOPS]])
def test_ipv6_fragments_are_dropped_and_counted(body: bytes, before: list[tuple[int, bytes]]) -> None:
    parser = PacketParser()
    assert parser.parse(Packet(TIME, 12, ip6(b"\xa5" * 64, extensions=[*before, (wire.FRAGMENT, body)]))) is None
    assert (parser.counts.fragments, parser.counts.fragments_dropped, parser.counts.other) == (1, 1, 1)


def test_endless_extension_headers() -> None:
    parser = PacketParser()
    for count in (100, 7000):
        # The last one says that TCP follows, but nothing does.
        assert parser.parse(Packet(TIME, 12, wire.ipv6(CLIENT6, SERVER6, b"", extensions=[HOPS] * count))) is None
    assert parser.counts.malformed == 2


# --- cut short and broken -------------------------------------------------------------------------------------------


@every_wrapping
def test_cut_by_the_capture_at_every_byte(wrapping: Wrapping) -> None:
    payload = filler(4, 100)
    for packet in (
        ip4(payload, tcp_options=b"\1" * 12),
        ip4(payload, options=b"\1" * 8),
        ip4(payload, SYN),
        ip6(payload, tcp_options=b"\1" * 12),
        ip6(payload, extensions=[OPTIONS]),
    ):
        whole = wrapping.wrap(packet)
        start = whole.index(payload)
        parser = PacketParser()
        lengths = set()
        for kept in range(len(whole)):
            segment = parser.parse(Packet(TIME, wrapping.link_type, whole[:kept]))
            check_counts(parser)
            if segment is not None:
                lengths.add(len(segment.payload))
                assert segment.payload == payload[: max(0, kept - start)]
                assert segment.cut == len(payload) - len(segment.payload)
        assert lengths == set(range(101)) if len(whole) > start + 100 else lengths == set(range(100))
        assert parser.counts.cut == parser.counts.segments - max(0, len(whole) - start - 100)


def test_header_lengths_that_lie() -> None:
    parser = PacketParser()
    for place, value in ((0, 0x41), (32, 0x10)):
        # An IP header of 4 bytes, a TCP header of 4 bytes.
        packet = bytearray(ip4(b"\xa5" * 100))
        packet[place] = value
        assert parser.parse(Packet(TIME, 12, bytes(packet))) is None
    packet = bytearray(ip4(b"\xa5" * 100))
    packet[2:4] = struct.pack(">H", 30)
    assert parser.parse(Packet(TIME, 12, bytes(packet))) is None
    assert parser.counts.malformed == 3
    # A TCP header that reaches beyond its packet leaves no data.
    packet = bytearray(ip4(b"\xa5" * 4))
    packet[32] = 0xF0
    assert parser.parse(Packet(TIME, 12, bytes(packet))) is None
    assert parser.counts.other == 1


@st.composite
def broken_packets(draw: st.DrawFn) -> Packet:
    """A good packet of any kind, with bytes changed, cut off, or put in."""
    wrapping = draw(st.sampled_from(list(WRAPPINGS.values())))
    payload = filler(draw(st.integers(0, 1000)), draw(st.integers(0, 80)))
    packet = draw(
        st.sampled_from(
            [
                ip4(payload),
                ip4(payload, options=b"\1" * 8, tcp_options=b"\1" * 8),
                *wire.ipv4_fragments(CLIENT, SERVER, tcp4(payload), [16, 8]),
                ip6(payload),
                ip6(payload, extensions=[HOPS, ROUTE, OPTIONS, ATOMIC]),
                ip6(payload, extensions=[(wire.FRAGMENT, wire.fragment_body(8, more=True))]),
            ]
        )
    )
    data = bytearray(wrapping.wrap(packet))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        change = draw(st.integers(0, 2))
        if change == 0:
            data[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif change == 1:
            del data[place:]
        else:
            data[place:place] = draw(st.binary(max_size=9))
    return Packet(TIME + draw(st.integers(-100, 100)) * SECOND, draw(st.sampled_from([*LINK_TYPES, 99])), bytes(data))


@given(
    st.lists(
        broken_packets() | st.builds(Packet, st.just(TIME), st.sampled_from([*LINK_TYPES]), st.binary()), max_size=20
    )
)
def test_nothing_raises_and_counts_add_up(broken: list[Packet]) -> None:
    parser = PacketParser()
    for packet in broken:
        segment = parser.parse(packet)
        check_counts(parser)
        if segment is not None:
            assert segment.payload in packet.data or parser.counts.fragments
            assert 0 <= segment.cut <= 65535
            assert {len(segment.flow.source), len(segment.flow.destination)} in ({4}, {16})


# --- IPv4 fragments -------------------------------------------------------------------------------------------------


def parse_all(parser: PacketParser, fragments: Iterable[bytes], time: int = TIME) -> list[Segment]:
    found = [parser.parse(Packet(time, 12, fragment)) for fragment in fragments]
    check_counts(parser)
    return [segment for segment in found if segment is not None]


@given(st.data())
def test_fragments_in_any_order(data: st.DataObject) -> None:
    payload = filler(data.draw(st.integers(0, 1000)), data.draw(st.integers(20, 400)))
    whole = tcp4(payload, options=b"\1" * 4)
    sizes = [8 * size for size in data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=20))]
    while sum(sizes) >= len(whole):
        sizes.pop()
    sizes = sizes or [8]
    fragments = wire.ipv4_fragments(CLIENT, SERVER, whole, sizes)
    *order, missing = data.draw(st.permutations(fragments))
    copies = data.draw(st.lists(st.sampled_from(order), max_size=5))
    parser = PacketParser()
    assert parse_all(parser, [*order, *copies]) == []
    assert parse_all(parser, [missing]) == [Segment(TIME, FLOW, SEQUENCE, PSH | ACK, payload, 0)]
    assert parser.counts.fragments_dropped == 0


@given(st.data())
def test_overlapping_fragments(data: st.DataObject) -> None:
    # The judge: each byte where it first came, and the first end there was.
    parser = PacketParser()
    known: dict[int, int] = {}
    end: int | None = None
    header = tcp4(bytes(100))[:20]
    for number in range(data.draw(st.integers(1, 14))):
        start = 8 * data.draw(st.integers(0, 12))
        length = data.draw(st.integers(0, 48))
        more = data.draw(st.booleans())
        content = bytes([number]) * length
        # The TCP header is the same in each copy.
        content = (header[start:] + content)[:length] if start < 20 else content
        packet = wire.ipv4(CLIENT, SERVER, content, offset=start, more=more)
        if not start and not more:
            continue
        segments = parse_all(parser, [packet])
        for place, byte in enumerate(content, start):
            known.setdefault(place, byte)
        if not more and end is None:
            end = start + length
        if end is not None and all(place in known for place in range(end)):
            expected = bytes(known[place] for place in range(end))
            assert [segment.payload for segment in segments] == ([expected[20:]] if end > 20 else [])
            assert parser.counts.malformed == (end < 20)
            return
        assert segments == []


def test_first_fragment_shorter_than_the_tcp_header() -> None:
    fragments = wire.ipv4_fragments(CLIENT, SERVER, tcp4(b"\xa5" * 292), [8, 8, 8, 80])
    assert len(parse_all(PacketParser(), fragments)) == 1


def test_fragments_of_different_datagrams_are_not_mixed() -> None:
    payloads = [filler(seed, 292) for seed in range(6)]
    datagrams = [
        wire.ipv4_fragments(CLIENT, SERVER, tcp4(payloads[0]), [160], identification=7),
        wire.ipv4_fragments(CLIENT, SERVER, tcp4(payloads[1]), [160], identification=8),
        wire.ipv4_fragments("192.168.0.203", SERVER, tcp4(payloads[2]), [160], identification=7),
        wire.ipv4_fragments(CLIENT, "47.242.67.222", tcp4(payloads[3]), [160], identification=7),
    ]
    parser = PacketParser()
    assert parse_all(parser, [fragments[0] for fragments in datagrams]) == []
    segments = parse_all(parser, [fragments[1] for fragments in datagrams])
    assert [segment.payload for segment in segments] == payloads[:4]


@every_wrapping
def test_fragments_in_every_wrapping(wrapping: Wrapping) -> None:
    # Ethernet pads the last, short one.
    parser = PacketParser()
    fragments = wire.ipv4_fragments(CLIENT, SERVER, tcp4(bytes(300)), [104, 208])
    found = [
        parser.parse(Packet(TIME, wrapping.link_type, wrapping.wrap(fragment))) for fragment in reversed(fragments)
    ]
    assert [segment and segment.payload for segment in found] == [None, None, bytes(300)]


@pytest.mark.parametrize(("seconds", "complete"), [(0, 1), (29, 1), (-29, 1), (31, 0), (-31, 0), (-7200, 0)])
def test_a_datagram_has_its_time(seconds: int, complete: int) -> None:
    parser = PacketParser()
    first, second, last = wire.ipv4_fragments(CLIENT, SERVER, tcp4(bytes(300)), [104, 104])
    assert parse_all(parser, [first, second]) == []
    assert len(parse_all(parser, [last], TIME + seconds * SECOND)) == complete
    assert parser.counts.fragments_dropped == (0 if complete else 2)


def test_unfinished_datagrams_are_bounded() -> None:
    parser = PacketParser()
    datagrams = [
        wire.ipv4_fragments(CLIENT, SERVER, tcp4(bytes(300)), [104], identification=number)
        for number in range(packets.FRAGMENTED_DATAGRAMS_MAX + 1)
    ]
    assert parse_all(parser, [fragments[0] for fragments in datagrams]) == []
    assert parser.counts.fragments_dropped == 1
    # All but the oldest can still be completed.
    assert len(parse_all(parser, [fragments[1] for fragments in datagrams[1:]])) == packets.FRAGMENTED_DATAGRAMS_MAX
    assert parse_all(parser, datagrams[0][1:]) == []


def held_fragments(parser: PacketParser) -> tuple[int, int, int]:
    """Datagrams, the most fragments and the most bytes that one of them holds."""
    held = parser._datagrams.values()
    sizes = [sum(len(payload) for _, payload in datagram.parts) for datagram in held]
    assert sizes == [datagram.held_bytes for datagram in held]
    return len(held), max([0, *(len(datagram.parts) for datagram in held)]), max([0, *sizes])


def test_fragments_of_one_datagram_are_bounded() -> None:
    parser = PacketParser()
    fragments = wire.ipv4_fragments(CLIENT, SERVER, tcp4(bytes(2000)), [8] * 200)
    assert parse_all(parser, fragments[1:]) == []
    assert held_fragments(parser)[1] <= packets.FRAGMENTS_PER_DATAGRAM_MAX
    assert parser.counts.fragments_dropped >= 2 * packets.FRAGMENTS_PER_DATAGRAM_MAX
    # Just as many as there may be make a segment.
    count = packets.FRAGMENTS_PER_DATAGRAM_MAX
    fragments = wire.ipv4_fragments(CLIENT, SERVER, tcp4(bytes(2000)), [8] * (count - 1), identification=2)
    assert len(parse_all(parser, reversed(fragments))) == 1


def test_bytes_of_overlapping_fragments_are_bounded() -> None:
    parser = PacketParser()
    chance = random.Random(1)
    for number in range(2000):
        offset = 8 * chance.randrange(1, 100)
        fragment = wire.ipv4(CLIENT, SERVER, bytes(64_000), offset=offset, more=True, identification=number % 10)
        assert parse_all(parser, [fragment]) == []
        datagrams, _, held = held_fragments(parser)
        assert datagrams <= packets.FRAGMENTED_DATAGRAMS_MAX
        assert held <= packets.DATAGRAM_LENGTH_MAX


def test_a_fragment_that_reaches_too_far_spoils_its_datagram() -> None:
    parser = PacketParser()
    first, last = wire.ipv4_fragments(CLIENT, SERVER, tcp4(bytes(300)), [104])
    assert parse_all(parser, [first, wire.ipv4(CLIENT, SERVER, bytes(100), offset=65528), last]) == []
    assert parser.counts.fragments_dropped == 2


def test_a_fragment_that_the_capture_cut_spoils_its_datagram() -> None:
    parser = PacketParser()
    first, last = wire.ipv4_fragments(CLIENT, SERVER, tcp4(bytes(300)), [104])
    assert parse_all(parser, [last, first[:-1]]) == []
    assert parser.counts.fragments_dropped == 2
    assert parse_all(parser, [first]) == []


def test_fragments_of_other_protocols_are_not_held() -> None:
    parser = PacketParser()
    fragments = wire.ipv4_fragments(CLIENT, SERVER, bytes(300), [104], protocol=wire.PROTOCOL_UDP)
    assert parse_all(parser, fragments[:1]) == []
    assert parser.counts.fragments == 0
    assert held_fragments(parser)[0] == 0


# --- flows ----------------------------------------------------------------------------------------------------------


def test_flows_in_words() -> None:
    assert str(FLOW) == "192.168.0.202 port 50586 to 47.242.67.221 port 51100"
    assert str(FLOW6) == "2001:db8::202 port 50586 to 2001:db8:1::dd port 51100"
