"""The programs that find dongles, compiled and run by libpcap itself on capture files."""

from __future__ import annotations

import random
import subprocess
from datetime import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pcap
import pytest

from inverter_capture.capture.dongle_filter import ENDPOINTS_MAX, SERVER_PORT, DongleFilter, Endpoint
from inverter_capture.protocol import link_layers
from inverter_capture.protocol.packets import Flow, Packet
from inverter_capture.protocol.packets_to_readings import Decoded, Decoder
from tests import wire
from tests.dongle import messages
from tests.dongle.reports import encode_values
from tests.strategies import LINK_TYPES, WRAPPINGS, Wrapping, filler
from tests.wire import ACK, FIN, PSH, RST, SECOND, SYN, Record

DONGLE, SERVER, PORT = "192.168.0.202", "47.242.67.221", 6666
DONGLE6, SERVER6 = "2001:db8::202", "2001:db8:1::dd"
KERNEL_INSTRUCTIONS_MAX = 4096
"""More than this the kernel refuses."""

SERIAL = "1235687108"


def make(length: int = 292, serial: str = SERIAL) -> bytes:
    return encode_values(serial, datetime(2022, 11, 5, 8, 32, 46), {}, length)


FRAME = make()

# A live Ethernet device brings the tags that the kernel has not stripped; behind those of a live cooked one nothing is
# looked for.
BOTH = [
    (name, wrapping, live)
    for name, wrapping in WRAPPINGS.items()
    for live in (False, True)
    if not live or wrapping.link_type == link_layers.ETHERNET or "vlan" not in name
]
every_wrapping = pytest.mark.parametrize(
    ("wrapping", "live"),
    [(wrapping, live) for _, wrapping, live in BOTH],
    ids=[f"{name}-{live}" for name, _, live in BOTH],
)


class Ends(NamedTuple):
    source: str = DONGLE
    destination: str = SERVER
    port: int = PORT
    source_port: int = 50586

    @property
    def flow(self) -> Flow:
        addresses = wire.packed_address(self.source), wire.packed_address(self.destination)
        return Flow(addresses[0], self.source_port, addresses[1], self.port)

    def packet(
        self, payload: bytes = b"", flags: int = PSH | ACK, tcp_options: bytes = b"", options: bytes = b""
    ) -> bytes:
        segment = wire.tcp(
            self.source, self.source_port, self.destination, self.port, 1000, payload, flags=flags, options=tcp_options
        )
        if ":" in self.source:
            return wire.ipv6(self.source, self.destination, segment)
        return wire.ipv4(self.source, self.destination, segment, options=options)


WITH_TRAILER = WRAPPINGS["ethernet-trailer"].wrap

V4, V6 = Ends(), Ends(DONGLE6, SERVER6)


def passing(
    directory: Path, frames: Iterable[bytes], dongles: DongleFilter, link_type: int, *, live: bool = False
) -> list[int]:
    """The numbers of the packets that pass the dongles's filter."""
    path = directory / "capture.pcap"
    with path.open("wb") as file:
        records = (Record(number * SECOND, frame) for number, frame in enumerate(frames))
        wire.write_pcap(file, records, link_type=LINK_TYPES[link_type])
    handle = pcap.pcap(str(path), timestamp_in_ns=True)
    try:
        assert handle.datalink() == link_type
        handle.setfilter(dongles.text(link_type, live=live))
        passed: list[int] = []
        handle.dispatch(-1, lambda time, data: passed.append(time // SECOND))
        return passed
    finally:
        handle.close()


def check_all(directory: Path, wrapping: Wrapping, packets: list[bytes], dongles: DongleFilter, *, live: bool) -> None:
    found = passing(directory, map(wrapping.wrap, packets), dongles, wrapping.link_type, live=live)
    assert found == list(range(len(packets)))


def check_none(directory: Path, wrapping: Wrapping, packets: list[bytes], dongles: DongleFilter, *, live: bool) -> None:
    assert passing(directory, map(wrapping.wrap, packets), dongles, wrapping.link_type, live=live) == []


# --- who is not known yet -------------------------------------------------------------------------------------------


@every_wrapping
def test_beginnings_of_frames_pass(tmp_path: Path, wrapping: Wrapping, live: bool) -> None:
    beginnings = [make(length, serial) for length in (292, 302, 306) for serial in ("1235687108", "AB12cd34EF")]
    beginnings += [FRAME + FRAME, FRAME + messages.control(), FRAME[:43], FRAME[:44], FRAME[:200]]
    beginnings += [messages.control() + FRAME, messages.control()]
    packets = [ends.packet(payload) for payload in beginnings for ends in (V4, V6)]
    packets += [ends.packet(FRAME, tcp_options=b"\1" * length) for ends in (V4, V6) for length in (4, 12, 40)]
    packets += [V4.packet(FRAME, options=b"\1" * length) for length in (4, 24, 40)]
    check_all(tmp_path, wrapping, packets, DongleFilter(), live=live)


@every_wrapping
def test_short_beginnings_pass(tmp_path: Path, wrapping: Wrapping, live: bool) -> None:
    packets = [ends.packet(FRAME[:length]) for length in range(1, 44) for ends in (V4, V6)]
    check_all(tmp_path, wrapping, packets, DongleFilter(), live=live)


@every_wrapping
def test_beginnings_whose_length_is_left_to_the_network_card_pass(
    tmp_path: Path, wrapping: Wrapping, live: bool
) -> None:
    packets = []
    for ends, place in ((V4, 2), (V6, 4)):
        packet = bytearray(ends.packet(FRAME * 4))
        packet[place : place + 2] = bytes(2)
        packets.append(bytes(packet))
    check_all(tmp_path, wrapping, packets, DongleFilter(), live=live)


@every_wrapping
def test_first_fragments_of_beginnings_pass(tmp_path: Path, wrapping: Wrapping, live: bool) -> None:
    segment = wire.tcp(DONGLE, 50586, SERVER, PORT, 1000, FRAME)
    first, *others = wire.ipv4_fragments(DONGLE, SERVER, segment, [104, 104])
    check_all(tmp_path, wrapping, [first], DongleFilter(), live=live)
    # What stands at the place of a frame in a later fragment says nothing.
    later = wire.ipv4(DONGLE, SERVER, segment, offset=104)
    check_none(tmp_path, wrapping, [*others, later], DongleFilter(), live=live)


@every_wrapping
def test_other_traffic_does_not_pass(tmp_path: Path, wrapping: Wrapping, live: bool) -> None:
    payloads = [
        b"", b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + filler(1, 500),
        b"\x17\x03\x03\x04\x00" + filler(2, 1000), b"\x00" * 300, FRAME[1:], FRAME[100:], b'\x5a\x06\x01',
        b"\xa5" * 300, b"\xa5" + b"text " * 100, FRAME[:38] + b"\0" + FRAME[39:], FRAME[:38] + b"\x0d" + FRAME[39:],
    ]  # fmt: skip
    packets = [ends.packet(payload, flags) for ends in (V4, V6) for payload in payloads for flags in (ACK, PSH | ACK)]
    packets += [ends.packet(b"", flags) for ends in (V4, V6) for flags in (SYN, SYN | ACK, FIN | ACK, RST)]
    packets += [
        wire.ipv4(DONGLE, SERVER, wire.udp(DONGLE, 9, SERVER, 9, bytes(12) + FRAME), protocol=wire.PROTOCOL_UDP),
        wire.ipv4(DONGLE, SERVER, FRAME, protocol=1),
        wire.ipv6(DONGLE6, SERVER6, wire.udp(DONGLE6, 9, SERVER6, 9, bytes(12) + FRAME), next_header=17),
    ]
    dongles = DongleFilter()
    if wrapping.wrap is WITH_TRAILER:
        # What stands behind a packet without data is taken for data. That is harmless: the parser knows better.
        packets = [packet for packet in packets if len(packet) > 60]
    check_none(tmp_path, wrapping, packets, dongles, live=live)


@pytest.mark.parametrize("place", range(8))
def test_encrypted_data_that_begins_like_a_frame_does_not_pass(tmp_path: Path, place: int) -> None:
    chance = random.Random(place)
    frames = []
    for number in range(10_000 // 8):
        payload = bytearray(b"\xa5" + chance.randbytes(300 + number % 100))
        # A frame has seven-bit characters in all of these places.
        payload[11 + place] |= 0x80
        frames.append(wire.ethernet((V4, V6)[number % 2].packet(bytes(payload))))
    assert passing(tmp_path, frames, DongleFilter(), link_layers.ETHERNET) == []


def test_nearly_no_encrypted_data_passes(tmp_path: Path) -> None:
    chance = random.Random(1)
    frames = [wire.ethernet(V4.packet(b"\xa5" + chance.randbytes(400))) for _ in range(10_000)]
    # One in 2^8 for the serial number, of these 12 in 256 for the month: about two.
    assert len(passing(tmp_path, frames, DongleFilter(), link_layers.ETHERNET)) < 10


# --- who is known ---------------------------------------------------------------------------------------------------


def everything(ends: Ends) -> list[bytes]:
    """All sorts of packets of one sender."""
    payloads = [b"", FRAME, FRAME[100:], b"\x16\x03\x01" + filler(1, 300), b"\0", messages.login(SERIAL)]
    packets = [ends.packet(payload, flags) for payload in payloads for flags in (SYN, ACK, PSH | ACK, FIN | ACK, RST)]
    return [*packets, ends.packet(b"x", tcp_options=b"\1" * 40)]


@every_wrapping
@pytest.mark.parametrize("ends", [V4, V6], ids=["v4", "v6"])
def test_everything_of_known_endpoints_passes(tmp_path: Path, wrapping: Wrapping, live: bool, ends: Ends) -> None:
    dongles = DongleFilter()
    assert dongles.add(ends.flow, proven=False)
    other_server = "47.242.67.222" if ends is V4 else "2001:db8:1::de"
    packets = everything(ends) + everything(ends._replace(source_port=1, destination=other_server))
    if ends is V4:
        packets += [V4.packet(FRAME[100:], options=b"\1" * 40)]
        segment = wire.tcp(DONGLE, 50586, SERVER, PORT, 1000, FRAME)
        packets += wire.ipv4_fragments(DONGLE, SERVER, segment, [24, 104])
    check_all(tmp_path, wrapping, packets, dongles, live=live)


@every_wrapping
def test_others_do_not_pass_because_of_known_endpoints(tmp_path: Path, wrapping: Wrapping, live: bool) -> None:
    dongles = DongleFilter()
    dongles.add(V4.flow, proven=True)
    dongles.add(V6.flow, proven=True)
    strangers = [
        V4._replace(source="192.168.0.203"),
        V4._replace(port=51101),
        Ends(SERVER, DONGLE, 50586, SERVER_PORT),
        V6._replace(source="2001:db8::203"),
        V6._replace(source="2001:db9::202"),
        V6._replace(port=443),
        Ends(SERVER6, DONGLE6, 50586, SERVER_PORT),
    ]
    packets = [ends.packet(payload) for ends in strangers for payload in (b"", b"\0", FRAME[100:], b"GET /")]
    packets += [ends.packet(b"", SYN) for ends in strangers]
    packets += wire.ipv4_fragments(
        "192.168.0.203", SERVER, wire.tcp("192.168.0.203", 1, SERVER, 1, 1, FRAME[1:]), [104]
    )
    packets += [wire.ipv4(DONGLE, SERVER, wire.udp(DONGLE, 50586, SERVER, SERVER_PORT, FRAME), protocol=17)]
    if wrapping.wrap is WITH_TRAILER:
        packets = [packet for packet in packets if len(packet) > 60]
    check_none(tmp_path, wrapping, packets, dongles, live=live)


@pytest.mark.parametrize("link_type", LINK_TYPES)
def test_what_passes_is_what_the_decoder_needs(tmp_path: Path, link_type: int) -> None:
    # As the program does it: what begins a frame makes its sender known, and from then on all of its packets pass.
    wrap = next(wrapping.wrap for wrapping in WRAPPINGS.values() if wrapping.link_type == link_type)
    connection = wire.Connection(
        wire.Endpoint(DONGLE, 50586), wire.Endpoint(SERVER, SERVER_PORT), wrap=lambda packet, _, __: wrap(packet)
    )
    frames = [make(302), make(292, "2211229876")]
    time = connection.send(connection.open(SECOND), frames[0], [1, 20, 100, 100])
    connection.close(connection.send(time, frames[1], [60]))
    decoder, dongles = Decoder(), DongleFilter()
    decoded = []
    for record in connection.records:
        if not passing(tmp_path, [record.data], dongles, link_type):
            continue
        for event in decoder.receive(Packet(record.time, link_type, record.data)):
            dongles.add(event.flow, proven=isinstance(event, Decoded))
            if isinstance(event, Decoded):
                decoded.append(event.frame.data)
    assert decoded == frames
    assert dongles.endpoints == [Endpoint(wire.packed_address(DONGLE), SERVER_PORT)]


# --- bookkeeping ----------------------------------------------------------------------------------------------------


def flow(number: int) -> Flow:
    return Ends(f"10.0.0.{number}").flow


def hosts(dongles: DongleFilter) -> list[int]:
    return [endpoint.host[3] for endpoint in dongles.endpoints]


def test_endpoints_are_known_once() -> None:
    dongles = DongleFilter()
    assert dongles.add(flow(1), proven=False)
    assert not dongles.add(flow(1), proven=False)
    assert not dongles.add(flow(1)._replace(source_port=9, destination=bytes(4)), proven=True)
    assert dongles.add(flow(1)._replace(destination_port=9), proven=False)
    assert dongles.endpoints == [Endpoint(bytes([10, 0, 0, 1]), SERVER_PORT), Endpoint(bytes([10, 0, 0, 1]), 9)]


def test_endpoints_are_bounded_and_the_unproven_go_first() -> None:
    dongles = DongleFilter()
    for number in range(ENDPOINTS_MAX):
        assert dongles.add(flow(number), proven=number % 2 == 0)
    assert dongles.add(flow(100), proven=False)
    assert hosts(dongles) == [0, 2, 3, 4, 5, 6, 7, 100]
    # What is known already can be proven later.
    assert not dongles.add(flow(3), proven=True)
    assert dongles.add(flow(101), proven=True)
    assert hosts(dongles) == [0, 2, 3, 4, 6, 7, 100, 101]


def test_nothing_unproven_displaces_what_is_proven() -> None:
    dongles = DongleFilter()
    for number in range(ENDPOINTS_MAX):
        dongles.add(flow(number), proven=True)
    assert not dongles.add(flow(100), proven=False)
    assert hosts(dongles) == list(range(ENDPOINTS_MAX))
    assert dongles.add(flow(100), proven=True)
    assert hosts(dongles) == [*range(1, ENDPOINTS_MAX), 100]


def test_the_filter_of_one_endpoint(tmp_path: Path) -> None:
    for ends in (V4, V6):
        endpoint = Endpoint(ends.flow.source, ends.port)
        text = endpoint.filter
        assert text == f"src host {ends.source} and tcp dst port 51100"
        path = tmp_path / "capture.pcap"
        packets = [
            ends.packet(FRAME),
            ends.packet(b"", SYN),
            ends._replace(port=1).packet(FRAME),
            Ends("10.0.0.1").packet(FRAME),
        ]
        with path.open("wb") as file:
            wire.write_pcap(file, [Record(number, wire.ethernet(packet)) for number, packet in enumerate(packets)],
                            nanoseconds=True)  # fmt: skip
        handle = pcap.pcap(str(path), timestamp_in_ns=True)
        handle.setfilter(text)
        passed: list[int] = []
        handle.dispatch(-1, lambda time, data, passed=passed: passed.append(time))
        handle.close()
        assert passed == [0, 1]


# --- the program's size ---------------------------------------------------------------------------------------------

TCPDUMP_NAMES = {1: "EN10MB", 12: "RAW", 113: "LINUX_SLL", 276: "LINUX_SLL2"}


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("link_type", LINK_TYPES)
@pytest.mark.parametrize("source", ["10.0.0.{}", "2001:db8:1:2:3:4:5:{}"])
def test_the_kernel_takes_the_program(tmp_path: Path, source: str, link_type: int, live: bool) -> None:
    dongles = DongleFilter()
    for number in range(ENDPOINTS_MAX):
        dongles.add(Ends(source.format(number)).flow, proven=True)
    path = tmp_path / "filter"
    path.write_text(dongles.text(link_type, live=live))
    command = ["tcpdump", "-y", TCPDUMP_NAMES[link_type], "-d", "-F", str(path)]
    program = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert 50 < len(program) < KERNEL_INSTRUCTIONS_MAX
    assert len(path.read_text()) < 64 * 1024
