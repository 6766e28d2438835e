"""Packets to segments: every way a packet can be wrapped, cut into fragments, cut off, and broken."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inverter_capture.protocol.packets import _FLOWS_MAX, Flow, Packet, PacketParser, Segment
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
    assert counts.fragments <= counts.other


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
def test_ipv6_fragments_are_counted_and_ignored(body: bytes, before: list[tuple[int, bytes]]) -> None:
    parser = PacketParser()
    assert parser.parse(Packet(TIME, 12, ip6(b"\xa5" * 64, extensions=[*before, (wire.FRAGMENT, body)]))) is None
    assert (parser.counts.fragments, parser.counts.other) == (1, 1)


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
            assert segment.payload in packet.data
            assert 0 <= segment.cut <= 65535
            assert {len(segment.flow.source), len(segment.flow.destination)} in ({4}, {16})


# --- IPv4 fragments -------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 39), st.integers(0, 255)), max_size=3),
    st.integers(0, 60),
    st.none() | st.integers(0, 100),
    st.sampled_from([b"", b"\1" * 4]),
)
def test_the_usual_headers_are_read_like_the_unusual(
    changes: list[tuple[int, int]], length: int, cut: int | None, options: bytes
) -> None:
    # In Ethernet by one struct, in a cooked packet by dpkt.
    packet = bytearray(ip4(filler(1, length), tcp_options=options))
    for place, byte in changes:
        packet[place] = byte
    results = []
    for link_type, addresses in ((1, 12), (113, 14)):
        parser = PacketParser()
        data = bytes(addresses) + b"\x08\0" + packet[:cut]
        segment = parser.parse(Packet(TIME, link_type, data))
        results.append((segment, [getattr(parser.counts, name) for name in parser.counts.__slots__]))
    assert results[0] == results[1]


@every_wrapping
@pytest.mark.parametrize("first", [8, 104])
def test_ipv4_fragments_are_counted_and_ignored(wrapping: Wrapping, first: int) -> None:
    parser = PacketParser()
    fragments = wire.ipv4_fragments(CLIENT, SERVER, tcp4(filler(5, 300)), [first, 104, 104])
    for fragment in [*fragments, *reversed(fragments)]:
        assert parser.parse(Packet(TIME, wrapping.link_type, wrapping.wrap(fragment))) is None
    assert (parser.counts.fragments, parser.counts.other, parser.counts.malformed) == (8, 8, 0)
    # They keep nothing else from being found.
    assert parser.parse(Packet(TIME, wrapping.link_type, wrapping.wrap(ip4(b"\xa5")))) is not None


def test_a_packet_that_must_not_be_fragmented_is_whole() -> None:
    segment = parse(wire.ipv4(CLIENT, SERVER, tcp4(b"\xa5" * 64), dont_fragment=True))
    assert segment == Segment(TIME, FLOW, SEQUENCE, PSH | ACK, b"\xa5" * 64, 0)


def test_fragments_of_other_protocols_do_not_count() -> None:
    parser = PacketParser()
    for fragment in wire.ipv4_fragments(CLIENT, SERVER, bytes(200), [104], protocol=wire.PROTOCOL_UDP):
        assert parser.parse(Packet(TIME, 12, fragment)) is None
    assert parser.counts.fragments == 0


# --- flows ----------------------------------------------------------------------------------------------------------


def test_flows_in_words() -> None:
    assert str(FLOW) == "192.168.0.202 port 50586 to 47.242.67.221 port 51100"
    assert str(FLOW6) == "2001:db8::202 port 50586 to 2001:db8:1::dd port 51100"


def test_a_scan_of_ports_is_not_remembered() -> None:
    parser = PacketParser()
    for port in range(1000):
        data = wire.tcp(CLIENT, port, SERVER, SERVER_PORT, SEQUENCE, flags=SYN)
        assert parser.parse(Packet(TIME, 1, bytes(12) + b"\x08\0" + wire.ipv4(CLIENT, SERVER, data))) is not None
        assert len(parser._flows) <= _FLOWS_MAX
