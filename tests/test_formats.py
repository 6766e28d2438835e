"""A reading as text: what programs parse comes back as it went in, and what people read is right and fits."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import combinations_with_replacement, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inverter_capture.output.formats import FORMATS, formatter
from inverter_capture.output.line_protocol import line_protocol, narrow_line_protocol
from inverter_capture.output.table import GROUPS, balance
from inverter_capture.protocol.field_values import FieldValues
from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.inverter_kinds import HIGH_VOLTAGE, KINDS, LOW_VOLTAGE, SINGLE_PHASE, Kind
from inverter_capture.protocol.kind_detection import Detection
from inverter_capture.protocol.layouts import LAYOUTS
from inverter_capture.protocol.readings import Reading
from inverter_capture.text import printable, utc_text

SOUTH_AFRICA = timezone(timedelta(hours=2))

# The values of the one real frame that its description lists, and the codes in it.
REAL = Reading.of(
    "1235687108",
    1_667_629_966_000_000_000,
    {
        "inverter_state": 2,
        "grid_import_total": 74.3,
        "grid_frequency": 49.86,
        "grid_export_total": 0.5,
        "load_consumption_total": 316.7,
        "inverter_temperature_dc": 58.4,
        "pv_production_total": 357.8,
        "inverter_warnings": 0,
        "inverter_faults": 0,
        "pv_voltage_1": 163.7,
        "pv_current_1": 5.7,
        "grid_voltage": 233.3,
        "grid_power": 0,
        "inverter_power": 230,
        "battery_temperature": 21.0,
        "battery_voltage": 53.43,
        "battery_soc": 54,
        "pv_power_1": 930,
        "battery_power": -639,
        "battery_current": -11.96,
        "grid_connected": 1,
        "bms_voltage": 53.38,
        "bms_current": 10,
    },
)

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")

numbers = st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False))
times = st.integers(0, 2**62)


@st.composite
def readings(draw: st.DrawFn, *, scaled: bool = False) -> Reading:
    """Any values of any fields of any kind of inverter, in the table's order; `scaled`: as their registers allow."""
    kind = draw(st.sampled_from([SINGLE_PHASE, SINGLE_PHASE, *KINDS.values()]))
    chosen = draw(st.sets(st.sampled_from([field.id for field in kind.fields])))
    serial = draw(st.text("0123456789ABCXYZ", min_size=10, max_size=10))
    values = {field.id: draw(numbers) for field in kind.fields if field.id in chosen}
    if scaled:
        for name in values:
            number, divisor = draw(st.integers(-(2**33), 2**33)), kind.fields_by_id[name].divisor
            values[name] = number if divisor == 1 else number / divisor
    return Reading.of(serial, draw(times), values, kind)


USUAL = SINGLE_PHASE.fields_in(LAYOUTS[292])


def plausible(choose: str, kind: Kind = SINGLE_PHASE, fields: Sequence[Field] = USUAL) -> Reading:
    """Every field at the least or the greatest value that its registers and its range allow."""
    values: dict[str, int | float] = {}
    for field in fields:
        bits = 16 * max(1, len(field.registers))
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if field.quantity.signed else (0, 2**bits - 1)
        ends = [end * field.quantity.factor / field.divisor + field.quantity.bias for end in (low, high)]
        if field.quantity.minimum is not None and field.quantity.maximum is not None:
            ends = [max(ends[0], field.quantity.minimum), min(ends[1], field.quantity.maximum)]
        end = ends[0] if choose == "least" else ends[1]
        values[field.id] = (low if choose == "least" else high) if field.id in kind.codes.fields else end
        if field.divisor == 1 and field.id not in kind.codes.fields:
            values[field.id] = int(end)
    return REAL.with_values(values)._replace(kind=kind)


def table(reading: Reading, *, colour: bool = False, width: int = 80) -> str:
    return formatter("table", zone=SOUTH_AFRICA, colour=colour, width=width).format(reading)


def group_rows(text: str, group: str) -> list[str]:
    """The rows of one group of a table with one column, each with its spaces squeezed."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{group} --"))
    rows: list[str] = []
    for line in lines[start + 1 :]:
        if not line or " --" in line:
            break
        rows.append(" ".join(line.split()))
    return rows


# Line protocol, parsed by its published grammar and not by the way it is written here.


def split_unescaped(text: str, separator: str) -> list[str]:
    """The parts between separators that have no backslash before them, as servers look for them."""
    return re.split(rf"(?<!\\){re.escape(separator)}", text)


def unescape(text: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", text)


def parse_line(line: str) -> tuple[str, dict[str, str], dict[str, float], int]:
    assert "\n" not in line
    assert "\r" not in line
    head, fields, timestamp = split_unescaped(line, " ")
    measurement, *tags = split_unescaped(head, ",")
    tag_pairs = [split_unescaped(tag, "=") for tag in tags]
    field_pairs = [split_unescaped(field, "=") for field in split_unescaped(fields, ",")]
    for _, value in field_pairs:
        # Only a bare number is a float; an "i" or "u" at its end would fix the field's type as an integer.
        assert re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", value)
    names = [unescape(name) for name, _ in tag_pairs]
    assert names == sorted(names)
    assert all(value for _, value in tag_pairs)
    return (
        re.sub(r"\\([, ])", r"\1", measurement),
        {unescape(name): unescape(value) for name, value in tag_pairs},
        {unescape(name): float(value) for name, value in field_pairs},
        int(timestamp),
    )


def test_line_protocol_of_the_real_report() -> None:
    assert formatter("line-protocol").format(REAL) == (
        "inverter,serial=1235687108 inverter_state=2,grid_import_total=74.3,grid_frequency=49.86,grid_export_total=0.5,"
        "load_consumption_total=316.7,inverter_temperature_dc=58.4,pv_production_total=357.8,inverter_warnings=0,"
        "inverter_faults=0,pv_voltage_1=163.7,pv_current_1=5.7,grid_voltage=233.3,grid_power=0,inverter_power=230,"
        "battery_temperature=21.0,battery_voltage=53.43,battery_soc=54,pv_power_1=930,battery_power=-639,"
        "battery_current=-11.96,grid_connected=1,bms_voltage=53.38,bms_current=10 1667629966000000000\n"
    )


@given(readings(scaled=True))
def test_line_protocol_comes_back(reading: Reading) -> None:
    line = line_protocol(reading).decode()
    if not reading.values:
        assert line == ""
        return
    measurement, tags, fields, timestamp = parse_line(line)
    assert (measurement, tags, timestamp) == ("inverter", {"serial": reading.serial}, reading.time)
    assert fields == {name: float(value) for name, value in reading.values.items()}
    assert list(fields) == list(reading.values)


DECODED = FieldValues(Detection(SINGLE_PHASE, tuple((doubt, 10) for doubt in ("power", "grid power"))), LAYOUTS[306])


@pytest.mark.parametrize("factor", [1, 10])
@pytest.mark.parametrize("kind", KINDS.values(), ids=str)
def test_line_protocol_has_all_decimals_that_a_scale_allows(kind: Kind, factor: int) -> None:
    for field in kind.fields:
        assert 10**field.decimals % field.quantity.times(factor).divisor == 0, field.id


@pytest.mark.parametrize("decimals", [1, 2])
def test_no_number_of_a_register_is_rounded(decimals: int) -> None:
    for number in range(-(2**16), 10 * 2**16):
        value = number / 10**decimals
        assert float(f"{value:.{decimals}f}") == value


@given(st.binary(min_size=LAYOUTS[306].length, max_size=LAYOUTS[306].length))
def test_line_protocol_of_any_registers(data: bytes) -> None:
    ids, numbers, _ = DECODED.read(data)
    reading = REAL._replace(ids=ids, numbers=numbers)
    expected = {name: float(value) for name, value in reading.values.items()}
    assert parse_line(line_protocol(reading).decode())[2] == expected
    lines = [parse_line(line) for line in narrow_line_protocol(reading).decode().splitlines()]
    assert [fields["value"] for _, _, fields, _ in lines] == list(expected.values())


awkward = st.text(st.one_of(st.sampled_from(' ,="\\\n\r\t#é%'), st.characters()), max_size=12)


@given(
    awkward.filter(lambda text: text != "" and not text.startswith("#")),
    st.dictionaries(awkward.filter(lambda text: text != "serial"), awkward, max_size=4),
)
def test_line_protocol_escapes_what_users_choose(measurement: str, tags: dict[str, str]) -> None:
    line = line_protocol(REAL, measurement, tags).decode()

    # What no server can be told is replaced: control characters, and backslashes where they would escape.
    def seen(text: str) -> str:
        codes = (letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
        return "".join(codes).replace("\\", "/")

    expected = {seen(name): seen(value) for name, value in tags.items() if name and value}
    assert parse_line(line)[:2] == (seen(measurement), {**expected, "serial": REAL.serial})
    lines = narrow_line_protocol(REAL, measurement, tags).decode().split("\n")
    for field_id, line in zip(REAL.ids, lines, strict=True):
        field = REAL.kind.fields_by_id[field_id]
        own = {"serial": REAL.serial, "group": field.group, "name": field.name, "unit": field.unit}
        own = {name: text for name, text in own.items() if text}
        assert parse_line(line) == (seen(measurement), {**expected, **own}, {"value": REAL.values[field_id]}, REAL.time)


def test_the_serial_of_a_line_is_always_the_readings() -> None:
    assert line_protocol(REAL, tags={"serial": "other", "site": "home"}).startswith(
        b"inverter,serial=1235687108,site=home "
    )


def test_an_empty_tag_is_left_out_as_servers_refuse_it() -> None:
    assert line_protocol(REAL._replace(serial=""), tags={"site": "", "": "x"}).startswith(b"inverter inverter_state=2,")


@pytest.mark.parametrize("measurement", ["", "#inverter"])
def test_a_measurement_that_servers_would_skip_is_refused(measurement: str) -> None:
    with pytest.raises(ValueError, match="measurement"):
        line_protocol(REAL, measurement)


def test_json_of_the_real_report_is_the_contract_to_the_letter() -> None:
    reading = REAL.with_values({"grid_voltage": 233.3, "battery_power": -639, "battery_soc": 54, "grid_current": 2.5})
    assert formatter("json").format(reading) == (
        '{"timestamp": 1667629966000000000, "time": "2022-11-05T06:32:46+00:00", "serial": "1235687108", '
        '"values": {"grid_voltage": 233.3, "battery_power": -639, "battery_soc": 54, "grid_current": 2.50}}\n'
    )


@given(readings(scaled=True))
def test_json_comes_back(reading: Reading) -> None:
    text = formatter("json").format(reading)
    assert text.count("\n") == 1
    row = json.loads(text)
    assert list(row) == ["timestamp", "time", "serial", "values"]
    assert (row["serial"], row["timestamp"], row["values"]) == (reading.serial, reading.time, reading.values)
    for name, value in reading.values.items():
        assert type(row["values"][name]) is type(value)
    # Python's own clock type knows microseconds only.
    moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d{3}", r"\1", row["time"]))
    assert (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) == reading.time // 1000


@given(st.lists(readings(scaled=True), max_size=3))
def test_csv_comes_back(some: list[Reading]) -> None:
    form = formatter("csv")
    text = form.header + "".join(form.format(reading) for reading in some)
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert len(rows) == len(some)
    for row, reading in zip(rows, some, strict=True):
        names = [field.id for kind in (SINGLE_PHASE, LOW_VOLTAGE, HIGH_VOLTAGE) for field in kind.fields]
        assert set(row) == {"timestamp", "time", "serial", *names}
        assert list(row)[3 : 3 + len(SINGLE_PHASE.fields)] == [field.id for field in SINGLE_PHASE.fields]
        assert (int(row.pop("timestamp")), row.pop("serial")) == (reading.time, reading.serial)
        assert row.pop("time") == utc_text(reading.time)
        assert {name: json.loads(cell) for name, cell in row.items() if cell} == reading.values


@pytest.mark.parametrize(("serial", "cell"), [('a,"b"\nc', 'a,"b"\\nc'), ('"b"', '"b"'), ("a,b", "a,b")])
def test_csv_quotes_a_serial_that_is_no_plain_word(serial: str, cell: str) -> None:
    reading = REAL._replace(serial=serial)
    row = next(csv.DictReader([formatter("csv").header, formatter("csv").format(reading)], strict=True))
    assert row["serial"] == cell
    assert row["battery_power"] == "-639"


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "2022-11-05T06:32:46+00:00"),
        (500_000_000, "2022-11-05T06:32:46.500+00:00"),
        (20_000, "2022-11-05T06:32:46.000020+00:00"),
        (123_000, "2022-11-05T06:32:46.000123+00:00"),
        (7, "2022-11-05T06:32:46.000000007+00:00"),
    ],
)
def test_utc_text(nanoseconds: int, text: str) -> None:
    assert utc_text(REAL.time + nanoseconds) == text


@pytest.mark.parametrize("name", ["table", "json", "csv"])
def test_a_reading_without_values_is_still_shown(name: str) -> None:
    assert "1235687108" in formatter(name, zone=UTC).format(REAL.with_values({}))


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown format 'xml': use one of table, json, csv, line-protocol"):
        formatter("xml")


# The table


def test_the_table_knows_every_group() -> None:
    assert set(GROUPS) == {field.group for kind in KINDS.values() for field in kind.fields}


def test_the_table_of_the_real_report() -> None:
    assert (
        table(REAL)
        == """\
Inverter 1235687108   2022-11-05 08:32:46 +02:00   (2022-11-05 06:32:46 UTC)
Inverter -----------------------------   BMS ----------------------------------
State                           normal   Voltage                      53.38 V
Warnings                          none   Current (charging)              10 A
Faults                            none   Grid ---------------------------------
Power                          230 W     Connected            grid relay closed
DC Temperature                58.4 °C    Power                            0 W
PV -----------------------------------   Voltage                      233.3 V
Power 1                        930 W     Frequency                    49.86 Hz
Voltage 1                    163.7 V     Total import                  74.3 kWh
Current 1                      5.7 A     Total export                   0.5 kWh
Total production             357.8 kWh   Load ---------------------------------
Battery ------------------------------   Total consumption            316.7 kWh
SOC                             54 %
Power (charging)              -639 W
Voltage                      53.43 V
Current (charging)          -11.96 A
Temperature                   21.0 °C

"""
    )


def test_the_table_shows_the_system_zone_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-05:45")  # POSIX counts west: this is east of Greenwich.
    time.tzset()
    try:
        assert "2022-11-05 12:17:46 +05:45   (2022-11-05 06:32:46 UTC)" in formatter("table").format(REAL)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("kind", [SINGLE_PHASE, LOW_VOLTAGE, HIGH_VOLTAGE], ids=str)
@pytest.mark.parametrize("choose", ["least", "greatest"])
@pytest.mark.parametrize("width", [10, 40, 80, 100, 120, 200])
def test_every_field_fits_and_shows_its_number_at_its_decimals(choose: str, width: int, kind: Kind) -> None:
    reading = plausible(choose, kind, kind.fields)
    text = table(reading, width=width)
    body = text.splitlines()[1:]
    assert max(map(len, body)) <= max(width, 38)
    one_column = table(reading, width=40)
    for field in kind.fields:
        if field.id not in kind.codes.fields:
            number = (
                f"{reading.values[field.id]:.{ {1: 0, 2: 1, 10: 1, 100: 2}[field.divisor] }f} {field.unit}".rstrip()
            )
            assert any(f" {row}".endswith(" " + number) for row in group_rows(one_column, field.group)), field.id
    # No line break hides in a cell, and every column of every row begins where its group's heading does.
    for gap in range(38, width - 3, 41):
        assert all(line[gap : gap + 3].strip() == "" for line in body)


@pytest.mark.parametrize(("width", "columns"), [(10, 1), (78, 1), (79, 2), (80, 2), (119, 2), (120, 3), (200, 4)])
def test_as_many_columns_as_fit(width: int, columns: int) -> None:
    assert table(plausible("least"), width=width).splitlines()[1].count(" --") == columns


def test_a_whole_reading_is_short_and_balanced_at_80_columns() -> None:
    text = table(plausible("least"))
    columns = [[line[:38].strip() for line in text.splitlines()[1:]], [line[41:] for line in text.splitlines()[1:]]]
    left, right = (sum(1 for line in column if line) for column in columns)
    assert max(left, right) <= 52
    assert abs(left - right) <= 6


@given(st.lists(st.integers(1, 9), max_size=7), st.integers(1, 4))
def test_no_other_layout_is_shorter(heights: list[int], columns: int) -> None:
    groups = [[f"{number}"] * height for number, height in enumerate(heights)]
    filled = balance(groups, columns)
    assert [line for column in filled for line in column] == [line for group in groups for line in group]
    assert len(filled) <= columns
    layouts = combinations_with_replacement(range(len(heights) + 1), columns - 1)
    shortest = min(
        max(sum(heights[start:end]) for start, end in pairwise((0, *cuts, len(heights)))) for cuts in layouts
    )
    assert max(map(len, filled), default=0) == shortest


def test_rows_of_a_group_are_unmistakable() -> None:
    for group in dict.fromkeys(field.group for field in USUAL):
        rows = group_rows(table(plausible("least"), width=40), group)
        names = [re.sub(r" -?[\d.]+ ?\S*$", "", row) for row in rows]
        assert len(set(names)) == len(names), names


def test_the_whole_stands_before_its_parts_and_days_before_years() -> None:
    reading = plausible("greatest")
    assert [row.rsplit(" ", 2)[0] for row in group_rows(table(reading, width=40), "PV")] == [
        *("Power", "Power 1", "Power 2", "Power 3", "Power 4"),
        *("Voltage 1", "Voltage 2", "Voltage 3", "Voltage 4"),
        *("Current 1", "Current 2", "Current 3", "Current 4"),
        *("Production today", "Energy this month", "Energy this year", "Total production"),
    ]


@pytest.mark.parametrize(
    ("values", "row"),
    [
        ({"battery_power": 639}, "Power (discharging) 639 W"),
        ({"battery_power": 0}, "Power 0 W"),
        ({"grid_power": 120}, "Power (importing) 120 W"),
        ({"grid_power": -120}, "Power (exporting) -120 W"),
        # The BMS counts the other way round.
        ({"bms_current": 10}, "Current (charging) 10 A"),
        ({"bms_current": -10}, "Current (discharging) -10 A"),
        ({"battery_voltage": 53.4}, "Voltage 53.40 V"),
        ({"inverter_state": 7}, "State 7"),
        ({"inverter_faults": 1 << 34}, "Faults F35 no grid"),
    ],
)
def test_rows(values: dict[str, int | float], row: str) -> None:
    (name,) = values
    assert group_rows(table(REAL.with_values(values), width=40), SINGLE_PHASE.fields_by_id[name].group) == [row]


def test_every_fault_is_shown_in_whole_words() -> None:
    values: dict[str, int | float] = {"inverter_faults": 1 << 6 | 1 << 36 | 1 << 63}
    assert group_rows(table(REAL.with_values(values)), "Inverter") == [
        "Faults",
        "F07 DC/DC soft start",
        "F37 three-phase voltage unbalance",
        "/ DCLLC soft over-current",
        "F64 heatsink over-temperature",
    ]


def test_every_code_on_its_own_line_beside_its_name() -> None:
    rows = group_rows(table(REAL.with_values({"generator_relay": 0x10})), "Generator")
    assert rows == ["Relay generator relay open", "power switch on"]


@pytest.mark.parametrize("reading", [REAL, plausible("least"), plausible("greatest")])
def test_colour_changes_nothing_but_colour(reading: Reading) -> None:
    plain = table(reading)
    coloured = table(reading, colour=True)
    assert "\x1b" not in plain
    assert coloured != plain
    assert [line.rstrip() for line in ESCAPE.sub("", coloured).splitlines()] == plain.splitlines()
    # Each line ends as it began, or the colour would run into the user's prompt.
    for line in coloured.splitlines():
        assert line.count("\x1b[0m") * 2 == line.count("\x1b[")


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        ({"inverter_state": 2, "inverter_warnings": 0, "inverter_faults": 0}, ""),
        ({"inverter_warnings": 1 << 30}, "\x1b[33mW31 battery communication\x1b[0m"),
        ({"inverter_faults": 1 << 34}, "\x1b[1;31mF35 no grid\x1b[0m"),
        ({"inverter_state": 3}, "\x1b[33malarm\x1b[0m"),
        ({"inverter_state": 4}, "\x1b[1;31mfault\x1b[0m"),
    ],
)
def test_only_what_is_wrong_is_coloured(values: dict[str, int | float], warned: str) -> None:
    text = table(REAL.with_values(values), colour=True)
    assert "".join(re.findall(r"\x1b\[(?:33|1;31)m.*?\x1b\[0m", text)) == warned


@pytest.mark.parametrize("name", FORMATS)
@given(serial=st.text(st.one_of(st.characters(), st.sampled_from("\x1b\n\r\x9b\u202e")), max_size=10))
def test_no_control_character_gets_through(name: str, serial: str) -> None:
    text = formatter(name, zone=UTC).format(REAL._replace(serial=serial))
    assert text.endswith("\n")
    assert text.replace("\n", "").isprintable()
    text.encode()
    assert name == "table" or text.count("\n") == 1


def test_printable_keeps_what_can_be_read() -> None:
    assert printable("bücher °C") == "bücher °C"
    assert printable("a\x1b[2Jb\n\u202e\udcff") == "a\\x1b[2Jb\\n\\u202e\\udcff"
