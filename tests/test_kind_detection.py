"""Kinds of inverters and their scales, detected from what is polled and by the values of several readings."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inverter_capture.protocol.inverter_kinds import (
    HIGH_VOLTAGE,
    INVERTERS_MAX,
    LOW_VOLTAGE,
    SINGLE_PHASE,
    THREE_PHASE,
    Kind,
)
from inverter_capture.protocol.kind_detection import GROWTH_KWH, READINGS_DECIDE, KindDetector
from inverter_capture.protocol.layouts import LAYOUTS, Layout
from inverter_capture.protocol.packets import Flow
from inverter_capture.protocol.packets_to_readings import Decoded, Decoder
from inverter_capture.protocol.readings import Reading, ReportReader
from inverter_capture.protocol.reports import Report
from inverter_capture.service.report_log import ReportLog
from tests import tables
from tests.tables import Table, expected
from tests.tables.real import REPORT_2022, REPORTS_2026
from tests.test_readings import CLOCK, NOW, real, registers_in, report
from tests.wire import SECOND

Words = dict[int, int]

POWERS = (
    *("grid_power_l1", "grid_power_l2", "grid_ct_power_l1", "grid_ct_power_l2"),
    *("load_power_l1", "load_power_l2", "load_power"),
)
SUMS = ("grid_power", "grid_power_ct")

RUN_DATA = Layout([(14, 15), (20, 21), (500, 558), (586, 708), (210, 219)])
"""As three-phase inverters may be polled."""
WITHOUT_IDENTITY = Layout([(500, 558), (586, 679), (210, 217)])
LARGE = Layout([(20, 21), (210, 255), (500, 558), (586, 730)])


def read_all(reports: Iterable[Report]) -> list[Reading | None]:
    reader = ReportReader(UTC)
    return [reader.read(each, NOW * SECOND) for each in reports]


def word(value: float) -> int:
    return round(value) & 0xFFFF


# --- single phase: scales -------------------------------------------------------------------------------------------


def house(grid: int, inverter: int, battery: int, *, power: int = 1, sums: int = 1, current: int = 1) -> Words:
    """Registers of a house by its powers in W. `power`, `sums`, `current`: how much larger values are than sent."""
    load = grid + inverter
    return {
        59: 2,
        79: 5000,
        150: 2300,
        182: 1210,
        183: 5200,
        160: word(grid / 2.30),
        167: word(grid / power),
        170: word(grid / power),
        169: word(grid / sums),
        172: word(grid / sums),
        175: word(inverter),
        176: word(load / power),
        178: word(load / power),
        190: word(battery),
        191: word(battery / 52 * 100 / current),
    }


@pytest.mark.parametrize("data", [REPORT_2022, *REPORTS_2026])
def test_real_reports_are_whole_from_the_first_on(data: bytes) -> None:
    sent = real(data)
    for reading in read_all([sent] * 5):
        assert reading is not None
        assert reading.kind is SINGLE_PHASE
        assert list(reading.values) == [field.id for field in reading.fields]


@given(st.lists(st.tuples(st.integers(-5000, 5000), st.integers(-5000, 5000), st.integers(-5000, 5000)), max_size=12))
def test_ordinary_inverters_are_whole_at_any_power(powers: list[tuple[int, int, int]]) -> None:
    for reading in read_all(report(LAYOUTS[292], house(*each)) for each in powers):
        assert reading is not None
        assert {*POWERS, *SUMS, "battery_current"} <= reading.values.keys()


@pytest.mark.parametrize(
    ("scales", "doubtful"),
    [
        ({"power": 10, "sums": 10}, (*POWERS, *SUMS, "nonessential_power")),
        ({"sums": 10}, (*SUMS, "nonessential_power")),
        ({"current": 10}, ("battery_current",)),
        ({"power": 10, "sums": 10, "current": 10}, (*POWERS, *SUMS, "nonessential_power", "battery_current")),
    ],
    ids=str,
)
def test_other_scales_are_told_by_several_readings(scales: dict[str, int], doubtful: tuple[str, ...]) -> None:
    sent = [report(LAYOUTS[292], house(grid, 1500, -2000, **scales)) for grid in (2000, -1200, 3000, 50, 2000)]
    readings = read_all(sent)
    ordinary = read_all(report(LAYOUTS[292], house(grid, 1500, -2000)) for grid in (2000, -1200, 3000, 50, 2000))
    for number, (reading, wanted) in enumerate(zip(readings, ordinary, strict=True)):
        assert reading is not None
        assert wanted is not None
        absent = wanted.values.keys() - reading.values.keys()
        if number < READINGS_DECIDE - 1:
            assert absent == set(doubtful)
        else:
            # The fourth is too small to tell anything, and is scaled as those before.
            assert not absent
        for name, value in reading.values.items():
            assert value == pytest.approx(wanted.values[name], abs=10), name
            assert type(value) is type(wanted.values[name])


def test_readings_that_tell_nothing_after_one_that_is_wrong() -> None:
    """A whole night of small powers must not lose its values because of one error of measurement before."""
    usual, other = house(2000, 1500, -2000), house(2000, 1500, -2000, power=10, sums=10, current=10)
    night = house(50, 40, -60)
    readings = read_all(report(LAYOUTS[292], words) for words in (*[usual] * READINGS_DECIDE, other, *[night] * 5))
    whole = [
        reading is not None and {*POWERS, *SUMS, "battery_current"} <= reading.values.keys() for reading in readings
    ]
    assert whole == [True] * READINGS_DECIDE + [False] + [True] * 5
    # But of an inverter of which nothing else is known, the small powers may be tenths as well.
    for reading in read_all(report(LAYOUTS[292], words) for words in (other, *[night] * 5)):
        assert reading is not None
        assert not reading.values.keys() & {*POWERS, *SUMS, "battery_current"}


def test_a_reading_that_is_none_of_a_working_inverter_tells_nothing() -> None:
    """As in a fault, or when what is sent is made up within the bounds of each field."""
    usual = house(2000, 1500, -2000)
    for register, value in ((79, 3000), (150, 500), (154, 4000), (182, 2000), (183, 900), (192, 6700), (193, 100)):
        other = house(2000, 1500, -2000, power=10, sums=10, current=10) | {register: value}
        for reading in read_all(report(LAYOUTS[292], words) for words in (usual, other, usual, *[other] * 5)):
            assert reading is not None
            assert {*POWERS, *SUMS, "battery_current"} <= reading.values.keys(), register


@pytest.mark.parametrize("grid", [140, 300])
def test_reactive_power_is_no_other_scale(grid: int) -> None:
    reactive = house(grid, 0, 0) | {160: word(1000)}
    for reading in read_all(report(LAYOUTS[292], reactive) for _ in range(5)):
        assert reading is not None
        assert {*POWERS, *SUMS} <= reading.values.keys()


def test_one_reading_decides_nothing() -> None:
    usual, other = house(2000, 1500, -2000), house(2000, 1500, -2000, power=10, sums=10, current=10)
    kinds = [usual, other, usual, other, other, usual, usual]
    readings = read_all(report(LAYOUTS[292], words) for words in kinds)
    for words, reading in zip(kinds, readings, strict=True):
        assert reading is not None
        assert ("battery_current" in reading.values) == (words is usual)
        assert ("grid_power" in reading.values) == (words is usual)


def test_an_update_of_the_firmware_changes_the_scale_back() -> None:
    sent = [house(2000, 1500, -2000, current=current) for current in (10, 10, 10, 1, 1, 1, 1)]
    readings = read_all(report(LAYOUTS[292], words) for words in sent)
    currents = [reading.values.get("battery_current") for reading in readings if reading is not None]
    assert currents == [None, None, pytest.approx(-38.5, abs=0.1), None, None, *[pytest.approx(-38.46)] * 2]


small_or_large = st.sampled_from([0, 50, 300, -1200, 3000])
houses = st.builds(
    house,
    *[small_or_large] * 3,
    power=st.sampled_from([1, 1, 1, 10]),
    sums=st.sampled_from([1, 1, 1, 10]),
    current=st.sampled_from([1, 1, 1, 10]),
)


@given(
    st.lists(st.tuples(houses, st.dictionaries(st.sampled_from(range(150, 194)), st.integers(0, 0xFFFF), max_size=1)))
)
def test_the_usual_case_comes_out_as_the_vote_would(sent: list[tuple[Words, Words]]) -> None:
    """Once enough readings agree, one in which nothing contradicts them is not counted as a vote."""
    detector, voting = KindDetector(), KindDetector()
    usual: list[tuple[Words, Words]] = [(house(2000, 1500, -2000), {})] * READINGS_DECIDE
    for words, other in (*usual, *sent):
        detection = detector.detect(report(LAYOUTS[292], words | other))
        for inverter in voting._inverters.values():
            inverter._is_settled = False
        assert detection == voting.detect(report(LAYOUTS[292], words | other))


@pytest.mark.parametrize("ranges", [[(150, 199), (59, 124)], [(79, 79), (150, 170), (172, 199)], [(167, 191)]])
def test_scales_are_told_from_whatever_is_polled_in_any_order(ranges: list[tuple[int, int]]) -> None:
    sent = [house(2000, 1500, -2000, power=10, sums=10, current=10)] * READINGS_DECIDE
    *_, reading = read_all(report(Layout(ranges), words) for words in sent)
    assert reading is not None
    assert reading.values["battery_current"] == pytest.approx(-38.5, abs=0.1)
    # Without the voltage nothing is known of the powers.
    assert reading.values["load_power"] == (3500 if len(ranges) > 1 else 350)


@given(st.data())
def test_scales_belong_to_their_inverters(data: st.DataObject) -> None:
    factors = {"0000000001": 1, "0000000002": 10}
    serials = data.draw(st.lists(st.sampled_from(sorted(factors)), max_size=30))
    reader = ReportReader(UTC)
    for serial in serials:
        sent = report(LAYOUTS[306], house(2000, 1500, -2000, current=factors[serial]), serial)
        reading = reader.read(sent, NOW * SECOND)
        assert reading is not None
        current = reading.values.get("battery_current")
        assert current is None or current == pytest.approx(-38.46, abs=0.1)
        assert factors[serial] == 10 or current is not None


def test_memory_of_forged_serials_is_bounded() -> None:
    detector = KindDetector()
    for number in range(3 * INVERTERS_MAX):
        detector.detect(report(LAYOUTS[292], {}, f"{number:010d}"))
        detector.detect(report(LAYOUTS[292], {}, "0000000000"))
    assert len(detector._inverters) == INVERTERS_MAX
    assert "0000000000" in detector._inverters


# --- what is polled -------------------------------------------------------------------------------------------------

SETTINGS = {
    80: 1,
    98: 1,
    99: 5760,
    100: 5600,
    101: 5500,
    102: 200,
    108: 100,
    109: 100,
    150: 500,
    151: 900,
    152: 1300,
    153: 1700,
    154: 8000,
    182: 1,
    183: 0,
    185: 2700,
    186: 1840,
}
"""What a three-phase inverter has from 59 to 199."""


@pytest.mark.parametrize(
    "words",
    [
        {**SETTINGS, 62: 22 << 8 | 11, 63: 5 << 8 | 8, 64: 0x2020},
        {**SETTINGS, 62: 22 << 8 | 11, 63: 5 << 8 | 8, 79: 5000, 183: 5000},
        SETTINGS,
        {**SETTINGS, 150: 1200, 59: 2},
        {**SETTINGS, 79: 1, 183: 1},
        {**SETTINGS, 79: 1000, 59: 0x3003},
        {79: 50, 183: 1},
    ],
)
def test_settings_of_three_phase_inverters_are_not_read_as_single_phase(words: Words) -> None:
    reader = ReportReader(UTC)
    assert reader.read(report(Layout([(59, 124), (150, 199)]), words, learnt=True), NOW * SECOND) is None
    assert reader.counts.foreign == 1
    assert reader.counts.readings == 0
    # A layout that nobody has told is what it always was.
    assert reader.read(report(LAYOUTS[292], words), NOW * SECOND) is not None


def test_settings_alone_are_not_read_as_single_phase() -> None:
    for ranges in ([(59, 124)], [(150, 199)]):
        words = {**SETTINGS, 62: 22 << 8 | 11, 63: 5 << 8 | 8}
        assert ReportReader(UTC).read(report(Layout(ranges), words, learnt=True), NOW * SECOND) is None


@pytest.mark.parametrize(
    "words",
    [
        {},
        {79: 4986, 182: 0, 183: 0, 59: 1},
        {79: 0, 183: 5343, 182: 1210, 59: 2},
        {79: 0xFFFF, 183: 5343, 182: 1210, 59: 2},
        {79: 4986, 183: 5343, 182: 0xFFFF, 59: 0xFFFF},
        {79: 0, 183: 0, 182: 0},
        # Without a grid and a battery, whose connectors carry 0.01 V.
        {79: 0, 183: 1, 182: 0, 192: 5000},
        {79: 0xFFFF, 183: 0xFFFF, 182: 0xFFFF, 59: 0xFFFF},
    ],
)
def test_single_phase_inverters_with_a_value_that_is_wrong(words: Words) -> None:
    layout = Layout([(59, 124), (150, 199)])
    assert ReportReader(UTC).read(report(layout, words, learnt=True), NOW * SECOND) is not None


@pytest.mark.parametrize("volts", [2333, 2300, 1200])
def test_voltages_that_could_be_times_of_day(volts: int) -> None:
    layout = Layout([(150, 160), (182, 191)])
    words = {150: volts, 152: volts}
    assert ReportReader(UTC).read(report(layout, words, learnt=True), NOW * SECOND) is not None


@given(st.randoms(use_true_random=False))
def test_random_words_are_read_by_what_is_polled(dice: random.Random) -> None:
    layout = Layout([(20, 30), (59, 199), (244, 330)])
    # 0 and 1 can be settings of three-phase inverters.
    words = {register: dice.randrange(12, 1 << 16) for register in registers_in(layout)}
    reading = ReportReader(UTC).read(report(layout, words, learnt=True), NOW * SECOND)
    assert reading is not None
    values, _ = expected([*tables.SINGLE_PHASE, *tables.MORE], layout, words)
    got = dict(reading.values)
    got.pop("nonessential_power", None)
    assert got == values


@pytest.mark.parametrize(
    ("device", "layout", "kind"),
    [
        (3, Layout([(0, 0), (59, 124)]), SINGLE_PHASE),
        (0x0103, Layout([(0, 0), (59, 124)]), SINGLE_PHASE),
        (0x7777, Layout([(0, 0), (59, 124)]), SINGLE_PHASE),
        (5, Layout([(0, 0), (59, 124)]), None),
        (0x0600, Layout([(0, 0), (59, 124)]), None),
        (5, Layout([(0, 0), (586, 650)]), THREE_PHASE),
        (0x0300, Layout([(0, 0), (586, 650)]), None),
    ],
)
def test_the_device_type_must_fit_what_is_polled(device: int, layout: Layout, kind: Kind | None) -> None:
    reading = ReportReader(UTC).read(report(layout, {0: device}, learnt=True), NOW * SECOND)
    assert (None if reading is None else reading.kind) is kind


# --- three phases ---------------------------------------------------------------------------------------------------


def panels(watts: int, *, high: bool) -> Words:
    """Two strings with this much together, at 600 V."""
    current = word(watts / 2 / 600 * 10)
    return (
        dict.fromkeys((676, 678), 6000)
        | dict.fromkeys((677, 679), current)
        | dict.fromkeys((672, 673), word(watts / 2 / (10 if high else 1)))
    )


def three_phase(watts: int = 6000, *, high: bool = False, seed: int = 1) -> Words:
    """Registers of a three-phase inverter, as plausible as need be."""
    dice = random.Random(seed)
    words = {register: dice.randrange(2000) for register in range(1000)}
    words |= dict.fromkeys((217, 248, 540, 541, 586, 596), 1200) | dict.fromkeys((558, 554, 224), 0)
    words |= dict.fromkeys(range(687, 709), 0) | dict.fromkeys((656, 657, 658, 659, 668, 669, 670, 671), 0)
    words |= {14: 0, 15: 0x1085, 20: 12000, 21: 1, 212: 100, 213: 100, 223: 0, 674: 0, 675: 0}
    return words | panels(watts, high=high)


IDENTITIES: list[tuple[Words, Kind]] = [
    ({0: 5}, LOW_VOLTAGE),
    ({0: 0x0500}, LOW_VOLTAGE),
    *(({0: device}, HIGH_VOLTAGE) for device in (6, 7, 8, 0x0600, 0x0601, 0x0602)),
    ({14: 0x2005}, LOW_VOLTAGE),
    ({14: 0x2101}, LOW_VOLTAGE),
    ({14: 0x3101}, HIGH_VOLTAGE),
    ({20: 300_000 & 0xFFFF, 21: 300_000 >> 16}, HIGH_VOLTAGE),
    (panels(6000, high=False), LOW_VOLTAGE),
    (panels(6000, high=True), HIGH_VOLTAGE),
]


@pytest.mark.parametrize(("words", "kind"), IDENTITIES, ids=str)
def test_the_kind_is_told_by_several_readings(words: Words, kind: Kind) -> None:
    layout = Layout([(0, 0), (14, 15), (20, 21), (586, 700)])
    readings = read_all([report(layout, {586: 1200} | words, learnt=True)] * 6)
    kinds = [reading and reading.kind for reading in readings]
    assert kinds == [THREE_PHASE] * (READINGS_DECIDE - 1) + [kind] * (7 - READINGS_DECIDE)
    for reading in readings:
        assert reading is not None
        assert reading.kind.experimental
        assert "grid_power" in reading.values
        assert ("battery_voltage" in reading.values) == (reading.kind is not THREE_PHASE)


@pytest.mark.parametrize(
    "words",
    [
        {},
        panels(200, high=False),
        {0: 5, 14: 0x3101},
        {0: 5} | panels(6000, high=True),
        {672: 2500, 676: 6000, 677: 50, 673: 300, 678: 6000, 679: 50},
        {20: 200_000 & 0xFFFF, 21: 200_000 >> 16},
    ],
)
def test_what_tells_nothing_or_contradicts_itself(words: Words) -> None:
    layout = Layout([(0, 0), (14, 15), (20, 21), (586, 700)])
    for reading in read_all([report(layout, words, learnt=True)] * 9):
        assert reading is not None
        assert reading.kind is THREE_PHASE


def test_a_kind_that_is_contradicted_is_not_certain() -> None:
    low, high = panels(6000, high=False), panels(6000, high=True)
    sent = [report(WITHOUT_IDENTITY, words, learnt=True) for words in (low, low, low, high, low, high, high, high)]
    readings = read_all(sent)
    kinds = [THREE_PHASE] * 2 + [LOW_VOLTAGE] * 5 + [HIGH_VOLTAGE]
    certain = [False, False, True, False, True, False, False, True]
    for reading, kind, whole in zip(readings, kinds, certain, strict=True):
        assert reading is not None
        assert reading.kind is kind
        assert ("pv_power" in reading.values) == ("battery_voltage" in reading.values) == whole
        assert "grid_power" in reading.values


def decided(layout: Layout, words: Words, *, high: bool) -> Reading:
    """A reading of an inverter whose kind is known by now."""
    known = panels(6000, high=high)
    sent = [report(layout, words | known, learnt=True)] * READINGS_DECIDE + [report(layout, words, learnt=True)]
    reading = read_all(sent)[-1]
    assert reading is not None
    return reading


@pytest.mark.parametrize(("table", "high"), [(tables.LOW_VOLTAGE, False), (tables.HIGH_VOLTAGE, True)])
@pytest.mark.parametrize("layout", [RUN_DATA, WITHOUT_IDENTITY, LARGE, Layout([(0, 400), (500, 730)])], ids=str)
def test_every_field_is_that_of_the_maps(table: Table, high: bool, layout: Layout) -> None:
    for seed in range(20):
        words = three_phase(high=high, seed=seed)
        words[0] = 6 if high else 5
        if high:
            # What is more tells that energies are counted in tenths.
            words[15] = 0x1085
        reading = decided(layout, words, high=high)
        wanted, _ = expected(table, layout, words)
        got = dict(reading.values)
        nonessential = got.pop("nonessential_power")
        assert nonessential == max(0, wanted["grid_power_ct"] - wanted["grid_inner_power"])
        doubtful = set() if not high or 15 in layout else {name for name in wanted if is_energy(name)}
        assert got == {name: value for name, value in wanted.items() if name not in doubtful}


def is_energy(name: str) -> bool:
    field = HIGH_VOLTAGE.fields_by_id[name]
    return field.unit == "kWh"


def test_what_is_certain_before_the_kind_is() -> None:
    layout = Layout([(16, 400), (500, 730)])
    words = three_phase(0)
    (reading,) = read_all([report(layout, words, learnt=True)])
    assert reading is not None
    assert reading.kind is THREE_PHASE
    wanted = [expected(table, layout, words)[0] for table in (tables.LOW_VOLTAGE, tables.HIGH_VOLTAGE)]
    got = dict(reading.values)
    del got["nonessential_power"]
    assert len(got) > 140
    for name, value in got.items():
        assert value == wanted[0][name] == wanted[1][name], name


# --- high voltage: energies and high words --------------------------------------------------------------------------

TODAY = "pv_production_today"
TOTAL = "pv_production_total"


@pytest.mark.parametrize(
    ("release", "today", "total"),
    [(0x1085, 12.3, 1234.5), (0x1097, 12.3, 1234.5), (0x1098, 123, None), (0x1100, 123, None), (0x2000, 123, None)],
)
def test_the_control_firmware_tells_the_scale_of_energies(release: int, today: float, total: float | None) -> None:
    words = three_phase(high=True) | {15: release, 529: 123, 534: 12345, 535: 0}
    readings = read_all([report(RUN_DATA, words, learnt=True)] * (2 * READINGS_DECIDE))
    assert readings[0] is not None
    assert readings[0].values.get(TODAY) is None
    assert readings[-1] is not None
    assert readings[-1].values[TODAY] == today
    assert readings[-1].values.get(TOTAL) == total


@pytest.mark.parametrize(("factor_today", "factor_total"), [(1, 1), (10, 10), (10, 1)])
def test_growth_tells_the_scale_of_energies(factor_today: int, factor_total: int) -> None:
    reader = ReportReader(UTC)
    watts, counted, kwh = 20_000, 900.0, 0.0
    clock = datetime(2026, 6, 1, 6)
    told = 0
    for number in range(200):
        words = three_phase(watts, high=True) | {14: 0x3101}
        total = int((counted + kwh) * 10 / factor_total)
        words |= {529: int(kwh * 10 / factor_today), 534: total & 0xFFFF, 535: total >> 16}
        reading = reader.read(report(WITHOUT_IDENTITY, words, clock=clock, learnt=True), NOW * SECOND)
        assert reading is not None
        if TODAY in reading.values:
            told += 1
            assert reading.values[TODAY] == pytest.approx(kwh, abs=1)
            assert reading.values[TOTAL] == pytest.approx(counted + kwh, abs=1)
        clock += timedelta(minutes=5)
        kwh += watts / 1000 / 12
        if number < 5:
            assert not told
    assert told > 150
    assert GROWTH_KWH == 20


def test_growth_over_silence_and_midnight_tells_nothing() -> None:
    reader = ReportReader(UTC)
    clock = datetime(2026, 6, 1, 6)
    for number in range(30):
        words = three_phase(20_000, high=True) | {529: 1000 * number % 3000, 534: 1000 * number, 535: 0}
        reading = reader.read(report(WITHOUT_IDENTITY, words, clock=clock, learnt=True), NOW * SECOND)
        assert reading is not None
        assert TODAY not in reading.values
        clock += timedelta(hours=1)


def test_the_high_words_of_powers() -> None:
    def grid(low: int, high: int) -> Words:
        return three_phase(high=True) | {625: low, 690: high}

    sent = [
        grid(1000, 0),
        grid(0xFF9C, 0),
        grid(0xFF9C, 0xFFFF),
        grid(0x9000, 0),
        grid(0xFF9C, 0xFFFF),
        grid(0x9000, 1),
        grid(0xFF9C, 0xFFFF),
        grid(0x9000, 0),
    ]
    readings = read_all(report(RUN_DATA, words, learnt=True) for words in sent)
    powers = [reading.values.get("grid_power") for reading in readings if reading is not None]
    # Old firmware leaves the high word 0: it is not known whether that is much, or negative.
    assert powers == [1000, None, -100, None, -100, 0x19000, -100, 0x9000]
    older = read_all([report(WITHOUT_IDENTITY, grid(0xFF9C, 0), learnt=True)] * 4)
    assert [reading.values["grid_power"] for reading in older if reading is not None] == [-100] * 4


def test_what_follows_from_a_power_that_is_not_certain_is_absent() -> None:
    for name, register in (("grid_power_ct", 619), ("grid_inner_power", 607)):
        (reading,) = read_all([report(RUN_DATA, three_phase(high=True) | {register: 0xFF9C}, learnt=True)])
        assert reading is not None
        assert not {name, "nonessential_power"} & reading.values.keys()


@pytest.mark.parametrize(
    ("words", "present"),
    [
        ({}, True),
        ({212: 1000}, False),
        ({213: 1000}, False),
        ({223: 12}, False),
        ({223: 1}, True),
    ],
)
def test_currents_of_low_voltage_batteries_whose_scale_is_not_certain(words: Words, present: bool) -> None:
    layout = Layout([(210, 223), (586, 700)])
    sent = three_phase() | {212: 100, 213: 120, 216: 5} | words
    for reading in read_all([report(layout, sent, learnt=True)] * 6)[READINGS_DECIDE:]:
        assert reading is not None
        assert reading.kind is LOW_VOLTAGE
        assert ("bms_current" in reading.values) == ("bms_charge_limit_current" in reading.values) == present


# --- anything -------------------------------------------------------------------------------------------------------

any_layouts = st.lists(
    st.tuples(st.integers(0, 760), st.integers(0, 60)).map(lambda each: (each[0], sum(each))), min_size=1, max_size=8
).map(Layout)


@given(st.lists(st.tuples(any_layouts, st.integers(0, 5), st.randoms(use_true_random=False)), max_size=6))
def test_anything_is_read_without_an_exception(sent: list[tuple[Layout, int, random.Random]]) -> None:
    reader = ReportReader(UTC)
    for layout, serial, dice in sent:
        words = {register: dice.choice([0, 1, 5000, dice.randrange(1 << 16)]) for register in registers_in(layout)}
        for _ in range(4):
            reading = reader.read(report(layout, words, f"000000000{serial}", CLOCK, learnt=True), NOW * SECOND)
            if reading is not None:
                names = [field.id for field in reading.fields]
                assert [name for name in names if name in reading.values] == list(reading.values)
                three = any(last >= 500 for _, last in layout.ranges)
                assert (reading.kind is not SINGLE_PHASE) == three
                for name, value in reading.values.items():
                    field = reading.kind.fields_by_id[name]
                    assert (
                        field.quantity.minimum is None
                        or field.quantity.maximum is None
                        or field.quantity.minimum <= value <= field.quantity.maximum
                    )


@given(st.permutations(range(8)), st.booleans())
def test_readings_in_any_order_never_mix_kinds(order: list[int], high: bool) -> None:
    """A three-phase and a single-phase inverter at one router."""
    single = report(LAYOUTS[306], house(2000, 1500, -2000), "0000000001")
    three = report(WITHOUT_IDENTITY, three_phase(high=high), "0000000002", learnt=True)
    reader = ReportReader(UTC)
    wanted, _ = expected(tables.HIGH_VOLTAGE if high else tables.LOW_VOLTAGE, WITHOUT_IDENTITY, three_phase(high=high))
    for number in order:
        reading = reader.read(single if number < 4 else three, NOW * SECOND)
        assert reading is not None
        if number < 4:
            assert reading.kind is SINGLE_PHASE
            assert reading.values["grid_power"] == 2000
        else:
            assert reading.kind in (THREE_PHASE, HIGH_VOLTAGE if high else LOW_VOLTAGE)
            for name, value in reading.values.items():
                assert name == "nonessential_power" or value == wanted[name], name


# --- the log --------------------------------------------------------------------------------------------------------


def test_the_log_tells_of_experimental_kinds_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    decoder = Decoder(UTC)
    report_log = ReportLog(decoder, NOW * SECOND, live=False)
    flow = Flow(bytes(4), 1, bytes(4), 2)

    def lines(sent: Report) -> list[str]:
        caplog.clear()
        report_log.observe(Decoded(NOW * SECOND, flow, sent, decoder.readings.read(sent, NOW * SECOND)))
        return [line for line in caplog.messages if not re.search("bytes|-byte|out of range", line)]

    three = report(WITHOUT_IDENTITY, three_phase() | {217: 1200}, "0000000003", learnt=True)
    (line,) = lines(three)
    assert "0000000003: three-phase; " in line
    assert "--anonymise" in line
    assert lines(three) == []
    assert lines(three) == ["inverter 0000000003: three-phase, low-voltage battery"]
    assert lines(three) == []
    assert lines(report(LAYOUTS[306], {16: 50000}, "0000000001")) == []
    strange = report(Layout([(59, 124), (150, 199)]), {**SETTINGS, 79: 1, 183: 1}, "0000000004", learnt=True)
    (line,) = lines(strange)
    assert "0000000004: the values" in line
    assert lines(strange) == []


def test_tables_of_three_phases_are_loaded_when_one_is_heard() -> None:
    code = """
import sys
from inverter_capture.backends.mqtt import homeassistant
from inverter_capture.protocol.guard import Guard
from inverter_capture.service import pipeline
from tests.test_readings import NOW, UTC, LAYOUTS, Layout, ReportReader, SECOND, report
reader = ReportReader(UTC)
reader.read(report(LAYOUTS[306], {}), NOW * SECOND)
assert not [name for name in sys.modules if "three_phase" in name]
reader.read(report(Layout([(586, 600)]), {}, learnt=True), NOW * SECOND)
assert len([name for name in sys.modules if "three_phase" in name]) == 2
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
