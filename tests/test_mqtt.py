"""The MQTT backend with a real broker, and with both lines of paho."""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from inverter_capture.backends import backoff
from inverter_capture.backends.mqtt import homeassistant
from inverter_capture.backends.mqtt.homeassistant import Topics
from inverter_capture.backends.status import BackendStatus, Status, no_status
from inverter_capture.config.schema import MqttConfig
from inverter_capture.protocol.inverter_kinds import HIGH_VOLTAGE, INVERTERS_MAX, SINGLE_PHASE, THREE_PHASE
from inverter_capture.protocol.layouts import LAYOUTS, Layout
from inverter_capture.protocol.readings import Reading
from inverter_capture.protocol.registers import FIELDS
from tests.certificates import Authority
from tests.databases import free_port
from tests.dongle.inverter import Inverter
from tests.dongle.profiles import LARGE
from tests.dongle.reports import encode_values, length_of
from tests.mosquitto import Heard, Listener, Mosquitto, retained
from tests.network import BRIDGE, ROOT, Network, wait_for
from tests.programs import DAY, PROGRAM, Program, Talker, cloud, day_by_inverter, run_program, service

OPENWRT_LIBRARIES = os.path.join(sys.prefix, "openwrt-24.10")
"""As OpenWrt 24.10 has them, with the first line of paho."""
SERIAL = "2211229876"
PASSWORD = "s3cret-_=="
SECOND = 1_000_000_000

TOPICS = Topics("inverter-capture", "homeassistant")
SERVICE = TOPICS.service
STATE = TOPICS.state(SERIAL)
AVAILABILITY = TOPICS.availability(SERIAL)
DEVICE = TOPICS.device(SERIAL)
SERVICE_STATE = TOPICS.service_state

OURS = (
    "inverter_capture.backends.mqtt.delivery",
    "inverter_capture.backends.mqtt.session",
    "inverter_capture.backends.mqtt.connection",
)


def is_paho(name: str) -> bool:
    return name.partition(".")[0] == "paho" or name in OURS


def take_modules() -> dict[str, ModuleType]:
    """Out of Python's memory."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if is_paho(name)}


@cache
def modules_of(line: str) -> dict[str, ModuleType]:
    """The backend, and all that it is made of, on one line of paho."""
    before = take_modules()
    with pytest.MonkeyPatch.context() as patch:
        if line == "1.6.1":
            patch.syspath_prepend(OPENWRT_LIBRARIES)
        importlib.import_module(OURS[0])
    modules = take_modules()
    sys.modules.update(before)
    assert modules["paho.mqtt"].__version__.startswith(line)
    return modules


@pytest.fixture(params=["1.6.1", "2"])
def mqtt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The backend's module, on either line of paho. Minutes become seconds."""
    modules = modules_of(request.param)
    backend, session, client = (modules[name] for name in OURS)
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.1)
    monkeypatch.setattr(backend, "REFUSED_SECONDS", 0.5)
    monkeypatch.setattr(backend, "RECONNECT_SECONDS_MAX", 0.3)
    monkeypatch.setattr(backend, "CHECK_SECONDS", 0.7)
    monkeypatch.setattr(session, "AGAIN_SECONDS", 0.3)
    monkeypatch.setattr(session, "ECHO_SECONDS", 0.7)
    monkeypatch.setattr(session, "RETAINED_SECONDS", 0.1)
    monkeypatch.setattr(session, "SETTLE_SECONDS", 0.2)
    monkeypatch.setattr(session, "STATUS_SECONDS", 1.0)
    monkeypatch.setattr(client, "ANSWER_SECONDS", 2.0)
    return backend


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log, in which the password never stands, nor an error of ours."""
    caplog.set_level(logging.DEBUG)
    yield caplog
    text = "".join(str(vars(record)) for record in caplog.get_records("call")) + caplog.text
    assert PASSWORD not in text
    assert "Traceback" not in text


def errors(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno >= logging.WARNING]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def reading(number: int, serial: str = SERIAL, *, late: float = 0.0) -> Reading:
    """One that has just been measured, `late` seconds ago."""
    return Reading.of(serial, time.time_ns() - int(late * SECOND), {"grid_power": number, "grid_frequency": 50.01})


@contextmanager
def delivering(mqtt: Any, url: str, status: Callable[[], Status] = no_status, **settings: Any) -> Iterator[Any]:
    backend = mqtt.Mqtt(MqttConfig(url=url, **settings), status)
    backend.start()
    try:
        yield backend
    finally:
        backend.stop()
        backend.join(5)


def power(heard: list[Heard]) -> list[int]:
    """The readings' numbers."""
    return [message.json["values"]["grid_power"] for message in heard]


def at_least(count: int) -> Callable[[list[Heard]], bool]:
    """So many messages."""
    return lambda heard: len(heard) >= count


# What is published


def test_what_a_broker_gets(mqtt: Any, broker: Mosquitto) -> None:
    with Listener(broker) as listener, delivering(mqtt, broker.url) as backend:
        listener.wait_for_text(SERVICE, "online")
        sent = reading(7)
        backend.put(sent)
        listener.wait_for(AVAILABILITY)
        assert backend.wait_until_empty(30)
        assert backend.status() == BackendStatus(
            name=f"mqtt {broker.url}", connected=True, delivered=1, waiting=0, dropped=0, problem=""
        )
        state = listener.of(STATE)[0].json
        assert (state["timestamp"], state["serial"]) == (sent.time, SERIAL)
        assert list(state["values"]) == [field.id for field in sent.fields]
        assert {name: value for name, value in state["values"].items() if value is not None} == sent.values
        order = [heard.topic for heard in listener.heard if heard.topic != SERVICE_STATE]
        ours = TOPICS.device(mqtt.client_id(MqttConfig(url="mqtt://a")).removeprefix("inverter-capture-"))
        assert order == [ours, SERVICE, DEVICE, STATE, AVAILABILITY]
        listener.wait_for(SERVICE_STATE)
    kept = retained(broker)
    assert kept[SERVICE] == "offline"
    assert kept[AVAILABILITY] == "online"
    assert json.loads(kept[STATE]) == state
    told = json.loads(kept[DEVICE])
    assert told["components"]["grid_power"]["expire_after"] == 900
    assert [f"homeassistant/device/{told['device']['via_device']}/config"] == [ours]
    assert json.loads(kept[ours])["device"]["identifiers"] == [told["device"]["via_device"]]
    assert kept.keys() == {ours, SERVICE, SERVICE_STATE, DEVICE, STATE, AVAILABILITY}


def test_a_reading_is_one_message(mqtt: Any, broker: Mosquitto) -> None:
    with Listener(broker) as listener, delivering(mqtt, broker.url) as backend:
        for number in range(5):
            backend.put(reading(number))
            listener.wait_for(STATE, at_least(number + 1))
        assert power(listener.of(STATE)) == [0, 1, 2, 3, 4]
        assert len(listener.of(AVAILABILITY)) == len(listener.of(DEVICE)) == 1
        assert backend.wait_until_empty(30)
        assert backend.status().delivered == 5


def test_a_reading_arrives_at_once(mqtt: Any, broker: Mosquitto) -> None:
    seconds = []
    with Listener(broker, "inverter-capture/+/state") as listener, delivering(mqtt, broker.url) as backend:
        backend.put(reading(0))
        listener.wait_for(STATE)
        assert backend.wait_until_empty(30)
        for number in range(1, 20):
            began = time.monotonic()
            backend.put(reading(number))
            listener.wait_for(STATE, at_least(number + 1))
            seconds.append(listener.of(STATE)[-1].time - began)
    print(f"{sorted(seconds)[9] * 1000:.1f} ms, at most {max(seconds) * 1000:.1f} ms")
    # On a busy machine one may be late.
    assert sorted(seconds)[9] < 1


def test_several_inverters(mqtt: Any, broker: Mosquitto) -> None:
    with Listener(broker) as listener, delivering(mqtt, broker.url) as backend:
        for serial in ("A", "B", "C"):
            backend.put(reading(1, serial))
        for serial in ("A", "B", "C"):
            listener.wait_for_text(TOPICS.availability(serial), "online")
            assert listener.last(TOPICS.device(serial))["device"]["serial_number"] == serial


def test_a_topic_for_each_field(mqtt: Any, broker: Mosquitto) -> None:
    with Listener(broker) as listener, delivering(mqtt, broker.url, field_topics=True) as backend:
        backend.put(reading(7))
        listener.wait_for_text(TOPICS.field(SERIAL, "grid_power"), "7")
        listener.wait_for_text(TOPICS.field(SERIAL, "grid_frequency"), "50.01")
        backend.put(Reading.of(SERIAL, time.time_ns(), {"grid_power": -8}))
        listener.wait_for_text(TOPICS.field(SERIAL, "grid_power"), "-8")
        listener.wait_for_text(TOPICS.field(SERIAL, "grid_frequency"), "")
    kept = retained(broker)
    assert kept[TOPICS.field(SERIAL, "grid_power")] == "-8"
    assert TOPICS.field(SERIAL, "grid_frequency") not in kept
    assert not {"state", "availability"} & {field.id for field in FIELDS}


def test_an_inverter_of_which_more_is_known_is_announced_anew(mqtt: Any, broker: Mosquitto) -> None:
    three_phases = Layout([(500, 558), (586, 679)])
    with Listener(broker) as listener, delivering(mqtt, broker.url) as backend:
        kinds = [(SINGLE_PHASE, LAYOUTS[306]), (THREE_PHASE, three_phases), (HIGH_VOLTAGE, three_phases)]
        for number, (kind, layout) in enumerate(kinds):
            for again in range(2):
                sent = Reading.of(SERIAL, time.time_ns(), {"grid_power": number}, kind, layout)
                backend.put(sent)
                listener.wait_for(STATE, at_least(2 * number + again + 1))
            components = listener.last(DEVICE)["components"]
            names = {field.id for field in sent.fields}
            assert {name for name in names if not name.startswith("bms_")} <= components.keys()
            assert not {"grid_voltage", "work_mode", "grid_voltage_l3", "pv_power"} & components.keys() - names
            assert listener.last(STATE)["values"] == dict.fromkeys(names) | {"grid_power": number}
        # What is gone is removed once, and then the rest told again.
        told = [heard.json["components"].get("work_mode") for heard in listener.of(DEVICE)]
        assert [bool(each) and len(each) > 1 for each in told] == [True, False, False, False]
        assert told[1:] == [{"platform": "sensor"}, None, None]
    with Listener(broker) as listener, delivering(mqtt, broker.url):
        # As an earlier run has left it.
        listener.wait_for_text(SERVICE, "online")
        assert "pv_power" in listener.last(DEVICE)["components"]
        assert listener.last(DEVICE)["device"]["model"] == "Three-phase hybrid inverter"


def test_other_topics_and_no_discovery(mqtt: Any, broker: Mosquitto) -> None:
    with Listener(broker) as listener:
        with delivering(mqtt, broker.url, base_topic="a/b", discovery_prefix="") as backend:
            backend.put(reading(7))
            listener.wait_for_text(f"a/b/{SERIAL}/availability", "online")
            listener.wait_for("a/b/service")
        assert {heard.topic for heard in listener.heard} == {
            "a/b/status",
            "a/b/service",
            f"a/b/{SERIAL}/availability",
            f"a/b/{SERIAL}/state",
        }


def test_the_service_is_a_device(mqtt: Any, broker: Mosquitto) -> None:
    backends = [BackendStatus("influxdb2 http://a:8086", False, 0, 12, 3, "no")]
    reports = 17

    def status() -> Status:
        return no_status()._replace(reports=reports, backends=(*backends, backend.status()))

    with Listener(broker) as listener:
        backend = mqtt.Mqtt(MqttConfig(url=broker.url), status)
        backend.on_change = backend.note_status
        backend.start()
        backend.put(reading(7))
        listener.wait_for_text(AVAILABILITY, "online")
        ours = f"mqtt_mqtt_127_0_0_1_{broker.port}"
        # After delivery.
        listener.wait_for(SERVICE_STATE, lambda heard: not heard[-1].json["backends"][ours]["waiting"])
        service = listener.last(SERVICE_STATE)
        assert service["reports"] == 17
        assert service["backends"] == {
            "influxdb2_http_a_8086": {"connected": False, "waiting": 12, "dropped": 3},
            ours: {"connected": True, "waiting": 0, "dropped": 0},
        }
        assert (service["problem"], service["problems"]) == ("ON", {"InfluxDB a": "no"})
        # After a reload there is another backend.
        backends[:] = [BackendStatus("console", True, 0, 0, 0, "")]
        backend.note_status()
        listener.wait_for(SERVICE_STATE, lambda heard: heard[-1].json["problem"] == "OFF")
        device = next(heard.topic for heard in listener.heard if "capture on" in heard.text)
        removal, now = (heard.json["components"] for heard in listener.of(device)[-2:])
        gone = ("influxdb2_http_a_8086_waiting", "influxdb2_http_a_8086_dropped")
        assert removal == now | {key: {"platform": "sensor"} for key in gone}
        assert "console_waiting" in now
        assert "influxdb2_http_a_8086_waiting" not in now
        # Not more often than that, and only what has changed.
        before = len(listener.of(SERVICE_STATE))
        began = time.monotonic()
        for number in range(30):
            reports = 18 + number
            backend.note_status()
            backend.put(reading(number))
            time.sleep(0.05)
        listener.wait_for(SERVICE_STATE, lambda heard: heard[-1].json["reports"] == 47)
        assert len(listener.of(SERVICE_STATE)) - before <= time.monotonic() - began + 2
        backend.stop()
        backend.join(5)


def test_what_an_earlier_version_had(mqtt: Any, broker: Mosquitto) -> None:
    before = {"components": {"moon": {"platform": "binary_sensor"}, "grid_power": {"platform": "sensor"}}}
    with Listener(broker) as listener:
        listener.say(DEVICE, json.dumps(before), retain=True)
        with delivering(mqtt, broker.url) as backend:
            backend.put(reading(7))
            listener.wait_for(DEVICE, at_least(4))
            _, first, removal, now = (heard.json["components"] for heard in listener.of(DEVICE))
    assert first == now
    assert "moon" not in now
    assert removal == now | {"moon": {"platform": "binary_sensor"}}


# Two services


def test_another_service_with_our_topics(mqtt: Any, broker: Mosquitto, log: pytest.LogCaptureFixture) -> None:
    with Listener(broker) as listener, delivering(mqtt, broker.url, client_id="one") as one:
        one.put(reading(7))
        listener.wait_for_text(AVAILABILITY, "online")
        assert errors(log) == []
        with delivering(mqtt, broker.url, client_id="other"):
            listener.wait_for(SERVICE, lambda heard: len(heard) >= 2)
            wait_for(lambda: errors(log), "line about that")
        listener.wait_for(SERVICE, lambda heard: [each.text for each in heard[-2:]] == ["offline", "online"])
        time.sleep(0.5)
        assert retained(broker)[SERVICE] == "online"
        listener.say(SERVICE, "offline", retain=True)
        listener.wait_for_text(SERVICE, "online")
        (line,) = errors(log)
        assert line.endswith(': another service has base_topic = "inverter-capture" too: give each one its own')
    assert retained(broker)[SERVICE] == "offline"


def test_two_services_hear_one_inverter(mqtt: Any, broker: Mosquitto, log: pytest.LogCaptureFixture) -> None:
    """The first announces it; the other does when the first has ended. Then it stays with that one."""

    def announced_by() -> str:
        return homeassistant.announcing_service(retained(broker)[DEVICE].encode())

    def other_yields() -> bool:
        return "by another service (other/status), not by this one" in log.text

    with Listener(broker) as listener, delivering(mqtt, broker.url, base_topic="other") as other:
        with delivering(mqtt, broker.url) as one:
            one.put(reading(7))
            listener.wait_for_text(AVAILABILITY, "online")
            other.put(reading(8))
            wait_for(lambda: f"by another service ({SERVICE}), not by this one" in log.text, "line about that")
            wait_for(lambda: announced_by() == SERVICE, "announcement of the first")
            other.put(reading(9))
            listener.wait_for(f"other/{SERIAL}/state", lambda heard: power(heard)[-1] == 9)
            listener.say(TOPICS.home_assistant, "online")
            time.sleep(1)
            assert announced_by() == SERVICE
        wait_for(lambda: announced_by() == "other/status", "takeover")
        assert log.text.count("by this service now: ") == 1
        assert not other_yields()
        with delivering(mqtt, broker.url) as one:
            one.put(reading(10))
            wait_for(other_yields, "line about that")
            wait_for(lambda: announced_by() == "other/status", "announcement of the other")
            assert log.text.count("by another service") == 2
            assert errors(log) == []


def test_two_services_hear_inverters_at_once(mqtt: Any, broker: Mosquitto, log: pytest.LogCaptureFixture) -> None:
    """As when they see the same report. Each inverter stays with one of them."""
    serials = [f"22051647{number}" for number in range(10, 18)]

    def announced_by(service: str) -> bool:
        messages = retained(broker)
        return {homeassistant.announcing_service(messages[TOPICS.device(serial)].encode()) for serial in serials} == {
            service
        }

    with Listener(broker) as listener, delivering(mqtt, broker.url, base_topic="other") as other:
        with delivering(mqtt, broker.url) as one:
            for service in (SERVICE, "other/status"):
                listener.wait_for_text(service, "online")
            time.sleep(0.5)
            # Then it reads what both say in turns.
            broker.freeze()
            for serial in serials:
                one.put(reading(7, serial))
                other.put(reading(7, serial))
            time.sleep(0.5)
            broker.thaw()
            wait_for(lambda: log.text.count("by another service") == len(serials), "lines about that")
        wait_for(lambda: announced_by("other/status"), "takeover")
        assert errors(log) == []


def test_a_service_that_has_ended_does_not_keep_its_inverters(mqtt: Any, broker: Mosquitto) -> None:
    """As after a change of base_topic."""
    with Listener(broker) as listener:
        for base in ("inverter-capture", "other"):
            with delivering(mqtt, broker.url, base_topic=base) as backend:
                backend.put(reading(7))
                listener.wait_for(f"{base}/{SERIAL}/availability")
                time.sleep(1)
        assert homeassistant.announcing_service(retained(broker)[DEVICE].encode()) == "other/status"


# The present


def test_silence(mqtt: Any, broker: Mosquitto) -> None:
    with Listener(broker) as listener, delivering(mqtt, broker.url, stale_after=1.5) as backend:
        began = time.monotonic()
        backend.put(reading(7))
        listener.wait_for_text(AVAILABILITY, "online")
        listener.wait_for_text(AVAILABILITY, "offline", 10)
        assert listener.of(AVAILABILITY)[-1].time - began > 1.4
        backend.put(reading(8))
        listener.wait_for_text(AVAILABILITY, "online")
        assert power(listener.of(STATE)) == [7, 8]
        assert listener.of(STATE)[-1].time < listener.of(AVAILABILITY)[-1].time
    assert listener.texts(AVAILABILITY)[:3] == ["online", "offline", "online"]


def test_what_a_dongle_had_kept_is_not_shown(mqtt: Any, broker: Mosquitto) -> None:
    with Listener(broker) as listener, delivering(mqtt, broker.url) as backend:
        backend.put(reading(7))
        listener.wait_for_text(AVAILABILITY, "online")
        for hours in range(5, 1, -1):
            backend.put(reading(hours, late=hours * 3600))
            time.sleep(0.1)
        backend.put(reading(1, late=3600), reading(8))
        listener.wait_for(STATE, lambda heard: power(heard)[-1] == 8)
        assert power(listener.of(STATE)) == [7, 8]
        assert backend.status().dropped == 0


def test_the_newest_is_shown_however_old(mqtt: Any, broker: Mosquitto) -> None:
    with Listener(broker) as listener, delivering(mqtt, broker.url) as backend:
        backend.put(reading(7, late=3 * 3600))
        listener.wait_for_text(AVAILABILITY, "offline")
        assert power(listener.of(STATE)) == [7]


def test_a_file_is_read_to_its_newest_reading(mqtt: Any, broker: Mosquitto) -> None:
    with Listener(broker) as listener, delivering(mqtt, broker.url) as backend:
        listener.wait_for_text(SERVICE, "online")
        backend.begin_import()
        first = time.time_ns() - 3600 * SECOND
        for number in range(200):
            backend.put(Reading.of(SERIAL, first + number * SECOND, {"grid_power": number}))
            time.sleep(0.005)
        backend.end_import()
        assert backend.wait_until_empty(30)
        listener.wait_for(STATE, lambda heard: power(heard)[-1] == 199)
        assert len(listener.of(STATE)) < 20


# Restarts


def test_a_restart_of_ours(mqtt: Any, broker: Mosquitto) -> None:
    """What is there already is right at once, and what is old is not new again."""
    with delivering(mqtt, broker.url, stale_after=5) as backend:
        backend.put(reading(7))
        backend.put(reading(9, "B", late=2.5))
        wait_for(lambda: backend.status().delivered == 2, "delivery")
    with Listener(broker) as listener, delivering(mqtt, broker.url, stale_after=5):
        listener.wait_for(SERVICE, lambda heard: heard[-1].text == "online" and not heard[-1].retained)
        listener.wait_for(AVAILABILITY, lambda heard: heard[-1].text == "offline")
        listener.wait_for(TOPICS.availability("B"), lambda heard: heard[-1].text == "offline")
        other = listener.of(TOPICS.availability("B"))[-1]
        assert other.time < listener.of(AVAILABILITY)[-1].time
        # A broker may have lost what was announced.
        assert [heard for heard in listener.of(DEVICE) if not heard.retained]
    time.sleep(1)
    with Listener(broker) as listener, delivering(mqtt, broker.url, stale_after=5) as backend:
        listener.wait_for(SERVICE, lambda heard: heard[-1].text == "online" and not heard[-1].retained)
        assert {heard.text for heard in listener.of(AVAILABILITY)} == {"offline"}
        # Whoever has removed a device that is silent does not see it come back.
        assert not [heard for heard in listener.of(DEVICE) if not heard.retained]
        backend.put(reading(10))
        listener.wait_for_text(AVAILABILITY, "online")
        assert power(listener.of(STATE))[-1] == 10


LEFT = (
    "",
    '{"timestamp": 1, "clock_behind": 0, "serial": "SERIAL", "values": {}, "more": "' + 64 * 1024 * "x" + '"}',
    "[]",
    "{",
    "null",
    "[" * 5000,
    '{"timestamp": 1e400, "clock_behind": 0, "serial": "SERIAL"}',
    '{"timestamp": 99999999999999999999999, "clock_behind": 0, "serial": "SERIAL"}',
    '{"timestamp": 1, "clock_behind": "x", "serial": "SERIAL"}',
    '{"timestamp": 1, "clock_behind": 0, "serial": "other"}',
    '{"components": {"x": {"platform": NaN}}}',
    '{"components": {}, "availability": [{"topic": "#"}], "origin": {"name": "inverter-capture"}}',
    '{"components": {}, "availability": [{"topic": "a#/status"}], "origin": {"name": "inverter-capture"}}',
    "x" * 100_000,
)


def test_what_others_have_left_there(mqtt: Any, broker: Mosquitto) -> None:
    serials = [f"S{number}" for number in range(len(LEFT))]
    with Listener(broker) as listener:
        for serial, text in zip(serials, LEFT, strict=True):
            listener.say(TOPICS.state(serial), text.replace("SERIAL", serial), retain=True)
            listener.say(TOPICS.device(serial), text.replace("SERIAL", serial), retain=True)
        with delivering(mqtt, broker.url) as backend:
            listener.wait_for_text(SERVICE, "online")
            assert not [heard for heard in listener.heard if heard.topic.endswith("/availability")]
            for serial in serials:
                backend.put(reading(7, serial))
            for serial in serials:
                listener.wait_for_text(TOPICS.availability(serial), "online")
                assert listener.last(TOPICS.device(serial))["device"]["serial_number"] == serial


def test_what_others_have_left_there_takes_no_place(mqtt: Any, broker: Mosquitto) -> None:
    forged = [f"FORGED{number:04}" for number in range(INVERTERS_MAX)]
    with Listener(broker) as listener, delivering(mqtt, broker.url) as backend:
        for serial in forged:
            backend.put(reading(1, serial))
        assert backend.wait_until_empty(30)
    with Listener(broker) as listener, delivering(mqtt, broker.url) as backend:
        listener.wait_for(SERVICE, lambda heard: heard[-1].text == "online" and not heard[-1].retained)
        backend.put(reading(7))
        listener.wait_for(STATE)
        listener.wait_for_text(AVAILABILITY, "online")
        assert backend.wait_until_empty(30)
        # One of the others went, and is no longer said to be there.
        wait_for(
            lambda: [listener.of(TOPICS.availability(serial))[-1].text for serial in forged].count("offline") == 1,
            "end of one",
        )


def test_inverters_that_report_stay_before_those_that_only_a_state_tells_of(mqtt: Any, broker: Mosquitto) -> None:
    with delivering(mqtt, broker.url) as backend:
        for number in range(INVERTERS_MAX):
            backend.put(reading(1, f"FORGED{number:04}"))
        assert backend.wait_until_empty(30)
    with Listener(broker) as listener, delivering(mqtt, broker.url) as backend:
        # It has been silent for longer than all of them.
        backend.put(reading(7, late=60))
        listener.wait_for(STATE)
        listener.wait_for_text(AVAILABILITY, "online")
        for number in range(INVERTERS_MAX // 2):
            backend.put(reading(number, f"ANOTHER{number:03}"))
            assert backend.wait_until_empty(30)
        listener.wait_for(TOPICS.state(f"ANOTHER{INVERTERS_MAX // 2 - 1:03}"))
        assert listener.of(AVAILABILITY)[-1].text == "online"


def test_of_too_many_inverters_the_one_that_is_silent_goes(mqtt: Any, broker: Mosquitto) -> None:
    with Listener(broker) as listener, delivering(mqtt, broker.url) as backend:
        listener.wait_for_text(SERVICE, "online")
        for number in range(2 * INVERTERS_MAX):
            backend.put(reading(number))
            backend.put(reading(number, f"FORGED{number:04}"))
            assert backend.wait_until_empty(30)
        listener.wait_for(STATE, lambda heard: power(heard)[-1] == 2 * INVERTERS_MAX - 1)
        assert [heard.text for heard in listener.of(AVAILABILITY)] == ["online"]
        assert backend.status().delivered == 4 * INVERTERS_MAX


@pytest.mark.parametrize("keep", [False, True])
def test_a_restart_of_the_broker(
    keep: bool, mqtt: Any, tmp_path: Path, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Mosquitto(tmp_path / "broker", keep=keep) as broker, delivering(mqtt, broker.url) as backend:
        backend.put(reading(7))
        assert backend.wait_until_empty(30)
        for stop in (broker.end, broker.kill):
            stop()
            wait_for(lambda: not backend.status().connected, "loss")
            wait_for(lambda: errors(log), "line")
            assert "cannot be reached (Connection refused)" in backend.status().problem
            broker.start()
            with Listener(broker) as listener:
                listener.wait_for_text(SERVICE, "online", 10)
                for topic in (AVAILABILITY, STATE, DEVICE):
                    listener.wait_for(topic)
                assert listener.texts(AVAILABILITY)[-1] == "online"
                assert power(listener.of(STATE))[-1] == 7
            wait_for(lambda: "delivering again" in log.text, "recovery")
            assert backend.status().problem == ""
            assert len(errors(log)) == 1, errors(log)
            assert log.text.count("delivering again") == 1
            log.clear()
        assert backend.status().delivered == 1


def test_readings_while_the_broker_is_away(mqtt: Any, broker: Mosquitto, log: pytest.LogCaptureFixture) -> None:
    """The newest goes there as soon as it is back."""
    broker.end()
    with delivering(mqtt, broker.url) as backend:
        wait_for(lambda: errors(log), "line")
        for number in range(5):
            backend.put(reading(number))
        assert not backend.wait_until_empty(0)
        assert backend.status()[1:5] == (False, 0, 1, 4)
        broker.start()
        with Listener(broker) as listener:
            listener.wait_for_text(SERVICE, "online")
            assert power(listener.of(STATE)) == [4]
        assert backend.wait_until_empty(30)
        wait_for(lambda: "delivering again" in log.text, "line about that")
        assert "dropped: 4 readings" in log.text


def test_home_assistant_comes(mqtt: Any, broker: Mosquitto) -> None:
    with Listener(broker) as listener, delivering(mqtt, broker.url) as backend:
        backend.put(reading(7))
        listener.wait_for_text(AVAILABILITY, "online")
        listener.heard.clear()
        listener.say(TOPICS.home_assistant, "offline")
        listener.say(TOPICS.home_assistant, "online")
        listener.wait_for(AVAILABILITY)
        heard = [each.topic for each in listener.heard if each.topic in (DEVICE, STATE, AVAILABILITY)]
        assert heard == [DEVICE, STATE, AVAILABILITY]
        assert listener.of(STATE)[0].time - listener.of(TOPICS.home_assistant)[-1].time > 0.2
        assert backend.status().delivered == 1


# Ways to a broker


def test_ways(mqtt: Any, tmp_path: Path, authority: Authority, log: pytest.LogCaptureFixture) -> None:
    certificate = authority.files()
    ways = {
        "mqtts": Mosquitto(tmp_path / "1", certificate=certificate, users={"solar": PASSWORD}),
        "ws": Mosquitto(tmp_path / "2", websockets=True, users={"solar": PASSWORD}),
        "wss": Mosquitto(tmp_path / "3", websockets=True, certificate=certificate, users={"solar": PASSWORD}),
    }
    for scheme, broker in ways.items():
        with broker:
            way = {"url": broker.url, "verify": str(authority.file), "username": "solar", "password": PASSWORD}
            assert way["url"].startswith(f"{scheme}://")
            other: dict[str, Any] = {"url": f"unix://{broker.socket}"} if scheme == "ws" else {"verify": False}
            for changes in ({}, other):
                log.clear()
                config = MqttConfig(**way | changes)
                assert mqtt.Mqtt(config, no_status).check() is None
                with Listener(broker) as listener, delivering(mqtt, **way | changes) as backend:
                    backend.put(reading(7))
                    listener.wait_for_text(AVAILABILITY, "online")
                    assert power(listener.of(STATE))[-1] == 7
                    wait_for(lambda: "ready to deliver" in log.text, "line about that")
                assert errors(log) == []


def test_a_certificate_of_ours(mqtt: Any, tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.files()
    with Mosquitto(tmp_path / "broker", certificate=(certificate, key), authority=authority.file) as broker:
        way: dict[str, Any] = {"url": broker.url, "verify": str(authority.file)}
        assert check(mqtt, **way, certificate=certificate, key=key) is None
        together = tmp_path / "both.pem"
        together.write_text(Path(certificate).read_text() + Path(key).read_text())
        assert check(mqtt, **way, certificate=str(together)) is None
        problem = check(mqtt, **way)
        assert problem is not None
        assert "set certificate and key" in problem
        other = Authority(tmp_path)
        problem = check(mqtt, **way, certificate=other.files()[0], key=other.files()[1])
        assert problem is not None
        assert "set certificate and key" in problem
        missing = check(mqtt, **way, certificate="/no/such", key=key)
        assert missing is not None
        assert missing.startswith(
            'certificate = "/no/such": cannot be read (No such file or directory): check the path'
        )
        wrong = check(mqtt, **way, certificate=certificate, key=other.files()[1])
        assert wrong is not None
        assert "not the key of this certificate" in wrong


def check(mqtt: Any, url: str, **settings: Any) -> str | None:
    """What `check --connect` says."""
    problem: str | None = mqtt.Mqtt(MqttConfig(url=url, **settings), no_status).check()
    assert problem is None or (problem.isprintable() and PASSWORD not in problem)
    return problem


# What can be wrong


@contextmanager
def answering(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server that is no broker. Gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        answer(connection)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def say_nothing(connection: socket.socket) -> None:
    """Until the client gives up."""
    while connection.recv(4096):
        pass


def assert_one_line(
    mqtt: Any, text: str, log: pytest.LogCaptureFixture, url: str, attempts: int = 3, **settings: Any
) -> None:
    """The check and the log say what is wrong, in the same words; the log says it once. Nobody is held up."""
    problem = check(mqtt, url, **settings)
    assert problem is not None
    assert text in problem
    tried = []
    original = mqtt.Connection.open

    def counted(self: Any) -> None:
        tried.append(self)
        original(self)

    mqtt.Connection.open = counted
    try:
        with delivering(mqtt, url, **settings) as backend:
            backend.put(reading(7))
            wait_for(lambda: len(tried) > attempts, "attempts", 60)
            assert errors(log) == [f"mqtt {url}: {problem}"]
            assert backend.status().problem == problem
            assert not backend.status().connected
            assert not backend.wait_until_empty(0)
            assert backend.status().waiting == 1
    finally:
        mqtt.Connection.open = original


def test_nobody_there(mqtt: Any, log: pytest.LogCaptureFixture) -> None:
    assert_one_line(mqtt, "cannot be reached (Connection refused): check url", log, f"mqtt://127.0.0.1:{free_port()}")


def test_no_such_name(mqtt: Any, log: pytest.LogCaptureFixture) -> None:
    assert_one_line(mqtt, "cannot resolve the name in url", log, "mqtt://broker.invalid")


def test_no_such_socket(mqtt: Any, log: pytest.LogCaptureFixture) -> None:
    assert_one_line(mqtt, "cannot be reached (No such file or directory)", log, "unix:///no/such")


ANSWERS = (
    b"",
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    b"\x15\x03\x03\x00\x02\x02\x50",
    b"\x20\x02\x00",
    b"\x20\xff\xff\xff\xff\xff",
    b"\x30\x02\x00\x09",
    b"SSH-2.0-OpenSSH_9.9\r\n",
    bytes(range(256)),
)


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts", "ws", "wss"])
def test_what_answers_is_no_broker(scheme: str, mqtt: Any) -> None:
    answers = iter(ANSWERS)

    def play(connection: socket.socket) -> None:
        connection.settimeout(5)
        connection.recv(10_000)
        connection.sendall(next(answers))

    with answering(play) as url:
        for answer in ANSWERS:
            problem = check(mqtt, url.replace("mqtt://", f"{scheme}://"))
            assert problem is not None
            assert "check" in problem, (answer, problem)
            assert "url" in problem, (answer, problem)


def test_an_answer_that_does_not_come(mqtt: Any, log: pytest.LogCaptureFixture) -> None:
    with answering(say_nothing) as url:
        assert_one_line(
            mqtt,
            "no answer within 2 s: check that what listens on the port in url is an MQTT broker",
            log,
            url,
            attempts=1,
        )


def test_wrong_password(mqtt: Any, tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    with Mosquitto(tmp_path / "broker", users={"solar": "right"}) as broker:
        text = 'refuses username = "solar" with this password: correct'
        assert_one_line(mqtt, text, log, broker.url, username="solar", password=PASSWORD)
        log.clear()
        assert_one_line(mqtt, "set username and password", log, broker.url)
        assert check(mqtt, broker.url, username="solar", password="right") is None


def test_certificates(mqtt: Any, tmp_path: Path, authority: Authority, log: pytest.LogCaptureFixture) -> None:
    trusted = {"verify": str(authority.file)}
    cases: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
        ("certificate is not trusted", (), {}),
        ("certificate has expired", ("20200101000000Z", "20210101000000Z"), trusted),
        ("certificate is not valid yet", ("20980101000000Z", "20991231235959Z"), trusted),
        ("certificate is for another name", ("20200101000000Z", "20991231235959Z", "DNS:elsewhere"), trusted),
        (
            'verify = "/no/such": cannot be read (No such file or directory)',
            (),
            {"verify": "/no/such"},
        ),
    ]
    for number, (text, kind, settings) in enumerate(cases):
        with Mosquitto(tmp_path / str(number), certificate=authority.files(*kind)) as broker:
            log.clear()
            assert_one_line(mqtt, text, log, broker.url, attempts=2, **settings)
    with Mosquitto(tmp_path / "broker", certificate=authority.files()) as broker:
        problem = check(mqtt, broker.url.replace("mqtts", "mqtt"))
        assert problem is not None
        assert "mqtts:// or wss:// for TLS" in problem


RULES = {
    "nothing": (["user solar"], "inverter-capture/"),
    "only to read": (["user solar", "topic read #"], "inverter-capture/"),
    "no discovery": (["user solar", "topic readwrite inverter-capture/#"], "homeassistant/device/inverter-capture"),
}


@pytest.mark.parametrize("rules", RULES)
def test_not_allowed(rules: str, mqtt: Any, tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    lines, topic = RULES[rules]
    way: dict[str, Any] = {"username": "solar", "password": PASSWORD}
    with Mosquitto(tmp_path / "broker", users={"solar": PASSWORD}, rules=lines) as broker:
        problem = check(mqtt, broker.url, **way)
        assert problem is not None
        assert problem.startswith(f"the broker does not send back messages published to {topic}")
        assert 'allow username = "solar" to write and read there' in problem
        with delivering(mqtt, broker.url, **way) as backend:
            backend.put(reading(7))
            wait_for(lambda: errors(log), "line")
            assert errors(log)[0].startswith(
                f"mqtt {broker.url}: the broker does not send back messages published to {topic}"
            )
            assert backend.wait_until_empty(30)
            backend.put(reading(8))
            time.sleep(1)
            assert len(errors(log)) == 1
            assert "ready to deliver" not in log.text
            if rules == "no discovery":
                with Listener(broker) as listener:
                    listener.wait_for(STATE, lambda heard: power(heard)[-1] == 8)


def test_enough_is_allowed(mqtt: Any, tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    rules = ["user solar", "topic readwrite inverter-capture/#", "topic readwrite homeassistant/device/+/+"]
    way: dict[str, Any] = {"username": "solar", "password": PASSWORD}
    with Mosquitto(tmp_path / "broker", users={"solar": PASSWORD}, rules=rules) as broker:
        assert check(mqtt, broker.url, **way) is None
        with delivering(mqtt, broker.url, **way) as backend:
            backend.put(reading(7))
            wait_for(lambda: "ready to deliver" in log.text, "line about that")
            time.sleep(1)
        assert errors(log) == []


def test_a_second_client_with_our_name(mqtt: Any, broker: Mosquitto, log: pytest.LogCaptureFixture) -> None:
    way: dict[str, Any] = {"client_id": "twin"}
    with delivering(mqtt, broker.url, **way) as one, delivering(mqtt, broker.url, **way, base_topic="b") as other:
        wait_for(lambda: errors(log), "line", 60)
        assert 'client_id = "twin"' in errors(log)[0]
        time.sleep(3)
        assert len(errors(log)) <= 2, errors(log)
        other.reconfigure(MqttConfig(url=broker.url, client_id="other"), None)
        with Listener(broker) as listener:
            one.put(reading(7))
            listener.wait_for(STATE)


def test_a_broker_that_forwards_small_messages_only(mqtt: Any, tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    with (
        Mosquitto(tmp_path / "broker", options=["message_size_limit 20000"]) as broker,
        Listener(broker) as listener,
        delivering(mqtt, broker.url) as backend,
    ):
        backend.put(reading(7))
        wait_for(lambda: errors(log), "line", 60)
        assert DEVICE in errors(log)[0]
        assert "message_size_limit" in errors(log)[0]
        backend.put(reading(8))
        listener.wait_for(STATE, lambda heard: power(heard)[-1] == 8)
        listener.wait_for_text(SERVICE, "online")
        assert backend.wait_until_empty(30)
        time.sleep(2)
        assert len(errors(log)) == 1, errors(log)
        assert backend.status().connected


def test_a_broker_that_takes_small_packets_only(mqtt: Any, tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """It ends each connection. The log names what may be the reason, once, and nothing is lost by trying on."""
    with (
        Mosquitto(tmp_path / "broker", options=["max_packet_size 20000"]) as broker,
        delivering(mqtt, broker.url) as backend,
    ):
        backend.put(reading(7))
        wait_for(lambda: errors(log), "line", 60)
        assert "max_packet_size" in errors(log)[0]
        assert "client_id" in errors(log)[0]
        time.sleep(2)
        assert len(errors(log)) == 1, errors(log)
        assert backend.status().waiting == 1


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts", "ws", "unix"])
def test_a_message_of_others_that_is_too_large(
    scheme: str, mqtt: Any, tmp_path: Path, authority: Authority, log: pytest.LogCaptureFixture
) -> None:
    """Retained where our states are, or sent while we deliver: it ends the connection, and we are back without it."""
    limit = modules_of("2")[OURS[2]].MESSAGE_BYTES_MAX
    certificate = authority.files() if scheme == "mqtts" else None
    with (
        Mosquitto(tmp_path / "broker", certificate=certificate, websockets=scheme == "ws") as broker,
        Listener(broker) as listener,
    ):
        listener.say(TOPICS.state("zz"), "x" * 2 * limit, retain=True)
        listener.wait_for(TOPICS.state("zz"))
        url = f"unix://{broker.socket}" if scheme == "unix" else broker.url
        with delivering(mqtt, url, verify=False) as backend:
            backend.put(reading(7))
            listener.wait_for_text(AVAILABILITY, "online")
            assert len(errors(log)) == 1, errors(log)
            assert "256 KiB" in errors(log)[0]
            wait_for(lambda: "delivering again" in log.text, "line about that")
            log.clear()
            # Of this size it is read, and means nothing.
            listener.say(TOPICS.home_assistant, "x" * (limit - 100))
            time.sleep(0.5)
            assert errors(log) == []
            listener.say(TOPICS.home_assistant, "x" * limit)
            wait_for(lambda: errors(log), "line")
            assert "256 KiB" in errors(log)[0]
            wait_for(lambda: "delivering again" in log.text, "line about that")
            backend.put(reading(8))
            listener.wait_for(STATE, lambda heard: power(heard)[-1] == 8)
            assert len(errors(log)) == 1, errors(log)


def test_many_small_messages_are_not_a_large_one(mqtt: Any, broker: Mosquitto, log: pytest.LogCaptureFixture) -> None:
    limit = modules_of("2")[OURS[2]].MESSAGE_BYTES_MAX
    with Listener(broker) as listener, delivering(mqtt, broker.url) as backend:
        listener.wait_for_text(SERVICE, "online")
        for _ in range(30):
            listener.say(TOPICS.home_assistant, "x" * (limit // 10))
        listener.wait_for(TOPICS.home_assistant, at_least(30))
        backend.put(reading(7))
        listener.wait_for_text(AVAILABILITY, "online")
        assert errors(log) == []


def test_a_large_message_in_small_pieces() -> None:
    """As a WebSocket may bring it. Each piece is small, but together they are too much for one message."""
    connection = modules_of("2")[OURS[2]]
    ours, theirs = socket.socketpair()
    bounded = connection._Bounded(ours)
    piece = b"x" * 1024
    with ours, theirs:
        for _ in range(connection.MESSAGE_BYTES_MAX // len(piece) + 1):
            theirs.sendall(piece)
            assert bounded.recv(len(piece)) == piece
        theirs.sendall(piece)
        with pytest.raises(connection.MessageTooLarge):
            bounded.recv(len(piece))
        bounded.message_ended()
        assert bounded.recv(len(piece)) == piece


def test_a_broker_that_sends_at_qos_2(mqtt: Any, log: pytest.LogCaptureFixture) -> None:
    """What it does not release would have to be kept: it is not taken."""
    sent: list[int] = []

    def play(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"\x20\x02\x00\x00")
        connection.recv(4096)
        for number in range(1, 1000):
            topic = SERVICE.encode()
            head = len(topic).to_bytes(2) + topic + number.to_bytes(2)
            length = len(head) + 1000
            connection.sendall(b"\x34" + bytes([length % 128 | 128, length // 128]) + head + b"x" * 1000)
            sent.append(number)
            time.sleep(0.01)

    with answering(play) as url:
        problem = check(mqtt, url)
        assert problem is not None
        assert "QoS 2" in problem
        assert len(sent) < 100


def test_an_attempt_at_once_when_asked_for(
    mqtt: Any, tmp_path: Path, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings that are unchanged may have become right, as when a file was made readable."""
    monkeypatch.setattr(mqtt, "REFUSED_SECONDS", 300.0)
    authority = Authority(tmp_path)
    file = tmp_path / "authority.pem"
    with (
        Mosquitto(tmp_path / "broker", certificate=authority.files()) as broker,
        Listener(broker) as listener,
        delivering(mqtt, broker.url, verify=str(file)) as backend,
    ):
        backend.put(reading(7))
        wait_for(lambda: errors(log), "line")
        backend.retry()
        wait_for(lambda: len(errors(log)) == 2, "the same line once more")
        file.write_text(authority.file.read_text())
        backend.retry()
        listener.wait_for(STATE)
        # A connection that is well stays.
        wait_for(lambda: "delivering again" in log.text, "line about that")
        backend.retry()
        time.sleep(0.5)
        assert listener.texts(SERVICE) == ["online"]


def test_a_frozen_broker(mqtt: Any, broker: Mosquitto, log: pytest.LogCaptureFixture) -> None:
    with delivering(mqtt, broker.url, keepalive=1) as backend:
        wait_for(lambda: "ready to deliver" in log.text, "line about that")
        broker.freeze()
        for number in range(3):
            backend.put(reading(number))
        wait_for(lambda: errors(log), "line", 60)
        assert "the broker no longer responds" in errors(log)[0]
        assert backend.status().waiting == 1
        broker.thaw()
        with Listener(broker) as listener:
            listener.wait_for(STATE, lambda heard: power(heard)[-1] == 2)
        wait_for(lambda: "delivering again" in log.text, "line about that")
        assert len(errors(log)) == 1, errors(log)


# The end


def seconds_to_end(backend: Any) -> float:
    began = time.monotonic()
    backend.stop()
    backend.join(backend.stop_seconds)
    return time.monotonic() - began


def test_the_end(mqtt: Any, broker: Mosquitto) -> None:
    with Listener(broker) as listener, delivering(mqtt, broker.url) as backend:
        listener.wait_for_text(SERVICE, "online")
        backend.put(reading(7))
        assert seconds_to_end(backend) < 3
        assert not backend._thread.is_alive()
        listener.wait_for_text(SERVICE, "offline")
        assert power(listener.of(STATE)) == [7]
        farewell = f"Client {mqtt.client_id(MqttConfig(url=broker.url))} disconnected."
        wait_for(lambda: farewell in broker.log(), "line about the orderly end")


def test_an_end_without_a_broker(mqtt: Any, broker: Mosquitto, log: pytest.LogCaptureFixture) -> None:
    with delivering(mqtt, broker.url) as backend:
        wait_for(lambda: "ready to deliver" in log.text, "line about that")
        broker.freeze()
        for number in range(50):
            backend.put(reading(number))
        assert seconds_to_end(backend) < 4
    broker.thaw()
    with delivering(mqtt, f"mqtt://127.0.0.1:{free_port()}") as backend:
        wait_for(lambda: errors(log), "line")
        backend.put(reading(7))
        assert seconds_to_end(backend) < 1
        assert backend.join(0) == 1


def test_an_end_while_it_connects(mqtt: Any) -> None:
    heard = threading.Event()

    def listen(connection: socket.socket) -> None:
        heard.set()
        say_nothing(connection)

    with answering(listen) as url, delivering(mqtt, url) as backend:
        assert heard.wait(10)
        assert seconds_to_end(backend) < 1.5


# Other settings


def test_other_settings(mqtt: Any, broker: Mosquitto, tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "other") as other,
        Listener(broker) as here,
        Listener(other) as there,
        delivering(mqtt, broker.url) as backend,
    ):
        backend.put(reading(7))
        here.wait_for_text(AVAILABILITY, "online")
        backend.reconfigure(MqttConfig(url=other.url, base_topic="solar"), None)
        here.wait_for_text(SERVICE, "offline")
        there.wait_for_text("solar/status", "online")
        assert there.texts(f"solar/{SERIAL}/availability") == ["online"]
        assert power(there.of(f"solar/{SERIAL}/state")) == [7]
        assert backend.status().name == f"mqtt {other.url}"
        backend.reconfigure(MqttConfig(url=other.url, base_topic="solar", stale_after=1.0), None)
        there.wait_for_text(f"solar/{SERIAL}/availability", "offline")


def test_names_of_clients(mqtt: Any) -> None:
    ids = {
        mqtt.client_id(MqttConfig(url="mqtt://a", base_topic=base)) for base in ("inverter-capture", "solar", "house")
    }
    assert len(ids) == 3
    assert all(len(name) == 23 and name.startswith("inverter-capture-") for name in ids)
    assert mqtt.client_id(MqttConfig(url="mqtt://a")) == mqtt.client_id(MqttConfig(url="mqtt://b"))
    assert mqtt.client_id(MqttConfig(url="mqtt://a", client_id="me")) == "me"


def test_a_link_to_the_page_in_luci(
    mqtt: Any, broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = MqttConfig(url=broker.url)
    away = SimpleNamespace(address="192.168.1.1")
    assert mqtt._service(config, away).page == ""
    menu = tmp_path / "menu.json"
    menu.touch()
    monkeypatch.setattr(mqtt, "LUCI_MENU", str(menu))
    assert mqtt._service(config, away).page == "http://192.168.1.1/cgi-bin/luci/admin/services/inverter-capture"
    # A broker on the router itself does not tell by which address others reach the router.
    for url in (broker.url, f"unix://{broker.socket}"):
        connection = mqtt.Connection(MqttConfig(url=url), "link")
        connection.open()
        assert mqtt._service(config, connection).page == ""
        connection.close()


def test_secrets_are_not_shown() -> None:
    assert PASSWORD not in repr(MqttConfig(url="mqtt://a", username="u", password=PASSWORD))


# The program


def program_environment(line: str) -> dict[str, Any]:
    """On either line of paho; what warns, fails."""
    path = os.pathsep.join([OPENWRT_LIBRARIES] * (line == "1.6.1") + [ROOT])
    return {"PYTHONPATH": path, "PYTHONWARNINGS": "error"}


@pytest.fixture(params=["1.6.1", "2"])
def line(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def write_config(folder: Path, url: str, device: str, *lines: str) -> Path:
    path = folder / "config.toml"
    path.write_text(
        "\n".join(["[pcap]", f'device = "{device}"', 'timezone = "Africa/Johannesburg"', *lines])
        + f'\n[[mqtt]]\nurl = "{url}"\nusername = "u"\npassword = "{PASSWORD}"\n'
    )
    return path


def test_the_program(line: str, broker: Mosquitto, tmp_path: Path) -> None:
    config = write_config(tmp_path, broker.url, str(DAY), "file = true")
    finished = run_program("check", "--connect", config, **program_environment(line))
    assert (finished.code, finished.out, finished.err) == (0, f"mqtt {broker.url}: OK\n", "")
    assert retained(broker) == {}
    finished = run_program("run", config, **program_environment(line))
    assert finished.code == 0, finished.err
    kept = retained(broker)
    for serial, readings in day_by_inverter().items():
        state = json.loads(kept[TOPICS.state(serial)])
        newest = max(readings, key=lambda each: each["timestamp"])
        assert state["time"] == newest["time"]
        assert {name: value for name, value in state["values"].items() if value is not None} == newest["values"]
        assert TOPICS.device(serial) in kept


def test_a_program_that_is_killed(line: str, broker: Mosquitto, tmp_path: Path) -> None:
    """The broker publishes the last will, and the program's next run goes on as usual."""
    config = write_config(tmp_path, broker.url, "lo", 'filter = "tcp port 51100"')
    words = [*PROGRAM, "run", str(config)]
    with Listener(broker) as listener:
        with Program(words, **program_environment(line)) as program:
            listener.wait_for_text(SERVICE, "online")
            assert program.stop(signal.SIGKILL).code == -signal.SIGKILL
            listener.wait_for_text(SERVICE, "offline")
            assert retained(broker)[SERVICE] == "offline"
        with Program(words, **program_environment(line)) as program:
            listener.wait_for_text(SERVICE, "online")
            program.wait_until_said("ready to deliver")
            program.wait_until_asleep(2)
            stopped = program.stop()
            assert stopped.code == 0
            assert stopped.seconds < 4
            listener.wait_for_text(SERVICE, "offline")


def test_zeros_first_after_a_start_are_not_published(line: str, network: Network, tmp_path: Path) -> None:
    """An inverter and a router on one supply start together. What the broker has kept tells what is true."""
    profile = LARGE
    now = datetime.now(UTC).replace(microsecond=0)
    usual: dict[str, Any] = Inverter(profile, now).report(now).values
    counters = [field.id for field in FIELDS if field.period and usual.get(field.id)]
    with Mosquitto(tmp_path / "broker") as broker, cloud(network), Talker(network) as talker:
        config = write_config(tmp_path, f"unix://{broker.socket}", BRIDGE)

        def shown(ago: int, values: dict[str, Any]) -> dict[str, Any]:
            """What is published of these values."""
            time = now - timedelta(minutes=ago)
            clock = time.astimezone(ZoneInfo("Africa/Johannesburg")).replace(tzinfo=None)
            talker.say(encode_values(profile.serial, clock, values, length_of(profile.ranges)))
            topic = TOPICS.state(profile.serial)
            heard = listener.wait_for(topic, lambda heard: heard[-1].json["time"] == time.isoformat())
            found: dict[str, Any] = heard[-1].json["values"]
            return found

        totals = [name for name in counters if name.endswith("_total")]
        zeros = dict.fromkeys(counters, 0)
        # Only who knows what was published before can doubt these.
        spikes = {name: usual[name] + 6553 for name in totals}
        with Listener(broker) as listener:
            for ago, wrong in ((9, zeros), (5, spikes)):
                with service(config, network.router, **program_environment(line)) as program:
                    program.wait_until_said("ready to deliver")
                    found = shown(ago, usual | wrong)
                    assert {found[name] for name in wrong} == {None}
                    found = shown(ago - 1, usual)
                    assert {name: found[name] for name in counters} == {name: usual[name] for name in counters}
                    program.stop()


def test_nothing_is_left_open(mqtt: Any, broker: Mosquitto, log: pytest.LogCaptureFixture) -> None:
    """Backends come and go with the configuration."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with delivering(mqtt, broker.url) as backend:
            backend.put(reading(7))
            assert backend.wait_until_empty(30)
        backend.put(reading(8))
        assert check(mqtt, broker.url) is None
        assert check(mqtt, f"mqtts://127.0.0.1:{broker.port}") is not None
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 1
