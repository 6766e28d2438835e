"""Reports to readings: every value computed once more from the table of fields, and every local time from its zone."""

from __future__ import annotations

import os
import struct
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from inverter_capture.protocol import field_values
from inverter_capture.protocol.field_values import FieldValues
from inverter_capture.protocol.inverter_kinds import PLANS_MAX, SINGLE_PHASE
from inverter_capture.protocol.kind_detection import Detection, KindDetector
from inverter_capture.protocol.layouts import LAYOUTS, REGISTERS_OFFSET, Layout
from inverter_capture.protocol.readings import AHEAD_SECONDS_MAX, LocalTimes, Reading, ReportReader, utc_seconds
from inverter_capture.protocol.registers import FIELDS
from inverter_capture.protocol.reports import Report
from tests import tables
from tests.tables import expected
from tests.tables.real import REPORT_2022, REPORTS_2026, VALUES_2022, VALUES_2026
from tests.wire import SECOND

CLOCK = datetime(2022, 11, 5, 8, 32, 46)
NOW = int(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp())
SERIAL = "1235687108"
SENSORS = (90, 91, 182, 319)
"""Registers of temperatures."""
TABLE = [*tables.SINGLE_PHASE, *tables.MORE]
ALL = Layout([(13, 58), (59, 124), (150, 199), (200, 299), (312, 330), (400, 420)])
"""Most of what a poll map could ask of a single-phase inverter."""


def registers_in(layout: Layout) -> list[int]:
    """All registers of a layout, in the order in which they are sent."""
    return [register for first, last in layout.ranges for register in range(first, last + 1)]


def report(
    layout: Layout, words: Mapping[int, int], serial: str = SERIAL, clock: datetime = CLOCK, *, learnt: bool = False
) -> Report:
    """A report with these words in its registers, without a sign; all others are 0."""
    data = bytes(REGISTERS_OFFSET)
    for register in registers_in(layout):
        data += struct.pack(">H", words.get(register, 0))
    return Report(serial, clock, data, layout, learnt)


def read(sent: Report, reader: ReportReader | None = None) -> dict[str, int | float]:
    """The values in a report."""
    reading = (reader or ReportReader(UTC)).read(sent, NOW * SECOND)
    assert reading is not None
    return reading.values


# --- values ---------------------------------------------------------------------------------------------------------


def check_values(layout: Layout, words: dict[int, int]) -> None:
    sent = dict.fromkeys(registers_in(layout), 0) | words
    reader = ReportReader(UTC)
    values = read(report(layout, sent), reader)
    wanted, implausible = expected(TABLE, layout, sent)
    assert values.pop("nonessential_power", None) == nonessential_power(wanted)
    bms = [sent[register] for register in (312, 313, 316, 317) if register in sent]
    if bms and not any(bms):
        # There is no BMS.
        wanted = {name: value for name, value in wanted.items() if not name.startswith("bms_")}
        implausible = {name for name in implausible if not name.startswith("bms_")}
    assert values == wanted
    assert {name: type(value) for name, value in values.items()} == {name: type(wanted[name]) for name in values}
    assert reader.counts.implausible == len(implausible)
    assert reader.implausible == dict.fromkeys(implausible, 1)
    assert reader.counts.readings == 1


def nonessential_power(values: Mapping[str, float]) -> float | None:
    # Without a current transformer its current and power are 0.
    is_fitted = values.get("grid_power_ct") or values.get("grid_ct_current")
    if is_fitted and {"grid_power_ct", "grid_power_l1"} <= values.keys():
        return max(0, values["grid_power_ct"] - values["grid_power_l1"])
    return None


layouts = st.sampled_from([*LAYOUTS.values(), ALL]) | st.lists(
    st.tuples(st.integers(0, 499), st.integers(0, 40)).map(lambda each: (each[0], min(499, sum(each)))),
    min_size=1,
    max_size=8,
    unique=True,
).map(Layout)


@given(st.data(), layouts)
def test_every_field_of_random_registers(data: st.DataObject, layout: Layout) -> None:
    registers = registers_in(layout)
    assume(len(set(registers)) == len(registers))
    words = st.sampled_from([0, 1, 100, 600, 599, 2500, 7000, 0x7FFF, 0x8000, 0xFFFF]) | st.integers(0, 0xFFFF)
    sent = dict.fromkeys(SENSORS, 1200)
    if data.draw(st.booleans()):
        sent |= data.draw(st.dictionaries(st.sampled_from(registers), words, max_size=20))
    else:
        seed = data.draw(st.randoms(use_true_random=False))
        sent = {register: seed.randrange(1 << 16) for register in registers}
    # Powers that fit no voltage speak for another scale: tests/test_kind_detection.py.
    assume(KindDetector().detect(report(layout, sent)) == Detection(SINGLE_PHASE))
    check_values(layout, {register: word for register, word in sent.items() if register in layout})


@pytest.mark.parametrize("layout", [*LAYOUTS.values(), ALL])
def test_every_field_at_and_beyond_its_bounds(layout: Layout) -> None:
    # All else is plausible: a report in which everything is takes another way than one in which something is not.
    plain = {register: 1200 for register in SENSORS if register in layout}
    check_values(layout, plain)
    for row in tables.certain(TABLE):
        registers = [int(register) for register in row["registers"].split()]
        if not all(register in layout for register in registers):
            continue
        bits = 16 * len(registers)
        numbers = {0, 1, 1 << bits - 1, (1 << bits - 1) - 1, (1 << bits) - 1, 0xFFFF, 0x10000 % (1 << bits)}
        if row["min"]:
            for bound in (int(row["min"]), int(row["max"])):
                raw = int((bound - int(row["bias"])) / float(row["scale"]))
                numbers |= {number % (1 << bits) for number in (raw - 1, raw, raw + 1)}
        for number in numbers:
            check_values(
                layout, plain | {register: number >> 16 * place & 0xFFFF for place, register in enumerate(registers)}
            )


def real(data: bytes) -> Report:
    year, month, day, hour, minute, second = data[37:43]
    clock = datetime(2000 + year, month, day, hour, minute, second)
    return Report(data[11:21].decode(), clock, data, LAYOUTS[len(data)])


def test_the_real_report_of_2022() -> None:
    reading = ReportReader(ZoneInfo("Africa/Johannesburg")).read(real(REPORT_2022), 1667629970 * SECOND)
    assert reading is not None
    assert {name: reading.values[name] for name in VALUES_2022} == VALUES_2022
    assert (reading.serial, reading.time, reading.kind) == ("1235687108", 1667629966 * SECOND, SINGLE_PHASE)
    values = reading.values
    # The checks that the description says hold on real data.
    assert values["battery_voltage"] * values["battery_current"] == pytest.approx(values["battery_power"], rel=0.03)
    assert values["pv_voltage_1"] * values["pv_current_1"] == pytest.approx(values["pv_power_1"], rel=0.03)
    power = values["inverter_power"] + values["grid_power_l1"] - values["aux_power"]
    assert values["essential_power"] == power == 158


@pytest.mark.parametrize("number", range(2))
def test_the_real_reports_of_2026(number: int) -> None:
    values = read(real(REPORTS_2026[number]))
    assert {name: values[name] for name in VALUES_2026[number]} == VALUES_2026[number]
    assert values["rated_power"] == 5000.0
    assert (values["firmware_main"], values["work_mode"], values["battery_capacity_setting"]) == (0x3388, 2, 100)
    assert values["nonessential_power"] == (18, 20)[number]
    # What the owner's inverter shows.
    assert values["load_power"] - values["essential_power"] == pytest.approx(values["nonessential_power"], abs=2)
    assert values["essential_power"] == values["inverter_power"] + values["grid_power_l1"] - values["aux_power"]


def test_all_of_the_real_reports() -> None:
    for data in (REPORT_2022, *REPORTS_2026):
        layout = LAYOUTS[len(data)]
        words = {
            register: struct.unpack_from(">H", data, layout.register_offset(register))[0]
            for register in registers_in(layout)
        }
        check_values(layout, words)


def test_a_sensor_that_is_not_fitted() -> None:
    reader = ReportReader(UTC)
    values = read(report(LAYOUTS[306], {16: 50000}), reader)
    names = {field.id for field in SINGLE_PHASE.fields_in(LAYOUTS[306])}
    assert names - set(values) == {
        *("battery_temperature", "bms_temperature", "inverter_temperature_ac", "inverter_temperature_dc"),
        "nonessential_power",
        *(name for name in names if name.startswith("bms_")),
    }
    assert reader.counts.implausible == 0
    assert reader.implausible == {}


@pytest.mark.parametrize("register", [312, 313, 316, 317])
def test_a_battery_without_bms(register: int) -> None:
    """It sends zeros, which are no state of charge."""
    assert not [name for name in read(report(LAYOUTS[306], {314: 150, 319: 1200})) if name.startswith("bms_")]
    told = [name for name in read(report(LAYOUTS[306], {register: 50, 319: 1200})) if name.startswith("bms_")]
    assert told == [field.id for field in SINGLE_PHASE.fields_in(LAYOUTS[306]) if field.group == "BMS"]


def test_nonessential_power_needs_a_current_transformer() -> None:
    exporting = 0x10000 - 5899
    assert "nonessential_power" not in read(report(LAYOUTS[306], {167: exporting}))
    # One that is there, and whose power happens to be 0.
    assert read(report(LAYOUTS[306], {167: 0x10000 - 72, 162: 333}))["nonessential_power"] == 72
    assert read(report(LAYOUTS[306], {167: 332, 172: 350}))["nonessential_power"] == 18


def test_what_is_not_plausible_is_left_out_and_counted() -> None:
    reader = ReportReader(UTC)
    for _ in range(3):
        values = read(report(LAYOUTS[292], {150: 2333, 184: 101, 79: 7001, 182: 1, 317: 1, 319: 2501}), reader)
        absent = {"battery_soc", "grid_frequency", "battery_temperature", "bms_temperature"}
        assert not absent & set(values)
        assert values["grid_voltage"] == 233.3
    assert reader.implausible == dict.fromkeys(absent, 3)
    assert reader.counts.implausible == 12
    assert {"battery_soc", "bms_temperature"} <= set(read(report(LAYOUTS[292], {184: 100, 317: 1, 319: 2500}), reader))


@pytest.mark.parametrize("layout", [*LAYOUTS.values(), ALL, Layout([(312, 319), (59, 124), (186, 188)])])
def test_values_come_in_the_order_of_the_table(layout: Layout) -> None:
    words = {16: 50000, 162: 1, 312: 1, 289: 5000, 290: 5000, 295: 1000}
    values = read(report(layout, dict.fromkeys(SENSORS, 1200) | words))
    assert list(values) == [field.id for field in SINGLE_PHASE.fields_in(layout)]
    without = list(read(report(layout, words)))
    assert without == [name for name in values if not name.endswith(("temperature", "_temperature_dc", "_ac"))]


def test_no_reading_has_what_another_had() -> None:
    first, second = (read(report(LAYOUTS[292], {184: soc})) for soc in (50, 51))
    assert (first["battery_soc"], second["battery_soc"]) == (50, 51)


def test_a_register_that_is_sent_twice_is_taken_once() -> None:
    sent = report(Layout([(184, 184), (183, 184)]), {183: 5000, 184: 54})
    changed = sent.data[:-2] + struct.pack(">H", 99)
    assert read(sent._replace(data=changed)) == {"battery_voltage": 50.0, "battery_soc": 54}


@pytest.mark.parametrize("ranges", [[(93, 93)], [(400, 410)], [(78, 78)], [(184, 184)], [(183, 184)], [(79, 79)]])
def test_layouts_of_few_registers(ranges: list[tuple[int, int]]) -> None:
    layout = Layout(ranges)
    values = read(report(layout, dict.fromkeys(range(500), 50)))
    assert list(values) == [field.id for field in SINGLE_PHASE.fields_in(layout)]


def test_the_function_that_is_generated_for_a_layout() -> None:
    # The one that the module shows as its example.
    generated = FieldValues(Detection(SINGLE_PHASE), Layout([(108, 108), (183, 183), (186, 189)])).source
    assert textwrap.indent(generated, 4 * " ") in (field_values.__doc__ or "")


def test_functions_of_forged_layouts_are_forgotten() -> None:
    from inverter_capture.protocol import inverter_kinds, kind_detection

    for number in range(5 * PLANS_MAX):
        read(report(Layout([(59 + number, 60 + number)]), {}))
    for cached in (field_values.field_values, kind_detection._probe, inverter_kinds._fields_in):
        assert cached.cache_info().currsize <= PLANS_MAX


def test_a_reading_knows_what_its_report_holds() -> None:
    reading = ReportReader(UTC).read(report(LAYOUTS[306], {}), NOW * SECOND)
    assert reading is not None
    assert [field.id for field in reading.fields][-1] == "work_mode"
    assert [field.id for field in Reading.of(SERIAL, 0, {}).fields] == [field.id for field in FIELDS[:94]]


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


ALL_ZONES = sorted(available_timezones())
seconds_of_day = st.lists(st.integers(0, 86399), max_size=4)


def same_as_alone(local_times: LocalTimes, clocks: Iterable[datetime], zone: ZoneInfo | None) -> bool:
    """Whether the remembered day gives the moments that each time has for itself."""
    return all(
        local_times.utc_seconds(clock, zone, near) == utc_seconds(clock, zone, near)
        for clock in clocks
        for near in (0, 2**31, int(clock.replace(tzinfo=zone).timestamp()))
    )


@given(st.sampled_from(ALL_ZONES), st.datetimes(datetime(2000, 1, 2), datetime(2060, 1, 1)), seconds_of_day)
def test_the_day_that_is_remembered_has_one_offset(name: str, first: datetime, seconds: list[int]) -> None:
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    clocks = [first.replace(microsecond=0), *(midnight + timedelta(seconds=second) for second in seconds)]
    assert same_as_alone(LocalTimes(), clocks, ZoneInfo(name))


LATE_CHANGES = [
    ("America/St_Johns", datetime(2010, 3, 14, 0, 1), 3600),
    ("America/St_Johns", datetime(2010, 11, 6, 23, 1), -3600),
    ("America/Sao_Paulo", datetime(2018, 11, 4), 3600),
    ("Pacific/Apia", datetime(2011, 12, 30), 86400),
    ("America/Nuuk", datetime(2024, 3, 30, 23), 3600),
]
"""Changes near midnight, or of a whole day."""


@pytest.mark.parametrize(("name", "start", "forward"), [*CHANGES, *LATE_CHANGES])
@pytest.mark.parametrize("of_system", [False, True])
def test_days_around_a_change_that_are_remembered(name: str, start: datetime, forward: int, of_system: bool) -> None:
    days = [start + timedelta(minutes=minute) for minute in range(-2 * 1440, 3 * 1440, 7)]
    with system_zone(name):
        # In order, and from one day to another.
        for clocks in (days, [clock for pair in zip(days, reversed(days), strict=True) for clock in pair]):
            assert same_as_alone(LocalTimes(), clocks, None if of_system else ZoneInfo(name))


def test_the_zone_of_a_reader_may_be_replaced() -> None:
    reader = ReportReader(UTC)
    sent = report(LAYOUTS[292], {}, clock=datetime(2026, 6, 1, 14))
    for zone, hours in ((UTC, 14), (ZoneInfo("Europe/Berlin"), 12), (UTC, 14)):
        reader.zone = zone
        reading = reader.read(sent, NOW * SECOND)
        assert reading is not None
        assert reading.time == int(datetime(2026, 6, 1, hours, tzinfo=UTC).timestamp()) * SECOND


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
    sent = report(LAYOUTS[292], {}, clock=datetime(2026, 6, 1, 14, 0, 0))
    for zone, hours in ((UTC, 14), (ZoneInfo("Europe/Berlin"), 12), (ZoneInfo("America/New_York"), 18)):
        reading = ReportReader(zone).read(sent, captured)
        assert isinstance(reading, Reading)
        assert reading.time == int(datetime(2026, 6, 1, hours, tzinfo=UTC).timestamp()) * SECOND
        assert reading.serial == SERIAL


# --- reports from the future ----------------------------------------------------------------------------------------


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
    reader = ReportReader(UTC, live=live)
    clock = datetime.fromtimestamp(NOW + ahead, UTC).replace(tzinfo=None)
    reading = reader.read(report(LAYOUTS[292], {}, clock=clock), NOW * SECOND + SECOND - 1)
    assert (reading is not None) == believed
    assert (reader.counts.readings, reader.counts.ahead) == ((1, 0) if believed else (0, 1))


def test_a_router_whose_clock_is_not_set_yet() -> None:
    reader = ReportReader(UTC, live=True)
    booted = int(datetime(2023, 10, 9, tzinfo=UTC).timestamp()) * SECOND
    assert reader.read(report(LAYOUTS[292], {}, clock=datetime(2026, 6, 1)), booted) is not None
    assert reader.counts.ahead == 0
