"""Packets to readings: what a capture holds comes out once, however TCP and the capture have treated it."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inverter_capture.protocol import streams
from inverter_capture.protocol.layouts import LAYOUTS
from inverter_capture.protocol.learnt_layouts import LAYOUTS_MAX
from inverter_capture.protocol.packets import Flow, Packet
from inverter_capture.protocol.packets_to_readings import (
    DONGLES_MAX,
    REPEATS_MAX,
    Decoded,
    Decoder,
    Event,
    Heard,
    MapHeard,
    Unknown,
)
from tests import strategies, wire
from tests.dongle import messages
from tests.dongle.messages import RECORDED_MAP, entries_of
from tests.dongle.reports import encode, encode_values, registers_in
from tests.dongle.scenarios import SCENARIOS, Expected, Scenario
from tests.strategies import WRAPPINGS
from tests.wire import MILLISECOND, SECOND, Connection, Endpoint, Record

SERIAL = "1235687108"
CLOCK = datetime(2026, 6, 1, 12, 0, 0)
START = int(datetime(2026, 6, 1, 12, 0, 4, tzinfo=UTC).timestamp()) * SECOND

DONGLE, SERVER = Endpoint("192.168.0.202", 50586, ttl=255), Endpoint("47.242.67.221", 51100, wire.MAC_B)
DONGLE6, SERVER6 = Endpoint("2001:db8::202", 50586), Endpoint("2001:db8:1::dd", 51100, wire.MAC_B)
FLOW = Flow(bytes([192, 168, 0, 202]), 50586, bytes([47, 242, 67, 221]), 51100)


def make(minute: int = 0, length: int = 292, serial: str = SERIAL) -> bytes:
    """A report of its own for each minute."""
    values = {"battery_soc": minute % 100, "grid_voltage": 233.3}
    return encode_values(serial, CLOCK + timedelta(minutes=minute), values, length)


def decode(packets: Iterable[Packet], decoder: Decoder | None = None) -> list[Event]:
    """All events of a capture."""
    decoder = decoder or Decoder(UTC)
    events: list[Event] = []
    for packet in packets:
        events += decoder.receive(packet)
        check_bounds(decoder)
    events += decoder.close()
    assert not decoder._parsers
    assert not decoder._latest
    assert decoder.deadline is None
    return events


def check_bounds(decoder: Decoder) -> None:
    assert len(decoder._parsers) <= streams.FLOWS_MAX
    assert len(decoder._recent) <= REPEATS_MAX
    assert len(decoder._dongles) <= DONGLES_MAX
    layouts = decoder._layouts
    for known in (layouts._by_connection, layouts._by_address, layouts._by_serial):
        assert len(known) <= LAYOUTS_MAX


def ethernet(records: Iterable[Record]) -> list[Packet]:
    return [Packet(record.time, 1, record.data) for record in records]


def decoded(events: Iterable[Event]) -> list[Decoded]:
    return [event for event in events if isinstance(event, Decoded)]


def reports_in(events: Iterable[Event]) -> list[bytes]:
    return [event.report.data for event in decoded(events)]


# --- the real captures ----------------------------------------------------------------------------------------------


def test_the_real_capture(real_packet: Packet, real_report: bytes) -> None:
    (event,) = decode([real_packet])
    assert isinstance(event, Decoded)
    assert event.time == real_packet.time
    assert event.flow == FLOW
    assert event.report.data == real_report
    assert event.reading is not None
    # The inverter's clock is two hours ahead of UTC.
    assert (event.reading.serial, event.reading.time) == (SERIAL, (1667629966 + 7200) * SECOND)
    assert event.reading.values["grid_voltage"] == 233.3


def test_the_real_capture_again_and_again(real_packet: Packet) -> None:
    decoder = Decoder(UTC)
    assert len(decoded(decode([real_packet] * 5, decoder))) == 1
    assert decoder.streams.counts.repeated == 4 * 292


def test_the_real_capture_cut_off(real_packet: Packet) -> None:
    for length in range(len(real_packet.data)):
        assert decoded(decode([real_packet._replace(data=real_packet.data[:length])])) == []


def test_the_real_connection(real_connection: list[Packet]) -> None:
    events = decode(real_connection)
    # Its TCP was made up: the server's first byte has the sequence number of its SYN, and is lost with its message.
    assert [type(event) for event in events] == [Heard, Heard, MapHeard, Decoded, Heard, Decoded, Heard]
    assert [event.report.learnt for event in decoded(events)] == [True, True]
    assert [event.reading and event.reading.values["grid_voltage"] for event in decoded(events)] == [231.8, 235.1]


# --- end to end -----------------------------------------------------------------------------------------------------


def outcome(scenario: Scenario, link_type: int = 1) -> list[Expected]:
    """What comes of a scenario."""
    events = decode(Packet(record.time, link_type, record.data) for record in scenario.packets)
    found = []
    for event in decoded(events):
        layout, reading = event.report.layout, event.reading
        assert layout is not None
        assert reading is not None
        registers = registers_in(layout.ranges)
        words = {
            register: struct.unpack_from(">H", event.report.data, layout.register_offset(register))[0]
            for register in registers
        }
        found.append(Expected(reading.serial, reading.time // SECOND, words))
    return found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", SCENARIOS)
def test_exactly_the_readings_of_each_scenario(name: str, seed: int) -> None:
    scenario = SCENARIOS[name](seed)
    assert outcome(scenario) == scenario.expected


@pytest.mark.parametrize("name", SCENARIOS)
def test_packets_together_are_read_as_one_by_one(name: str) -> None:
    packets = [Packet(record.time, 1, record.data) for record in SCENARIOS[name](7).packets]
    decoder = Decoder(UTC)
    together = decoder.receive(*packets) + decoder.close()
    assert together == decode(packets)


@settings(max_examples=200)
@given(strategies.scenarios)
def test_exactly_the_readings_of_any_scenario(scenario: Scenario) -> None:
    assert outcome(scenario) == scenario.expected


class Sent(NamedTuple):
    """A connection of the dongle's: what it sent, and in which packets."""

    items: list[bytes]
    is_report: list[bool]
    records: list[Record]
    spans: list[tuple[int, int]]
    """Which bytes of the stream each record holds."""


@st.composite
def connections(draw: st.DrawFn, wrap: st.SearchStrategy[strategies.Wrapping]) -> tuple[Sent, int]:
    """A connection with reports and other messages in segments of any size, and the capture's link type."""
    wrapping = draw(wrap)
    is_report = draw(st.lists(st.sampled_from([True, True, False]), min_size=1, max_size=5))
    reports = draw(st.lists(strategies.reports, min_size=len(is_report), max_size=len(is_report), unique=True))
    items = [
        report if yes else draw(strategies.dongle_messages) for report, yes in zip(reports, is_report, strict=True)
    ]
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
    return Sent(items, is_report, connection.records, spans), wrapping.link_type


def check(sent: Sent, link_type: int, order: Iterable[int], lost: set[int]) -> None:
    """Decode the records in this order, without those that are lost: exactly the reports that are all there come."""
    # The first three records are the handshake; then a segment and its acknowledgement take turns.
    segments = {3 + 2 * number: span for number, span in enumerate(sent.spans)}
    captured = {place for number, span in segments.items() if number not in lost for place in range(*span)}
    expected = []
    position = 0
    for item, is_report in zip(sent.items, sent.is_report, strict=True):
        if is_report and all(place in captured for place in range(position, position + len(item))):
            expected.append(item)
        position += len(item)
    packets = [
        Packet(START + place * MILLISECOND, link_type, sent.records[number].data)
        for place, number in enumerate(order)
        if number not in lost
    ]
    decoder = Decoder(UTC)
    assert reports_in(decode(packets, decoder)) == expected
    assert decoder.counts.known == len(expected)
    assert decoder.counts.repeated == 0


@given(st.data(), connections(st.sampled_from(list(WRAPPINGS.values()))))
def test_any_split_order_and_repetition(data: st.DataObject, connection: tuple[Sent, int]) -> None:
    sent, link_type = connection
    numbers = list(range(len(sent.records)))
    copies = data.draw(st.lists(st.sampled_from(numbers), max_size=6))
    check(sent, link_type, data.draw(st.permutations(numbers + copies)), set())


@given(st.data(), connections(st.just(WRAPPINGS["ethernet"])))
def test_any_loss(data: st.DataObject, connection: tuple[Sent, int]) -> None:
    sent, link_type = connection
    numbers = list(range(len(sent.records)))
    lost = data.draw(st.sets(st.sampled_from(numbers), max_size=5))
    check(sent, link_type, data.draw(st.permutations(numbers)) if data.draw(st.booleans()) else numbers, lost)


@pytest.mark.parametrize("length", [292, 302, 306])
@pytest.mark.parametrize("name", WRAPPINGS)
def test_in_every_wrapping(name: str, length: int) -> None:
    wrapping = WRAPPINGS[name]
    for ends in ((DONGLE, SERVER), (DONGLE6, SERVER6)):
        connection = Connection(*ends, wrap=lambda packet, _, __: wrapping.wrap(packet))
        time = connection.open(START)
        reports = [make(minute, length) for minute in range(3)]
        for report in reports:
            time = connection.send(time, report, [100, 150])
        connection.close(time)
        packets = [Packet(record.time, wrapping.link_type, record.data) for record in connection.records]
        assert reports_in(decode(packets)) == reports
        # Capture began in mid-connection, and was cut off at the end.
        assert reports_in(decode(packets[4:-4])) == reports[1:]


# --- copies ---------------------------------------------------------------------------------------------------------


def day(count: int = 12) -> tuple[Connection, list[bytes]]:
    """A report every five minutes, some in two segments."""
    connection = Connection(DONGLE, SERVER)
    connection.open(START)
    reports = [make(5 * number, (292, 302, 306)[number % 3]) for number in range(count)]
    for number, report in enumerate(reports):
        connection.send(START + (300 * number + 1) * SECOND, report, [146] if number % 2 else [])
    return connection, reports


def test_copies_of_the_same_packets_on_several_devices() -> None:
    # `any` shows each packet on the bridge, on its port and on the way out.
    connection, reports = day()
    packets = []
    for time, data in connection.records:
        for place, kind in enumerate((0, 0, 4)):
            packets.append(Packet(time + place * 20_000, 113, wire.sll(data[14:], kind=kind)))
    decoder = Decoder(UTC)
    assert reports_in(decode(packets, decoder)) == reports
    assert decoder.streams.counts.repeated == 2 * sum(map(len, reports))


def test_copies_behind_address_translation() -> None:
    connection, reports = day()
    outside = Connection(Endpoint("203.0.113.7", 61000), SERVER, limit=40)
    outside.open(START)
    for number, report in enumerate(reports):
        outside.send(START + (300 * number + 1) * SECOND + MILLISECOND, report)
    packets = ethernet(sorted(connection.records + outside.records))
    decoder = Decoder(UTC)
    assert reports_in(decode(packets, decoder)) == reports
    assert decoder.counts.repeated == len(reports)
    assert {event.flow for event in decoded(decode(packets))} == {FLOW}


def test_reports_that_the_dongle_sends_again_in_a_new_connection() -> None:
    first, reports = day(3)
    second = Connection(DONGLE._replace(port=50587), SERVER)
    second.open(START + 3600 * SECOND)
    second.send(START + 3601 * SECOND, b"".join([*reports, make(600)]))
    events = decode(ethernet(first.records + second.records))
    assert reports_in(events) == [*reports, make(600)]


def test_memory_for_copies_is_bounded() -> None:
    connection = Connection(DONGLE, SERVER)
    connection.open(START - SECOND)
    reports = [make(number) for number in range(REPEATS_MAX + 1)]
    for number, report in enumerate(reports):
        connection.send(START + number * SECOND, report)
    again = Connection(DONGLE._replace(port=1), SERVER)
    again.open(START + 999 * SECOND)
    for number, report in enumerate((reports[-1], reports[1], reports[0])):
        again.send(START + (1000 + number) * SECOND, report)
    assert reports_in(decode(ethernet(connection.records + again.records))) == [*reports, reports[0]]


# --- events ---------------------------------------------------------------------------------------------------------


def packet(sequence: int, payload: bytes, flags: int = wire.ACK, time: int = START, *, reply: bool = False) -> Packet:
    ends = (SERVER, DONGLE) if reply else (DONGLE, SERVER)
    data = wire.tcp(ends[0].address, ends[0].port, ends[1].address, ends[1].port, sequence, payload, flags=flags)
    return Packet(time, 1, wire.ethernet(wire.ipv4(ends[0].address, ends[1].address, data)))


@pytest.fixture
def decoder() -> Decoder:
    """One that has seen the beginning of a connection, whose next sequence numbers are 1000."""
    made = Decoder(UTC)
    assert made.receive(packet(999, b"", wire.SYN)) == []
    assert made.receive(packet(999, b"", wire.SYN | wire.ACK, reply=True)) == []
    return made


def test_a_report_in_several_segments(decoder: Decoder) -> None:
    report = make()
    assert decoder.receive(packet(1000, report[:1])) == []
    assert decoder.receive(packet(1001, report[1:200])) == []
    (event,) = decoder.receive(packet(1200, report[200:], time=START + 5))
    assert isinstance(event, Decoded)
    assert (event.time, event.flow, event.report.data) == (START + 5, FLOW, report)
    assert [type(event) for event in decoder.receive(packet(1292, make(5) + report[:20]))] == [Decoded]
    assert decoder.close() == []
    assert decoder.message_counts.cut == 1


def test_other_messages_and_what_is_none(decoder: Decoder) -> None:
    assert decoder.receive(packet(1000, b"GET / HTTP/1.1\r\n")) == []
    login = messages.login()
    (event,) = decoder.receive(packet(1016, login))
    assert isinstance(event, Heard)
    assert (event.time, event.flow, event.message.data) == (START, FLOW, login)
    assert decoder.close() == []


def test_a_poll_map(decoder: Decoder) -> None:
    (event,) = decoder.receive(packet(1000, messages.poll_map(RECORDED_MAP), reply=True))
    assert isinstance(event, MapHeard)
    assert event.flow == FLOW.reversed()
    assert event.poll_map.layout.length == 306


def test_reports_of_unknown_length(decoder: Decoder) -> None:
    ranges = ((59, 124), (150, 210))
    unknown = encode(SERIAL, CLOCK, {}, ranges)
    (event,) = decoder.receive(packet(1000, unknown))
    assert isinstance(event, Unknown)
    assert (event.time, event.flow, event.report.serial, event.report.data) == (START, FLOW, SERIAL, unknown)
    assert decoder.receive(packet(1000 + len(unknown), unknown)) == []
    assert (decoder.counts.unknown, decoder.counts.repeated) == (1, 1)
    assert decoder.readings.counts.readings == 0
    # Once the server has told, the next one is decoded.
    decoder.receive(packet(1000, messages.poll_map(entries_of(ranges)), reply=True))
    later = encode(SERIAL, CLOCK + timedelta(minutes=5), {}, ranges)
    (event,) = decoder.receive(packet(1000 + 2 * len(unknown), later))
    assert isinstance(event, Decoded)
    assert event.report.learnt
    assert event.report.layout is not None
    assert event.report.layout.ranges == ranges


@pytest.mark.parametrize("ranges", [((59, 124), (150, 210)), tuple(reversed(LAYOUTS[306].ranges))], ids=str)
def test_a_poll_map_in_the_first_moment_of_a_capture_without_the_beginning(ranges: tuple[tuple[int, int], ...]) -> None:
    sent = [
        packet(1000, messages.login()),
        packet(1000, messages.poll_map(entries_of(ranges))[:50], time=START + 10 * MILLISECOND, reply=True),
        packet(1050, messages.poll_map(entries_of(ranges))[50:], time=START + 20 * MILLISECOND, reply=True),
        packet(1000 + len(messages.login()), encode(SERIAL, CLOCK, {}, ranges), time=START + 30 * MILLISECOND),
    ]
    later = packet(5000, b"", wire.FIN, time=START + 60 * SECOND, reply=True)
    for packets in (sent, [*sent, later]):
        events = decode(packets)
        assert [type(event) for event in events] == [Heard, MapHeard, Decoded]
        (event,) = decoded(events)
        assert event.report.layout is not None
        assert event.report.layout.ranges == ranges


@given(
    st.lists(
        st.tuples(st.booleans(), strategies.any_poll_maps | strategies.reports | strategies.unknown_reports), max_size=8
    )
)
def test_forged_maps_in_either_direction(steps: list[tuple[bool, bytes]]) -> None:
    decoder = Decoder(UTC)
    sequences = {True: 1000, False: 1000}
    for number, (reply, data) in enumerate(steps):
        for event in decoder.receive(packet(sequences[reply], data, time=START + number * SECOND, reply=reply)):
            if isinstance(event, Decoded):
                assert event.report.layout is not None
                assert len(event.report.data) == event.report.layout.length
        sequences[reply] += len(data)
        check_bounds(decoder)
    decoder.close()


def test_a_gap_is_over_in_time(decoder: Decoder) -> None:
    reports = [make(minute) for minute in range(3)]
    assert decoder.deadline is None
    decoder.receive(packet(1000, reports[0][:100]))
    assert decoder.receive(packet(1292, reports[1], time=START + SECOND)) == []
    deadline = decoder.deadline
    assert deadline == START + (1 + streams.GAP_SECONDS) * SECOND
    assert decoder.advance(deadline - 1) == []
    (event,) = decoder.advance(deadline)
    assert isinstance(event, Decoded)
    assert (event.time, event.report.data) == (START + SECOND, reports[1])
    assert decoder.deadline is None
    assert decoder.message_counts.cut == 1
    # The report that was cut comes again, late and whole; what had been there is not taken twice.
    late = decoder.receive(packet(1000, reports[0], time=deadline + 1))
    assert decoded(late) == []
    assert reports_in(decoder.receive(packet(1584, reports[2], time=deadline + 2))) == [reports[2]]


def test_reports_that_come_late_all_the_same(decoder: Decoder) -> None:
    reports = [make(minute) for minute in range(4)]
    decoder.receive(packet(1000, reports[0]))
    decoder.receive(packet(1876, reports[3]))
    assert reports_in(decoder.advance(START + 20 * SECOND)) == [reports[3]]
    late = decoder.receive(packet(1292, reports[1] + reports[2], time=START + 20 * SECOND))
    assert reports_in(late) == reports[1:3]


@pytest.mark.parametrize("length", [292, 302, 306])
def test_half_a_report_and_half_another(length: int) -> None:
    # The capture lost what lies between: never a report of both halves.
    first, second, third = make(0, length), make(5, length), make(10, length)
    for cut in range(1, length):
        packets = [
            packet(999, b"", wire.SYN),
            packet(1000, first[:cut]),
            packet(1000 + length + cut, second[cut:]),
            packet(1000 + 2 * length, third),
        ]
        assert reports_in(decode(packets)) == [third]
        packets = [packet(1000, first[:cut]), packet(1000 + cut, b"", wire.RST), packet(5_000_000, third)]
        assert reports_in(decode(packets)) == [third]


def test_a_report_from_the_future() -> None:
    decoder = Decoder(UTC, live=True)
    decoder.receive(packet(999, b"", wire.SYN))
    (event,) = decoder.receive(packet(1000, make(2 * 24 * 60)))
    assert isinstance(event, Decoded)
    assert event.reading is None
    assert decoder.readings.counts.ahead == 1
    (event,) = decoder.receive(packet(1292, make(60)))
    assert isinstance(event, Decoded)
    assert event.reading is not None


def test_captures_of_different_link_types_one_after_another() -> None:
    connection, reports = day(4)
    half = len(connection.records) // 2
    packets = [Packet(time, 1, data) for time, data in connection.records[:half]]
    packets += [Packet(time, 276, wire.sll2(data[14:])) for time, data in connection.records[half:]]
    assert reports_in(decode(packets)) == reports


def test_two_inverters_at_one_address() -> None:
    # Two dongles behind one translated address, their connections mixed.
    lines = [Connection(DONGLE._replace(port=port), SERVER, sequence=port) for port in (40000, 40001)]
    reports: list[bytes] = []
    for minute in range(0, 50, 5):
        for line, serial in zip(lines, (SERIAL, "2211229876"), strict=True):
            reports.append(make(minute, serial=serial))
            line.send(START + minute * 60 * SECOND, reports[-1], [77])
    packets = ethernet(sorted((record for line in lines for record in line.records), key=lambda r: r.time))
    assert sorted(reports_in(decode(packets))) == sorted(reports)
