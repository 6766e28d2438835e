"""Packets to readings: what a capture holds comes out once, however TCP and the capture have treated it."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inverter_capture.protocol import streams
from inverter_capture.protocol.packets import Flow, Packet
from inverter_capture.protocol.packets_to_readings import REPEATS_MAX, Begun, Decoded, Decoder, Event, Skipped, Unknown
from tests import strategies, wire
from tests.dongle import messages
from tests.dongle.frames import encode
from tests.strategies import WRAPPINGS
from tests.wire import MILLISECOND, SECOND, Connection, Endpoint, Record

JOHANNESBURG = ZoneInfo("Africa/Johannesburg")
SERIAL = "1235687108"
CLOCK = datetime(2026, 6, 1, 14, 0, 0)
START = int(datetime(2026, 6, 1, 12, 0, 4, tzinfo=UTC).timestamp()) * SECOND

DONGLE, SERVER = Endpoint("192.168.0.202", 50586, ttl=255), Endpoint("47.242.67.221", 51100, wire.MAC_B)
DONGLE6, SERVER6 = Endpoint("2001:db8::202", 50586), Endpoint("2001:db8:1::dd", 51100, wire.MAC_B)
FLOW = Flow(bytes([192, 168, 0, 202]), 50586, bytes([47, 242, 67, 221]), 51100)


def make(minute: int = 0, length: int = 292, serial: str = SERIAL) -> bytes:
    """A frame of its own for each minute."""
    return encode(
        serial, CLOCK + timedelta(minutes=minute), {"battery_soc": minute % 100, "grid_voltage": 233.3}, length
    )


def decode(packets: Iterable[Packet], decoder: Decoder | None = None) -> list[Event]:
    """All events of a capture."""
    decoder = decoder or Decoder(JOHANNESBURG)
    events: list[Event] = []
    for packet in packets:
        events += decoder.receive(packet)
        assert len(decoder._parsers) <= streams.FLOWS_MAX
        assert len(decoder._recent) <= REPEATS_MAX
    events += decoder.close()
    assert not decoder._parsers
    assert not decoder._flows
    assert decoder.deadline is None
    return events


def ethernet(records: Iterable[Record]) -> list[Packet]:
    return [Packet(record.time, 1, record.data) for record in records]


def decoded(events: Iterable[Event]) -> list[Decoded]:
    return [event for event in events if isinstance(event, Decoded)]


def frames_in(events: Iterable[Event]) -> list[bytes]:
    return [event.frame.data for event in decoded(events)]


# --- the real capture -----------------------------------------------------------------------------------------------


def test_the_real_capture(real_packet: Packet, real_frame: bytes) -> None:
    (event,) = decode([real_packet])
    assert isinstance(event, Decoded)
    assert event.time == real_packet.time
    assert event.flow == FLOW
    assert event.frame.data == real_frame
    assert event.reading is not None
    assert (event.reading.serial, event.reading.time) == (SERIAL, 1667629966 * SECOND)
    assert event.reading.values["grid_voltage"] == 233.3


def test_the_real_capture_again_and_again(real_packet: Packet) -> None:
    decoder = Decoder(JOHANNESBURG)
    assert len(decoded(decode([real_packet] * 5, decoder))) == 1
    assert decoder.streams.counts.repeated == 4 * 292


def test_the_real_capture_cut_off(real_packet: Packet) -> None:
    for length in range(len(real_packet.data)):
        assert decoded(decode([real_packet._replace(data=real_packet.data[:length])])) == []


# --- end to end -----------------------------------------------------------------------------------------------------


class Sent(NamedTuple):
    """A connection of the dongle's: what it sent, and in which packets."""

    items: list[bytes]
    is_frame: list[bool]
    records: list[Record]
    spans: list[tuple[int, int]]
    """Which bytes of the stream each record holds."""


@st.composite
def connections(draw: st.DrawFn, wrap: st.SearchStrategy[strategies.Wrapping]) -> tuple[Sent, int]:
    """A connection with frames and other messages in segments of any size, and the capture's link type."""
    wrapping = draw(wrap)
    is_frame = draw(st.lists(st.sampled_from([True, True, False]), min_size=1, max_size=5))
    frames = draw(st.lists(strategies.frames, min_size=len(is_frame), max_size=len(is_frame), unique=True))
    items = [frame if yes else draw(strategies.a5_led) for frame, yes in zip(frames, is_frame, strict=True)]
    ends = draw(st.sampled_from([(DONGLE, SERVER), (DONGLE6, SERVER6)]))
    sequence = draw(st.sampled_from([1000, 2**32 - 100, 2**31 - 500]))
    connection = Connection(
        *ends, sequence=sequence, delay=MILLISECOND, limit=9000, wrap=lambda packet, _, __: wrapping.wrap(packet)
    )
    time = connection.open(START)
    spans: list[tuple[int, int]] = []
    position = 0
    for part in draw(strategies.pieces(b"".join(items), 14)):
        time = connection.send(time, part)
        spans.append((position, position + len(part)))
        position += len(part)
    if draw(st.booleans()):
        connection.close(time)
    return Sent(items, is_frame, connection.records, spans), wrapping.link_type


def check(sent: Sent, link_type: int, order: Iterable[int], lost: set[int]) -> None:
    """Decode the records in this order, without those that are lost: exactly the frames that are all there come out."""
    # The first three records are the handshake; then a segment and its acknowledgement take turns.
    segments = {3 + 2 * number: span for number, span in enumerate(sent.spans)}
    captured = {place for number, span in segments.items() if number not in lost for place in range(*span)}
    expected = []
    position = 0
    for item, is_frame in zip(sent.items, sent.is_frame, strict=True):
        if is_frame and all(place in captured for place in range(position, position + len(item))):
            expected.append(item)
        position += len(item)
    packets = [
        Packet(START + place * MILLISECOND, link_type, sent.records[number].data)
        for place, number in enumerate(order)
        if number not in lost
    ]
    decoder = Decoder(JOHANNESBURG)
    assert frames_in(decode(packets, decoder)) == expected
    assert decoder.readings.counts.readings == len(expected)
    assert decoder.repeats == 0


@given(st.data(), connections(st.sampled_from(list(WRAPPINGS.values()))))
def test_any_split_order_and_repetition(data: st.DataObject, connection: tuple[Sent, int]) -> None:
    sent, link_type = connection
    numbers = list(range(1, len(sent.records)))
    copies = data.draw(st.lists(st.sampled_from(numbers), max_size=6))
    # The SYN comes first: what comes before it cannot be told from what another connection sent.
    check(sent, link_type, [0, *data.draw(st.permutations(numbers + copies))], set())


@given(st.data(), connections(st.just(WRAPPINGS["ethernet"])))
def test_any_loss(data: st.DataObject, connection: tuple[Sent, int]) -> None:
    sent, link_type = connection
    numbers = list(range(len(sent.records)))
    lost = data.draw(st.sets(st.sampled_from(numbers), max_size=5))
    order = [0, *data.draw(st.permutations(numbers[1:]))] if 0 not in lost and data.draw(st.booleans()) else numbers
    check(sent, link_type, order, lost)


@pytest.mark.parametrize("length", [292, 302])
@pytest.mark.parametrize("name", WRAPPINGS)
def test_in_every_wrapping(name: str, length: int) -> None:
    wrapping = WRAPPINGS[name]
    for ends in ((DONGLE, SERVER), (DONGLE6, SERVER6)):
        connection = Connection(*ends, wrap=lambda packet, _, __: wrapping.wrap(packet))
        time = connection.open(START)
        frames = [make(minute, length) for minute in range(3)]
        for frame in frames:
            time = connection.send(time, frame, [100, 150])
        connection.close(time)
        packets = [Packet(record.time, wrapping.link_type, record.data) for record in connection.records]
        assert frames_in(decode(packets)) == frames
        # Capture began in mid-connection, and was cut off at the end.
        assert frames_in(decode(packets[4:-4])) == frames[1:]


def test_in_fragments() -> None:
    frames = [make(minute) for minute in range(4)]
    packets = []
    for number, frame in enumerate(frames):
        segment = wire.tcp(DONGLE.address, 50586, SERVER.address, 51100, 1000 + 292 * number, frame)
        fragments = wire.ipv4_fragments(DONGLE.address, SERVER.address, segment, [88, 120], identification=number)
        packets += [Packet(START + number * SECOND, 12, fragment) for fragment in reversed(fragments)]
    assert frames_in(decode(packets)) == frames


# --- copies ---------------------------------------------------------------------------------------------------------


def day(count: int = 12) -> tuple[Connection, list[bytes]]:
    """A frame every five minutes, some in two segments."""
    connection = Connection(DONGLE, SERVER)
    connection.open(START)
    frames = [make(5 * number, 302 if number % 3 else 292) for number in range(count)]
    for number, frame in enumerate(frames):
        connection.send(START + (300 * number + 1) * SECOND, frame, [146] if number % 2 else [])
    return connection, frames


def test_copies_of_the_same_packets_on_several_devices() -> None:
    # `any` shows each packet on the bridge, on its port and on the way out.
    connection, frames = day()
    packets = []
    for time, data in connection.records:
        for place, kind in enumerate((0, 0, 4)):
            packets.append(Packet(time + place * 20_000, 113, wire.sll(data[14:], kind=kind)))
    decoder = Decoder(JOHANNESBURG)
    assert frames_in(decode(packets, decoder)) == frames
    assert decoder.streams.counts.repeated == 2 * sum(map(len, frames))


def test_copies_behind_address_translation() -> None:
    connection, frames = day()
    outside = Connection(Endpoint("203.0.113.7", 61000), SERVER, limit=40)
    outside.open(START)
    for number, frame in enumerate(frames):
        outside.send(START + (300 * number + 1) * SECOND + MILLISECOND, frame)
    packets = ethernet(sorted(connection.records + outside.records))
    decoder = Decoder(JOHANNESBURG)
    assert frames_in(decode(packets, decoder)) == frames
    assert decoder.repeats == len(frames)
    assert {event.flow for event in decoded(decode(packets))} == {FLOW}


def test_frames_that_the_dongle_sends_again_in_a_new_connection() -> None:
    first, frames = day(3)
    second = Connection(DONGLE._replace(port=50587), SERVER)
    second.open(START + 3600 * SECOND)
    second.send(START + 3601 * SECOND, b"".join([*frames, make(600)]))
    events = decode(ethernet(first.records + second.records))
    assert frames_in(events) == [*frames, make(600)]


def test_memory_for_copies_is_bounded() -> None:
    connection = Connection(DONGLE, SERVER)
    frames = [make(number) for number in range(REPEATS_MAX + 1)]
    for number, frame in enumerate(frames):
        connection.send(START + number * SECOND, frame)
    again = Connection(DONGLE._replace(port=1), SERVER)
    for number, frame in enumerate((frames[-1], frames[1], frames[0])):
        again.send(START + (1000 + number) * SECOND, frame)
    assert frames_in(decode(ethernet(connection.records + again.records))) == [*frames, frames[0]]


# --- events ---------------------------------------------------------------------------------------------------------


def segment(sequence: int, payload: bytes, flags: int = wire.ACK, time: int = START) -> Packet:
    data = wire.tcp(DONGLE.address, 50586, SERVER.address, 51100, sequence, payload, flags=flags)
    return Packet(time, 1, wire.ethernet(wire.ipv4(DONGLE.address, SERVER.address, data)))


def test_a_frame_that_has_begun() -> None:
    decoder = Decoder(JOHANNESBURG)
    frame = make()
    assert decoder.receive(segment(1000, frame[:1])) == [Begun(FLOW)]
    assert decoder.receive(segment(1001, frame[1:200])) == [Begun(FLOW)]
    (event,) = decoder.receive(segment(1200, frame[200:], time=START + 5))
    assert isinstance(event, Decoded)
    assert (event.time, event.flow, event.frame.data) == (START + 5, FLOW, frame)
    # A whole one has not begun: it is there.
    assert [type(event) for event in decoder.receive(segment(1292, make(5)))] == [Decoded]
    assert [type(event) for event in decoder.receive(segment(1584, make(10) + frame[:20]))] == [Decoded, Begun]
    assert decoder.close() == []
    assert decoder.frame_counts.cut == 1


def test_what_is_no_frame() -> None:
    decoder = Decoder(JOHANNESBURG)
    assert decoder.receive(segment(1000, b"GET / HTTP/1.1\r\n")) == [Skipped(FLOW, b"GET / HTTP/1.1\r\n")]
    login = messages.login(SERIAL)
    assert decoder.receive(segment(1016, login)) == [Skipped(FLOW, login[:32])]
    assert decoder.receive(segment(1081, b"")) == []
    assert decoder.close() == []


def test_a_frame_that_the_end_of_the_stream_proves() -> None:
    frame = make()
    wrong = frame[:9] + struct.pack(">H", 65535) + frame[11:]
    decoder = Decoder(JOHANNESBURG)
    assert decoder.receive(segment(1000, wrong)) == [Begun(FLOW)]
    (event,) = decoder.receive(segment(1292, b"", wire.FIN, START + 3 * SECOND))
    assert isinstance(event, Decoded)
    assert (event.time, event.frame.data) == (START, wrong), "captured when it came, not when it was proven"


def test_frames_of_unknown_length() -> None:
    unknown = (make(0, 302) + bytes(100))[:350]
    unknown = unknown[:9] + struct.pack(">H", 339) + unknown[11:]
    decoder = Decoder(JOHANNESBURG)
    (event,) = decoder.receive(segment(1000, unknown))
    assert isinstance(event, Unknown)
    assert (event.time, event.flow, event.frame.serial, event.frame.data) == (START, FLOW, SERIAL, unknown)
    assert decoder.receive(segment(1350, unknown)) == []
    assert decoder.repeats == 1
    assert decoder.readings.counts.readings == 0


def test_a_gap_is_over_in_time() -> None:
    decoder = Decoder(JOHANNESBURG)
    frames = [make(minute) for minute in range(3)]
    assert decoder.deadline is None
    decoder.receive(segment(1000, frames[0][:100]))
    assert decoder.receive(segment(1292, frames[1], time=START + SECOND)) == []
    deadline = decoder.deadline
    assert deadline == START + (1 + streams.GAP_SECONDS) * SECOND
    assert decoder.advance(deadline - 1) == []
    (event,) = decoder.advance(deadline)
    assert isinstance(event, Decoded)
    assert (event.time, event.frame.data) == (START + SECOND, frames[1])
    assert decoder.deadline is None
    assert decoder.frame_counts.cut == 1
    # The frame that was cut comes again, late and whole; what had been there is not taken twice.
    late = decoder.receive(segment(1000, frames[0], time=deadline + 1))
    assert decoded(late) == []
    assert frames_in(decoder.receive(segment(1584, frames[2], time=deadline + 2))) == [frames[2]]


def test_frames_that_come_late_all_the_same() -> None:
    decoder = Decoder(JOHANNESBURG)
    frames = [make(minute) for minute in range(4)]
    decoder.receive(segment(1000, frames[0]))
    decoder.receive(segment(1876, frames[3]))
    assert frames_in(decoder.advance(START + 20 * SECOND)) == [frames[3]]
    assert frames_in(decoder.receive(segment(1292, frames[1] + frames[2], time=START + 20 * SECOND))) == frames[1:3]


@pytest.mark.parametrize("length", [292, 302])
def test_half_a_frame_and_half_another(length: int) -> None:
    # The capture lost what lies between: never a frame of both halves.
    first, second, third = make(0, length), make(5, length), make(10, length)
    for cut in range(1, length):
        decoder = Decoder(JOHANNESBURG)
        packets = [
            segment(1000, first[:cut]),
            segment(1000 + length + cut, second[cut:]),
            segment(1000 + 2 * length, third),
        ]
        assert frames_in(decode(packets, decoder)) == [third]
        decoder = Decoder(JOHANNESBURG)
        packets = [segment(1000, first[:cut]), segment(1000 + cut, b"", wire.RST), segment(5_000_000, third)]
        assert frames_in(decode(packets, decoder)) == [third]


def test_a_frame_from_the_future() -> None:
    decoder = Decoder(JOHANNESBURG, live=True)
    (event,) = decoder.receive(segment(1000, make(2 * 24 * 60)))
    assert isinstance(event, Decoded)
    assert event.reading is None
    assert decoder.readings.counts.ahead == 1
    (event,) = decoder.receive(segment(1292, make(60)))
    assert isinstance(event, Decoded)
    assert event.reading is not None


def test_captures_of_different_link_types_one_after_another() -> None:
    connection, frames = day(4)
    half = len(connection.records) // 2
    packets = [Packet(time, 1, data) for time, data in connection.records[:half]]
    packets += [Packet(time, 276, wire.sll2(data[14:])) for time, data in connection.records[half:]]
    assert frames_in(decode(packets)) == frames


def test_two_inverters_at_one_address() -> None:
    # Two dongles behind one translated address, their connections mixed.
    connections = [Connection(DONGLE._replace(port=port), SERVER, sequence=port) for port in (40000, 40001)]
    frames: list[bytes] = []
    for minute in range(0, 50, 5):
        for connection, serial in zip(connections, (SERIAL, "2211229876"), strict=True):
            frames.append(make(minute, serial=serial))
            connection.send(START + minute * 60 * SECOND, frames[-1], [77])
    packets = ethernet(
        sorted((record for connection in connections for record in connection.records), key=lambda r: r.time)
    )
    assert sorted(frames_in(decode(packets))) == sorted(frames)
    assert len(decoded(decode(packets))) == len(frames)
