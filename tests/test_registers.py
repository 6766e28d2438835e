"""The package's numbers against the protocol's description, row by row."""

from __future__ import annotations

import csv
import re
from fractions import Fraction
from pathlib import Path

import pytest

from inverter_capture.protocol import codes, registers
from inverter_capture.protocol.codes import describe
from inverter_capture.protocol.registers import FIELDS, FIELDS_BY_ID, LAYOUTS, Field, register_offset


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def as_row(field: Field) -> dict[str, str]:
    """A field as the table in the description shows it."""

    def number(value: int | None) -> str:
        return "" if value is None else str(value)

    return {
        "id": field.id,
        "registers": " ".join(map(str, field.registers)),
        "group": field.group,
        "name": field.name,
        "unit": field.unit,
        "scale": {1: "1", 10: "0.1", 100: "0.01"}[field.divisor],
        "bias": str(field.bias),
        "signed": "yes" if field.signed else "no",
        "min": number(field.minimum),
        "max": number(field.maximum),
        "device_class": field.device_class,
        "state_class": field.state_class,
        "publish": "default" if field.default else "optional",
        "confidence": field.confidence,
    }


def test_fields_are_those_of_the_table(shared: Path) -> None:
    table = rows(shared / "protocol" / "registers.csv")
    assert len(table) > 80
    notes = {row["id"]: row.pop("note") for row in table}
    assert [as_row(field) for field in FIELDS] == table
    assert {field.id for field in FIELDS if field.absent_when_zero} == {
        name for name, note in notes.items() if note.startswith("raw 0 means")
    }
    assert {field.id for field in FIELDS if field.summed} == {
        name for name, note in notes.items() if note.startswith("computed:")
    }


def test_fields_are_found_by_their_ids() -> None:
    assert list(FIELDS_BY_ID.values()) == list(FIELDS)
    assert all(name == field.id for name, field in FIELDS_BY_ID.items())


def test_bounds_come_in_pairs_and_can_be_reached() -> None:
    for field in FIELDS:
        assert (field.minimum is None) == (field.maximum is None), field.id
        if field.minimum is not None and field.maximum is not None:
            bits = 16 * len(field.registers)
            lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if field.signed else (0, (1 << bits) - 1)
            assert field.minimum < field.maximum
            assert Fraction(lowest, field.divisor) + field.bias <= field.maximum, field.id
            assert Fraction(highest, field.divisor) + field.bias >= field.minimum, field.id


def test_no_register_is_signed_for_one_field_and_unsigned_for_another() -> None:
    # The reader takes each word apart once for all fields.
    highest = {(field.registers[-1], field.signed) for field in FIELDS if not field.summed}
    assert len(highest) == len({register for register, _ in highest})


def test_what_counts_is_guarded() -> None:
    for field in FIELDS:
        counts = field.state_class in ("total", "total_increasing")
        assert bool(field.period) == counts, field.id
        if counts:
            assert field.period == field.id.rsplit("_", 1)[1].replace("today", "day")
            assert field.limit, field.id
            assert field.net == field.id.startswith("inverter_energy_")
            assert field.net or not field.signed, field.id
        else:
            assert field.limit is None or (field.state_class == "measurement" and not field.signed), field.id


def test_limits_leave_room_for_large_houses_and_tell_garbage() -> None:
    for field in FIELDS:
        if field.limit is None:
            continue
        if field.unit == "kWh":
            assert 16 < field.limit <= 100
            assert (2**16 - 1) / field.divisor > 10 * field.limit, "all ones in a register stand out"
        elif not field.period:
            assert (2**16 - 1) / field.divisor > field.limit


def test_layouts_are_those_of_the_description(shared: Path) -> None:
    text = (shared / "protocol" / "FRAME.md").read_text(encoding="utf-8")
    heading = re.search(r"^\| frame length((?: \| registers \d+-\d+ at)+) \|$", text, re.MULTILINE)
    assert heading
    blocks = [(int(first), int(last)) for first, last in re.findall(r"registers (\d+)-(\d+) at", heading[1])]
    described = {
        int(length): tuple((*block, int(offset)) for block, offset in zip(blocks, offsets, strict=True))
        for length, *offsets in re.findall(
            r"^\| (\d{3})(?: \([^)]*\))? \| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE
        )
    }
    assert set(described) == {292, 302}
    assert {length: tuple(map(tuple, layout)) for length, layout in LAYOUTS.items()} == described


def test_header_is_that_of_the_description(shared: Path) -> None:
    text = (shared / "protocol" / "FRAME.md").read_text(encoding="utf-8")
    for row in (
        f"| {0} | 1 | 0x{registers.START:02X} |",
        f"| {registers.LENGTH_OFFSET} | 2 | length of what follows: 0x0119 = 281 = 292 - {registers.LENGTH_BIAS} ",
        f"| {registers.SERIAL_OFFSET} | {registers.SERIAL_LENGTH} | inverter serial number",
        f"| {registers.CLOCK_OFFSET} | {registers.CLOCK_LENGTH} | year - 2000, month, day, hour, minute, second",
    ):
        assert row in text
    assert registers.HEADER_LENGTH == 43


@pytest.mark.parametrize(("length", "trailer"), [(292, 0), (302, 0)])
def test_blocks_fill_the_frame(length: int, trailer: int) -> None:
    ends = [block.offset + 2 * (block.last - block.first + 1) for block in LAYOUTS[length]]
    starts = [block.offset for block in LAYOUTS[length]]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    assert ends[-1] == length - trailer
    assert length % 2 == 0, "frames are made of whole words"
    assert all(start % 2 == 0 for start in starts)


@pytest.mark.parametrize(
    ("length", "register", "offset"),
    [
        (292, 59, 44), (292, 124, 174), (292, 150, 176), (292, 199, 274), (292, 312, 276), (292, 319, 290),
        (302, 59, 52), (302, 72, 78), (302, 124, 182), (302, 150, 184), (302, 199, 282), (302, 312, 286),
        (302, 319, 300),
    ],
)  # fmt: skip
def test_register_offset(length: int, register: int, offset: int) -> None:
    assert register_offset(length, register) == offset


@pytest.mark.parametrize(
    ("length", "register"), [(292, 58), (292, 125), (292, 149), (292, 200), (292, 311), (292, 320), (291, 59), (0, 59)]
)
def test_register_offset_of_what_is_not_there(length: int, register: int) -> None:
    with pytest.raises(KeyError):
        register_offset(length, register)


def test_every_field_lies_in_every_layout() -> None:
    for length in LAYOUTS:
        for field in FIELDS:
            for register in field.registers:
                assert 44 <= register_offset(length, register) <= length - 2


def test_codes_are_those_of_the_table(shared: Path) -> None:
    states = {"59": "inverter_state", "94": "sd_status", "194": "grid_connected"}
    seen = 0
    for row in rows(shared / "protocol" / "codes.csv"):
        place, key, code, text = row["registers"], row["key"], row["code"], row["text"]
        if place in states:
            assert describe(states[place], int(key)) == text
        elif place == "195":
            number = int(key.removeprefix("low nibble "), 0)
            described = describe("generator_relay", number)
            assert described == text if key.startswith("low nibble") else described.endswith(f", {text}")
        else:
            field = {"101 102": "inverter_warnings", "103 106": "inverter_faults"}[place]
            assert describe(field, 1 << int(key.removeprefix("bit "))) == f"{code} {text}"
        seen += 1
    tables = (*codes.STATES.values(), codes.GENERATOR_RELAY_STATES, codes.WARNINGS, codes.FAULTS)
    assert seen == sum(map(len, tables)) + 1, "all of the table and nothing else"


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("inverter_state", 2, "normal"),
        ("inverter_state", 5, "activating"),
        ("inverter_state", 6, "6"),
        ("grid_connected", 1, "grid relay closed"),
        ("grid_connected", 2, "2"),
        ("generator_relay", 0x00, "generator relay open"),
        ("generator_relay", 0x11, "generator relay closed, power switch on"),
        ("generator_relay", 0x13, "closed with generator running, power switch on"),
        ("generator_relay", 0x02, "generator relay 2"),
        ("inverter_warnings", 0, "none"),
        ("inverter_warnings", 1, "W01"),
        ("inverter_warnings", 1 << 1 | 1 << 31, "W02 fan, W32 parallel communication"),
        ("inverter_faults", 0, "none"),
        ("inverter_faults", 1 << 34 | 1 << 63, "F35 no grid, F64 heatsink over-temperature"),
        ("battery_soc", 54, "54"),
        ("grid_voltage", 233.3, "233.3"),
    ],
)
def test_describe(field: str, value: float, text: str) -> None:
    assert describe(field, value) == text
