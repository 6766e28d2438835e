"""The tools other tests rely on: the simulated house, messages and reports, the dongle, scenarios, the bundled day,
packets, the network."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from inverter_capture.protocol.inverter_kinds import SINGLE_PHASE
from inverter_capture.protocol.registers import FIELDS
from tests import network as network_module
from tests.dongle.client import Dongle, Habits, simulate
from tests.dongle.day import day_capture, expected_day, make_day
from tests.dongle.house import House
from tests.dongle.inverter import Inverter, Report
from tests.dongle.messages import (
    RECORDED_MAP,
    REGISTER_KEY,
    REPORT,
    answer,
    ask_for_poll_map,
    control,
    cut_messages,
    entries_of,
    greeting,
    login,
    parse_header,
    parse_poll_map,
    poll_map,
    ranges_of,
    redirect,
    redirected_to,
    unknown,
)
from tests.dongle.profiles import LARGE, SMALL, THREE_PHASE, Profile
from tests.dongle.reports import RANGES, encode, encode_values, length_of, registers_in, words_of
from tests.dongle.scenarios import SCENARIOS, translate
from tests.dongle.server import CloudServer, parse_map
from tests.network import Host, Network, NetworkError, remove_leftovers, wait_for
from tests.wire import (
    DESTINATION_OPTIONS,
    ETHERTYPE_PPPOE,
    ETHERTYPE_QINQ,
    ETHERTYPE_VLAN,
    FRAGMENT,
    HOP_BY_HOP,
    LINK_ETHERNET,
    LINK_RAW,
    LINK_SLL,
    LINK_SLL2,
    PSH,
    SECOND,
    SYN,
    Connection,
    Endpoint,
    Record,
    ethernet,
    fragment_body,
    ipv4,
    ipv4_fragments,
    ipv6,
    options_body,
    pppoe,
    sll,
    sll2,
    tcp,
    write_pcap,
    write_pcapng,
)

MIDNIGHT = datetime(2024, 6, 20, 22, tzinfo=UTC)
"""On the houses' clocks."""

COMPLAINTS = r"incorrect|\bbad |\[\||truncated"
"""What tcpdump says of packets that are not right."""

Values = dict[str, int | float]


def minutes(profile: Profile, seed: int, count: int, step: int = 1) -> Iterator[tuple[datetime, Values]]:
    """So many minutes of a house, on its clock, from a midnight on; or only every few of them."""
    house = House(profile, MIDNIGHT, seed)
    for minute in range(0, count, step):
        moment = MIDNIGHT + timedelta(minutes=minute)
        yield moment + timedelta(hours=2), house.at(moment)


def tcpdump(capture: bytes) -> list[str]:
    """What tcpdump says of each packet of a capture file. It must have nothing to complain about."""
    words = ["tcpdump", "-r", "-", "-n", "-vv", "-tt", "-e"]
    done = subprocess.run(words, input=capture, capture_output=True, check=True)
    # The first names the file, the second is said of every capture of the second cooked kind.
    harmless = ("reading from file", "Warning: interface names might be incorrect")
    assert not [line for line in done.stderr.decode().splitlines() if not line.startswith(harmless)]
    # A packet's further lines do not begin with a time.
    return re.split(r"\n(?=\d+\.\d{6} )", done.stdout.decode().rstrip())


# --- the house ----------------------------------------------------------------------------------------------------


# A smaller seed is not a simpler house: nothing to shrink.
@settings(max_examples=4, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(profile=st.sampled_from((SMALL, LARGE)), seed=st.integers(0, 10_000))
def test_a_house_keeps_the_checks_that_hold_on_real_data(profile: Profile, seed: int) -> None:
    before: Values = {}
    energy = dict.fromkeys(("load", "pv", "import", "export", "inverter", "charge", "discharge"), 0.0)
    first: Values = {}
    for wall, values in minutes(profile, seed, 2 * 1440 + 10):
        check_moment(values)
        if before:
            check_counters(before, values, midnight=(wall.hour, wall.minute) == (0, 0))
            for name, power in (
                ("load", values["load_power"]),
                ("pv", values["pv_power"]),
                ("import", max(0, values["grid_power"])),
                ("export", max(0, -values["grid_power"])),
                ("inverter", values["inverter_power"]),
                ("charge", max(0, -values["battery_power"])),
                ("discharge", max(0, values["battery_power"])),
            ):
                energy[name] += power / 60_000
        before = values
        first = first or values
    for name, counter, share in (
        ("load", "load_consumption_total", 0.0),
        ("pv", "pv_production_total", 0.02),
        ("import", "grid_import_total", 0.0),
        ("export", "grid_export_total", 0.0),
        ("inverter", "inverter_energy_total", 0.0),
        ("charge", "battery_charge_total", 0.02),
        ("discharge", "battery_discharge_total", 0.02),
    ):
        assert before[counter] - first[counter] == pytest.approx(energy[name], rel=share, abs=0.11)


def near(one: float, other: float, tolerance: float) -> bool:
    """Whether they differ by no more. Quicker than pytest.approx, for many thousands of values."""
    return abs(one - other) <= tolerance


def check_moment(values: Values) -> None:
    """What must hold within one reading."""
    # The battery's settings and the like are not of the house.
    absent = {field.id for field in FIELDS if field.default and field.derived is None} - set(values)
    if values["inverter_state"] == 0:
        # The battery management system has not been heard yet.
        absent = {name for name in absent if SINGLE_PHASE.fields_by_id[name].group != "BMS"}
    assert all(SINGLE_PHASE.fields_by_id[name].quantity.device_class == "temperature" for name in absent), absent
    for name, value in values.items():
        field = SINGLE_PHASE.fields_by_id[name]
        assert field.quantity.minimum is None or value >= field.quantity.minimum, name
        assert field.quantity.maximum is None or value <= field.quantity.maximum, name
        assert isinstance(value, int) == (field.divisor == 1), name
        assert near(value * field.divisor, round(value * field.divisor), 1e-6), name
    assert near(values["battery_voltage"] * values["battery_current"], values["battery_power"], 1)
    for number in (1, 2, 3):
        product = values[f"pv_voltage_{number}"] * values[f"pv_current_{number}"]
        assert near(product, values[f"pv_power_{number}"], 1), number
    assert values["pv_power"] == values["pv_power_1"] + values["pv_power_2"] + values["pv_power_3"]
    assert values["essential_power"] == values["inverter_power"] + values["grid_power_l1"] - values["aux_power"]
    supplied = values["grid_import_total"] + values["inverter_energy_total"] - values["grid_export_total"]
    assert near(values["load_consumption_total"], supplied, 0.35)
    # What goes into the inverter comes out, but for its losses.
    losses = values["pv_power"] + values["battery_power"] - values["inverter_power"]
    assert -30 < losses < 90 + 0.07 * values["inverter_power"]
    if not values["grid_connected"]:
        assert values["grid_power"] == values["grid_voltage"] == values["grid_frequency"] == 0


def check_counters(before: Values, after: Values, *, midnight: bool) -> None:
    """Counters only rise; those of the day begin anew at the inverter's midnight, and only then."""
    for name in after:
        if name.endswith("_total"):
            assert after[name] >= before[name], name
        if name.endswith(
            ("_energy_today", "_production_today", "_consumption_today", "_charge_today", "_import_today")
        ):
            if midnight:
                assert after[name] == 0, name
            else:
                assert after[name] >= before[name], name


def test_a_house_is_the_same_however_often_it_is_asked() -> None:
    often, seldom = House(SMALL, MIDNIGHT, 3), House(SMALL, MIDNIGHT, 3)
    for minute in range(600):
        often.at(MIDNIGHT + timedelta(minutes=minute))
    noon = MIDNIGHT + timedelta(hours=12, seconds=17)
    assert often.at(noon) == seldom.at(noon) == seldom.at(noon + timedelta(seconds=30))
    assert House(SMALL, MIDNIGHT, 4).at(noon) != seldom.at(noon)
    with pytest.raises(ValueError, match="before"):
        seldom.at(MIDNIGHT)


def test_a_house_begins_in_standby_and_then_works() -> None:
    states = [values["inverter_state"] for _, values in minutes(LARGE, 1, 60)]
    assert states == sorted(states)
    assert set(states) == {0, 1, 2}
    standby = next(iter(minutes(LARGE, 1, 1)))[1]
    assert "bms_temperature" not in standby
    assert standby["inverter_power"] == 0
    assert standby["grid_power"] == standby["load_power"] > 0


def test_days_have_sun_and_trouble_now_and_then() -> None:
    seen = [values for seed in range(3) for _, values in minutes(SMALL, seed, 4 * 1440, 10)]
    noon = max(values["pv_power"] for values in seen)
    assert 1500 < noon < SMALL.strings[0].peak
    assert {values["grid_connected"] for values in seen} == {0, 1}
    assert any(values["inverter_warnings"] for values in seen)
    assert any(values["inverter_faults"] for values in seen)
    assert min(values["battery_soc"] for values in seen) < 30 < 90 < max(values["battery_soc"] for values in seen)
    assert (
        min(values["battery_power"] for values in seen) < -500 < 500 < max(values["battery_power"] for values in seen)
    )


def test_month_and_year_counters_begin_anew() -> None:
    new_year = datetime(2024, 12, 31, 22, tzinfo=UTC)
    house = House(LARGE, new_year - timedelta(minutes=20))
    names = ("pv_production_month", "pv_production_year", "load_consumption_month", "load_consumption_year")
    assert all(house.at(new_year - timedelta(minutes=1))[name] > 100 for name in names)
    assert all(house.at(new_year)[name] == 0 for name in names)


# --- messages and reports -----------------------------------------------------------------------------------------

RECORDED = {
    "login": "a506010100b80000040020453030303030303030303031000000004b455930303030300000000000000000",
    "login answered": "a506a101010000000400081a0911071529001d",
    "map asked": "a506010b02b80000050070" + 112 * "00",
    "map": "a506a10b01000000050089312e34000000000000000000000000001400000300"
    "0d01010003000f0100000300100201000300140201000300190e010003002801"
    "010003002b10030003002e02020003003004000003003601000003003b420000"
    "0300963201000300c86400000300cc0100010300f401010003012c1000000301"
    "380801000301406401000301b13700010301eb01",
    "report": "a506010902b80000090127313233343536373839300000000000000000000000"
    "00000000001a0911071603013388c350000000000002ffff00d3000095fb0000"
    "02080c3c017b2a3a0000000100004ca900003680000000360000b82013830001"
    "00120000000000344e0b00028db0000003e805e505950000000107d00000d445"
    "00001fcb00000a010000000000000000000000000064000006d0001100730000"
    "000000000000000000000000660201ac0002cf5e21a8002a090e0000090e0000"
    "090d0000090d093500000000008f000001350000009600000000014c0000015e"
    "015e0000015e011300000113027100000271025f0000006404c715360063025f"
    "0131000000000000ffe7ffd11383138300015010000000630000000000640002"
    "154000000000006800631517000004c70000",
    "report answered": "a506a10901000000090000",
}
"""The messages of the one connection on record, of 2026, in which serial numbers and key are made up."""


def recorded(name: str) -> bytes:
    return bytes.fromhex(RECORDED[name])


def word(report: bytes, ranges: Any, register: int) -> int:
    """The word of a register, counted through the ranges."""
    value: int = struct.unpack_from(">H", report, 44 + 2 * registers_in(ranges).index(register))[0]
    return value


def test_messages_come_out_as_they_were() -> None:
    asked = recorded("login")
    assert login("E00000000001", key="KEY00000", number=4) == asked
    assert answer(asked, datetime(2026, 9, 17, 7, 21, 41)) == recorded("login answered")
    assert ask_for_poll_map(5) == recorded("map asked")
    assert poll_map(RECORDED_MAP, number=5) == recorded("map")
    assert parse_poll_map(recorded("map")) == RECORDED_MAP
    assert answer(recorded("report")) == recorded("report answered")


def test_the_report_of_2026_comes_out_as_it_was() -> None:
    body = recorded("report")
    ranges = ranges_of(RECORDED_MAP)
    words = dict(zip(registers_in(ranges), struct.unpack(">131H", body[44:]), strict=True))
    assert encode("1234567890", datetime(2026, 9, 17, 7, 22, 3), words, ranges, number=9) == body
    # What the description says of it: where registers stand, and what they mean.
    assert ranges == RANGES[306]
    assert words[16] | words[17] << 16 == 50000
    assert (words[204], words[244]) == (100, 2)
    values = {
        "grid_voltage": 231.8, "battery_soc": 99, "grid_power": 350, "battery_power": -25, "load_power": 625,
        "battery_voltage": 54.3, "essential_power": 607, "bms_voltage": 53.99, "pv_power_1": 305,
        "bms_charge_voltage": 54.4, "grid_import_total": 11267.2, "bms_temperature": 22.3,
        "pv_production_total": 5434.1,
    }  # fmt: skip
    described = words_of(values)
    assert {register: words[register] for register in described} == described


# Offsets that the description gives, worked out by hand: in 292, in 302 and in 306 bytes; and the word there.
PLACES = (
    (44, 52, 52, 2),  # 59, inverter_state
    (82, 90, 90, 4465),  # 78, low word of 70001
    (86, 94, 94, 1),  # 80, its high word
    (128, 136, 136, 0),  # 101, low word of the warnings
    (130, 138, 138, 0x4000),  # 102
    (136, 144, 144, 4),  # 105, third word of the faults
    (176, 184, 184, 2333),  # 150, grid_voltage
    (240, 248, 248, 1206),  # 182, battery_temperature
    (244, 252, 252, 54),  # 184, battery_soc
    (256, 264, 264, 0xFD81),  # 190, battery_power
    (258, 266, 266, 0xFB54),  # 191, battery_current
    (288, 298, 300, 10),  # 318, bms_current
    (290, 300, 302, 0),  # 319, no bms_temperature
)
REAL: dict[str, float] = {
    "inverter_state": 2,
    "battery_power": -639,
    "battery_current": -11.96,
    "battery_temperature": 20.6,
    "battery_soc": 54,
    "grid_voltage": 233.3,
    "grid_import_total": 7000.1,
    "inverter_warnings": 1 << 30,
    "inverter_faults": 1 << 34,
    "bms_current": 10,
}
CLOCK = datetime(2022, 11, 5, 8, 32, 46)


@pytest.mark.parametrize(("column", "length"), list(enumerate(RANGES)))
def test_reports_have_their_words_where_the_description_says(column: int, length: int) -> None:
    report = encode_values("1235687108", CLOCK, REAL, length, number=250)
    assert len(report) == length
    assert report[:9].hex() == "a506010902b80000fa"
    assert struct.unpack_from(">H", report, 9)[0] == length - 11
    assert report[11:21] == b"1235687108"
    assert report[21:37] == bytes(16)
    assert report[37:44].hex() == "160b0508202e01"
    for row in PLACES:
        assert struct.unpack_from(">H", report, row[column])[0] == row[-1], row
    extra = {302: {44: 13, 46: 16, 48: 17, 50: 54, 284: 204}, 306: {284: 204, 286: 244, 304: 491}}
    assert all(registers_in(RANGES[length])[(at - 44) // 2] == what for at, what in extra.get(length, {}).items())


# What the description says of the one real report of 2022.
REAL_VALUES = {
    "inverter_state": 2,
    "battery_soc": 54,
    "battery_power": -639,
    "battery_temperature": 21.0,
    "pv_voltage_1": 163.7,
    "inverter_power": 230,
    "grid_import_total": 74.3,
    "load_consumption_total": 316.7,
    "grid_frequency": 49.86,
    "grid_voltage": 233.3,
    "battery_voltage": 53.43,
    "battery_current": -11.96,
    "pv_power_1": 930,
    "pv_current_1": 5.7,
    "grid_power": 0,
    "grid_export_total": 0.5,
    "pv_production_total": 357.8,
    "inverter_temperature_dc": 58.4,
    "bms_voltage": 53.38,
    "bms_current": 10,
}


def test_the_report_of_2022_comes_out_as_it_was(real_report: bytes) -> None:
    ranges = RANGES[292]
    words = {register: word(real_report, ranges, register) for register in registers_in(ranges)}
    assert encode("1235687108", CLOCK, words, ranges, number=0xFA, signal=0xCE) == real_report
    described = words_of(REAL_VALUES)
    assert {register: words[register] for register in described} == described


@given(st.data())
@settings(max_examples=30)
def test_every_value_is_found_where_the_table_says(data: st.DataObject) -> None:
    ranges = RANGES[data.draw(st.sampled_from(list(RANGES)))]
    held = set(registers_in(ranges))
    field = data.draw(st.sampled_from([field for field in FIELDS if field.registers and held >= {*field.registers}]))
    bits = 16 * len(field.registers)
    raw = data.draw(st.integers(0, (1 << bits) - 1))
    signed = raw - (1 << bits) if field.quantity.signed and raw >> bits - 1 else raw
    value = signed / field.divisor + field.quantity.bias
    report = encode_values("ABCDEFGHI1", CLOCK, {field.id: value}, length_of(ranges))
    words = [word(report, ranges, register) for register in field.registers]
    assert sum(part << 16 * position for position, part in enumerate(words)) == raw


def test_a_report_of_any_ranges() -> None:
    ranges = ((65535, 65535), (3, 4), (500, 500), (4, 4))
    report = encode("ABCDEFGHI1", CLOCK, {3: 1, 4: 2, 500: 0xFFFF, 59: 7}, ranges)
    assert report[44:].hex() == "000000010002ffff0002"
    assert len(report) == length_of(ranges) == 54


def test_what_makes_no_report_is_refused() -> None:
    for serial, words in (("123568710", {}), ("1235687108", {59: 65536}), ("1235687108", {59: -1})):
        with pytest.raises(ValueError, match=r"characters|fit"):
            encode(serial, CLOCK, words, RANGES[292])
    with pytest.raises(ValueError, match="fit"):
        words_of({"grid_voltage": 6553.6})


def test_messages_are_cut_by_their_length() -> None:
    messages = [*greeting(number=254), control(9), redirect("ukiot.sunsynk.net", 51100), answer(control(9))]
    assert cut_messages(b"".join(messages) + messages[0][:20]) == (messages, messages[0][:20])
    assert [parse_header(message).number for message in messages[:5]] == [254, 255, 0, 1, 2]
    # The lengths on record.
    assert {len(message) for message in messages} >= {11, 34, 43, 123}
    assert redirected_to(messages[-2]) == "ukiot.sunsynk.net:51100"
    with pytest.raises(ValueError, match="no message"):
        cut_messages(control(1) + b"HTTP/1.1 200 OK")


# --- the dongle and its server ------------------------------------------------------------------------------------

BARE = Habits(greets=False)


def send_readings(habits: Habits, server: CloudServer, readings: int = 6, offline: range = range(0)) -> list[Report]:
    """Sends readings to a server on this machine."""
    delivered: list[Report] = []
    dongle = Dongle(server.address, habits._replace(patience=5), delivered.append, dongle_serial=LARGE.dongle_serial)
    inverter = Inverter(LARGE, MIDNIGHT)
    simulate(dongle, inverter, MIDNIGHT, readings, offline=offline, pace=0)
    return delivered


def numbered(reports: list[Report]) -> list[bytes]:
    return [report.message(number) for number, report in enumerate(reports)]


@pytest.mark.parametrize(
    ("habits", "connections"),
    [
        (Habits(), 1),
        (BARE, 1),
        (Habits(split=(1, 10, 200), pause=0.001), 1),
        (Habits(split_randomly=True, pause=0.001), 1),
        (Habits(merge=4), 1),
        (Habits(reconnect_every=2), 3),
        (Habits(reconnect_every=3, resets=True), 2),
    ],
)
def test_a_server_gets_every_report_whole(habits: Habits, connections: int) -> None:
    with CloudServer() as server:
        delivered = send_readings(habits, server)
        wait_for(lambda: len(server.reports) >= 6, "last report")
    assert len(delivered) == 6
    assert server.reports == numbered(delivered)
    assert {len(report) for report in server.reports} == {306}
    assert len(server.received) == connections
    for stream in server.received:
        messages, rest = cut_messages(stream)
        assert rest == b""
        greeted = messages[:5] if habits.greets else []
        assert greeted == (greeting(LARGE.dongle_serial, parse_header(greeted[0]).number) if greeted else [])
        assert {parse_header(message).type for message in messages[len(greeted) :]} == {REPORT}


@pytest.mark.parametrize("text", ["292", "302", "306", "13,59-124,500-558"])
def test_reports_hold_what_the_server_asks_for(text: str) -> None:
    with CloudServer(poll_map=parse_map(text), piece=7) as server:
        delivered = send_readings(Habits(), server, 2)
        # A map that changes counts from the next connection on.
        server.poll_map = entries_of([(150, 199)])
        delivered += send_readings(Habits(), server, 1)
        wait_for(lambda: len(server.reports) >= 3, "last report")
    ranges = ranges_of(parse_map(text))
    assert [report.ranges for report in delivered] == [ranges, ranges, ((150, 199),)]
    lengths = {"292": 292, "302": 302, "306": 306, "13,59-124,500-558": 44 + 2 * (1 + 66 + 59)}
    assert [len(report) for report in server.reports] == [lengths[text], lengths[text], 144]
    # Nothing that such a report does not hold is expected of it.
    assert "battery_soc" in delivered[2].values
    assert "inverter_state" in delivered[0].values
    assert "inverter_state" not in delivered[2].values


def test_a_dongle_goes_where_it_is_sent() -> None:
    with CloudServer() as last, CloudServer(redirect_to=last.address) as first:
        delivered = send_readings(Habits(), first, 2)
        wait_for(lambda: len(last.reports) >= 2, "last report")
    assert last.reports == numbered(delivered)
    (stream,) = first.received
    assert stream == login(LARGE.dongle_serial)


def test_a_server_answers_each_message() -> None:
    said = [*greeting(LARGE.dongle_serial, 4), control(9), unknown(0x42, 10), encode_values("1235687108", CLOCK, {})]
    with CloudServer() as server, socket.create_connection(server.address) as connection:
        connection.sendall(b"".join(said))
        heard = b""
        while len(cut_messages(heard)[0]) < len(said):
            heard += connection.recv(4096)
        answers, _ = cut_messages(heard)
        connection.sendall(b"no message")
        connection.sendall(control(77))
        wait_for(lambda: len(b"".join(server.received)) > len(b"".join(said)) + 10, "last message")
    headers = [parse_header(each) for each in answers]
    assert [(each.type, each.number) for each in headers] == [
        (asked.type, asked.number) for asked in map(parse_header, said)
    ]
    assert not any(each.from_dongle or each.signal for each in headers)
    assert [each.length for each in headers] == [19, 11, 11, 148, 11, 11, 11, 11]
    assert answers[3] == poll_map(RECORDED_MAP, number=7)


def test_a_dongle_sends_later_what_it_kept() -> None:
    with CloudServer(answers=False) as server:
        delivered = send_readings(BARE._replace(controls=True, pause=0), server, 5, range(1, 4))
        expected = []
        for number, report in enumerate(numbered(delivered)):
            expected += [control(number), report]
        wait_for(lambda: sum(map(len, server.received)) >= len(b"".join(expected)), "last report")
    assert b"".join(server.received) == b"".join(expected)
    assert len(server.received) == 2
    assert [report.moment for report in delivered] == [MIDNIGHT + number * timedelta(minutes=5) for number in range(5)]


@pytest.mark.parametrize("reset", [False, True])
def test_a_dongle_outlives_a_server_that_hangs_up(reset: bool) -> None:
    with CloudServer(close_after=2, reset=reset, answers=False) as server:
        delivered: list[Report] = []

        def keep_step(report: Report) -> None:
            delivered.append(report)
            wait_for(lambda: len(set(server.reports)) >= len(delivered), "report")
            wait_for(lambda: len(server.receipts[-1]) < 2 or not server.open_connections, "end of the connection")

        dongle = Dongle(server.address, BARE._replace(patience=5), keep_step)
        simulate(dongle, Inverter(LARGE, MIDNIGHT), MIDNIGHT, 6, pace=0)
    # An RST may hide that the last report before it was received: then it comes twice.
    assert list(dict.fromkeys(server.reports)) == numbered(delivered)
    assert reset or [len(brought) for brought in server.received] == [612, 612, 612]


def test_the_client_command_prints_what_should_be_decoded() -> None:
    with CloudServer() as server:
        words = [sys.executable, "-m", "tests.dongle.client", "--server", f"127.0.0.1:{server.address[1]}"]
        words += ["--readings", "3", "--split", "100,1", "--zone", "America/New_York", "--start", "2024-07-01T12:00"]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=network_module.ROOT)
        wait_for(lambda: len(server.reports) >= 3, "last report")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["time"][11:] for line in lines] == ["12:00:00+00:00", "12:05:00+00:00", "12:10:00+00:00"]
    for number, line in enumerate(lines):
        assert line["timestamp"] == datetime.fromisoformat(line["time"]).timestamp() * SECOND
        clock = datetime(2024, 7, 1, 8, 5 * number)
        assert encode_values(line["serial"], clock, line["values"], number=number) == server.reports[number]


def test_a_three_phase_inverter_is_another_table() -> None:
    inverter = Inverter(THREE_PHASE, MIDNIGHT)
    for minute in range(0, 1440, 30):
        report = inverter.report(MIDNIGHT + timedelta(minutes=minute))
        values = report.values
        known = values.keys() & report.measured.keys()
        # A good part of what the house measures has a place in this table too.
        assert len(known) > 30
        assert {name: values[name] for name in known} == {name: report.measured[name] for name in known}
        assert len(report.message()) == 44 + 2 * (2 + 2 + 59 + 123 + 10)
        assert report.words[14] >> 8 == 0x20
        assert report.words[20] | report.words[21] << 16 == 10 * THREE_PHASE.inverter_power


# --- scenarios ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenarios_are_what_they_say(name: str) -> None:
    made = [SCENARIOS[name](seed) for seed in range(3)]
    assert made[0] == SCENARIOS[name](0)
    assert made[0] != made[1]
    for packets, expected in made:
        times = [packet.time for packet in packets]
        assert times == sorted(times)
        file = io.BytesIO()
        write_pcap(file, packets)
        lines = tcpdump(file.getvalue())
        assert len(lines) == len(packets)
        assert not [line for line in lines if re.search(COMPLAINTS, line)]
        # What is expected was sent: the registers stand in some report, at the time that they say.
        assert len({(reading.serial, reading.time) for reading in expected}) == len(expected)
        assert expected or name in ("lost_map", "map_in_the_wrong_direction")


def test_address_translation_keeps_all_but_addresses() -> None:
    line = Connection(Endpoint("192.168.8.202", 50586), Endpoint("203.0.113.10", 51100), sequence=2**32 - 10)
    line.send(line.open(SECOND), b"a" * 40)
    line.reply(SECOND, b"hello")
    records = [Record(time, translate(data, "192.168.8.202", "198.51.100.20", 7)) for time, data in line.records]
    files = io.BytesIO(), io.BytesIO()
    write_pcap(files[0], line.records)
    write_pcap(files[1], records)
    before, after = (tcpdump(file.getvalue()) for file in files)
    for one, other in zip(before, after, strict=True):
        assert "192.168" not in other
        assert "198.51.100.20.7 >" in other or "> 198.51.100.20.7:" in other
        assert re.findall(r"Flags.*? cksum|length \d+$", one) == re.findall(r"Flags.*? cksum|length \d+$", other)
        assert "(correct)" in other


# --- the bundled day ----------------------------------------------------------------------------------------------

DAY = Path(__file__).parent / "captures" / "day.pcap"


def test_the_bundled_day_is_what_the_simulator_makes() -> None:
    assert DAY.read_bytes() == day_capture()
    assert DAY.stat().st_size < 600_000


def test_tcpdump_finds_nothing_wrong_with_the_day() -> None:
    lines = tcpdump(day_capture())
    assert len(lines) == len(make_day().records)
    assert sum("(correct)" in line for line in lines) > 3000
    assert not [line for line in lines if re.search(COMPLAINTS, line)]


def test_the_day_has_every_report_that_is_expected_and_what_makes_it_hard() -> None:
    expected = expected_day()
    assert len(expected) == 2 * 288
    for profile in (SMALL, LARGE):
        times = [reading["timestamp"] for reading in expected if reading["serial"] == profile.serial]
        assert len(set(times)) == 288
        assert times == sorted(times)
    # The backlog is an hour late.
    late = [each for each in make_day().deliveries if each.time / SECOND - each.report.moment.timestamp() > 60]
    assert len(late) == 12
    small = [reading["values"] for reading in expected if reading["serial"] == SMALL.serial]
    # A high register begins to count.
    assert small[0]["grid_import_total"] < 6553.6 < small[-1]["grid_import_total"]
    assert {values["grid_connected"] for values in small} == {0, 1}
    assert any(values["inverter_warnings"] > 0xFFFF for values in small)
    assert {reading["values"]["inverter_state"] for reading in expected} == {0, 1, 2}

    large = [each.report.moment for each in make_day().deliveries if each.report.serial == LARGE.serial]
    assert {after - before for before, after in pairwise(large)} == {timedelta(seconds=69)}

    streams = joined_streams(make_day().records)
    assert REGISTER_KEY.encode() in b"".join(streams)
    sent = [report for stream in streams for report in reports_in(stream)]
    expected_bodies = sorted(delivery.report.message()[11:] for delivery in make_day().deliveries)
    assert sorted(report[11:] for report in sent) == expected_bodies
    assert {len(report) for report in sent} == {292, 306}


def reports_in(stream: bytes) -> Iterator[bytes]:
    """The reports in a stream; bytes that the capture misses are zero, and pass for nothing."""
    while stream:
        if stream[0] == 0:
            stream = stream.lstrip(b"\0")
            continue
        length = parse_header(stream).length
        if parse_header(stream).type == REPORT:
            yield stream[:length]
        stream = stream[length:]


def joined_streams(records: list[Record]) -> list[bytes]:
    """What the dongles sent, by connection, each byte at its place; bytes that the capture misses are zero."""
    streams: list[bytearray] = []
    current: dict[tuple[bytes, int], tuple[int, bytearray]] = {}
    for _, data in records:
        if data[12:14] != b"\x08\x00" or data[23] != 6:
            continue
        (length,) = struct.unpack_from(">H", data, 16)
        source, (source_port, port, sequence) = data[26:30], struct.unpack_from(">HHI", data, 34)
        start, flags = 34 + (data[46] >> 4) * 4, data[47]
        if port != 51100:
            continue
        if flags & SYN:
            current[source, source_port] = ((sequence + 1) % 2**32, bytearray())
            streams.append(current[source, source_port][1])
            continue
        first, stream = current[source, source_port]
        payload = data[start : 14 + length]
        offset = (sequence - first) % 2**32
        if not flags & PSH or offset > 10_000_000:
            continue
        stream.extend(bytes(max(0, offset + len(payload) - len(stream))))
        stream[offset : offset + len(payload)] = payload
    return [bytes(stream) for stream in streams]


# --- packets ------------------------------------------------------------------------------------------------------

FOUR = ("192.168.8.202", 50586, "203.0.113.10", 51100)
SIX = ("fd00:8::202", 50586, "2001:db8::10", 51100)


def packet_v4(**options: Any) -> bytes:
    """A packet with an odd number of bytes."""
    return ipv4(FOUR[0], FOUR[2], tcp(*FOUR, 2**32 - 1, b"x" * 99), **options)


def packet_v6(**options: Any) -> bytes:
    """The same in IPv6."""
    return ipv6(SIX[0], SIX[2], tcp(*SIX, 7, b"x" * 99, options=b"\x01\x01\x01"), **options)


EXTENSIONS = ((HOP_BY_HOP, options_body(6)), (DESTINATION_OPTIONS, options_body(14)))


@pytest.mark.parametrize(
    ("link_type", "data", "words"),
    [
        (LINK_ETHERNET, ethernet(packet_v4()), ["ethertype IPv4"]),
        (LINK_ETHERNET, ethernet(packet_v4(options=b"\x94\x04\x00\x00")), ["options (RA)"]),
        (LINK_ETHERNET, ethernet(packet_v4(), tags=[(ETHERTYPE_VLAN, 5)]), ["802.1Q", "vlan 5"]),
        (
            LINK_ETHERNET,
            ethernet(packet_v4(), tags=[(ETHERTYPE_QINQ, 100), (ETHERTYPE_VLAN, 5)]),
            ["802.1Q-QinQ", "vlan 100", "vlan 5"],
        ),
        (LINK_ETHERNET, ethernet(pppoe(packet_v4()), ethertype=ETHERTYPE_PPPOE), ["PPPoE", "ses 0x1"]),
        (LINK_ETHERNET, ethernet(pppoe(packet_v6()), ethertype=ETHERTYPE_PPPOE), ["PPPoE", "fd00:8::202"]),
        (LINK_ETHERNET, ethernet(packet_v6()), ["ethertype IPv6"]),
        (LINK_ETHERNET, ethernet(packet_v6(extensions=EXTENSIONS)), ["HBH", "DSTOPT"]),
        (LINK_RAW, packet_v4(), []),
        (LINK_RAW, packet_v6(), []),
        (LINK_SLL, sll(packet_v4()), ["ethertype IPv4"]),
        (LINK_SLL, sll(packet_v6(), kind=4), ["ethertype IPv6"]),
        (LINK_SLL2, sll2(packet_v4()), ["ethertype IPv4"]),
    ],
)
def test_tcpdump_reads_packets_of_every_link_layer(link_type: int, data: bytes, words: list[str]) -> None:
    file = io.BytesIO()
    write_pcap(file, [Record(SECOND, data)], link_type=link_type)
    (line,) = tcpdump(file.getvalue())
    assert "(correct)" in line
    assert "50586 >" in line
    assert "length 99" in line
    assert not [word for word in words if word not in line]


def test_fragments_make_the_packet_again() -> None:
    segment = tcp(*FOUR, 1, bytes(range(200)))
    pieces = ipv4_fragments(FOUR[0], FOUR[2], segment, (64, 80), identification=9)
    file = io.BytesIO()
    write_pcap(file, [Record(SECOND, ethernet(piece)) for piece in pieces])
    lines = tcpdump(file.getvalue())
    assert [re.findall(r"offset (\d+), flags \[(\S+?)\]", line) for line in lines] == [
        [("0", "+")],
        [("64", "+")],
        [("144", "none")],
    ]
    assert b"".join(piece[20:] for piece in pieces) == segment
    six = ipv6(SIX[0], SIX[2], segment[:64], extensions=[(FRAGMENT, fragment_body(0, more=True))])
    file = io.BytesIO()
    write_pcap(file, [Record(SECOND, ethernet(six))])
    assert "frag (0x00000001:0|64)" in tcpdump(file.getvalue())[0]


@pytest.mark.parametrize("write", [write_pcap, write_pcapng])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_capture_files_of_every_kind_are_read(write: Any, byte_order: str, nanoseconds: bool) -> None:
    time = 1_718_920_800_123_456_789
    file = io.BytesIO()
    records = [Record(time, ethernet(packet_v4())), Record(time + SECOND, ethernet(packet_v6()))]
    write(file, records, byte_order=byte_order, nanoseconds=nanoseconds)
    words = ["tcpdump", "-r", "-", "-n", "-tt", "--nano"]
    lines = subprocess.run(words, input=file.getvalue(), capture_output=True, check=True).stdout.decode().splitlines()
    assert lines[0].startswith("1718920800.123456789 IP " if nanoseconds else "1718920800.123456000 IP ")
    assert lines[1].startswith("1718920801.")
    assert len(lines) == 2


@pytest.mark.parametrize("write", [write_pcap, write_pcapng])
def test_cut_packets_keep_their_length_on_record(write: Any) -> None:
    file = io.BytesIO()
    write(file, [Record(SECOND, ethernet(packet_v4()))] * 2, snap_length=60)
    lines = tcpdump(file.getvalue())
    assert len(lines) == 2
    assert all("length 153" in line for line in lines)


@pytest.mark.parametrize("address", ["192.168.8.202", "fd00:8::202"])
def test_a_connection_is_believable(address: str) -> None:
    server = "203.0.113.10" if "." in address else "2001:db8::10"
    line = Connection(Endpoint(address, 50586), Endpoint(server, 51100), sequence=2**32 - 10)
    time = line.send(line.open(SECOND), b"a" * 40, (7,))
    time = line.reply(time, b"hello")
    line.keep_alive(time + SECOND)
    line.repeat(time + 2 * SECOND, b"a" * 33)
    line.close(time + 3 * SECOND)
    file = io.BytesIO()
    write_pcap(file, line.records)
    lines = tcpdump(file.getvalue())
    assert all("(correct)" in each for each in lines)
    flags = [re.findall(r"Flags \[(\S+?)\]", each)[0] for each in lines]
    assert " ".join(flags) == "S S. . P. . P. . P. . . . P. . F. F. ."
    assert [record.time for record in line.records] == sorted(record.time for record in line.records)
    # tcpdump counts from the handshake on, and the numbers have passed 2**32.
    assert "seq 1:8, ack 1" in lines[3]
    assert "seq 8:41, ack 1" in lines[5]
    assert "ack 41," in lines[6]


# --- the network --------------------------------------------------------------------------------------------------


def exchange(network: Network, address: str, client: Host | None = None) -> None:
    """A dongle, on its own host or another, sends two readings to the server's address, and gets through."""
    bracketed = f"[{address}]" if ":" in address else address
    listen = [sys.executable, "-m", "tests.dongle.server", "--listen", f"{bracketed}:51100"]
    server = network.popen(network.server, listen, stdout=subprocess.PIPE, cwd=network_module.ROOT)
    assert server.stdout is not None
    assert json.loads(server.stdout.readline())["event"] == "listening"
    send = [sys.executable, "-m", "tests.dongle.client", "--server", f"{bracketed}:51100", "--readings", "2"]
    assert len(network.run(client or network.dongle, [*send, "--patience", "5"]).splitlines()) == 2
    server.kill()
    server.wait()


def watch(network: Network, where: Any, device: str, path: Path) -> subprocess.Popen[str]:
    """Writes a line for each packet of a device to a file, from now on."""
    words = ["tcpdump", "-n", "-l", "-e", "-vv", "--immediate-mode", "-i", device]
    with open(path, "w", encoding="utf-8") as file:
        process = network.popen(where, words, stdout=file, stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert "listening on" in process.stderr.readline()
    return process


def test_the_bridge_carries_connections_and_nothing_else(tmp_path: Path) -> None:
    with Network(offloads=False) as network:
        places = ((network.router, "br-lan"), (network.dongle, "eth0"), (network.server, "eth0"))
        paths = [tmp_path / str(number) for number in range(len(places))]
        watchers = [watch(network, *place, path) for place, path in zip(places, paths, strict=True)]
        exchange(network, network.server.ipv4)
        exchange(network, network.server.ipv6)
        network.add_vlan(network.dongle, 5)
        exchange(network, network.add_vlan(network.server, 5))
        # The last packets are on their way to the file.
        wait_for(lambda: all(path.read_text().count("vlan 5") > 10 for path in paths), "VLAN's packets")
        for watcher in watchers:
            watcher.terminate()
            watcher.wait()
        for path in paths:
            packets = re.sub(r"\n\s+", " ", path.read_text()).splitlines()
            assert all(".51100" in packet and "(correct)" in packet for packet in packets)
            assert any("IPv6" in packet for packet in packets)


def test_the_network_comes_back_after_a_restart() -> None:
    with Network() as network:
        network.delete_bridge()
        assert "br-lan" not in network.run(network.router, ["ip", "link"])
        network.create_bridge()
        network.set_link(network.router, "br-lan", up=False)
        network.set_link(network.router, "br-lan", up=True)
        for host in (network.dongle, network.server):
            network.set_link(host, "eth0", up=False)
            network.set_link(host, "eth0", up=True)
        exchange(network, network.server.ipv4)
        exchange(network, network.server.ipv6)


def test_further_hosts_are_on_the_bridge_too() -> None:
    with Network(ipv6=False) as network:
        exchange(network, network.server.ipv4, network.add_host("phone", 50))


def namespaces() -> set[str]:
    """All there are."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return {line.split()[0] for line in listed.stdout.splitlines()}


def test_nothing_is_left_of_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with Network() as network:
        sleeper = network.popen(network.dongle, ["sleep", "60"])
        names = {network.router, network.dongle.namespace, network.server.namespace}
        assert names <= namespaces()
        with pytest.raises(NetworkError, match="Cannot find device"):
            network.run(network.router, ["ip", "link", "set", "dev", "missing", "up"])
    assert sleeper.returncode is not None
    assert not names & namespaces()

    # Ctrl-C in the middle of setting up.
    def interrupt(self: Network, label: str, number: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Network, "add_host", interrupt)
    network = Network()
    with pytest.raises(KeyboardInterrupt):
        network.open()
    assert network.router not in namespaces()


def test_leftovers_of_killed_tests_are_removed() -> None:
    lines = (
        "import os; from subprocess import DEVNULL; from tests.network import Network; n = Network(); n.open(); "
        "n.popen(n.server, ['sleep', '60'], stdout=DEVNULL, stderr=DEVNULL); print(n.router, flush=True); os._exit(1)"
    )
    words = [sys.executable, "-c", lines]
    done = subprocess.run(words, capture_output=True, text=True, cwd=network_module.ROOT, check=False)
    router = done.stdout.strip()
    server = router.replace("router", "server")
    assert {router, server} <= namespaces()
    (left,) = subprocess.run(["ip", "netns", "pids", server], capture_output=True, text=True, check=True).stdout.split()
    with Network() as other:
        assert not {router, server} & namespaces()
        assert other.router in namespaces()
        remove_leftovers()
        assert other.router in namespaces()
    wait_for(lambda: not os.path.exists(f"/proc/{left}") or is_zombie(int(left)), "end of what was left")


def is_zombie(process: int) -> bool:
    """Whether it has ended and only waits for its parent."""
    with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"
