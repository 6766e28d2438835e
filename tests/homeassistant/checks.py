"""The service with a real Home Assistant, in the order of a house's life; `make test-homeassistant` runs it.

What each entity should be is taken from the protocol's description, not from our own table.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest

from inverter_capture.backends.mqtt import homeassistant
from inverter_capture.backends.mqtt.homeassistant import Service, Topics
from tests.homeassistant.client import Json
from tests.homeassistant.house import UNAVAILABLE, UNKNOWN, House
from tests.homeassistant.rig import Rig, open_rig
from tests.mosquitto import Listener
from tests.tables import read_table

FIVE_MINUTES = 300
"""Home Assistant makes statistics of so many seconds each, ten seconds after their end."""

ENUMS = ("inverter_state", "sd_status")
CODES = ("inverter_warnings", "inverter_faults")
WORDS = (*ENUMS, *CODES, "generator_relay")
"""Fields that Home Assistant shows in words."""

# What Home Assistant's log may say: the broker was away, as it was; and this machine was busy.
EXPECTED_TROUBLES = (
    "Error returned from MQTT server: The connection was lost",
    "Error talking to MQTT: The client is not currently connected",
    "No ACK from MQTT server",
    "failed to receive on socket",
    "Updating state for ",
)

Row = dict[str, str]
Texts = dict[tuple[str, str], str]
Say = Callable[[str], None]


@pytest.fixture(scope="module")
def fields() -> list[Row]:
    """The table of fields."""
    return read_table("registers-single-phase")


@pytest.fixture(scope="module")
def texts() -> Texts:
    """What numbers mean: by registers and key."""
    return {(row["registers"], row["key"]): row["text"] for row in read_table("codes-single-phase")}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """All parts, and a first reading of each inverter."""
    with open_rig(tmp_path_factory.mktemp("rig")) as made:
        made.set_up_home_assistant()
        made.configure()
        leave_older_discovery(made)
        made.start_service()
        for house in made.houses:
            house.send(minutes_ago=12)
        time.sleep(max(house.enable("last_reading") for house in made.houses))
        for house in made.houses:
            house.wait(house.last_reading, "last reading")
        yield made


def leave_older_discovery(rig: Rig) -> None:
    """What a version left at the broker that announced a number of reports with each inverter."""
    topics, service = Topics("inverter-capture", "homeassistant"), Service("000000", "router", "")
    for house in rig.houses:
        unique = f"inverter_capture_{house.serial}_reports"
        older = {
            "reports": {
                "platform": "sensor",
                "name": "Reports received",
                "unique_id": unique,
                "value_template": "{{ 7 }}",
            }
        }
        device = homeassistant.UNKNOWN
        payload = json.loads(homeassistant.device_payload(house.serial, device, service, topics, 900, gone=older))
        del payload["device"]["via_device"]
        with Listener(rig.broker) as listener:
            listener.say(topics.device(house.serial), json.dumps(payload), retain=True)
        house.wait(lambda house=house: "reports" in house.look(), "older entity")  # type: ignore[misc] # the loop's


@pytest.fixture(autouse=True)
def _show_log(rig: Rig) -> Iterator[None]:
    """Should the test fail."""
    yield
    print(rig.home.log_tail())


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Tell a result."""

    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}")

    return tell


# --- every entity ----------------------------------------------------------------------------------------------------


def test_inverters_appear_each_with_all_its_entities(rig: Rig, fields: list[Row]) -> None:
    ids = {row["id"] for row in fields}
    others = {"problem", "last_reading", "battery_state", "battery_capacity_energy", "losses_power", "losses_total"}
    for house in rig.houses:
        house.wait(lambda house=house: ids | others <= set(house.look()), "all entities")  # type: ignore[misc] # the loop's
        house.wait_for_reading()
        device = house.device
        assert device is not None
        assert device["manufacturer"]
        assert device["model"]
        assert house.serial in device["name"]
        states = house.states()
        for row in fields:
            entity = house.entities[row["id"]]
            kind = "binary_sensor" if row["device_class"] == "connectivity" else "sensor"
            assert entity.id == f"{kind}.inverter_{house.serial}_{row['id']}".lower()
            assert entity.enabled == (row["publish"] == "default" and row["id"] not in CODES), entity
            assert entity.category is None, entity
            assert (row["id"] in states) == entity.enabled, entity
        assert {entity.category for entity in house.entities.values()} == {None, "diagnostic"}
        assert house.entities["last_reading"].category == "diagnostic"
        names = [entity.name for entity in house.entities.values()]
        assert len(set(names)) == len(names)
        for key, state in states.items():
            assert state["attributes"]["friendly_name"] == f"{device['name']} {house.entities[key].name}"
            assert device["name"].lower() not in house.entities[key].name.lower()


def test_what_an_older_version_announced_is_gone(rig: Rig) -> None:
    for house in rig.houses:
        assert "reports" not in house.look()
        assert house.entities["grid_power"]


def test_the_service_is_a_device_to_which_the_inverters_belong(rig: Rig) -> None:
    with rig.home.converse() as page:
        devices = page.ask("config/device_registry/list")
        entities = page.ask("config/entity_registry/list")
    (service,) = (device for device in devices if device["name"].startswith("inverter-capture on "))
    for house in rig.houses:
        assert house.device is not None
        assert house.device["via_device_id"] == service["id"]
    found = {entry["original_name"]: entry for entry in entities if entry["device_id"] == service["id"]}
    broker = f"MQTT {rig.broker.address}"
    assert found.keys() == {
        *("Problem", "Reports received", "Values held back", f"{broker}: waiting", f"{broker}: dropped")
    }
    states = rig.home.states()
    assert {entry["entity_category"] for entry in found.values()} == {"diagnostic"}
    rig.small.wait(
        lambda: rig.home.states()[found["Reports received"]["entity_id"]]["state"].isdecimal(), "number of reports"
    )
    states = rig.home.states()
    said = {name: states[entry["entity_id"]]["state"] for name, entry in found.items()}
    assert said["Problem"] == "off"
    assert (said[f"{broker}: waiting"], said[f"{broker}: dropped"]) == ("0", "0")


def test_what_the_inverters_say_is_shown(rig: Rig, fields: list[Row], texts: Texts) -> None:
    for house in rig.houses:
        assert check_states(house, fields, texts) == sum(row["publish"] == "default" for row in fields) - len(CODES)
        check_attributes(rig, house, fields)


def check_states(house: House, fields: list[Row], texts: Texts) -> int:
    """Every entity of an inverter that is switched on says what its last reading said. Returns how many did."""
    states = house.states()
    checked = 0
    for row in fields:
        name = row["id"]
        if name not in states:
            continue
        state, value = states[name]["state"], house.values.get(name)
        if name in CODES:
            assert bool(states[name]["attributes"]["codes"]) == bool(value), name
        elif value is None:
            assert state == UNKNOWN, name
        elif name in ENUMS:
            assert state == texts[row["registers"], str(value)], name
        elif name == "generator_relay":
            relay = int(value)
            assert texts[row["registers"], f"low nibble {relay & 0xF}"] in state, name
            assert (texts[row["registers"], "0x10"] in state) == bool(relay & 0x10), name
        elif name == "grid_connected":
            assert state == ("on" if value else "off"), name
        else:
            assert float(state) == value, name
        checked += 1
    is_wrong = any(house.values.get(name) for name in CODES)
    assert states["problem"]["state"] == ("on" if is_wrong else "off")
    watts = house.values["battery_power"]
    expected = "idle" if abs(watts) < 50 else "discharging" if watts > 0 else "charging"
    assert states["battery_state"]["state"] == expected
    kilowatt_hours = float(states["battery_capacity_energy"]["state"])
    assert kilowatt_hours == pytest.approx(house.values["battery_capacity"] * 0.0512, abs=0.01)
    return checked


def check_attributes(rig: Rig, house: House, fields: list[Row]) -> None:
    """Of every entity that is switched on: its classes, its unit, the places after the point."""
    states = house.states()
    with rig.home.converse() as page:
        for row in fields:
            name = row["id"]
            if name not in states:
                continue
            attributes = states[name]["attributes"]
            if name in WORDS:
                assert attributes.get("device_class") == ("enum" if name in ENUMS else None), name
                assert not {"unit_of_measurement", "state_class"} & set(attributes), name
                continue
            assert attributes.get("device_class") == (row["device_class"] or None), name
            assert attributes.get("state_class") == (row["state_class"] or None), name
            assert attributes.get("unit_of_measurement") == (row["unit"] or None), name
            if row["state_class"]:
                entry = page.ask("config/entity_registry/get", entity_id=house.entities[name].id)
                precision = entry["options"]["sensor"]["suggested_display_precision"]
                assert precision == {"1": 0, "0.1": 1, "0.01": 2}[row["scale"]], name


def test_one_wrong_value_is_held_back_and_the_rest_is_shown(rig: Rig) -> None:
    house = rig.small
    total = house.values["grid_import_total"]
    states = house.report(9, grid_import_total=round(total + 0.4, 1))
    assert float(states["grid_import_total"]["state"]) == pytest.approx(total + 0.4)
    states = house.report(6, grid_import_total=0, load_power=1234)
    assert states["grid_import_total"]["state"] == UNKNOWN
    assert states["load_power"]["state"] == "1234"
    states = house.report(3, grid_import_total=round(total + 0.9, 1))
    house.counted_at = time.time()
    assert float(states["grid_import_total"]["state"]) == pytest.approx(total + 0.9)


def test_warnings_and_faults_are_told_in_words(rig: Rig, texts: Texts) -> None:
    house = rig.large
    faults = sum(1 << bit for bit in range(64) if ("103 106", f"bit {bit}") in texts)
    states = house.report(3, inverter_warnings=1 << 1 | 1 << 30, inverter_faults=faults)
    problem = states["problem"]
    assert (problem["state"], problem["attributes"]["device_class"]) == ("on", "problem")
    named = problem["attributes"]["warnings"]
    assert len(named) == 2
    for number, text in zip((1, 30), named, strict=True):
        assert texts["101 102", f"bit {number}"] in text
    assert len(problem["attributes"]["faults"]) == faults.bit_count() > 20
    assert texts["103 106", "bit 0"] in problem["attributes"]["faults"][0]
    states = house.report(2, inverter_warnings=0, inverter_faults=0)
    assert states["problem"]["state"] == "off"


def test_a_reading_is_shown_at_once(rig: Rig, say: Say) -> None:
    house = rig.small
    entity = house.entities["load_power"].id
    seconds = []
    with rig.home.converse() as page:
        page.ask("subscribe_events", event_type="state_changed")
        for watts in range(2000, 2008):
            # Readings have whole seconds.
            time.sleep(1.01)
            began = time.time()
            house.send(load_power=watts)
            event = page.wait_for_event(lambda event, watts=watts: is_state(event, entity, str(watts)), f"{watts} W")  # type: ignore[misc] # the loop's
            seconds.append(datetime.fromisoformat(event["time_fired"]).timestamp() - began)
    median = statistics.median(seconds)
    say(f"from packet to Home Assistant's state: {median * 1000:.0f} ms, at most {max(seconds) * 1000:.0f} ms")
    assert median < 5


def is_state(event: Json, entity: str, wanted: str) -> bool:
    data = event["data"]
    return bool(data["entity_id"] == entity and data["new_state"] and data["new_state"]["state"] == wanted)


def test_an_inverter_that_falls_silent_becomes_unavailable(rig: Rig) -> None:
    house = rig.small
    rig.stop_service()
    rig.configure(stale_after=8)
    rig.start_service()
    house.report()
    house.wait(lambda: house.texts(None) == {UNAVAILABLE}, "unavailability")
    # The service is there.
    assert UNAVAILABLE not in house.texts("diagnostic")
    house.report()
    rig.stop_service()
    rig.configure()
    rig.start_service()
    house.wait_for_reading()


# --- restarts of each part -------------------------------------------------------------------------------------------


@contextmanager
def nothing_wrong_is_shown(rig: Rig, what: str, say: Say) -> Iterator[None]:
    """While a part is away, until its return, which is the end of the block: all that was measured is unavailable at
    last, and afterwards as it was. There is never anything else."""
    before = {house: house.measured() for house in rig.houses}
    states = {house.entities[key].id: text for house, texts in before.items() for key, text in texts.items()}
    with rig.home.converse() as page:
        page.ask("subscribe_events", event_type="state_changed")
        yield
        began = time.monotonic()
        for house in rig.houses:
            house.wait(lambda house=house: house.measured() == before[house], "states from before")  # type: ignore[misc] # the loop's
        say(f"after {what}: all is right again within {time.monotonic() - began:.1f} s")
        changes = [event["data"] for event in page.take_events()]
    for change in changes:
        if change["entity_id"] in states:
            assert change["new_state"]["state"] in (states[change["entity_id"]], UNAVAILABLE), change
    assert states.keys() <= {change["entity_id"] for change in changes}


def wait_until_unavailable(rig: Rig) -> None:
    for house in rig.houses:
        house.wait(lambda house=house: set(house.measured().values()) == {UNAVAILABLE}, "unavailability")  # type: ignore[misc] # the loop's


def test_a_restart_of_ours(rig: Rig, say: Say) -> None:
    with nothing_wrong_is_shown(rig, "a restart of ours", say):
        assert rig.stop_service().code == 0
        wait_until_unavailable(rig)
        rig.start_service()


def test_a_sudden_end_of_ours(rig: Rig, say: Say) -> None:
    with nothing_wrong_is_shown(rig, "a sudden end of ours", say):
        rig.kill_service()
        wait_until_unavailable(rig)
        rig.start_service()


@pytest.mark.parametrize("lost", ["all", "nothing"])
def test_a_restart_of_the_broker(rig: Rig, lost: str, say: Say) -> None:
    with nothing_wrong_is_shown(rig, f"a restart of the broker that lost {lost}", say):
        if lost == "all":
            rig.broker.kill()
        else:
            rig.broker.end()
        wait_until_unavailable(rig)
        rig.broker.start()


def test_a_restart_of_home_assistant(rig: Rig, fields: list[Row], texts: Texts, say: Say) -> None:
    """From now on all entities are switched on."""
    with rig.home.converse() as page:
        for house in rig.houses:
            for entity in house.entities.values():
                if not entity.enabled:
                    page.ask("config/entity_registry/update", entity_id=entity.id, disabled_by=None)
    rig.home.stop()
    rig.home.start()
    began = time.monotonic()
    for house in rig.houses:
        house.wait(lambda house=house: not {UNAVAILABLE, UNKNOWN} & house.texts("diagnostic"), "the service")  # type: ignore[misc] # the loop's
        house.wait_for_reading()
    say(f"after a restart of Home Assistant: all is right again within {time.monotonic() - began:.1f} s")
    for house in rig.houses:
        house.look()
        assert check_states(house, fields, texts) == len(fields)
        check_attributes(rig, house, fields)


# --- statistics ------------------------------------------------------------------------------------------------------


def test_statistics_are_true(rig: Rig, fields: list[Row]) -> None:
    house = rig.small
    name = house.entities["grid_import_total"].id
    # The readings are of the first minute of the tests.
    end = (house.counted_at // FIVE_MINUTES + 1) * FIVE_MINUTES
    time.sleep(max(0.0, end + 10 - time.time()))
    start = datetime.fromtimestamp(end - 2 * FIVE_MINUTES).astimezone().isoformat()
    with rig.home.converse() as page:

        def last() -> Json | None:
            """The statistics of the five minutes that end there."""
            answer = page.ask(
                "recorder/statistics_during_period",
                start_time=start,
                statistic_ids=[name],
                period="5minute",
                types=["sum", "state"],
            )
            return next((row for row in answer.get(name, []) if row["end"] == end * 1000), None)

        house.wait(last, "statistics")
        found = last()
        assert found is not None
        assert found["state"] == pytest.approx(house.values["grid_import_total"])
        assert found["sum"] == pytest.approx(0.9)
        about = {row["statistic_id"]: row for row in page.ask("recorder/list_statistic_ids")}
        for row in fields:
            if row["state_class"] and row["publish"] == "default" and row["id"] in house.values:
                found = about[house.entities[row["id"]].id]
                assert found["statistics_unit_of_measurement"] == row["unit"], row
                assert found["has_sum"] == row["state_class"].startswith("total"), row
        assert page.ask("recorder/validate_statistics") == {}


def test_the_energy_dashboard_is_content(rig: Rig) -> None:
    """As the README says."""
    is_newest = rig.home.rest.get("/api/config")["version"] >= "2026.11"
    no_price = {"entity_energy_price": None, "number_energy_price": None}
    grid: Json = {"type": "grid", "flow_from": [], "flow_to": [], "cost_adjustment_day": 0.0}
    sources = [] if is_newest else [grid]
    for house in rig.houses:
        entity = {key: entity.id for key, entity in house.entities.items()}
        solar = {"stat_energy_from": entity["pv_production_total"], "config_entry_solar_forecast": None}
        battery: Json = {
            "stat_energy_from": entity["battery_discharge_total"],
            "stat_energy_to": entity["battery_charge_total"],
        }
        both = {"stat_energy_from": entity["grid_import_total"], "stat_energy_to": entity["grid_export_total"]}
        if is_newest:
            solar["stat_rate"] = entity["pv_power"]
            battery["power_config"] = {"stat_rate": entity["battery_power"]}
            battery |= {"stat_soc": entity["battery_soc"], "capacity": house.values["battery_capacity"] * 0.0512}
            power = {"power_config": {"stat_rate": entity["grid_power"]}}
            sources.append({"type": "grid", "cost_adjustment_day": 0.0, **both, **power})
        else:
            grid["flow_from"].append({"stat_energy_from": both["stat_energy_from"], "stat_cost": None, **no_price})
            grid["flow_to"].append({"stat_energy_to": both["stat_energy_to"], "stat_compensation": None, **no_price})
        sources += [{"type": "solar", **solar}, {"type": "battery", **battery}]
    if is_newest:
        entity = {key: entity.id for key, entity in rig.small.entities.items()}
        home = {"stat_energy_to": entity["load_consumption_total"], "stat_rate": entity["load_power"]}
        sources.append({"type": "home", **home})
    used = [{"stat_consumption": house.entities["load_consumption_total"].id} for house in rig.houses]
    with rig.home.converse() as page:
        page.ask("energy/save_prefs", energy_sources=sources, device_consumption=used)
        verdict = page.ask("energy/validate")
    assert verdict["energy_sources"] == [[] for _ in sources]
    assert verdict["device_consumption"] == [[] for _ in used]


# --- the end ---------------------------------------------------------------------------------------------------------


def test_home_assistant_says_nothing_of_us(rig: Rig) -> None:
    with rig.home.converse() as page:
        issues = page.ask("repairs/list_issues")["issues"]
    # That its owner has not said where he lives is no fault of ours, nor how the tests configure its pages.
    assert [issue for issue in issues if issue["domain"] not in ("homeassistant", "http")] == []
    assert [
        trouble for trouble in rig.home.troubles() if not any(text in trouble.text for text in EXPECTED_TROUBLES)
    ] == []
