"""Frames as hex for bug reports, without what tells whose they are."""

from __future__ import annotations

import re
from datetime import datetime

import pytest
from inverter_capture.protocol.frames import Frame, UnknownFrame

from inverter_capture.commands.hex_dump import Anonymiser, hex_dump
from inverter_capture.protocol.packets import Flow
from inverter_capture.protocol.packets_to_readings import Decoded, Unknown
from inverter_capture.protocol.readings import Reading
from tests.dongle.frames import BLOCKS, encode
from tests.strategies import filler

CLOCK = datetime(2022, 11, 5, 8, 32, 46)
FLOW = Flow(bytes(4), 1, bytes(4), 2)


def bytes_in(dump: str) -> bytes:
    """What a dump shows, put together again; every row must begin where the one before ended."""
    data = b""
    for line in dump.splitlines()[2:]:
        match = re.fullmatch(r" *(\d+)  (?: *\d+| +)  ([0-9a-f]+(?: [0-9a-f]+)*)(?:  .*)?", line)
        assert match, line
        assert int(match[1]) == len(data)
        data += bytes.fromhex(match[2])
    return data


@pytest.mark.parametrize("length", [292, 302])
def test_every_byte_and_register_is_shown(length: int) -> None:
    frame = encode("1235687108", CLOCK, {"grid_voltage": 233.3, "bms_temperature": 20.5}, length)
    dump = hex_dump(frame)
    assert dump.startswith(f"Frame of {length} bytes\n")
    assert bytes_in(dump) == frame
    shown = {}
    for line in dump.splitlines()[2:]:
        match = re.fullmatch(r" *(\d+)   *(\d+)  ([0-9a-f]{4}(?: [0-9a-f]{4})*)", line)
        if match:
            for place, word in enumerate(match[3].split()):
                shown[int(match[2]) + place] = (int(match[1]) + 2 * place, int(word, 16))
    expected = {
        register: (offset + 2 * (register - first), int.from_bytes(frame[offset + 2 * (register - first) :][:2], "big"))
        for first, last, offset in BLOCKS[length]
        for register in range(first, last + 1)
    }
    assert shown == expected
    assert shown[150][1] == 2333


def test_the_header_is_explained() -> None:
    dump = hex_dump(encode("1235687108", CLOCK, {}))
    assert "31 32 33 35 36 38 37 31 30 38  serial number" in dump
    assert "16 0b 05 08 20 2e  year month day hour minute second" in dump
    assert "01 19  length of what follows" in dump


@pytest.mark.parametrize("length", [44, 45, 100, 291, 293, 350, 1023])
def test_frames_of_unknown_length_have_no_registers(length: int) -> None:
    frame = (encode("1235687108", CLOCK, {}) + filler(1, 1000))[:length]
    dump = hex_dump(frame)
    assert bytes_in(dump) == frame
    assert dump.count("  unknown\n") == 2 + (length - 43 + 15) // 16


def event(serial: str, length: int = 292) -> Decoded:
    data = encode(serial, CLOCK, {}, length)
    return Decoded(5, FLOW, Frame(serial, CLOCK, data), Reading(serial, 7, {"battery_soc": 54}))


def test_no_serial_number_is_left() -> None:
    anonymiser = Anonymiser()
    before = event("1235687108")
    after = anonymiser.event(before)
    assert isinstance(after, Decoded)
    assert after.reading is not None
    assert after.frame.serial == after.reading.serial == after.frame.data[11:21].decode()
    assert "1235687108" not in repr(after)
    # All else is as it was.
    assert after.frame.data[:11] + after.frame.data[21:] == before.frame.data[:11] + before.frame.data[21:]
    assert after.reading.values == {"battery_soc": 54}
    assert (after.time, after.flow, after.frame.clock, after.reading.time) == (5, FLOW, CLOCK, 7)


def test_serial_numbers_elsewhere_in_the_frame_go_too() -> None:
    data = encode("1235687108", CLOCK, {})[:-10] + b"1235687108"
    after = Anonymiser().event(Unknown(5, FLOW, UnknownFrame("1235687108", data)))
    assert isinstance(after, Unknown)
    assert b"1235687108" not in after.frame.data
    assert len(after.frame.data) == 292
    assert after.frame.data[-10:].decode() == after.frame.serial


def test_each_inverter_keeps_its_made_up_name() -> None:
    anonymiser = Anonymiser()
    serials = ["1235687108", "2211229876", "1235687108", "AB12cd34EF", "2211229876"]
    names = [anonymiser.event(event(serial)).frame.serial for serial in serials]
    assert names[0] == names[2] == anonymiser.serial("1235687108")
    assert names[1] == names[4]
    assert len(set(names)) == 3
    assert all(len(name) == 10 and name.isalnum() for name in names)
    assert not set(names) & set(serials)


def test_a_frame_that_was_not_believed() -> None:
    after = Anonymiser().event(event("1235687108")._replace(reading=None))
    assert isinstance(after, Decoded)
    assert after.reading is None
    assert after.frame.serial != "1235687108"
