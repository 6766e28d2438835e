"""What Home Assistant is told: every field as the protocol's description has it, and names that people can read."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from itertools import pairwise
from math import isfinite
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inverter_capture import __version__
from inverter_capture.backends.mqtt import homeassistant
from inverter_capture.backends.mqtt.freshness import Freshness
from inverter_capture.backends.mqtt.homeassistant import OTHER, UNKNOWN, Device, Service, Topics
from inverter_capture.backends.status import BackendStatus, no_status
from inverter_capture.protocol.inverter_kinds import (
    HIGH_VOLTAGE,
    KINDS,
    LOW_VOLTAGE,
    SINGLE_PHASE,
    THREE_PHASE,
    Kind,
)
from inverter_capture.protocol.layouts import LAYOUTS, Layout
from inverter_capture.protocol.readings import Reading
from inverter_capture.protocol.registers import FIELDS
from inverter_capture.protocol.times import SECOND
from tests import tables

SERIAL = "AB12cd34EF"
STALE_AFTER = 900.0
TOPICS = Topics("inverter-capture", "homeassistant")
SERVICE = Service("a1b2c3", "OpenWrt", "http://192.168.1.1/cgi-bin/luci/admin/services/inverter-capture")
USUAL = Device(SINGLE_PHASE, tuple(field.id for field in SINGLE_PHASE.fields_in(LAYOUTS[292])))
BACKENDS = (
    BackendStatus("influxdb2 http://192.168.1.10:8086", True, 10, 2, 1, ""),
    BackendStatus("influxdb2 http://192.168.1.10:8086", True, 10, 0, 0, ""),
    BackendStatus("mqtt mqtt://höhe", True, 10, 0, 0, ""),
)
DERIVED = {"battery_state", "battery_capacity_energy", "losses_power", "losses_total"}
WORDS = ("inverter_warnings", "inverter_faults", "inverter_state", "sd_status", "generator_relay", "grid_connected")

UNITS = {
    "power": "W",
    "voltage": "V",
    "current": "A",
    "frequency": "Hz",
    "temperature": "°C",
    "energy": "kWh",
    "battery": "%",
    "duration": ("h", "d", "min", "s"),
    "apparent_power": "VA",
    "energy_storage": "kWh",
    "power_factor": "%",
}
"""What Home Assistant takes for each class; it takes more, but we need no others."""


FIRST_IDS = """
aux_power battery_capacity battery_charge_today battery_charge_total battery_current
battery_discharge_today battery_discharge_total battery_power battery_soc battery_temperature battery_voltage
bms_charge_limit_current bms_charge_voltage bms_current bms_discharge_limit_current bms_soc bms_temperature
bms_voltage essential_power grid_connected grid_current grid_export_today grid_export_total
grid_frequency grid_import_today grid_import_total grid_power grid_power_ct grid_power_l1 grid_voltage
inverter_current inverter_energy_today inverter_energy_total inverter_faults inverter_faults_problem
inverter_power inverter_state inverter_temperature_ac inverter_temperature_dc inverter_voltage
inverter_warnings inverter_warnings_problem last_reading load_consumption_today load_consumption_total
load_frequency load_power pv_current_1 pv_current_2 pv_power pv_power_1 pv_power_2 pv_production_today
pv_production_total pv_voltage_1 pv_voltage_2
"""
"""The entities of an inverter in the first version, but for the backends'."""
RETIRED = {"inverter_faults_problem", "inverter_warnings_problem"}


def device(kind: Kind, layout: Layout | None = None) -> Device:
    """An inverter whose reports hold all of its kind's fields, or those of a layout."""
    fields = kind.fields if layout is None else kind.fields_in(layout)
    return Device(kind, tuple(field.id for field in fields))


def announced(serial: str = SERIAL, gone: dict[str, Any] | None = None, inverter: Device = USUAL) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(
        homeassistant.device_payload(serial, inverter, SERVICE, TOPICS, STALE_AFTER, gone)
    )
    return payload


def service_announced(
    backends: tuple[BackendStatus, ...] = BACKENDS, gone: dict[str, Any] | None = None
) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(homeassistant.service_payload(SERVICE, backends, TOPICS, gone))
    return payload


def components(inverter: Device = USUAL) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = announced(inverter=inverter)["components"]
    return found


def state(
    values: dict[str, int | float],
    time: int = 1_667_629_966_000_000_000,
    kind: Kind = SINGLE_PHASE,
    layout: Layout = LAYOUTS[292],
) -> dict[str, Any]:
    reading = Reading.of(SERIAL, time, values, kind, layout)
    payload: dict[str, Any] = json.loads(homeassistant.state_payload(reading, 1200.4))
    return payload


def lookup(payload: dict[str, Any], template: str) -> Any:
    """What a simple template gives."""
    found = re.fullmatch(
        r"\{\{ \(?value_json([^ ]+)( \| default\(\{\}\)\)([^ ]+))? \| default\((none|\{\})\) \}\}", template
    )
    assert found is not None, template
    for key in re.findall(r"\w+", found[1] + (found[3] or "")):
        payload = payload[key]
    return payload


# The device


def test_the_device() -> None:
    payload = announced()
    assert payload["device"] == {
        "identifiers": ["inverter-capture-AB12cd34EF"],
        "name": "Inverter AB12cd34EF",
        "manufacturer": "Sunsynk or Deye",
        "model": "Hybrid inverter",
        "serial_number": SERIAL,
        "via_device": "inverter-capture-a1b2c3",
        "configuration_url": SERVICE.page,
    }
    assert payload["origin"]["name"] == "inverter-capture"
    assert payload["origin"]["sw_version"] == __version__
    assert payload["origin"]["support_url"].startswith("https://")
    assert payload["state_topic"] == "inverter-capture/AB12cd34EF/state"
    assert payload["availability"] == [
        {"topic": "inverter-capture/status"},
        {"topic": "inverter-capture/AB12cd34EF/availability"},
    ]
    assert payload["availability_mode"] == "all"
    assert re.fullmatch(r"homeassistant/device/[A-Za-z0-9_-]+/config", TOPICS.device(SERIAL))


def test_the_service() -> None:
    payload = service_announced()
    assert payload["device"] == {
        "identifiers": ["inverter-capture-a1b2c3"],
        "name": "inverter-capture on OpenWrt",
        "manufacturer": "inverter-capture",
        "model": "Service on the router",
        "sw_version": __version__,
        "configuration_url": SERVICE.page,
    }
    assert payload["availability"] == [{"topic": "inverter-capture/status"}]
    assert payload["state_topic"] == "inverter-capture/service"
    found = payload["components"]
    assert [component["name"] for component in found.values()] == [
        *("Problem", "Reports received", "Values held back"),
        *("InfluxDB 192.168.1.10: waiting", "InfluxDB 192.168.1.10: dropped"),
        *("InfluxDB 192.168.1.10:8086: waiting", "InfluxDB 192.168.1.10:8086: dropped"),
        *("MQTT höhe: waiting", "MQTT höhe: dropped"),
    ]
    status = no_status()._replace(reports=3, backends=(*BACKENDS[1:], BACKENDS[0]._replace(problem="it is away")))
    state = json.loads(homeassistant.service_state_payload(status))
    for key, component in found.items():
        assert component["entity_category"] == "diagnostic"
        # Home Assistant has none of its own for what has no device class.
        assert "device_class" in component or component["icon"].startswith("mdi:")
        assert component["unique_id"] == f"inverter_capture_a1b2c3_{key}"
        assert "expire_after" not in component
        lookup(state, component["value_template"])
    assert (state["problem"], state["problems"]) == ("ON", {"InfluxDB 192.168.1.10:8086": "it is away"})
    assert (state["reports"], state["held_back"], state["version"]) == (3, 0, __version__)
    assert state["backends"]["influxdb2_http_192_168_1_10_8086_2"] == {"connected": True, "waiting": 2, "dropped": 1}
    fine = json.loads(homeassistant.service_state_payload(no_status()._replace(problem="no such device")))
    assert fine["problems"] == {"capture": "no such device"}
    assert json.loads(homeassistant.service_state_payload(no_status()))["problem"] == "OFF"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("influxdb2 http://192.168.1.10:8086", "InfluxDB 192.168.1.10"),
        ("influxdb2 https://[fd00::1]:8086", "InfluxDB [fd00::1]"),
        ("mqtt mqtt://broker", "MQTT broker"),
        ("mqtt unix:///run/mosquitto", "MQTT /run/mosquitto"),
        ("console", "Console"),
    ],
)
def test_short_names(name: str, label: str) -> None:
    found = service_announced((BackendStatus(name, True, 0, 0, 0, ""),))["components"]
    assert [component["name"] for component in found.values()][3:] == [f"{label}: waiting", f"{label}: dropped"]


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (SINGLE_PHASE, [*tables.SINGLE_PHASE, *tables.MORE]),
        (LOW_VOLTAGE, tables.LOW_VOLTAGE),
        (HIGH_VOLTAGE, tables.HIGH_VOLTAGE),
    ],
    ids=["single-phase", "low voltage", "high voltage"],
)
def test_every_field(kind: Kind, table: tables.Table) -> None:
    found = components(device(kind))
    assert found.pop("nonessential_power")["device_class"] == "power"
    for row in tables.certain(table):
        name = row["id"]
        component = found.pop(name)
        is_enabled = row["publish"] == "default" and name not in ("inverter_warnings", "inverter_faults")
        assert component.get("enabled_by_default", True) == is_enabled, name
        if row["device_class"] in ("connectivity", "running"):
            assert component["platform"] == "binary_sensor"
            assert component["device_class"] == row["device_class"]
        elif name in kind.codes.fields:
            assert component["platform"] == "sensor"
            assert not {"unit_of_measurement", "state_class"} & component.keys()
            assert (component.get("device_class") == "enum") == (name in kind.codes.states), name
            if name in kind.codes.states:
                assert component["options"] == [*dict.fromkeys(kind.codes.states[name].values()), OTHER]
        else:
            assert component["platform"] == "sensor"
            assert component.get("unit_of_measurement", "") == row["unit"]
            assert component.get("state_class", "") == row["state_class"]
            assert component.get("device_class", "") == row["device_class"], name
            if row["unit"]:
                decimals = 0 if kind is HIGH_VOLTAGE and name == "pv_power" else len(row["scale"].partition(".")[2])
                assert component["suggested_display_precision"] == decimals, name
        is_diagnostic = row["group"] in ("Info", "Settings", "Program")
        assert component.get("entity_category") == ("diagnostic" if is_diagnostic else None), name
    assert found.pop("problem")["name"] == "Problem"
    derived = {name for name in DERIVED if kind is not HIGH_VOLTAGE or name != "battery_capacity_energy"}
    assert found.keys() == derived | {"last_reading"}
    assert found["last_reading"]["entity_category"] == "diagnostic"
    # Home Assistant lists each change of a time as an activity.
    assert not found["last_reading"]["enabled_by_default"]


def test_what_home_assistant_wants() -> None:
    found = components()
    for key, component in found.items():
        assert component["unique_id"] == f"inverter_capture_AB12cd34EF_{key}"
        assert re.fullmatch(r"[a-z0-9_]+", component["object_id"])
        assert component["object_id"] == f"inverter_ab12cd34ef_{key}"
        assert component["default_entity_id"] == f"{component['platform']}.{component['object_id']}"
        kind = component.get("device_class")
        if kind in UNITS:
            assert component["unit_of_measurement"] in UNITS[kind]
        elif "unit_of_measurement" in component:
            unit = {"battery_capacity": "Ah", "inverter_reactive_energy_today": "kvarh"}[key]
            assert component["unit_of_measurement"] == unit
        if kind == "enum":
            assert not {"unit_of_measurement", "state_class"} & component.keys()
        if kind == "energy":
            # Home Assistant would count the return of a net counter to zero as consumption.
            starts_again = re.fullmatch(r"inverter_energy_(today|month|year)", key)
            assert component.get("state_class") in ((None,) if starts_again else ("total", "total_increasing")), key
        assert component.get("expire_after") == (None if key == "last_reading" else 900)
        if component["platform"] == "binary_sensor":
            assert kind in ("problem", "connectivity")
    for name in ("unique_id", "object_id", "name"):
        assert len({component[name] for component in found.values()}) == len(found), name


def test_ids_of_the_first_version_are_there_or_retired() -> None:
    """Whoever has history under them would lose it."""
    assert set(FIRST_IDS.split()) <= components().keys() | RETIRED
    assert not components().keys() & RETIRED


def test_names_read_well_below_the_name_of_the_device() -> None:
    known = ("AC", "BMS", "CT", "DC", "L1", "L2", "L1-L2", "PV", "SD")
    usual = SINGLE_PHASE.fields_in(LAYOUTS[292])
    for field in usual:
        words = field.title.split()
        assert words[0][0].isupper()
        assert all(word in known or word.isdigit() or word.islower() for word in words[1:]), field.title
        assert "inverter" not in field.title.lower(), "the device's name says that"
        assert all(one != other for one, other in pairwise(words)), field.title
        assert len(field.title) <= 36
        if field.group not in ("Inverter", "Aux"):
            assert words[0] in (field.group, "Essential", "Non-essential"), field.title
    assert len({field.title for field in usual}) == len(usual)
    for kind in KINDS.values():
        assert all(len(field.title) <= 36 and "inverter" not in field.title.lower() for field in kind.fields)


def test_backends_with_one_name_are_told_apart() -> None:
    keys = homeassistant.backend_keys(BACKENDS)
    assert list(keys) == ["influxdb2_http_192_168_1_10_8086", "influxdb2_http_192_168_1_10_8086_2", "mqtt_mqtt_h_he"]


# The state


def test_every_template_finds_something() -> None:
    payload = state({})
    for key, component in components().items():
        template = component["value_template"]
        if component["platform"] == "sensor" or key == "problem":
            lookup(payload, template)
        else:
            problem = r"\{none: 'None', 0: 'OFF'\}\.get\(value_json\['values'\]\.(\w+) \| default\(none\), 'ON'\)"
            found = re.fullmatch(r"\{\{ " + problem + r" \| default\(none\) \}\}", template)
            assert found is not None
            assert found[1] in SINGLE_PHASE.fields_by_id
        if "json_attributes_template" in component:
            lookup(payload, component["json_attributes_template"].replace(" | tojson", ""))
            assert component["json_attributes_topic"] == TOPICS.state(SERIAL)


def test_a_state() -> None:
    payload = state({"grid_power": -5, "inverter_state": 2, "inverter_faults": 1 << 34 | 1 << 63, "grid_connected": 1})
    assert payload["time"] == "2022-11-05T06:32:46+00:00"
    assert payload["timestamp"] == 1_667_629_966_000_000_000
    assert payload["clock_behind"] == 1200
    assert payload["values"]["grid_power"] == -5
    assert payload["values"]["grid_voltage"] is None
    assert list(payload["values"]) == [field.id for field in FIELDS[:94]]
    assert payload["kind"] == "single-phase"
    assert payload["texts"] == {
        "inverter_state": "normal",
        "sd_status": None,
        "inverter_warnings": None,
        "inverter_faults": "F35 no grid, F64 heatsink over-temperature",
        "grid_connected": "grid relay closed",
        "generator_relay": None,
    }
    assert payload["codes"] == {
        "inverter_warnings": {"codes": [], "raw": None},
        "inverter_faults": {"codes": ["F35 no grid", "F64 heatsink over-temperature"], "raw": 1 << 34 | 1 << 63},
    }
    assert payload["problem"] == "ON"
    assert payload["problems"] == {"warnings": [], "faults": payload["codes"]["inverter_faults"]["codes"]}
    assert state({"inverter_faults": 0, "inverter_warnings": 0})["problem"] == "OFF"
    assert state({"inverter_warnings": 2})["problem"] == "ON"
    assert state({})["problem"] is None


def test_what_follows_from_fields() -> None:
    assert state({})["derived"] == dict.fromkeys(DERIVED)
    for watts, text in ((-51, "charging"), (-49, "idle"), (0, "idle"), (49, "idle"), (50, "discharging")):
        assert state({"battery_power": watts})["derived"]["battery_state"] == text
    assert state({"battery_capacity": 100})["derived"]["battery_capacity_energy"] == 5.12
    assert state({"battery_power": -1000, "pv_power": 3000, "inverter_power": 1900})["derived"]["losses_power"] == 100
    totals = {
        "pv_production_total": 12345.7,
        "battery_discharge_total": 4487.0,
        "battery_charge_total": 4821.1,
        "inverter_energy_total": 11320.4,
    }
    assert state(totals)["derived"]["losses_total"] == 691.2


def test_a_battery_without_bms_has_no_entities_of_one() -> None:
    silent = Reading.of(SERIAL, 0, {"battery_soc": 50})
    first = UNKNOWN.after(silent)
    assert not [name for name in first.fields if name.startswith("bms_")]
    told = first.after(Reading.of(SERIAL, 1, {"bms_soc": 50}))
    assert told == device(SINGLE_PHASE, LAYOUTS[292])
    # For a while it may say nothing.
    assert told.after(silent) == told


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 65535))
def test_texts_that_home_assistant_takes(faults: int, warnings: int, number: int) -> None:
    values: dict[str, int | float] = dict.fromkeys(WORDS, number)
    values |= {"inverter_faults": faults, "inverter_warnings": warnings}
    payload = state(values)
    found = components()
    for name, text in payload["texts"].items():
        assert 0 < len(text) <= 255
        if "options" in found[name]:
            assert text in found[name]["options"]
    codes = payload["codes"]["inverter_faults"]["codes"]
    assert len(codes) == faults.bit_count()
    shown = payload["texts"]["inverter_faults"].removesuffix(", ...").split(", ")
    assert shown == (codes[: len(shown)] or ["none"])


def test_nothing_that_json_does_not_know() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        state({"grid_power": float("nan")})


@given(st.integers(0, 2**63 - 1), st.floats(-1e6, 1e6))
def test_what_is_left_is_read_again(time: int, behind: float) -> None:
    reading = Reading.of(SERIAL, time, {"grid_import_total": 6536.4, "grid_power": -5})
    payload = homeassistant.state_payload(reading, behind)
    assert homeassistant.read_state(SERIAL, payload) == (reading, round(behind), UNKNOWN.after(reading))
    assert homeassistant.read_state("other", payload) is None


@given(
    st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_what_others_leave_is_no_state(payload: bytes) -> None:
    assert homeassistant.read_state(SERIAL, payload) is None
    assert homeassistant.removals(payload, homeassistant.device_payload(SERIAL, USUAL, SERVICE, TOPICS, 9)) == {}
    assert homeassistant.announcing_service(payload) == ""


ODD_JSON = ["NaN", "Infinity", '"x"', "[1]", "{}", "true", "null", "9" * 400, r'"\ud800"', "-5"]


@pytest.mark.parametrize("odd", ODD_JSON)
@pytest.mark.parametrize(
    "key", ["timestamp", "clock_behind", "kind", "rated_power", "firmware_main", "pv_production_total"]
)
def test_a_forged_state_harms_nothing(key: str, odd: str) -> None:
    parts = {"timestamp": "1", "clock_behind": "0", "kind": f'"{SINGLE_PHASE.name}"', "rated_power": "5000.0"}
    parts |= {"firmware_main": "1", "pv_production_total": "1"} | {key: odd}
    head = ",".join(f'"{name}":{parts.pop(name)}' for name in ("timestamp", "clock_behind", "kind"))
    values = ",".join(f'"{name}":{text}' for name, text in parts.items())
    known = homeassistant.read_state(SERIAL, f'{{"serial":"{SERIAL}",{head},"values":{{{values}}}}}'.encode())
    if known is not None:
        assert all(isfinite(value) for value in known.reading.values.values())
        datetime.fromtimestamp(known.reading.time // SECOND, timezone(timedelta(hours=14)))
        Freshness(STALE_AFTER).restore(known.reading.time, known.clock_behind, 2_000_000_000 * SECOND, 0)
        homeassistant.device_payload(SERIAL, known.device, SERVICE, TOPICS, STALE_AFTER)


@pytest.mark.parametrize("year", [1, 9999])
def test_a_state_of_a_time_that_no_zone_has_is_none(year: int) -> None:
    time = int((datetime(year, 12, 31, 23, 59, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * SECOND
    state = {"timestamp": time, "clock_behind": 0, "serial": SERIAL, "values": {}}
    assert homeassistant.read_state(SERIAL, json.dumps(state).encode()) is None


@pytest.mark.parametrize("odd", ODD_JSON)
def test_a_forged_announcement_harms_nothing(odd: str) -> None:
    now = partial(homeassistant.device_payload, SERIAL, USUAL, SERVICE, TOPICS, STALE_AFTER)
    key = odd if odd.startswith('"') else '"key"'
    gone = homeassistant.removals(f'{{"components":{{{key}:{{"platform":{odd}}}}}}}'.encode(), now())
    assert json.loads(now(gone=gone))


@pytest.mark.parametrize(
    "topic",
    ["#", "+/status", "other/#/status", "other/state", "other\0/status", "\ud800/status", "x" * 70000 + "/status"],
)
def test_an_announcement_with_another_topic_than_that_of_a_service(topic: str) -> None:
    forged = {"availability": [{"topic": topic}], "origin": {"name": "inverter-capture"}}
    assert homeassistant.announcing_service(json.dumps(forged).encode()) == ""


# What is no more


def test_who_has_announced_an_inverter() -> None:
    other = TOPICS._replace(base="other")
    for topics in (TOPICS, other):
        payload = homeassistant.device_payload(SERIAL, USUAL, SERVICE, topics, STALE_AFTER)
        assert homeassistant.announcing_service(payload) == topics.service


def test_what_is_gone_is_removed() -> None:
    before = homeassistant.service_payload(SERVICE, BACKENDS, TOPICS)
    now = homeassistant.service_payload(SERVICE, BACKENDS[2:], TOPICS)
    assert homeassistant.removals(now, now) == {}
    assert homeassistant.removals(now, before) == {}
    gone = homeassistant.removals(before, now)
    assert set(gone) == {
        f"influxdb2_http_192_168_1_10_8086{number}_{what}" for number in ("", "_2") for what in ("waiting", "dropped")
    }
    assert all(component == {"platform": "sensor"} for component in gone.values())
    told = service_announced(BACKENDS[2:], gone)
    assert told["components"] == json.loads(now)["components"] | gone
    assert homeassistant.removals(b"", now) == {}


# Kinds of inverters

THREE_PHASES = Layout([(14, 15), (20, 21), (210, 223), (500, 558), (586, 730)])


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        *((SINGLE_PHASE, layout) for layout in LAYOUTS.values()),
        (SINGLE_PHASE, Layout([(13, 491)])),
        (SINGLE_PHASE, Layout([(184, 184)])),
        *((kind, THREE_PHASES) for kind in (LOW_VOLTAGE, HIGH_VOLTAGE, THREE_PHASE)),
    ],
    ids=str,
)
def test_what_is_announced_is_what_reports_hold(kind: Kind, layout: Layout) -> None:
    values: dict[str, int | float] = dict.fromkeys(kind.fields_by_id.keys() - {"firmware_main"}, 0)
    inverter = UNKNOWN.after(Reading.of(SERIAL, 0, values, kind, layout))
    assert inverter == device(kind, layout)
    found = components(inverter)
    names = {field.id for field in kind.fields_in(layout)}
    assert names <= found.keys()
    assert not (found.keys() & KINDS["single-phase"].fields_by_id.keys()) - names
    assert ("problem" in found) == ("inverter_faults" in names)
    payload = state({}, kind=kind, layout=layout)
    assert payload["kind"] == kind.name
    assert payload["values"] == dict.fromkeys(payload["values"])
    for key, component in found.items():
        template = component["value_template"]
        if component["platform"] == "sensor" or key == "problem":
            lookup(payload, template)
        else:
            assert re.findall(r"\['values'\]\.(\w+)", template)[0] in payload["values"]
        if "json_attributes_template" in component:
            lookup(payload, component["json_attributes_template"].replace(" | tojson", ""))


def test_the_energy_dashboard_has_one_set_of_names() -> None:
    names = (
        *("grid_import_total", "grid_export_total", "pv_production_total", "battery_charge_total"),
        *("battery_discharge_total", "battery_power", "grid_power", "pv_power", "battery_soc"),
    )
    for kind in (SINGLE_PHASE, LOW_VOLTAGE, HIGH_VOLTAGE):
        found = components(device(kind))
        single = components(device(SINGLE_PHASE))
        for name in names:
            assert found[name]["default_entity_id"] == single[name]["default_entity_id"]
            assert found[name]["state_class"] == single[name]["state_class"]


def test_the_device_tells_its_software_and_its_power() -> None:
    values: dict[str, int | float] = {"firmware_main": 0x3388, "rated_power": 5000.0}
    known = UNKNOWN.after(Reading.of(SERIAL, 0, values, SINGLE_PHASE, LAYOUTS[306]))
    told = announced(inverter=known)["device"]
    assert (told["sw_version"], told["model"]) == ("3388", "Hybrid inverter, 5 kW")
    assert known.after(Reading.of(SERIAL, 0, {}, SINGLE_PHASE, LAYOUTS[306])) == known
    values = {"firmware_main": 0x1098 << 16 | 0x3101, "rated_power": 29900.0}
    told = announced(inverter=UNKNOWN.after(Reading.of(SERIAL, 0, values, HIGH_VOLTAGE, THREE_PHASES)))["device"]
    assert (told["sw_version"], told["model"]) == ("3101-1098", "Three-phase hybrid inverter, 29.9 kW")


@pytest.mark.parametrize(
    ("kind", "layout"), [(SINGLE_PHASE, LAYOUTS[306]), (HIGH_VOLTAGE, THREE_PHASES), (THREE_PHASE, THREE_PHASES)]
)
def test_an_inverter_is_known_again_from_the_state_that_it_left(kind: Kind, layout: Layout) -> None:
    reading = Reading.of(SERIAL, 1, {"firmware_main": 0x3388, "rated_power": 5000.0}, kind, layout)
    payload = homeassistant.state_payload(reading, 0)
    known = homeassistant.read_state(SERIAL, payload)
    assert known == (reading._replace(layout=Reading.of(SERIAL, 1, {}).layout), 0, UNKNOWN.after(reading))


def test_states_of_earlier_versions_and_of_others() -> None:
    state = {"timestamp": 1, "clock_behind": 0, "serial": SERIAL}
    older = state | {"values": dict.fromkeys((row["id"] for row in tables.SINGLE_PHASE), 0)}
    known = homeassistant.read_state(SERIAL, json.dumps(older).encode())
    assert known is not None
    assert len(known.device.fields) == len(tables.SINGLE_PHASE)
    others: list[Any] = [{}, {"values": []}, {"kind": "four-phase", "values": {}}, {"values": ["firmware_main"]}]
    for other in others:
        assert homeassistant.read_state(SERIAL, json.dumps(state | other).encode()) is None


def test_fields_that_reports_no_longer_hold_are_removed() -> None:
    before, now = (
        homeassistant.device_payload(SERIAL, device(SINGLE_PHASE, LAYOUTS[length]), SERVICE, TOPICS, STALE_AFTER)
        for length in (306, 302)
    )
    assert homeassistant.removals(before, now) == {"work_mode": {"platform": "sensor"}}
