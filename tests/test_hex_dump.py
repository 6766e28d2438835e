"""Messages as hex for bug reports, without what tells whose they are, and without secrets."""

from __future__ import annotations

import re
from datetime import datetime

import pytest

from inverter_capture.commands.hex_dump import Anonymiser, dump
from inverter_capture.protocol.layouts import LAYOUTS, Layout
from inverter_capture.protocol.messages import Message
from inverter_capture.protocol.packets import Flow
from inverter_capture.protocol.packets_to_readings import Decoded, Event, Heard, MapHeard, Unknown
from inverter_capture.protocol.poll_maps import parse_poll_map
from inverter_capture.protocol.readings import Reading
from inverter_capture.protocol.reports import Report
from tests.dongle import messages
from tests.dongle.messages import DONGLE_SERIAL, RECORDED_MAP, REGISTER_KEY
from tests.dongle.reports import RANGES, encode, encode_values

CLOCK = datetime(2022, 11, 5, 8, 32, 46)
FLOW = Flow(bytes(4), 1, bytes(4), 2)
SERIAL = "1235687108"


def report(data: bytes, layout: Layout | None, serial: str = SERIAL) -> Decoded | Unknown:
    found = Report(serial, CLOCK, data, layout)
    if layout is None:
        return Unknown(5, FLOW, found)
    return Decoded(5, FLOW, found, Reading.of(serial, 7, {"battery_soc": 54}))


def heard(data: bytes) -> Event:
    message = Message(data)
    poll_map = parse_poll_map(message)
    return MapHeard(5, FLOW, poll_map, message) if poll_map else Heard(5, FLOW, message)


def bytes_in(text: str) -> bytes:
    """What a dump shows, put together again; every row must begin where the one before ended."""
    data = b""
    for line in text.splitlines()[2:]:
        match = re.fullmatch(r" *(\d+)  (?: *\d+| +)  ([0-9a-f]+(?: [0-9a-f]+)*)(?:  .*)?", line)
        assert match, line
        assert int(match[1]) == len(data)
        data += bytes.fromhex(match[2])
    return data


def registers_shown(text: str) -> dict[int, tuple[int, int]]:
    """By register: where it stands, and its word."""
    shown = {}
    for line in text.splitlines()[2:]:
        match = re.fullmatch(r" *(\d+)   *(\d+)  ([0-9a-f]{4}(?: [0-9a-f]{4})*)", line)
        if match:
            for place, word in enumerate(match[3].split()):
                shown[int(match[2]) + place] = (int(match[1]) + 2 * place, int(word, 16))
    return shown


@pytest.mark.parametrize("length", RANGES)
def test_every_byte_and_register_is_shown(length: int) -> None:
    data = encode_values(SERIAL, CLOCK, {"grid_voltage": 233.3, "bms_temperature": 20.5}, length, number=9)
    text = dump(report(data, LAYOUTS[length]))
    assert text.startswith(f"report number 9 from the dongle, {length} bytes, layout known\n")
    assert bytes_in(text) == data
    expected = {}
    at = 44
    for first, last in RANGES[length]:
        for register in range(first, last + 1):
            expected[register] = (at, int.from_bytes(data[at : at + 2], "big"))
            at += 2
    assert registers_shown(text) == expected
    assert expected[150][1] == 2333


def test_a_learnt_layout() -> None:
    layout = Layout([(500, 503), (13, 13)])
    data = encode(SERIAL, CLOCK, {500: 1, 503: 0xABCD, 13: 7}, layout.ranges)
    event = report(data, layout)
    text = dump(event._replace(report=event.report._replace(learnt=True)))
    assert "52 bytes" not in text
    assert "54 bytes, layout learnt from the server" in text
    assert registers_shown(text) == {500: (44, 1), 501: (46, 0), 502: (48, 0), 503: (50, 0xABCD), 13: (52, 7)}


def test_the_header_is_explained() -> None:
    text = dump(report(encode_values(SERIAL, CLOCK, {}), LAYOUTS[292]))
    assert "31 32 33 35 36 38 37 31 30 38  serial number" in text
    assert "16 0b 05 08 20 2e  year month day hour minute second" in text
    assert "01 19  length of what follows" in text


@pytest.mark.parametrize("words", [1, 2, 9, 100, 700])
def test_reports_of_unknown_length_have_no_registers(words: int) -> None:
    data = encode(SERIAL, CLOCK, {register: register for register in range(words)}, ((0, words - 1),))
    text = dump(report(data, None))
    assert "layout unknown" in text
    assert bytes_in(text) == data
    assert registers_shown(text) == {}


def test_a_poll_map_is_a_table() -> None:
    lines = dump(heard(messages.poll_map(RECORDED_MAP, number=5))).splitlines()
    assert lines[0] == "poll map number 5 from the server, 148 bytes: reports of 306 bytes"
    assert "0 0    13  in the report" in lines
    assert "1 0    15" in lines
    assert "0 0    59-124  in the report" in lines
    assert "0 1    244  in the report" in lines
    assert len(lines) == 2 + len(RECORDED_MAP)


@pytest.mark.parametrize(
    "data",
    [
        messages.login(),
        messages.device_information(),
        messages.control(),
        messages.unknown(0x0A),
        messages.redirect("ukiot.sunsynk.net", 51100),
        messages.ask_for_poll_map(),
    ],
)
def test_nothing_else_is_shown_but_its_header(data: bytes) -> None:
    (line,) = dump(heard(data)).splitlines()
    assert f"{len(data)} bytes, body not shown" in line
    for secret in (REGISTER_KEY, DONGLE_SERIAL):
        assert secret not in line
        assert secret.encode().hex() not in line.replace(" ", "")


def test_an_answer_has_no_body() -> None:
    assert dump(heard(messages.answer(encode_values(SERIAL, CLOCK, {}, number=3)))) == (
        "report number 3 from the server, 11 bytes\n"
    )


# --- without serial numbers -----------------------------------------------------------------------------------------


def event(serial: str) -> Decoded:
    made = report(encode_values(serial, CLOCK, {}), LAYOUTS[292], serial)
    assert isinstance(made, Decoded)
    return made


def test_no_serial_number_is_left() -> None:
    before = event(SERIAL)
    after = Anonymiser().event(before)
    assert isinstance(after, Decoded)
    assert after.reading is not None
    assert after.report.serial == after.reading.serial == after.report.data[11:21].decode()
    assert SERIAL not in repr(after)
    # All else is as it was.
    assert after.report.data[:11] + after.report.data[21:] == before.report.data[:11] + before.report.data[21:]
    assert after.reading.values == {"battery_soc": 54}
    assert (after.time, after.flow, after.report.clock, after.reading.time) == (5, FLOW, CLOCK, 7)


def test_serial_numbers_elsewhere_in_the_report_go_too() -> None:
    # The inverter's, and the dongle's once it has logged in.
    anonymiser = Anonymiser()
    anonymiser.event(heard(messages.login()))
    tail = SERIAL.encode() + DONGLE_SERIAL.encode()
    after = anonymiser.event(report(encode_values(SERIAL, CLOCK, {})[: -len(tail)] + tail, None))
    assert isinstance(after, Unknown)
    assert SERIAL.encode() not in after.report.data
    assert DONGLE_SERIAL.encode() not in after.report.data
    assert len(after.report.data) == 292


def test_each_inverter_keeps_its_made_up_name() -> None:
    anonymiser = Anonymiser()
    serials = [SERIAL, "2211229876", SERIAL, "AB12cd34EF", "2211229876"]
    names = []
    for serial in serials:
        after = anonymiser.event(event(serial))
        assert isinstance(after, Decoded)
        names.append(after.report.serial)
    assert names[0] == names[2] == anonymiser.serial(SERIAL)
    assert names[1] == names[4]
    assert len(set(names)) == 3
    assert all(len(name) == 10 and name.isalnum() for name in names)
    assert not set(names) & set(serials)


def test_a_report_that_was_not_believed() -> None:
    after = Anonymiser().event(event(SERIAL)._replace(reading=None))
    assert isinstance(after, Decoded)
    assert after.reading is None
    assert after.report.serial != SERIAL
