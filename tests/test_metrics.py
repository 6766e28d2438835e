"""The metrics of a running service, as Prometheus reads them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from inverter_capture import __version__
from inverter_capture.backends.status import BackendStatus, Status
from inverter_capture.protocol.inverter_kinds import KINDS
from inverter_capture.protocol.layouts import Layout
from inverter_capture.protocol.readings import Reading
from inverter_capture.protocol.times import SECOND
from inverter_capture.service import metrics_server
from inverter_capture.service.metrics import CONTENT_TYPE, STALE_SECONDS, metrics_text
from inverter_capture.service.metrics_server import REQUEST_BYTES_MAX, REQUEST_SECONDS, MetricsServer
from inverter_capture.service.recent_readings import Recent
from tests.databases import free_port
from tests.faulty_server import FaultyServer, answering
from tests.network import ROOT, wait_for
from tests.programs import DAY, ZONE, Dongle, Program, environment, service, write_config

TOKEN = "s3cret-t0ken"
NOON = 1_718_884_800
NOTHING = Status(NOON * SECOND, "lo", True, 0, 0, 0, 0, ())

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def families(text: str) -> list[Metric]:
    """What Prometheus' own parser finds."""
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call] # it has no types


def parse(text: str) -> Samples:
    """The samples by name and labels."""
    found: Samples = {}
    for family in families(text):
        assert family.type in ("counter", "gauge", "info")
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def get(port: int, target: str = "/metrics", method: str = "GET") -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, target)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def scrape(port: int) -> Samples:
    status, headers, text = get(port)
    assert (status, headers["Content-Type"]) == (200, CONTENT_TYPE)
    assert TOKEN not in text
    return parse(text)


def write(path: Path, *sections: str, filter: str = "", listen: str = "") -> Path:
    pcap = ["[pcap]", 'device = "lo"', f'timezone = "{ZONE}"', "guard = false", f'filter = "{filter}"']
    metrics = [f'[metrics]\nlisten = "{listen}"'] if listen else []
    path.write_text("\n".join([*pcap, *(sections or ("[[console]]",)), *metrics]) + "\n")
    return path


def test_metrics_of_a_running_service(dongle: Dongle, tmp_path: Path) -> None:
    port = free_port()
    with FaultyServer(answering(401, TOKEN)) as server:
        influx = f'[[influxdb2]]\nhost = "{server.url}"\norg = "o"\nbucket = "b"\ntoken = "{TOKEN}"'
        consoles = ["[[console]]", '[[console]]\nformat = "json"']
        config = write(tmp_path / "c.toml", influx, *consoles, filter=dongle.filter, listen=f"127.0.0.1:{port}")
        before = time.time()
        with service(config) as program:
            program.wait_until_said("metrics: serving")
            program.wait_until_said("token")
            samples = scrape(port)
            assert value(samples, "inverter_capture_reports_total") == 0
            assert not any("serial" in dict(labels) for _, labels in samples)
            sent = dongle.send(2)
            wait_for(
                lambda: value(scrape(port), "inverter_capture_backend_delivered_total", backend="console") == 2, "2"
            )
            samples = scrape(port)
            serial = sent[1]["serial"]
            for field, number in sent[1]["values"].items():
                assert value(samples, f"inverter_{field}", serial=serial) == number, field
            received = value(samples, "inverter_last_report_seconds", serial=serial)
            assert received is not None
            assert before - 1 <= received <= time.time() + 1
            assert value(samples, "inverter_capture_build_info", version=__version__) == 1
            assert value(samples, "inverter_capture_capturing", device="lo") == 1
            assert value(samples, "inverter_capture_reports_total") == 2
            assert value(samples, "inverter_capture_readings_total") == 2
            assert (value(samples, "inverter_capture_packets_total") or 0) >= 2
            influx = f"influxdb2 {server.url}"
            expected = {"connected": 0, "waiting": 2, "delivered_total": 0, "dropped_total": 0}
            for name, number in expected.items():
                assert value(samples, f"inverter_capture_backend_{name}", backend=influx) == number
            since = value(samples, "inverter_capture_backend_failing_since_seconds", backend=influx)
            assert since is not None
            assert before - 1 <= since <= time.time() + 1
            assert value(samples, "inverter_capture_backend_connected", backend="console (2)") == 1
            assert value(samples, "inverter_capture_backend_failing_since_seconds", backend="console") is None


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_each_field_of_each_kind_is_a_metric(kind: Any) -> None:
    layout = Layout(((0, 899),))
    fields = kind.fields_in(layout)
    assert len(fields) > 60
    values = {field.id: float(number) for number, field in enumerate(fields)}
    reading = Reading.of("A", NOON * SECOND, values, kind, layout)
    other = Reading.of("B", NOON * SECOND, {fields[0].id: 7.5}, kind, layout)
    text = metrics_text(NOTHING, [Recent(reading, 0, None, {}), Recent(other, 0, None, {})], NOON, 0)
    samples = parse(text)
    for name, number in values.items():
        assert value(samples, f"inverter_{name}", serial="A") == number
    assert value(samples, f"inverter_{fields[0].id}", serial="B") == 7.5
    counters = {family.name for family in families(text) if family.type == "counter" and "capture" not in family.name}
    assert counters == {
        f"inverter_{field.id.removesuffix('_total')}"
        for field in fields
        if field.period == "total" and not field.quantity.net
    }


def test_values_of_a_silent_inverter_are_left_out() -> None:
    recent = [Recent(Reading.of("A", NOON * SECOND, {"pv_power": 1}), 50, None, {})]
    for silent, shown in ((STALE_SECONDS, 1), (STALE_SECONDS + 1, None)):
        samples = parse(metrics_text(NOTHING, recent, NOON + silent, 50 + silent))
        assert value(samples, "inverter_pv_power", serial="A") == shown
        assert value(samples, "inverter_last_report_seconds", serial="A") == NOON


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\nb", "\\n", 'x"} 1\ninverter_evil 2', "ü€"])
def test_names_from_outside_stay_names(text: str) -> None:
    status = NOTHING._replace(backends=(BackendStatus(text, True, 3, 0, 0, ""),))
    recent = Recent(Reading.of(text, NOON * SECOND, {"pv_power": 1}), 0, None, {})
    samples = parse(metrics_text(status, [recent], NOON, 0))
    assert value(samples, "inverter_capture_backend_delivered_total", backend=text) == 3
    assert value(samples, "inverter_pv_power", serial=text) == 1
    assert not any("evil" in name for name, _ in samples)


# --- the server ---------------------------------------------------------------------------------------------------


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server of metrics, which are long."""
    port = free_port()
    server = MetricsServer(f"127.0.0.1:{port}", lambda: "x" * 20_000_000)
    server.start()
    wait_for(lambda: answers(port), "server")
    yield port
    server.stop()
    server.join(5)
    assert not answers(port)


def answers(port: int) -> bool:
    try:
        return get(port, "/")[0] == 404
    except OSError:
        return False


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 30)


def test_other_requests(port: int) -> None:
    assert get(port, "/metrics?x=1")[0] == 200
    assert get(port, "/")[0] == 404
    assert get(port, "/metrics/x")[0] == 404
    assert get(port, method="POST")[0] == 405
    status, headers, text = get(port, method="HEAD")
    assert (status, headers["Content-Length"], text) == (200, "20000000", "")
    for data in (b"\r\n\r\n", b"\0\xff\r\n\r\n", b"GET\r\n\r\n"):
        with connect(port) as client:
            client.sendall(data)
            assert client.recv(100).startswith(b"HTTP/1.1 4")


def nothing(client: socket.socket) -> None:
    pass


def drip(client: socket.socket) -> None:
    client.settimeout(0.1)
    for letter in b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 300:
        time.sleep(0.02)
        client.send(bytes([letter]))


def flood(client: socket.socket) -> None:
    client.settimeout(1)
    client.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 100 * REQUEST_BYTES_MAX)


def ask_and_not_read(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")


def test_a_request_that_is_too_long_is_answered_at_once(port: int) -> None:
    with connect(port) as client:
        began = time.monotonic()
        client.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 2 * REQUEST_BYTES_MAX)
        with suppress(OSError):  # what was not read ends the connection
            assert client.recv(100).startswith(b"HTTP/1.1 400")
        assert time.monotonic() - began < 0.9 * REQUEST_SECONDS


def go(client: socket.socket) -> None:
    client.close()


@pytest.mark.parametrize("stuck", [nothing, drip, flood, ask_and_not_read, go])
def test_a_stuck_client_does_not_matter(port: int, stuck: Callable[[socket.socket], None]) -> None:
    with connect(port) as first, connect(port) as second:
        for client in (first, second):
            with suppress(OSError):  # it may be thrown out before it is done
                stuck(client)
        began = time.monotonic()
        assert get(port)[0] == 200
        # Each has its time for the request, and for the answer.
        assert time.monotonic() - began < 4 * REQUEST_SECONDS + 2


def test_stuck_clients_do_not_stop_the_capture(dongle: Dongle, tmp_path: Path) -> None:
    port = free_port()
    config = write(
        tmp_path / "c.toml", '[[console]]\nformat = "json"', filter=dongle.filter, listen=f"127.0.0.1:{port}"
    )
    with service(config) as program:
        program.wait_until_said("metrics: serving")
        before = len(program.descriptors())
        clients = [socket.socket() for _ in range(50)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        sent = dongle.send(3)
        assert program.wait_for_readings(3) == sent
        assert len(program.descriptors()) <= before + 1
        assert program.stop().seconds < 4  # procd kills the service after five
        for client in clients:
            client.close()


def test_an_address_that_is_taken(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(metrics_server, "LISTEN_RETRY_SECONDS", 0.05)
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        server = MetricsServer(f"127.0.0.1:{port}", lambda: "")
        server.start()
        wait_for(lambda: caplog.records, "line in the log")
        time.sleep(0.3)
        (said,) = [record.getMessage() for record in caplog.records]
    assert f'[metrics] listen = "127.0.0.1:{port}"' in said
    assert "Address already in use" in said
    wait_for(lambda: answers(port), "server")
    server.stop()
    server.join(5)


def test_reload(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    config = write(tmp_path / "c.toml")

    def reload(listen: str) -> None:
        count = program.said("has been read again")
        write(config, listen=listen)
        os.kill(program.pid, signal.SIGHUP)
        program.wait_until_said("has been read again", count + 1)

    with service(config) as program:
        for number in (0, 1):
            reload(f"127.0.0.1:{ports[number]}")
            wait_for(lambda number=number: answers(ports[number]), "server")  # type: ignore[misc] # the loop's
            wait_for(lambda number=number: not answers(ports[1 - number]), "end of the other")  # type: ignore[misc]
        reload(f"127.0.0.1:{ports[1]}")
        assert answers(ports[1])
        reload("")
        wait_for(lambda: not answers(ports[1]), "end of the server")
        reload(f"[::1]:{ports[0]}")
        program.wait_until_said(f"metrics: serving http://[::1]:{ports[0]}/metrics")
        assert program.stop().code == 0


def test_nothing_of_it_is_loaded_unless_it_is_configured(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from inverter_capture.commands.arguments import main
        assert main(["run", sys.argv[1]]) == 0
        loaded = {name.rpartition(".")[2] for name in sys.modules}
        assert "monitoring" in loaded
        assert not loaded & {"metrics", "metrics_server", "status_file", "http.server"}
    """
    config = write_config(tmp_path / "c.toml", DAY, file=True, format="csv")
    words = [sys.executable, "-c", code, str(config)]
    subprocess.run(words, env=environment(), cwd=ROOT, stdout=subprocess.DEVNULL, check=True)


def test_prometheus_scrapes_it(dongle: Dongle, tmp_path: Path) -> None:
    port, own = free_port(), free_port()
    scraping = tmp_path / "prometheus.yml"
    scraping.write_text(
        f"""global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
scrape_configs: [{{job_name: inverter, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
"""
    )
    words = ["prometheus", f"--config.file={scraping}", f"--storage.tsdb.path={tmp_path}/data"]

    def ask(query: str) -> list[Any]:
        url = f"http://127.0.0.1:{own}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=20) as answer:
                found: list[Any] = json.load(answer)["data"]["result"]
                return found
        except OSError:
            return []

    config = write(tmp_path / "c.toml", filter=dongle.filter, listen=f"127.0.0.1:{port}")
    with (
        service(config),
        Program([*words, f"--web.listen-address=127.0.0.1:{own}"], cwd=tmp_path),
    ):
        wait_for(lambda: ask("up == 1"), "scrape", 60)
        (sent,) = dongle.send(1)
        wait_for(lambda: ask("inverter_capture_reports_total == 1"), "report")
        for field in ("battery_soc", "grid_power", "pv_production_total", "inverter_energy_total"):
            # A scrape may have come between, or been too slow.
            wait_for(lambda field=field: ask(f"inverter_{field}"), field)  # type: ignore[misc] # the loop's
            (series,) = ask(f"inverter_{field}")
            assert series["metric"]["serial"] == sent["serial"]
            assert float(series["value"][1]) == sent["values"][field]
