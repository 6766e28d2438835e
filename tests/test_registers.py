"""The package's tables of fields against the public register maps, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest

from inverter_capture.protocol import codes, codes_three_phase, registers_three_phase
from inverter_capture.protocol.codes import Codes, describe
from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.inverter_kinds import HIGH_VOLTAGE, KINDS, LOW_VOLTAGE, SINGLE_PHASE, THREE_PHASE, Kind
from inverter_capture.protocol.layouts import LAYOUTS, Layout
from inverter_capture.protocol.registers import FIELDS
from tests import tables
from tests.tables import Table, certain, mask_of, read_table

OURS = {"nonessential_power"}
"""Derived fields that no map has."""

KIND_TABLES: list[tuple[Kind, Table]] = [
    (SINGLE_PHASE, [*tables.SINGLE_PHASE, *tables.MORE]),
    (LOW_VOLTAGE, tables.LOW_VOLTAGE),
    (HIGH_VOLTAGE, tables.HIGH_VOLTAGE),
]


def kind_names(value: object) -> str:
    return value.name if isinstance(value, Kind) else ""


def registers_of(field: Field, fields: dict[str, Field]) -> list[int]:
    """Where a field comes from; of a derived one, where its parts do."""
    if field.derived is None:
        return list(field.registers)
    parts = [fields[name] for name in (*field.derived.of, *field.derived.also) if name in fields]
    return [register for part in parts for register in part.registers]


def as_row(field: Field, fields: dict[str, Field]) -> dict[str, str]:
    """A field as the maps show it."""

    def number(value: int | None) -> str:
        return "" if value is None else str(value)

    part = fields[field.derived.of[0]] if field.derived else field
    scale = Fraction(part.quantity.factor, part.divisor)
    return {
        "id": field.id,
        "registers": " ".join(map(str, registers_of(field, fields))),
        "group": field.group,
        "name": field.name,
        "unit": field.unit,
        "scale": str(float(scale)) if scale.denominator > 1 else str(scale),
        "bias": str(field.quantity.bias),
        "signed": "yes" if field.quantity.signed else "no",
        "min": number(field.quantity.minimum),
        "max": number(field.quantity.maximum),
        "device_class": field.quantity.device_class,
        "state_class": field.quantity.state_class,
        "publish": "default" if field.default else "optional",
    }


def test_the_usual_fields_come_first_and_in_order() -> None:
    ids = [row["id"] for row in tables.SINGLE_PHASE]
    assert [field.id for field in FIELDS[: len(ids)]] == ids
    assert FIELDS[len(ids)].id == "nonessential_power"
    assert [field.confidence for field in FIELDS[: len(ids)]] == [row["confidence"] for row in tables.SINGLE_PHASE]
    assert set(SINGLE_PHASE.fields_in(LAYOUTS[292])) == set(FIELDS[: len(ids) + 1])


@pytest.mark.parametrize(("kind", "table"), KIND_TABLES, ids=kind_names)
def test_fields_are_those_of_the_maps(kind: Kind, table: Table) -> None:
    fields = kind.fields_by_id
    rows = {row["id"]: row for row in certain(table)}
    assert fields.keys() == rows.keys() | OURS
    for name, row in rows.items():
        shown = as_row(fields[name], fields)
        expected = {key: text for key, text in row.items() if key in shown}
        assert shown == expected
        note = row["note"]
        assert fields[name].quantity.mask == mask_of(row), name
        assert (fields[name].quantity.absent == 0) == (note.startswith("raw 0 means")), name
        assert (fields[name].derived is not None) == note.startswith("computed:"), name


def test_doubtful_rows_are_no_fields() -> None:
    found = {row["id"] for _, table in KIND_TABLES for row in table}
    assert len(found) > 300
    for _, table in KIND_TABLES:
        low = {row["id"] for row in table if row["confidence"] == "low"}
        assert low
    assert "load_current_l1" not in HIGH_VOLTAGE.fields_by_id
    assert "zero_export_power" not in SINGLE_PHASE.fields_by_id


def test_what_low_and_high_voltage_have_in_common() -> None:
    common = THREE_PHASE.fields_by_id
    assert len(common) > 150
    for row in tables.HIGH_VOLTAGE:
        field = common.get(row["id"])
        low = LOW_VOLTAGE.fields_by_id.get(row["id"])
        if field is None or low is None or field.derived is not None:
            assert field is None or field.derived is not None
            continue
        high = HIGH_VOLTAGE.fields_by_id[row["id"]]
        assert high.registers[: len(low.registers)] == low.registers
        assert Fraction(high.quantity.factor, high.divisor) == Fraction(low.quantity.factor, low.divisor)
        assert (high.quantity.bias, high.quantity.signed, high.quantity.mask) == (
            low.quantity.bias,
            low.quantity.signed,
            low.quantity.mask,
        )
    # What is scaled differently, or whose scale is disputed.
    doubtful = {"battery_voltage", "battery_power", "pv_power_1", "pv_power", "pv_production_today", "bms_current"}
    assert not doubtful & common.keys()
    assert {"grid_power", "battery_soc", "battery_current", "grid_voltage_l1", "nonessential_power"} <= common.keys()


@pytest.mark.parametrize("kind", KINDS.values(), ids=kind_names)
def test_fields_are_found_by_their_ids(kind: Kind) -> None:
    assert list(kind.fields_by_id.values()) == list(kind.fields)
    assert all(name == field.id for name, field in kind.fields_by_id.items())


def test_a_field_with_one_id_means_the_same_in_all_kinds() -> None:
    for field in HIGH_VOLTAGE.fields:
        single = SINGLE_PHASE.fields_by_id.get(field.id)
        if single is not None:
            assert (field.unit, field.quantity.device_class, field.group) == (
                single.unit,
                single.quantity.device_class,
                single.group,
            )
            assert field.quantity.state_class == single.quantity.state_class, field.id


def test_titles_are_told_apart() -> None:
    for kind in KINDS.values():
        titles = [field.title for field in kind.fields]
        assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("kind", KINDS.values(), ids=kind_names)
def test_bounds_come_in_pairs_and_can_be_reached(kind: Kind) -> None:
    for field in kind.fields:
        assert (field.quantity.minimum is None) == (field.quantity.maximum is None), field.id
        if field.quantity.minimum is not None and field.quantity.maximum is not None and not field.quantity.mask:
            bits = 16 * len(field.registers)
            lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if field.quantity.signed else (0, (1 << bits) - 1)
            scale = Fraction(field.quantity.factor, field.divisor)
            assert field.quantity.minimum < field.quantity.maximum
            assert lowest * scale + field.quantity.bias <= field.quantity.maximum, field.id
            assert highest * scale + field.quantity.bias >= field.quantity.minimum, field.id


@pytest.mark.parametrize("kind", KINDS.values(), ids=kind_names)
def test_no_register_is_signed_for_one_field_and_unsigned_for_another(kind: Kind) -> None:
    # The reader takes each word apart once for all fields.
    signed: dict[int, bool] = {}
    for field in kind.fields:
        for place, register in enumerate(field.registers, 1):
            sign = field.quantity.signed and place == len(field.registers)
            assert signed.setdefault(register, sign) == sign, field.id


def test_what_can_be_masked_is_one_register() -> None:
    for kind in KINDS.values():
        for field in kind.fields:
            assert not field.quantity.mask or (len(field.registers) == 1 and not field.quantity.signed)
            assert not field.quantity.wide or (len(field.registers) == 2 and field.quantity.signed)


def test_parts_of_derived_fields_are_whole_numbers_of_the_same_table() -> None:
    for kind in KINDS.values():
        for field in kind.fields:
            if field.derived is not None:
                assert not field.registers
                assert all(kind.fields_by_id[name].divisor == 1 for name in field.derived.of)
                assert len(field.derived.of) == 2 or not field.derived.rest


@pytest.mark.parametrize("kind", KINDS.values(), ids=kind_names)
def test_what_counts_is_guarded(kind: Kind) -> None:
    for field in kind.fields:
        starts_again = field.quantity.net and field.period != "total"
        counts = field.quantity.state_class in ("total", "total_increasing")
        assert bool(field.period) == (counts or starts_again), field.id
        if field.period:
            period = next(part for part in reversed(field.id.split("_")) if not part.isdigit())
            assert field.period == period.replace("today", "day")
            assert field.limit, field.id
            assert field.quantity.net == (field.id.startswith(("inverter_energy_", "inverter_reactive_")))
            # Home Assistant takes each fall of a total_increasing for a start at zero, and none of a total.
            can_fall = "" if starts_again else "total"
            assert field.quantity.state_class == (can_fall if field.quantity.net else "total_increasing"), field.id
            assert field.quantity.net or not field.quantity.signed, field.id
        else:
            assert field.limit is None or (field.quantity.state_class == "measurement" and not field.quantity.signed), (
                field.id
            )


@pytest.mark.parametrize("kind", KINDS.values(), ids=kind_names)
def test_limits_leave_room_for_large_houses_and_tell_garbage(kind: Kind) -> None:
    for field in kind.fields:
        if field.limit is None:
            continue
        if field.unit in ("kWh", "kvarh"):
            # The largest inverters of each kind give 16, 30 and 100 kW.
            least, most = {SINGLE_PHASE: (16, 100), LOW_VOLTAGE: (30, 150)}.get(kind, (100, 400))
            assert least < field.limit <= most
            assert (2**16 - 1) / field.divisor > 10 * field.limit, "all ones in a register stand out"
        elif not field.period:
            part = kind.fields_by_id[field.derived.of[0]] if field.derived else field
            assert (2**16 - 1) * part.quantity.factor / part.divisor > field.limit


@pytest.mark.parametrize("length", LAYOUTS)
def test_what_the_known_layouts_hold(length: int) -> None:
    names = {field.id for field in SINGLE_PHASE.fields_in(LAYOUTS[length])}
    assert names >= {row["id"] for row in tables.SINGLE_PHASE} | OURS
    more = names - {row["id"] for row in tables.SINGLE_PHASE} - OURS
    assert (
        more
        == {
            292: set(),
            302: {"firmware_main", "rated_power", "eeprom_init", "battery_capacity_setting"},
            306: {"firmware_main", "rated_power", "eeprom_init", "battery_capacity_setting", "work_mode"},
        }[length]
    )


def test_a_field_needs_all_its_registers() -> None:
    names = {field.id for field in SINGLE_PHASE.fields_in(Layout([(78, 79), (63, 63), (186, 187), (172, 172)]))}
    assert names == {"grid_frequency", "pv_power_1", "pv_power_2", "grid_power_ct"}


# --- codes ----------------------------------------------------------------------------------------------------------


def test_codes_are_those_of_the_table() -> None:
    states = {"59": "inverter_state", "94": "sd_status", "194": "grid_connected"}
    for row in read_table("codes-single-phase"):
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
    rows = read_table("codes-single-phase")
    assert len([row for row in rows if row["code"].startswith("W")]) == len(codes.WARNINGS)
    assert len([row for row in rows if row["code"].startswith("F")]) == len(codes.FAULTS)


@pytest.mark.parametrize(
    ("kind_codes", "mark"), [(codes_three_phase.LOW_VOLTAGE, "LV: "), (codes_three_phase.HIGH_VOLTAGE, "HV: ")]
)
def test_codes_of_three_phase_inverters(kind_codes: Codes, mark: str) -> None:
    names = {"500": "inverter_state", "551": "inverter_on", "552": "relay_status", "548": "comm_board_failure"}
    numbers = set()
    for row in read_table("codes-three-phase"):
        place, code, text = row["registers"], row["code"], row["text"]
        number = int(row["key"].split()[-1])
        if row["confidence"] == "low":
            continue
        if mark in text:
            text = text.partition(mark)[2].partition(";")[0]
        if code:
            field = "inverter_warnings" if code[0] == "W" else "inverter_faults"
            assert describe(field, 1 << number, kind_codes) == f"{code} {text}"
            numbers.add(code)
        elif row["key"].startswith("bit "):
            assert describe(names[place], 1 << number, kind_codes) == text
        else:
            assert describe(names[place], number, kind_codes) == text
    assert len(numbers) == len(kind_codes.warnings) + len(kind_codes.faults)


@pytest.mark.parametrize("kind", KINDS.values(), ids=kind_names)
def test_words_belong_to_fields_without_a_unit(kind: Kind) -> None:
    for name in kind.codes.fields:
        assert name in kind.fields_by_id or kind is not SINGLE_PHASE, name
        if name in kind.fields_by_id:
            assert not kind.fields_by_id[name].unit


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
        ("firmware_main", 13192, "3388"),
        ("firmware_main", 0x1098 << 16 | 0x2005, "2005-1098"),
        ("firmware_comm", 0, "0000"),
        ("prog1_time", 1330, "13:30"),
        ("prog6_time", 5, "00:05"),
        ("work_mode", 2, "zero export to CT"),
        ("prog2_charge", 3, "grid and generator"),
    ],
)
def test_describe(field: str, value: float, text: str) -> None:
    assert describe(field, value) == text


def test_three_phase_tables_share_one_table() -> None:
    def shared_ids(fields: Sequence[Field]) -> list[str]:
        return [field.id for field in fields if field.id in LOW_VOLTAGE.fields_by_id]

    assert shared_ids(registers_three_phase.HV_FIELDS) == shared_ids(registers_three_phase.LV_FIELDS)
