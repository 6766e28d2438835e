"""An error of the program itself ends no thread: it is logged, and the work goes on."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inverter_capture.backends import console
from inverter_capture.backends.mqtt import delivery
from inverter_capture.backends.mqtt.session import Session
from inverter_capture.backends.status import no_status
from inverter_capture.config.schema import ConsoleConfig, MqttConfig, PcapConfig
from inverter_capture.protocol.packets_to_readings import Decoder
from inverter_capture.protocol.readings import Reading
from inverter_capture.service import metrics_server, pipeline, status_file
from inverter_capture.service.metrics_server import MetricsServer
from inverter_capture.service.pipeline import Pipeline
from inverter_capture.service.recent_readings import RecentReadings
from inverter_capture.service.status_file import StatusFile
from tests.databases import free_port
from tests.mosquitto import Listener, Mosquitto
from tests.network import wait_for
from tests.programs import ZONE, Dongle

FailOnce = Callable[[Any, str], None]


@pytest.fixture
def fail_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> FailOnce:
    """Makes the next call of a function fail."""
    caplog.set_level("INFO")

    def fail_once(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def fail(*arguments: Any, **options: Any) -> Any:
            if "ArithmeticError" not in caplog.text:
                raise ArithmeticError
            return function(*arguments, **options)

        monkeypatch.setattr(owner, name, fail)

    return fail_once


def wait_until_logged(caplog: pytest.LogCaptureFixture) -> None:
    wait_for(lambda: "an error in inverter-capture itself" in caplog.text, "line in the log")


def test_of_a_live_capture(
    dongle: Dongle, fail_once: FailOnce, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pipeline, "RESTART_SECONDS", 0.1)
    fail_once(Decoder, "receive")
    delivered: list[Reading] = []
    config = PcapConfig(device="lo", filter=dongle.filter, timezone=ZONE, guard=False)
    capturing = Pipeline(config, delivered.extend, lambda: None, lambda: None)
    capturing.open()
    capturing.start()
    dongle.send(1)
    wait_until_logged(caplog)
    (sent,) = dongle.send(1)
    wait_for(lambda: delivered and delivered[-1].time == sent["timestamp"], "reading")
    capturing.stop()
    capturing.join(10)
    assert caplog.text.count("an error in inverter-capture itself") == 1


def test_of_the_mqtt_backend(
    tmp_path: Path, fail_once: FailOnce, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "RESTART_SECONDS", 0.1)
    fail_once(Session, "serve")
    with Mosquitto(tmp_path / "broker") as broker, Listener(broker) as listener:
        backend = delivery.Mqtt(MqttConfig(url=broker.url), no_status)
        backend.start()
        wait_until_logged(caplog)
        backend.put(Reading.of("A", 0, {"pv_power": 1}))
        listener.wait_for("inverter-capture/A/state")
        backend.stop()
        backend.join(10)


def test_of_the_console(
    fail_once: FailOnce, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    fail_once(console.Console, "_print_readings")
    backend = console.Console(ConsoleConfig(format="json"), None)
    backend.start()
    wait_until_logged(caplog)
    backend.put(Reading.of("A", 0, {"pv_power": 1}))
    assert backend.wait_until_empty(30)
    backend.stop()
    backend.join(10)
    assert '"serial":"A"' in capfd.readouterr().out.replace(": ", ":")


def test_of_the_status_file(
    tmp_path: Path, fail_once: FailOnce, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(status_file, "WRITE_SECONDS", 0.1)
    fail_once(status_file, "content")
    path = tmp_path / "status.json"
    file = StatusFile(str(path), no_status, RecentReadings(chart=False))
    file.start()
    wait_until_logged(caplog)
    file.note_status()
    wait_for(path.exists, "file")
    file.stop()
    file.join(10)


def test_of_the_metrics(fail_once: FailOnce, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(metrics_server, "LISTEN_RETRY_SECONDS", 0.1)
    fail_once(metrics_server, "_listener")
    address = f"127.0.0.1:{free_port()}"
    server = MetricsServer(address, lambda: "# EOF\n")
    server.start()
    wait_until_logged(caplog)
    wait_for(lambda: f"serving http://{address}/metrics" in caplog.text, "server")
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        assert answer.read() == b"# EOF\n"
    server.stop()
    server.join(10)
