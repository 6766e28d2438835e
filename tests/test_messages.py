"""Streams to messages: all that were sent come out, and nothing else, however they are cut and whatever is between."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import datetime
from unittest.mock import patch

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from inverter_capture.protocol import messages
from inverter_capture.protocol.messages import MESSAGE_LENGTH_MAX, Message, MessageCounts, MessageParser, dongle_serial

SERIAL, OTHER_SERIAL = "1235687108", "AB12cd34EF"
CLOCK = datetime(2022, 11, 5, 8, 32, 46)
LENGTHS = [292, 302, 306]
DONGLE, SERVER = 0x01, 0xA1


def make(type: int, body: bytes = b"", *, direction: int = DONGLE, number: int = 7, length: int | None = None) -> bytes:
    """A message; `length` is what the header claims when that is to be wrong."""
    header = struct.pack(">BBBBBBHB", 0xA5, 0x06, direction, type, 2, 0xCE, 0, number)
    return header + struct.pack(">H", len(body) if length is None else length) + body


def report(
    length: int = 292,
    serial: str = SERIAL,
    minute: int = 32,
    *,
    claimed: int | None = None,
    registers: bytes = b"",
) -> bytes:
    """A report of this length, which claims another if need be."""
    clock = bytes((22, 11, 5, 8, minute, 46))
    body = serial.encode("latin-1") + bytes(16) + clock + b"\x01"
    body += (registers or filler(length))[: length - 11 - len(body)]
    return make(0x09, body.ljust(length - 11, b"\0"), length=None if claimed is None else claimed - 11)


def filler(count: int) -> bytes:
    """Bytes that no message begins in."""
    return bytes(number * 7 % 0xA0 for number in range(count))


ANSWER = make(0x09, direction=SERVER)
LOGIN = make(0x01, b"E00000000001" + bytes(4) + b"KEY00000" + bytes(8))
CONTROL = make(0x05, b"\1\2\3\4\5\6\7\x08")


def parse(parts: Iterable[bytes], counts: MessageCounts | None = None) -> list[bytes]:
    """The messages of a stream that brings these parts and ends."""
    parser = MessageParser(counts or MessageCounts())
    found: list[Message] = []
    for part in parts:
        found += parser.receive(part)
        assert len(parser._buffer) <= MESSAGE_LENGTH_MAX
    found += parser.close()
    assert parser._buffer == b""
    return [message.data for message in found]


def check(parts: list[bytes], expected: list[bytes]) -> None:
    """Exactly these messages, and every byte accounted for."""
    counts = MessageCounts()
    assert parse(parts, counts) == expected
    assert counts.messages == len(expected)
    assert sum(map(len, parts)) == sum(map(len, expected)) + counts.skipped


# --- whole messages -------------------------------------------------------------------------------------------------


def test_what_a_header_says() -> None:
    (message,) = MessageParser(MessageCounts()).receive(make(0x0B, b"body", direction=SERVER, number=200))
    assert (message.from_dongle, message.type, message.status, message.number) == (False, 0x0B, 2, 200)
    (message,) = MessageParser(MessageCounts()).receive(report(306))
    assert (message.from_dongle, message.type, len(message.data)) == (True, 0x09, 306)


@pytest.mark.parametrize("message", [ANSWER, LOGIN, CONTROL, *map(report, [*LENGTHS, 44, 400, MESSAGE_LENGTH_MAX])])
def test_a_message_cut_anywhere(message: bytes) -> None:
    for cut in range(1, len(message)):
        parser = MessageParser(MessageCounts())
        assert parser.receive(message[:cut]) == []
        assert [whole.data for whole in parser.receive(message[cut:])] == [message]
    check([message[place : place + 1] for place in range(len(message))], [message])


def test_a_message_of_an_unknown_type_is_passed_over_by_its_length() -> None:
    unknown = make(0x42, report()[:200])
    check([unknown + report(), ANSWER, unknown], [unknown, report(), ANSWER, unknown])


messages_of_all_kinds = st.one_of(
    st.builds(
        make,
        st.sampled_from([1, 2, 4, 5, 7, 9, 0x0A, 0x0B]),
        st.binary(max_size=200),
        direction=st.sampled_from([DONGLE, SERVER]),
        number=st.integers(0, 255),
    ),
    st.builds(
        report,
        st.sampled_from([*LENGTHS, *LENGTHS, 44, 100, 310, 700]),
        st.sampled_from([SERIAL, OTHER_SERIAL]),
        st.integers(0, 59),
    ),
)
noise = st.binary(max_size=80).map(lambda data: data.replace(b"\xa5", b"\xa4"))


@st.composite
def pieces(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    places = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=12)))
    return [whole[start:end] for start, end in zip([0, *places], [*places, len(whole)], strict=True)]


@given(st.data(), st.lists(messages_of_all_kinds, min_size=1, max_size=7))
def test_messages_in_any_pieces(data: st.DataObject, sent: list[bytes]) -> None:
    # A body that looks like a header is another matter: see the tests of wrong lengths.
    assume(not any(messages._HEADER.search(message, 1) for message in sent))
    check(data.draw(pieces(b"".join(sent))), sent)


@given(st.data(), st.lists(st.tuples(noise, st.sampled_from(LENGTHS)), min_size=1, max_size=5))
def test_reports_between_noise_in_any_pieces(data: st.DataObject, sent: list[tuple[bytes, int]]) -> None:
    whole = b"".join(before + report(length) for before, length in sent)
    expected = [report(length) for _, length in sent]
    check(data.draw(pieces(whole)), expected)


@given(st.lists(noise, max_size=8))
def test_nothing_but_noise(parts: list[bytes]) -> None:
    check(parts, [])


@given(st.data())
def test_hostile_bytes(data: st.DataObject) -> None:
    # Pieces of messages, changed and put together at random: nothing raises, and all bytes are counted.
    counts = MessageCounts()
    parser = MessageParser(counts)
    received = 0
    found: list[Message] = []
    for _ in range(data.draw(st.integers(1, 12))):
        piece = bytearray(data.draw(messages_of_all_kinds | st.binary(min_size=1, max_size=100)))
        start, end = sorted(data.draw(st.tuples(st.integers(0, len(piece)), st.integers(0, len(piece)))))
        for place in data.draw(st.lists(st.integers(0, len(piece) - 1), max_size=3)):
            piece[place] = data.draw(st.integers(0, 255))
        received += end - start
        found += parser.receive(bytes(piece[start:end]))
        assert len(parser._buffer) <= MESSAGE_LENGTH_MAX
        if data.draw(st.integers(0, 9)) == 0:
            parser.gap()
    found += parser.close()
    assert received == sum(len(message.data) for message in found) + counts.skipped
    for message in found:
        assert message.data.startswith(b"\xa5\x06")
        assert message.data[2] in (DONGLE, SERVER)
        assert 11 <= len(message.data) <= MESSAGE_LENGTH_MAX


# --- messages that are not whole ------------------------------------------------------------------------------------


@pytest.mark.parametrize("serial", [SERIAL, OTHER_SERIAL])
@pytest.mark.parametrize("following", [*LENGTHS, 310])
@pytest.mark.parametrize("length", [*LENGTHS, 310])
def test_a_report_without_its_end_before_a_whole_one(length: int, following: int, serial: str) -> None:
    half, whole = report(length), report(following, serial, 37)
    for cut in range(1, length):
        for parts in ([half[:cut] + whole], [half[:cut], whole]):
            check(parts, [whole])


@pytest.mark.parametrize("length", LENGTHS)
def test_a_report_without_its_end_before_another_message(length: int) -> None:
    whole = report(length, minute=37)
    for message in (CONTROL, LOGIN):
        for cut in range(1, length):
            check([report(length)[:cut], message, whole], [message, whole])


@pytest.mark.parametrize("length", LENGTHS)
def test_a_report_without_its_beginning(length: int) -> None:
    for cut in range(1, length):
        check([report(length)[cut:] + report(minute=37)], [report(minute=37)])
        check([report(length)[cut:]], [])


@pytest.mark.parametrize("length", LENGTHS)
def test_a_report_that_the_stream_ends_in(length: int) -> None:
    # 302 bytes of a report that claims 306 are no report of 302 bytes.
    for cut in range(1, length):
        check([report(length)[:cut]], [])
        check([report(length)[: cut // 2], report(length)[cut // 2 : cut]], [])


@pytest.mark.parametrize("length", LENGTHS)
def test_a_gap_in_a_report(length: int) -> None:
    whole = report(length)
    for cut in range(1, length):
        counts = MessageCounts()
        parser = MessageParser(counts)
        assert parser.receive(whole[:cut]) == []
        parser.gap()
        # The rest, of which nothing may be missing, and the next one.
        assert parser.receive(whole[cut:]) == []
        assert [message.data for message in parser.receive(whole)] == [whole]
        assert counts.cut == 1
        parser.gap()
        parser.gap()
        assert counts.cut == 1


# --- the length field -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed", [307, 310, 400, MESSAGE_LENGTH_MAX, MESSAGE_LENGTH_MAX + 1, 65_546])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_report_that_claims_to_be_longer_is_none(length: int, claimed: int) -> None:
    wrong, right = report(length, claimed=claimed), report(minute=37)
    check([wrong], [])
    check([wrong + right, right], [right, right])
    check([wrong, right], [right])


@pytest.mark.parametrize(("claimed", "kept"), [(MESSAGE_LENGTH_MAX, 43), (MESSAGE_LENGTH_MAX + 1, 0)])
def test_a_length_that_no_message_has_is_not_waited_for(claimed: int, kept: int) -> None:
    parser = MessageParser(MessageCounts())
    assert parser.receive(report(claimed=claimed)[:43]) == []
    assert len(parser._buffer) == kept


@pytest.mark.parametrize("serial", ["12345 7890", "123456789\xff", "123456789\xb2"])
def test_without_a_serial_number_no_length_is_better_than_the_claimed_one(serial: str) -> None:
    wrong = report(292, serial, claimed=43)
    assert wrong not in parse([wrong])


@pytest.mark.parametrize("claimed", [11, 43, 111, 291])
@pytest.mark.parametrize("length", [292, 302])
def test_a_report_of_a_known_length_that_claims_to_be_shorter(length: int, claimed: int) -> None:
    wrong = report(length, claimed=claimed)
    check([wrong], [wrong])
    check([wrong + report(minute=37)], [wrong, report(minute=37)])
    for cut in (1, 20, 42, 44, 150, 250):
        check([wrong[:cut], wrong[cut:]], [wrong])


@pytest.mark.parametrize("count", [4, 9, 10, 11, 14, 20])
def test_bytes_behind_a_report_are_no_part_of_it(count: int) -> None:
    # Also where they would make it as long as another.
    whole, stray = report(292), bytes(range(1, count + 1))
    check([whole + stray], [whole])
    check([whole + stray + whole], [whole, whole])
    check([whole, stray, whole], [whole, whole])


def test_a_header_in_a_body_ends_nothing_where_the_length_fits() -> None:
    odd = report(306, registers=filler(100) + report(292)[:150])
    check([odd + ANSWER], [odd, ANSWER])
    check([odd], [odd])


# --- what is no message ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("value", [0x00, 0x5A, 0xA4, 0xFF])
def test_the_first_three_bytes(place: int, value: int) -> None:
    wrong = bytearray(report())
    wrong[place] = value
    check([bytes(wrong)], [])
    check([bytes(wrong) + report()], [report()])


def test_solarman_messages_between_reports() -> None:
    for size in (60, 200, 256 + 5):
        payload = filler(size)
        body = struct.pack("<HHHI", len(payload), 0x4210, 1, 2_700_000_000) + payload
        solarman = b"\xa5" + body + bytes((sum(body) & 0xFF, 0x15))
        check([report() + solarman + report(302) + solarman], [report(), report(302)])


def test_the_serial_number_of_a_dongle() -> None:
    (login,) = MessageParser(MessageCounts()).receive(LOGIN)
    assert dongle_serial(login) == "E00000000001"
    for other in (ANSWER, CONTROL, report(), make(0x01, b"E00000000001", direction=SERVER), make(0x01, b"E0000000000")):
        (message,) = MessageParser(MessageCounts()).receive(other)
        assert dongle_serial(message) == ""


# --- time on hostile bytes ------------------------------------------------------------------------------------------

SIZE = 200_000
INSANE = report(claimed=65_546)[:43]


@pytest.mark.parametrize(
    "unit",
    [
        b"\xa5",
        b"\xa5\x06",
        b"\xa5\x06\x01\x09" + b"0" * 10,
        report()[:43],
        report()[:42],
        INSANE,
        INSANE + b"\xa5" * 20,
        report()[:-1],
        report(claimed=MESSAGE_LENGTH_MAX)[:200],
        make(0x42, length=2000) + b"\xa5\x06\x01" * 9,
    ],
)
@pytest.mark.parametrize("size", [65_000, 1460, 7])
def test_hostile_bytes_cost_no_more_than_their_number(unit: bytes, size: int) -> None:
    data = (unit * (SIZE // len(unit) + 1))[:SIZE]
    looks = 0
    original = MessageParser._length

    def counting(parser: MessageParser, data: bytes, *, ended: bool) -> int:
        nonlocal looks
        looks += 1
        return original(parser, data, ended=ended)

    with patch.object(MessageParser, "_length", counting):
        parse(data[start : start + size] for start in range(0, SIZE, size))
    # One look for each 0xA5, and one for each part that continues what came before.
    assert looks <= data.count(b"\xa5") + SIZE // size + 2
