"""The programs that find dongles, compiled and run by libpcap itself on capture files."""

from __future__ import annotations

import ctypes
import random
import socket
import struct
import subprocess
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pcap
import pytest

from inverter_capture.capture.dongle_filter import ENDPOINTS_MAX, SERVER_PORT, DongleFilter, Endpoint
from inverter_capture.protocol import link_layers
from inverter_capture.protocol.messages import Message
from inverter_capture.protocol.packets import Flow, Packet
from inverter_capture.protocol.packets_to_readings import Decoded, Decoder, Heard, MapHeard, Unknown
from inverter_capture.protocol.poll_maps import parse_poll_map
from inverter_capture.protocol.reports import Report
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

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(wire.packed_address(self.source), self.port)

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
def test_beginnings_of_messages_pass(tmp_path: Path, wrapping: Wrapping, live: bool) -> None:
    beginnings = [make(length, serial) for length in (292, 302, 306) for serial in (SERIAL, "AB12cd34EF")]
    beginnings += [FRAME + FRAME, FRAME + messages.control(), messages.control() + FRAME, *messages.greeting()]
    beginnings += [messages.answer(message) for message in messages.greeting()]
    beginnings += [messages.redirect("example.org", 6666), FRAME[:43], FRAME[:200]]
    packets = [ends.packet(payload) for payload in beginnings for ends in (V4, V6)]
    packets += [ends.packet(FRAME, tcp_options=b"\1" * length) for ends in (V4, V6) for length in (4, 12, 40)]
    packets += [V4.packet(FRAME, options=b"\1" * length) for length in (4, 24, 40)]
    check_all(tmp_path, wrapping, packets, DongleFilter(), live=live)


@every_wrapping
def test_beginnings_that_are_cut_pass(tmp_path: Path, wrapping: Wrapping, live: bool) -> None:
    answer = messages.answer(FRAME)
    packets = [ends.packet(FRAME[:length]) for length in range(1, 44) for ends in (V4, V6)]
    packets += [ends.packet(answer[:length]) for length in range(1, 11) for ends in (V4, V6)]
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


def changed(place: int, byte: int, length: int = 292) -> bytes:
    """The beginning of a report with another byte."""
    return FRAME[:place] + bytes([byte]) + FRAME[place + 1 : length]


@every_wrapping
def test_other_traffic_does_not_pass(tmp_path: Path, wrapping: Wrapping, live: bool) -> None:
    payloads = [
        b"", b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + filler(1, 500),
        b"\x17\x03\x03\x04\x00" + filler(2, 1000), b"\x00" * 300, FRAME[1:], FRAME[100:], b"\xa5" * 300,
        # Every byte of the header that is known, also in segments that hold no more than it.
        *(changed(1, 0x07, length) for length in (2, 3, 4, 292)),
        *(changed(2, byte, length) for byte in (0x00, 0x02, 0xA0) for length in (3, 4, 292)),
        *(changed(3, byte, length) for byte in (0x00, 0x03, 0x06, 0x08, 0x0C, 0x89) for length in (4, 11, 292)),
        *(changed(9, 0x08, length) for length in (11, 292)),
    ]  # fmt: skip
    packets = [ends.packet(payload, flags) for ends in (V4, V6) for payload in payloads for flags in (ACK, PSH | ACK)]
    packets += [ends.packet(b"", flags) for ends in (V4, V6) for flags in (SYN, SYN | ACK, FIN | ACK, RST)]
    packets += [
        wire.ipv4(DONGLE, SERVER, wire.udp(DONGLE, 9, SERVER, 9, bytes(12) + FRAME), protocol=wire.PROTOCOL_UDP),
        wire.ipv4(DONGLE, SERVER, wire.udp(DONGLE, SERVER_PORT, SERVER, 9, FRAME), protocol=wire.PROTOCOL_UDP),
        wire.ipv4(DONGLE, SERVER, FRAME, protocol=1),
        wire.ipv6(DONGLE6, SERVER6, wire.udp(DONGLE6, 9, SERVER6, 9, bytes(12) + FRAME), next_header=17),
    ]
    # What stands at the place of a message in a later fragment says nothing.
    packets.append(wire.ipv4(DONGLE, SERVER, wire.tcp(DONGLE, 50586, SERVER, PORT, 1000, FRAME), offset=104))
    if wrapping.wrap is WITH_TRAILER:
        # What stands behind a packet without data is taken for data. That is harmless: the parser knows better.
        packets = [packet for packet in packets if len(packet) > 60]
    check_none(tmp_path, wrapping, packets, DongleFilter(), live=live)


def test_no_encrypted_data_passes(tmp_path: Path) -> None:
    chance = random.Random(1)
    packets = [V4.packet(b"\xa5\x06" + chance.randbytes(400)) for _ in range(10_000)]
    # Two directions and eight types of 65,536, and of these one in 32 is not too long.
    assert len(passing(tmp_path, map(wire.ethernet, packets), DongleFilter(), link_layers.ETHERNET)) < 5


# --- who is let through ---------------------------------------------------------------------------------------------


def everything(ends: Ends) -> list[bytes]:
    """All sorts of packets of both ends, but for those that only acknowledge."""
    back = Ends(ends.destination, ends.source, ends.source_port, ends.port)
    payloads = [b"", FRAME, FRAME[100:], b"\x16\x03\x01" + filler(1, 300), b"\0", messages.login()]
    flags = (SYN, ACK, PSH | ACK, FIN | ACK, RST)
    packets = [each.packet(payload, flag) for each in (ends, back) for payload in payloads for flag in flags
               if payload or flag & (SYN | FIN | RST)]  # fmt: skip
    return [*packets, ends.packet(b"x", tcp_options=b"\1" * 40)]


def others(ends: Ends) -> list[bytes]:
    """What begins no message."""
    return [ends.packet(payload) for payload in (b"", b"\0", FRAME[100:], b"GET /")] + [ends.packet(b"", SYN)]


def without_short(packets: list[bytes], wrapping: Wrapping) -> list[bytes]:
    """Without packets whose trailer is taken for data."""
    return [packet for packet in packets if len(packet) > 60] if wrapping.wrap is WITH_TRAILER else packets


@every_wrapping
@pytest.mark.parametrize("ends", [V4, V6], ids=["v4", "v6"])
def test_the_usual_port_passes_in_both_directions(tmp_path: Path, wrapping: Wrapping, live: bool, ends: Ends) -> None:
    packets = everything(ends._replace(port=SERVER_PORT))
    if ends is V4:
        packets += [V4._replace(port=SERVER_PORT).packet(FRAME[100:], options=b"\1" * 40)]
    check_all(tmp_path, wrapping, packets, DongleFilter(), live=live)


@every_wrapping
@pytest.mark.parametrize("ends", [V4, V6], ids=["v4", "v6"])
def test_everything_of_known_dongles_passes(tmp_path: Path, wrapping: Wrapping, live: bool, ends: Ends) -> None:
    dongles = DongleFilter()
    dongles.add(ends.endpoint)
    other_server = "47.242.67.222" if ends is V4 else "2001:db8:1::de"
    packets = everything(ends) + everything(ends._replace(source_port=1, destination=other_server))
    check_all(tmp_path, wrapping, packets, dongles, live=live)


@every_wrapping
def test_others_do_not_pass_because_of_known_dongles(tmp_path: Path, wrapping: Wrapping, live: bool) -> None:
    dongles = DongleFilter()
    dongles.add(V4.endpoint)
    dongles.add(V6.endpoint)
    strangers = [
        V4._replace(source="192.168.0.203"),
        V4._replace(port=51101),
        Ends(SERVER, "192.168.0.203", 50586, PORT),
        V6._replace(source="2001:db8::203"),
        V6._replace(source="2001:db9::202"),
        V6._replace(port=443),
        Ends(SERVER6, "2001:db8::203", 50586, PORT),
    ]
    packets = [packet for ends in strangers for packet in others(ends)]
    packets += [wire.ipv4(DONGLE, SERVER, wire.udp(DONGLE, 50586, SERVER, PORT, FRAME), protocol=17)]
    check_none(tmp_path, wrapping, without_short(packets, wrapping), dongles, live=live)


@every_wrapping
def test_all_tcp_may_pass(tmp_path: Path, wrapping: Wrapping, live: bool) -> None:
    dongles = DongleFilter()
    dongles.all_tcp = True
    acknowledgement = V4.packet(b"")
    check_none(tmp_path, wrapping, [acknowledgement, V6.packet(b"")], dongles, live=live)
    check_all(
        tmp_path,
        wrapping,
        [packet for ends in (V4, V6, V4._replace(port=443)) for packet in others(ends)[1:]],
        dongles,
        live=live,
    )


@pytest.mark.parametrize("link_type", LINK_TYPES)
def test_what_passes_is_what_the_decoder_needs(tmp_path: Path, link_type: int) -> None:
    # As the program does it: who has reported is known, and from then on all of its packets pass.
    wrap = next(wrapping.wrap for wrapping in WRAPPINGS.values() if wrapping.link_type == link_type)
    connection = wire.Connection(
        wire.Endpoint(DONGLE, 50586), wire.Endpoint(SERVER, PORT), wrap=lambda packet, _, __: wrap(packet)
    )
    frames = [make(302), make(292, "2211229876"), make(306, "2211229876")]
    time = connection.send(SECOND, frames[0])
    time = connection.send(time + 2 * SECOND, frames[1], [1, 20, 100, 100])
    connection.close(connection.send(time, frames[2], [60]))
    decoder, dongles = Decoder(), DongleFilter()
    decoded = []
    for record in connection.records:
        if not passing(tmp_path, [record.data], dongles, link_type):
            continue
        events = decoder.advance(record.time) + decoder.receive(Packet(record.time, link_type, record.data))
        dongles.learn(events)
        decoded += [event.report.data for event in events if isinstance(event, Decoded)]
    assert decoded == frames
    assert list(dongles.endpoints) == [V4.endpoint]


# --- bookkeeping ----------------------------------------------------------------------------------------------------


def endpoint(number: int, port: int = PORT) -> Endpoint:
    return Endpoint(bytes([10, 0, 0, number]), port)


def report_of(ends: Ends, *, known: bool = True) -> Decoded | Unknown:
    report = Report(SERIAL, datetime(2022, 11, 5), FRAME)
    return Decoded(0, ends.flow, report, None) if known else Unknown(0, ends.flow, report)


def test_only_reports_make_a_dongle_known() -> None:
    dongles = DongleFilter()
    heard = Heard(0, V4.flow, Message(messages.login()))
    (told,) = poll_map_events(V4.flow)
    assert not dongles.learn([heard, told])
    assert list(dongles.endpoints) == []
    assert dongles.learn([report_of(V4)])
    assert not dongles.learn([report_of(V4), heard, report_of(V4._replace(source_port=9, destination="10.0.0.1"))])
    assert dongles.learn([report_of(V4._replace(port=9), known=False)])
    assert list(dongles.endpoints) == [V4.endpoint, V4.endpoint._replace(server_port=9)]


def poll_map_events(flow: Flow) -> list[MapHeard]:
    message = Message(messages.poll_map(messages.entries_of([(59, 124)])))
    poll_map = parse_poll_map(message)
    assert poll_map is not None
    return [MapHeard(0, flow.reversed(), poll_map, message)]


def test_the_usual_port_needs_no_change() -> None:
    dongles = DongleFilter()
    before = dongles.text(link_layers.ETHERNET, live=True)
    assert not dongles.learn([report_of(V4._replace(port=SERVER_PORT))])
    assert dongles.text(link_layers.ETHERNET, live=True) == before


def test_dongles_are_bounded_and_those_without_a_recent_report_go_first() -> None:
    dongles = DongleFilter()
    for number in range(ENDPOINTS_MAX):
        dongles.add(endpoint(number))
    dongles.add(endpoint(0))
    dongles.add(endpoint(2))
    dongles.add(endpoint(100))
    dongles.add(endpoint(101))
    assert [each.host[3] for each in dongles.endpoints] == [4, 5, 6, 7, 0, 2, 100, 101]


def test_the_filter_of_one_dongle(tmp_path: Path) -> None:
    for ends in (V4, V6):
        text = ends.endpoint.filter
        assert text == f"host {ends.source} and tcp port 6666"
        back = Ends(ends.destination, ends.source, ends.source_port, ends.port)
        strangers = [ends._replace(port=1), Ends("10.0.0.1"), ends._replace(source="10.0.0.1", destination="10.0.0.2")]
        packets = [ends.packet(FRAME), ends.packet(b"", SYN), back.packet(FRAME)]
        packets += [each.packet(FRAME) for each in strangers if (":" in each.source) == (":" in each.destination)]
        path = tmp_path / "capture.pcap"
        with path.open("wb") as file:
            wire.write_pcap(file, [Record(number, wire.ethernet(packet)) for number, packet in enumerate(packets)],
                            nanoseconds=True)  # fmt: skip
        handle = pcap.pcap(str(path), timestamp_in_ns=True)
        handle.setfilter(text)
        passed: list[int] = []
        handle.dispatch(-1, lambda time, data, passed=passed: passed.append(time))
        handle.close()
        assert passed == [0, 1, 2]


# --- the program's size ---------------------------------------------------------------------------------------------

TCPDUMP_NAMES = {1: "EN10MB", 12: "RAW", 113: "LINUX_SLL", 276: "LINUX_SLL2"}
ATTACH_FILTER = 26
"""SO_ATTACH_FILTER."""


def compiled(path: Path, text: str, link_type: int) -> list[tuple[int, ...]]:
    """The instructions of a program: code, two jumps, operand."""
    path.write_text(text)
    command = ["tcpdump", "-y", TCPDUMP_NAMES[link_type], "-ddd", "-F", str(path)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [tuple(map(int, line.split())) for line in lines[1:]]


def attach(instructions: list[tuple[int, ...]]) -> None:
    """Give a program to the kernel. Raises OSError when it refuses."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in instructions))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.setsockopt(
            socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HL", len(instructions), ctypes.addressof(code))
        )


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("link_type", LINK_TYPES)
@pytest.mark.parametrize("source", ["10.0.0.{}", "2001:db8:1:2:3:4:5:{}"])
def test_the_kernel_takes_the_program(tmp_path: Path, source: str, link_type: int, live: bool) -> None:
    dongles = DongleFilter()
    for number in range(ENDPOINTS_MAX):
        dongles.add(Ends(source.format(number)).endpoint)
    text = dongles.text(link_type, live=live)
    program = compiled(tmp_path / "filter", text, link_type)
    assert 50 < len(program) < KERNEL_INSTRUCTIONS_MAX
    assert len(text) < 64 * 1024
    attach(program)


@pytest.mark.parametrize("seed", range(20))
def test_the_kernel_takes_the_program_for_any_dongles(tmp_path: Path, seed: int) -> None:
    # libpcap's optimiser has made programs of other forms of these conditions that the kernel refuses.
    chance = random.Random(seed)
    dongles = DongleFilter()
    for _ in range(chance.choice((3, 7, 8, 8, 8))):
        dongles.add(Endpoint(chance.randbytes(chance.choice((4, 16))), chance.choice((PORT, chance.randrange(65536)))))
    for small in (True, False):
        text = dongles.text(link_layers.ETHERNET, live=True, small=small)
        attach(compiled(tmp_path / "filter", text, link_layers.ETHERNET))
