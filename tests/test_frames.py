"""Streams to frames: all that were sent come out, and nothing else, however they are cut and whatever is between."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inverter_capture.protocol.frames import (
    FRAME_LENGTH_MAX,
    Frame,
    FrameCounts,
    FrameEvent,
    FrameParser,
    Other,
    UnknownFrame,
)

from tests import strategies
from tests.dongle import messages
from tests.dongle.frames import encode
from tests.strategies import HEADER_LIKE, filler

CLOCK = datetime(2022, 11, 5, 8, 32, 46)
SERIAL, OTHER_SERIAL = "1235687108", "2211229876"
VALUES = {"battery_soc": 54, "grid_voltage": 233.3, "pv_power_1": 930, "battery_power": -639, "bms_voltage": 53.38}


def make(length: int = 292, serial: str = SERIAL, clock: datetime = CLOCK, field: int | None = None) -> bytes:
    """A frame, with a length field of our own if need be."""
    frame = bytearray(encode(serial, clock, VALUES, length))
    if field is not None:
        frame[9:11] = struct.pack(">H", field)
    return bytes(frame)


def parse(parts: Iterable[bytes], counts: FrameCounts | None = None) -> list[FrameEvent]:
    """All events of a stream that brings these parts and ends."""
    parser = FrameParser(counts or FrameCounts())
    events: list[FrameEvent] = []
    for part in parts:
        events += parser.receive(part)
        assert len(parser._buffer) <= FRAME_LENGTH_MAX
    events += parser.close()
    assert not parser.within_frame
    return events


def frames_in(events: Iterable[FrameEvent]) -> list[bytes]:
    return [event.data for event in events if isinstance(event, Frame)]


def messages_in(events: Iterable[FrameEvent]) -> list[bytes]:
    """Frames of known and unknown length."""
    return [event.data for event in events if not isinstance(event, Other)]


def check(parts: list[bytes], expected: list[bytes]) -> None:
    """Exactly these frames, and every byte accounted for."""
    counts = FrameCounts()
    events = parse(parts, counts)
    assert messages_in(events) == expected
    assert counts.frames + counts.unknown == len(expected)
    assert counts.frames == len(frames_in(events))
    assert sum(map(len, parts)) == sum(map(len, expected)) + counts.skipped
    whole = b"".join(parts)
    for event in events:
        if isinstance(event, Other):
            assert 1 <= len(event.head) <= 32
            assert event.head in whole


# --- one frame ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [292, 302])
@pytest.mark.parametrize("serial", [SERIAL, "AB12cd34EF", "ZZZZZZZZZZ"])
def test_a_frame(length: int, serial: str) -> None:
    frame = make(length, serial)
    assert FrameParser(FrameCounts()).receive(frame) == [Frame(serial, CLOCK, frame)]


def test_the_real_frame(real_frame: bytes) -> None:
    assert FrameParser(FrameCounts()).receive(real_frame) == [Frame(SERIAL, CLOCK, real_frame)]
    assert len(real_frame) == 292


@pytest.mark.parametrize("length", [292, 302])
def test_a_frame_cut_anywhere(length: int) -> None:
    frame = make(length)
    for cut in range(1, length):
        parser = FrameParser(FrameCounts())
        assert parser.receive(frame[:cut]) == []
        assert parser.within_frame
        assert messages_in(parser.receive(frame[cut:])) == [frame]
        assert not parser.within_frame
    check([frame[place : place + 1] for place in range(length)], [frame])


@pytest.mark.parametrize("serial", ["12345 7890", "123456789\0", "123456789_", "12345678\xa5\xa5", "äääää", "\0" * 10])
def test_a_serial_number_is_letters_and_digits(serial: str) -> None:
    frame = make().replace(SERIAL.encode(), serial.encode("latin-1").ljust(10, b"-"))
    assert len(frame) == 292
    assert messages_in(parse([frame])) == []


@pytest.mark.parametrize(
    "clock",
    [
        (22, 0, 5, 8, 32, 46), (22, 13, 5, 8, 32, 46), (22, 11, 0, 8, 32, 46), (22, 11, 31, 8, 32, 46),
        (22, 2, 29, 8, 32, 46), (22, 11, 5, 24, 32, 46), (22, 11, 5, 8, 60, 46), (22, 11, 5, 8, 32, 60),
        (0, 0, 0, 0, 0, 0),
        (255, 255, 255, 255, 255, 255),
    ],
)  # fmt: skip
def test_a_time_is_on_the_calendar(clock: tuple[int, ...]) -> None:
    frame = bytearray(make())
    frame[37:43] = bytes(clock)
    assert messages_in(parse([bytes(frame)])) == []


@pytest.mark.parametrize(
    "clock", [datetime(2000, 1, 1), datetime(2024, 2, 29, 23, 59, 59), datetime(2255, 12, 31, 23, 59, 59)]
)
def test_the_clock(clock: datetime) -> None:
    (event,) = parse([make(clock=clock)])
    assert isinstance(event, Frame)
    assert event.clock == clock


@pytest.mark.parametrize("first", [0x00, 0x5A, 0xA4, 0xA6, 0xFF])
def test_the_first_byte(first: int) -> None:
    assert messages_in(parse([bytes([first]) + make()[1:]])) == []


# --- properties -----------------------------------------------------------------------------------------------------


@given(st.data())
def test_frames_and_other_messages_in_any_pieces(data: st.DataObject) -> None:
    # All that a dongle sends begins with 0xA5: frames of known and unknown lengths, and other messages.
    frame, unknown, other = strategies.frames, strategies.unknown_frames, strategies.a5_led
    kinds = data.draw(st.lists(st.sampled_from(["frame", "frame", "unknown", "other"]), min_size=1, max_size=7))
    sent = [data.draw({"frame": frame, "unknown": unknown, "other": other}[kind]) for kind in kinds]
    parts = data.draw(strategies.pieces(b"".join(sent)))
    check(parts, [message for kind, message in zip(kinds, sent, strict=True) if kind != "other"])


@given(st.data())
def test_frames_and_noise_in_any_pieces(data: st.DataObject) -> None:
    frame, other = strategies.frames, strategies.noise | strategies.a5_led
    are_frames = data.draw(st.lists(st.booleans(), min_size=1, max_size=7))
    items = [data.draw(frame if is_frame else other) for is_frame in are_frames]
    expected = [item for is_frame, item in zip(are_frames, items, strict=True) if is_frame]
    whole = b"".join(items)
    places = data.draw(strategies.cuts(len(whole)))
    # See the test of the one ambiguity.
    ends = [sum(map(len, items[: number + 1])) for number, item in enumerate(items) if len(item) == 292]
    starts = [match.start() for match in HEADER_LIKE.finditer(whole)]
    for end in ends:
        if end + 10 in (*places, *starts) and whole[end : end + 1] != b"\xa5":
            places = sorted({*places, end})
    check([whole[start:end] for start, end in pairwise(places)], expected)


@given(st.data())
def test_nothing_but_noise(data: st.DataObject) -> None:
    parts = data.draw(st.lists(strategies.noise | strategies.a5_led | st.binary(max_size=100), max_size=8))
    check(parts, [])


@given(st.data())
def test_hostile_bytes(data: st.DataObject) -> None:
    # Pieces of frames, changed and put together at random: anything may come out, but nothing raises, all is counted.
    counts = FrameCounts()
    parser = FrameParser(counts)
    received = 0
    events: list[FrameEvent] = []
    for _ in range(data.draw(st.integers(1, 12))):
        piece = bytearray(data.draw(strategies.frames | strategies.unknown_frames | strategies.noise))
        start, end = data.draw(st.integers(0, len(piece))), data.draw(st.integers(0, len(piece)))
        for place in data.draw(st.lists(st.integers(0, len(piece) - 1), max_size=3)):
            piece[place] = data.draw(st.integers(0, 255))
        part = bytes(piece[min(start, end) : max(start, end)])
        received += len(part)
        events += parser.receive(part)
        assert len(parser._buffer) <= FRAME_LENGTH_MAX
        if data.draw(st.integers(0, 9)) == 0:
            parser.gap()
    events += parser.close()
    assert received == sum(map(len, messages_in(events))) + counts.skipped
    for event in events:
        if isinstance(event, Frame):
            assert len(event.data) in strategies.FRAME_LENGTHS
            assert event.data[0] == 0xA5
            assert event.data[11:21].decode("ascii") == event.serial
            assert event.data[37] == event.clock.year - 2000
        elif isinstance(event, UnknownFrame):
            assert 43 < len(event.data) <= FRAME_LENGTH_MAX


# --- half frames ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("serial", [SERIAL, OTHER_SERIAL, "AB12cd34EF"])
@pytest.mark.parametrize("following", [292, 302])
@pytest.mark.parametrize("length", [292, 302])
def test_a_frame_without_its_end_before_a_whole_one(length: int, following: int, serial: str) -> None:
    half, whole = make(length), make(following, serial, datetime(2022, 11, 5, 8, 37, 46))
    for cut in range(1, length):
        for parts in ([half[:cut] + whole], [half[:cut], whole]):
            check(parts, [whole])
            counts = FrameCounts()
            parse(parts, counts)
            # A frame of which there is less than its header is noise like any other.
            assert counts.cut == (cut >= 43)


@pytest.mark.parametrize("serial", [SERIAL, OTHER_SERIAL])
@pytest.mark.parametrize("length", [292, 302])
def test_a_frame_without_its_end_before_another_message(length: int, serial: str) -> None:
    whole = make(length, clock=datetime(2022, 11, 5, 8, 37, 46))
    for message in (messages.heartbeat(serial, 1), messages.login(serial)):
        for cut in range(1, length):
            check([make(length)[:cut] + message], [])
            check([make(length)[:cut], message, whole], [whole])


@pytest.mark.parametrize("length", [292, 302])
def test_a_frame_without_its_beginning(length: int) -> None:
    whole = make(length, clock=datetime(2022, 11, 5, 8, 37, 46))
    for cut in range(1, length):
        check([make(length)[cut:] + whole], [whole])
        check([make(length)[cut:]], [])


@pytest.mark.parametrize("length", [292, 302])
def test_a_frame_without_its_middle(length: int) -> None:
    half, whole = make(length), make(clock=datetime(2022, 11, 5, 8, 37, 46))
    for start in range(43, length, 7):
        for missing in (1, 2, 10, 100):
            if start + missing < length:
                rest = half[:start] + half[start + missing :]
                check([rest + whole], [whole])
                check([rest], [])


@pytest.mark.parametrize("length", [292, 302])
def test_a_frame_that_the_stream_ends_in(length: int) -> None:
    # 292 bytes of a frame that says it has 302 are no frame of 292 bytes.
    for cut in range(1, length):
        check([make(length)[:cut]], [])
        check([make(length)[: cut // 2], make(length)[cut // 2 : cut]], [])


@pytest.mark.parametrize("length", [292, 302])
def test_a_gap_in_a_frame(length: int) -> None:
    frame = make(length)
    for cut in range(1, length):
        counts = FrameCounts()
        parser = FrameParser(counts)
        assert messages_in(parser.receive(frame[:cut])) == []
        parser.gap()
        assert not parser.within_frame
        # The rest, of which nothing may be missing, and the next one.
        assert messages_in(parser.receive(frame[cut:])) == []
        assert messages_in(parser.receive(frame)) == [frame]
        assert counts.cut == 1
        parser.gap()
        parser.gap()
        assert counts.cut == 1


# --- the length field -----------------------------------------------------------------------------------------------

WRONG_FIELDS = [0, 1, 31, 32, 33, 100, 280, 282, 290, 292, 302, 400, 1013, 1014, 0x1901, 65535]


@pytest.mark.parametrize("field", WRONG_FIELDS)
@pytest.mark.parametrize("length", [292, 302])
def test_a_wrong_length_field_and_the_next_frame(length: int, field: int) -> None:
    first, second = make(length, field=field), make(length, clock=datetime(2022, 11, 5, 8, 37, 46), field=field)
    check([first + second], [first, second])
    if 11 + field > length or 11 + field <= 43:
        # The frame is recognised as soon as the next one begins.
        parser = FrameParser(FrameCounts())
        assert parser.receive(first) == []
        assert messages_in(parser.receive(second[:40])) == [first]


@pytest.mark.parametrize("field", WRONG_FIELDS)
@pytest.mark.parametrize("length", [292, 302])
def test_a_wrong_length_field_and_the_end_of_the_stream(length: int, field: int) -> None:
    frame = make(length, field=field)
    check([frame], [frame])
    check([messages.login(SERIAL) + frame], [frame])


@pytest.mark.parametrize("field", [0, 100, 200, 65535])
@pytest.mark.parametrize("length", [292, 302])
def test_a_wrong_length_field_in_a_frame_of_several_segments(length: int, field: int) -> None:
    frame = make(length, field=field)
    for cut in (1, 20, 43, 44, 150, 250, 291):
        check([frame[:cut], frame[cut:]], [frame])


@pytest.mark.parametrize("claimed", [292, 302])
def test_a_length_field_of_the_other_layout(claimed: int) -> None:
    # Firmware may send 302 bytes and still claim 292: where the segment or the next frame shows it, that counts.
    frame = make(302, field=281)
    second = make(302, clock=datetime(2022, 11, 5, 8, 37, 46), field=281)
    check([frame], [frame])
    check([frame, second], [frame, second])
    check([frame + second], [frame, second])
    # The other way round it is a frame of 302 bytes that was cut.
    check([make(292, field=291)], [])
    check([make(292, field=291) + make()], [make()])


def test_the_one_ambiguity() -> None:
    # A frame that claims 292 bytes, directly followed by exactly 10 more that are no message, in the same segment or
    # before the next frame, is taken for one of 302 bytes with a wrong length field. Nothing known sends such bytes.
    frame, stray = make(292), bytes(range(1, 11))
    assert frames_in(parse([frame + stray])) == [frame + stray]
    assert frames_in(parse([frame + stray + frame])) == [frame + stray, frame]
    for other in (stray[:9], stray + b"\x0b", b"\xa5" + stray[1:]):
        assert frames_in(parse([frame + other])) == [frame]
        assert frames_in(parse([frame + other + frame])) == [frame, frame]
    assert frames_in(parse([frame, stray])) == [frame]


@pytest.mark.parametrize("length", [44, 100, 291, 293, 300, 301, 303, 312, 600, 1023, 1024])
def test_unknown_lengths(length: int) -> None:
    unknown = (make(302) + filler(1, 1024))[:length]
    unknown = unknown[:9] + struct.pack(">H", length - 11) + unknown[11:]
    expected = UnknownFrame(SERIAL, unknown)
    assert parse([unknown]) == [expected]
    assert parse([unknown + unknown]) == [expected, expected]
    assert parse([unknown[: length // 2], unknown[length // 2 :], make()]) == [expected, Frame(SERIAL, CLOCK, make())]
    counts = FrameCounts()
    parse([unknown + make() + unknown], counts)
    assert (counts.frames, counts.unknown, counts.skipped) == (1, 2, 0)


@pytest.mark.parametrize("length", [1025, 2000, 65546])
def test_too_long_to_be_a_frame(length: int) -> None:
    claims = make(302)[:9] + struct.pack(">H", length - 11) + make(302)[11:] + filler(1, length - 302)
    frame = make()
    for parts in ([claims + frame], [claims, frame], [claims[:500], claims[500:] + frame]):
        assert frames_in(parse(parts)) == [frame]
        assert messages_in(parse(parts)) == [frame]


# --- what is no frame -----------------------------------------------------------------------------------------------


def test_other_messages_are_shown_by_their_beginning() -> None:
    counts = FrameCounts()
    parser = FrameParser(counts)
    login, heartbeat = messages.login(SERIAL), messages.heartbeat(SERIAL, 1)
    assert parser.receive(login) == [Other(login[:32])]
    assert not parser.within_frame
    # A heartbeat is so short that it could become a frame.
    assert parser.receive(heartbeat) == []
    assert parser.within_frame
    assert parser.receive(make()) == [Other(heartbeat), Frame(SERIAL, CLOCK, make())]
    assert counts.skipped == len(login) + len(heartbeat)
    assert counts.cut == 0


def test_answers_of_the_server_are_no_frames() -> None:
    check([messages.answer(number) for number in range(20)], [])


def test_solarman_messages_between_frames() -> None:
    payload = filler(5, 200)
    body = struct.pack("<HHHI", len(payload), 0x4210, 1, 2_700_000_000) + payload
    solarman = b"\xa5" + body + bytes((sum(body) & 0xFF, 0x15))
    check([make() + solarman + make(302) + solarman], [make(), make(302)])


# --- time and memory on hostile bytes -------------------------------------------------------------------------------


class Work:
    """Counts how often and over how many bytes the parser looks for a frame."""

    def __init__(self) -> None:
        self.looks = 0
        self.bytes = 0

    def run(self, parts: Iterable[bytes]) -> None:
        original = FrameParser._examine

        def counting(parser: FrameParser, data: bytes, *, ended: bool) -> object:
            self.looks += 1
            self.bytes += len(data)
            return original(parser, data, ended=ended)

        with patch.object(FrameParser, "_examine", counting):
            parse(parts)


SIZE = 200_000
HEADER = make()[:43]
INSANE = HEADER[:9] + b"\xff\xff" + HEADER[11:]


@pytest.mark.parametrize(
    "unit",
    [
        b"\xa5",
        b"\xa5" + b"0" * 10,
        b"\xa5" + b"0" * 42,
        HEADER,
        HEADER[:42],
        INSANE,
        INSANE + b"\xa5" * 20,
        b"\xa5" + b"0" * 36 + bytes((22, 11, 5, 8, 32, 46)) + b"0" * 5000,
        make()[:-1],
        make(field=1013)[:200],
    ],
)
@pytest.mark.parametrize("size", [65_000, 1460, 7])
def test_hostile_bytes_cost_no_more_than_their_number(unit: bytes, size: int) -> None:
    data = (unit * (SIZE // len(unit) + 1))[:SIZE]
    work = Work()
    work.run(data[start : start + size] for start in range(0, SIZE, size))
    # One look for each 0xA5, and one for each part that continues what came before; each over little.
    assert work.looks <= data.count(b"\xa5") + SIZE // size + 2
    assert work.bytes <= work.looks * 2 * FRAME_LENGTH_MAX


def test_single_hostile_bytes() -> None:
    work = Work()
    data = (INSANE + b"\xa5" * 20) * 100
    work.run(data[place : place + 1] for place in range(len(data)))
    assert work.looks <= 2 * len(data)
