"""Frames to readings: every value computed once more from the table of fields, and every local time from its zone."""

from __future__ import annotations

import csv
import os
import re
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inverter_capture.protocol.frames import Frame
from inverter_capture.protocol.readings import AHEAD_SECONDS_MAX, FrameReader, Reading, utc_seconds
from inverter_capture.protocol.registers import FIELDS
from tests.dongle.frames import BLOCKS, encode
from tests.strategies import filler, seeds
from tests.wire import SECOND

CLOCK = datetime(2022, 11, 5, 8, 32, 46)
NOW = int(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp())
SERIAL = "1235687108"
OPTIONAL_SENSORS = ("battery_temperature", "bms_temperature", "inverter_temperature_ac", "inverter_temperature_dc")


def read(data: bytes, reader: FrameReader | None = None, clock: datetime = CLOCK) -> dict[str, int | float]:
    """The values in a frame's bytes."""
    reading = (reader or FrameReader(UTC)).read(Frame(SERIAL, clock, data), NOW * SECOND)
    assert reading is not None
    return reading.values


def poke(frame: bytes, words: dict[int, int]) -> bytes:
    """The frame with other numbers in its registers."""
    changed = bytearray(frame)
    for register, word in words.items():
        (offset,) = (at + 2 * (register - first) for first, last, at in BLOCKS[len(frame)] if first <= register <= last)
        struct.pack_into(">H", changed, offset, word)
    return bytes(changed)


# --- values ---------------------------------------------------------------------------------------------------------


class Table:
    """The table of fields as the protocol's description has it, and what follows from it."""

    def __init__(self, path: Path) -> None:
        with path.open(encoding="utf-8", newline="") as file:
            self.rows = list(csv.DictReader(file))

    def expected(self, frame: bytes) -> tuple[dict[str, int | float], set[str]]:
        """All values of a frame, and which fields are not plausible."""
        values: dict[str, int | float] = {}
        implausible = set()
        for row in self.rows:
            words = [self.word(frame, int(register)) for register in row["registers"].split()]
            if row["note"].startswith("computed:"):
                raw = sum(words)
            else:
                little = b"".join(struct.pack("<H", word) for word in words)
                raw = int.from_bytes(little, "little", signed=row["signed"] == "yes")
            if row["device_class"] == "temperature" and raw == 0:
                continue
            value = raw * Fraction(row["scale"]) + int(row["bias"])
            if row["min"] and not int(row["min"]) <= value <= int(row["max"]):
                implausible.add(row["id"])
            else:
                values[row["id"]] = int(value) if row["scale"] == "1" else float(value)
        return values, implausible

    @staticmethod
    def word(frame: bytes, register: int) -> int:
        for first, last, offset in BLOCKS[len(frame)]:
            if first <= register <= last:
                return int(struct.unpack_from(">H", frame, offset + 2 * (register - first))[0])
        raise KeyError(register)


@pytest.fixture(scope="module")
def table(shared: Path) -> Table:
    return Table(shared / "protocol" / "registers.csv")


def check_values(table: Table, frame: bytes) -> None:
    reader = FrameReader(UTC)
    values = read(frame, reader)
    expected, implausible = table.expected(frame)
    assert values == expected
    assert {name: type(value) for name, value in values.items()} == {name: type(expected[name]) for name in values}
    assert reader.counts.implausible == len(implausible)
    assert reader.implausible == dict.fromkeys(implausible, 1)
    assert reader.counts.readings == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from([292, 302]))
def test_every_field_of_random_registers(table: Table, data: st.DataObject, length: int) -> None:
    plausible = encode(SERIAL, CLOCK, dict.fromkeys(OPTIONAL_SENSORS, 20.0), length)
    any_bytes = st.binary(min_size=length, max_size=length)
    frame = data.draw(st.just(plausible) | st.builds(filler, seeds, st.just(length)) | any_bytes)
    registers = [register for first, last, _ in BLOCKS[length] for register in range(first, last + 1)]
    words = st.sampled_from([0, 1, 100, 600, 599, 2500, 7000, 0x7FFF, 0x8000, 0xFFFF])
    check_values(table, poke(frame, data.draw(st.dictionaries(st.sampled_from(registers), words, max_size=20))))


@pytest.mark.parametrize("length", [292, 302])
def test_every_field_at_and_beyond_its_bounds(table: Table, length: int) -> None:
    # All else is plausible: a frame in which everything is takes another way than one in which something is not.
    frame = encode(SERIAL, CLOCK, dict.fromkeys(OPTIONAL_SENSORS, 20.0), length)
    check_values(table, frame)
    for row in table.rows:
        registers = [int(register) for register in row["registers"].split()]
        bits = 16 * len(registers)
        numbers = {0, 1, 1 << bits - 1, (1 << bits - 1) - 1, (1 << bits) - 1, 0xFFFF, 0x10000 % (1 << bits)}
        if row["min"]:
            for bound in (int(row["min"]), int(row["max"])):
                raw = int((bound - int(row["bias"])) / Fraction(row["scale"]))
                numbers |= {number % (1 << bits) for number in (raw - 1, raw, raw + 1)}
        for number in numbers:
            words = {register: number >> 16 * place & 0xFFFF for place, register in enumerate(registers)}
            check_values(table, poke(frame, words))


def test_the_real_frame(shared: Path, real_frame: bytes) -> None:
    text = (shared / "protocol" / "FRAME.md").read_text(encoding="utf-8").partition("## The real frame")[2]
    described = re.findall(r"\| ([a-z_0-9]+) \| (-?[\d.]+)(?= |\|)", text)
    assert len(described) == 20
    reading = FrameReader(ZoneInfo("Africa/Johannesburg")).read(Frame(SERIAL, CLOCK, real_frame), 1667629970 * SECOND)
    assert reading is not None
    assert {name: reading.values[name] for name, _ in described} == {name: float(value) for name, value in described}
    assert reading.serial in text
    assert f"= {datetime.fromtimestamp(reading.time // SECOND, UTC):%Y-%m-%dT%H:%M:%SZ}" in text
    assert reading.time == 1667629966 * SECOND


def test_all_of_the_real_frame(table: Table, real_frame: bytes) -> None:
    check_values(table, real_frame)
    values = read(real_frame)
    # The checks that the description says hold on real data.
    assert values["battery_voltage"] * values["battery_current"] == pytest.approx(values["battery_power"], rel=0.03)
    assert values["pv_voltage_1"] * values["pv_current_1"] == pytest.approx(values["pv_power_1"], rel=0.03)
    power = values["inverter_power"] + values["grid_power_l1"] - values["aux_power"]
    assert values["essential_power"] == power == 158


@pytest.mark.parametrize("length", [292, 302])
def test_values_of_an_independent_encoder(length: int) -> None:
    sent: dict[str, int | float] = {
        "inverter_energy_total": -123456.7, "grid_import_total": 98765.4, "battery_power": -639,
        "battery_current": -11.96, "grid_power": -5000, "battery_temperature": 21.0, "inverter_temperature_dc": -39.9,
        "pv_production_total": 429496.7,
        "inverter_faults": 1 << 63 | 1, "inverter_warnings": 1 << 31, "pv_power_1": 60000, "pv_power_2": 60000,
        "pv_power_3": 60000, "bms_current": -10, "battery_soc": 100, "grid_frequency": 49.86, "battery_voltage": 53.43,
    }  # fmt: skip
    values = read(encode(SERIAL, CLOCK, sent, length))
    assert {name: values[name] for name in sent} == sent
    assert values["pv_power"] == 180_000


@pytest.mark.parametrize("length", [292, 302])
def test_a_sensor_that_is_not_fitted(length: int) -> None:
    reader = FrameReader(UTC)
    values = read(encode(SERIAL, CLOCK, {}, length), reader)
    assert {field.id for field in FIELDS} - set(values) == set(OPTIONAL_SENSORS)
    assert reader.counts.implausible == 0
    assert reader.implausible == {}
    assert all(value == 0 for value in values.values())


def test_what_is_not_plausible_is_left_out_and_counted() -> None:
    reader = FrameReader(UTC)
    frame = encode(SERIAL, CLOCK, {"grid_voltage": 233.3})
    for _ in range(3):
        values = read(poke(frame, {184: 101, 79: 7001, 182: 1, 319: 2501}), reader)
        absent = {"battery_soc", "grid_frequency", "battery_temperature", "bms_temperature"}
        assert not absent & set(values)
        assert values["grid_voltage"] == 233.3
    assert reader.implausible == dict.fromkeys(absent, 3)
    assert reader.counts.implausible == 12
    assert {"battery_soc", "bms_temperature"} <= set(read(poke(frame, {184: 100, 319: 2500}), reader))


def test_values_come_in_one_order() -> None:
    frames = [encode(SERIAL, CLOCK, dict.fromkeys(OPTIONAL_SENSORS, 20.0), length) for length in (292, 302)]
    orders = [list(read(frame)) for frame in frames]
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == sorted(field.id for field in FIELDS)
    without = list(read(encode(SERIAL, CLOCK, {})))
    assert without == [name for name in orders[0] if name not in OPTIONAL_SENSORS]


def test_no_reading_has_what_another_had() -> None:
    first, second = read(encode(SERIAL, CLOCK, {"battery_soc": 50})), read(encode(SERIAL, CLOCK, {"battery_soc": 51}))
    assert (first["battery_soc"], second["battery_soc"]) == (50, 51)


# --- time -----------------------------------------------------------------------------------------------------------

ZONES = [
    "Africa/Johannesburg", "Europe/Berlin", "Europe/London", "America/New_York", "America/St_Johns", "Asia/Kathmandu",
    "Australia/Lord_Howe", "Pacific/Chatham", "Pacific/Kiritimati", "Africa/Casablanca", "America/Sao_Paulo", "UTC",
]  # fmt: skip


@contextmanager
def system_zone(name: str) -> Iterator[None]:
    """The system's time zone, as the C library knows it, is this one."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


@cache
def moments(clock: datetime, zone: ZoneInfo) -> list[int]:
    """All moments at which a clock in this zone shows this, by trying every offset that is in use around then."""
    wall = int(clock.replace(tzinfo=UTC).timestamp())
    around = [datetime.fromtimestamp(wall + hours * 3600, UTC).astimezone(zone) for hours in range(-16, 17)]
    offsets = {round((moment.utcoffset() or timedelta()).total_seconds()) for moment in around}
    found = {wall - offset for offset in offsets}
    return sorted(
        moment for moment in found if datetime.fromtimestamp(moment, UTC).astimezone(zone).replace(tzinfo=None) == clock
    )


def expected_seconds(clock: datetime, zone: ZoneInfo, near: int) -> int:
    """The moment nearest to `near`; of a time that does not exist, the moment it is moved on to."""
    found = moments(clock, zone)
    if found:
        return min(found, key=lambda moment: (abs(near - moment), moment))
    step = timedelta(0)
    while not moments(clock - step, zone):
        step += timedelta(minutes=5)
    # So long after the last time that did exist, as if the clock had not been put forward.
    return moments(clock - step, zone)[-1] + round(step.total_seconds())


@given(
    st.sampled_from(ZONES),
    st.datetimes(datetime(2000, 1, 1), datetime(2036, 12, 31)),
    st.integers(-4 * 3600, 4 * 3600),
)
def test_utc_seconds(name: str, clock: datetime, off: int) -> None:
    clock = clock.replace(microsecond=0)
    zone = ZoneInfo(name)
    near = int(clock.replace(tzinfo=zone).timestamp()) + off
    expected = expected_seconds(clock, zone, near)
    assert utc_seconds(clock, zone, near) == expected
    with system_zone(name):
        assert utc_seconds(clock, None, near) == expected


CHANGES = [
    ("Europe/Berlin", datetime(2024, 3, 31, 2), 3600),
    ("Europe/Berlin", datetime(2024, 10, 27, 2), -3600),
    ("America/New_York", datetime(2025, 3, 9, 2), 3600),
    ("America/New_York", datetime(2025, 11, 2, 1), -3600),
    ("Australia/Lord_Howe", datetime(2025, 10, 5, 2), 1800),
    ("Australia/Lord_Howe", datetime(2025, 4, 6, 1, 30), -1800),
    ("Europe/London", datetime(2026, 3, 29, 1), 3600),
    ("Europe/London", datetime(2026, 10, 25, 1), -3600),
]
"""Zone, the first local time that is missing or occurs twice, and by how many seconds the clock is put forward."""


@pytest.mark.parametrize(("name", "start", "forward"), CHANGES)
@pytest.mark.parametrize("of_system", [False, True])
def test_every_minute_around_a_change(name: str, start: datetime, forward: int, of_system: bool) -> None:
    zone = ZoneInfo(name)
    before = int(start.replace(tzinfo=zone).timestamp())
    with system_zone(name):
        for minute in range(-90, 180, 5):
            clock = start + timedelta(minutes=minute)
            inside = 0 <= minute * 60 < abs(forward)
            assert len(moments(clock, zone)) == (1 if not inside else 0 if forward > 0 else 2)
            for near in (before - 7200, before, before + 1800, before + 3600, before + 7200, 0, 2**31):
                found = utc_seconds(clock, None if of_system else zone, near)
                assert found == expected_seconds(clock, zone, near)


def test_a_time_that_occurs_twice() -> None:
    zone = ZoneInfo("Europe/Berlin")
    clock = datetime(2024, 10, 27, 2, 30)
    first, second = (int(datetime(2024, 10, 27, hour, 30, tzinfo=UTC).timestamp()) for hour in (0, 1))
    for late in (0, 4, 300, 1799, 1800):
        assert utc_seconds(clock, zone, first + late) == first
    for late in (1801, 3600, 3604, 86400, 10**8):
        assert utc_seconds(clock, zone, first + late) == second
    # All frames of that night, captured as they are sent, are in order.
    captured = [hour + minute * 60 + 3 for hour in (first, second) for minute in range(0, 30, 5)]
    times = [utc_seconds(datetime.fromtimestamp(near - 3, zone).replace(tzinfo=None), zone, near) for near in captured]
    assert times == [near - 3 for near in captured]


def test_a_time_that_does_not_exist() -> None:
    zone = ZoneInfo("Europe/Berlin")
    for near in (0, NOW):
        moved = utc_seconds(datetime(2024, 3, 31, 2, 30), zone, near)
        assert datetime.fromtimestamp(moved, zone).replace(tzinfo=None) == datetime(2024, 3, 31, 3, 30)


@pytest.mark.parametrize(
    ("text", "hours"), [("SAST-2", 2), ("<+0545>-5:45", 5.75), ("NST3:30NDT,M3.2.0,M11.1.0", -2.5)]
)
def test_the_zone_as_routers_know_it(text: str, hours: float) -> None:
    # A POSIX text, without any data on time zones.
    with system_zone(text):
        clock = datetime(2026, 6, 1, 12)
        assert utc_seconds(clock, None, 0) == int((clock.replace(tzinfo=UTC) - timedelta(hours=hours)).timestamp())


@given(st.datetimes(datetime(2000, 1, 1), datetime(2255, 12, 31, 23, 59, 59)), st.integers(-(10**10), 10**10))
def test_any_time_on_the_calendar(clock: datetime, near: int) -> None:
    clock = clock.replace(microsecond=0)
    assert utc_seconds(clock, UTC, near) == int(clock.replace(tzinfo=UTC).timestamp())
    offset = timezone(timedelta(hours=5, minutes=45))
    assert utc_seconds(clock, offset, near) == int(clock.replace(tzinfo=offset).timestamp())
    with system_zone("Europe/Berlin"):
        assert abs(utc_seconds(clock, None, near) - int(clock.replace(tzinfo=UTC).timestamp())) <= 7200


def test_the_time_of_a_reading() -> None:
    captured = NOW * SECOND + 123_456_789
    frame = Frame(SERIAL, datetime(2026, 6, 1, 14, 0, 0), encode(SERIAL, CLOCK, {}))
    for zone, hours in ((UTC, 14), (ZoneInfo("Europe/Berlin"), 12), (ZoneInfo("America/New_York"), 18)):
        reading = FrameReader(zone).read(frame, captured)
        assert isinstance(reading, Reading)
        assert reading.time == int(datetime(2026, 6, 1, hours, tzinfo=UTC).timestamp()) * SECOND
        assert reading.serial == SERIAL


# --- frames from the future -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "live", "believed"),
    [
        (AHEAD_SECONDS_MAX, True, True),
        (AHEAD_SECONDS_MAX + 1, True, False),
        (AHEAD_SECONDS_MAX + 1, False, True),
        (400 * 86400, True, False),
        (400 * 86400, False, True),
        (0, True, True),
        (-400 * 86400, True, True),
        (-20 * 365 * 86400, True, True),
    ],
)
def test_readings_ahead_of_the_capture(ahead: int, live: bool, believed: bool) -> None:
    reader = FrameReader(UTC, live=live)
    clock = datetime.fromtimestamp(NOW + ahead, UTC).replace(tzinfo=None)
    reading = reader.read(Frame(SERIAL, clock, encode(SERIAL, clock, {})), NOW * SECOND + SECOND - 1)
    assert (reading is not None) == believed
    assert (reader.counts.readings, reader.counts.ahead) == ((1, 0) if believed else (0, 1))


def test_a_router_whose_clock_is_not_set_yet() -> None:
    reader = FrameReader(UTC, live=True)
    booted = int(datetime(2023, 10, 9, tzinfo=UTC).timestamp()) * SECOND
    assert reader.read(Frame(SERIAL, datetime(2026, 6, 1), encode(SERIAL, CLOCK, {})), booted) is not None
    assert reader.counts.ahead == 0
