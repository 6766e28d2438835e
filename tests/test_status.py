"""The status file of a running service, and `inverter-capture status`."""

from __future__ import annotations

import fcntl
import json
import math
import os
import pty
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from inverter_capture import __version__
from inverter_capture.backends.status import BackendStatus, Status
from inverter_capture.protocol.inverter_kinds import INVERTERS_MAX, KINDS
from inverter_capture.protocol.readings import Reading
from inverter_capture.protocol.times import SECOND
from inverter_capture.service import status_file
from inverter_capture.service.recent_readings import CHART_FIELDS, RecentReadings
from inverter_capture.service.status_file import StatusFile, content, read_status_file
from tests.databases import free_port
from tests.faulty_server import FaultyServer, answering, well
from tests.mosquitto import Mosquitto
from tests.network import BRIDGE, ROOT, Network, wait_for
from tests.programs import PROGRAM, ZONE, Dongle, Json, Program, environment, run_program, wait_until_begun

TOKEN = "s3cret-t0ken"
PASSWORD = "pa55-w0rd"
FILE_BYTES_MAX = 60 * 1024
"""For one inverter."""
NOON = 1_718_884_800

STATUS = Status(NOON * SECOND, "br-lan", True, 10, 2, 2, 0, (BackendStatus("console", True, 2, 0, 0, ""),))


def influxdb2(url: str) -> str:
    return f'[[influxdb2]]\nhost = "{url}"\norg = "o"\nbucket = "b"\ntoken = "{TOKEN}"'


def write(path: Path, *sections: str, device: str = "lo", filter: str = "") -> Path:
    pcap = [f'device = "{device}"', f'timezone = "{ZONE}"', "guard = false"] + [f'filter = "{filter}"'] * bool(filter)
    path.write_text("\n".join(["[pcap]", *pcap, *(sections or ("[[console]]",))]) + "\n")
    return path


@contextmanager
def running(config: Path, file: Path, **options: Any) -> Iterator[Program]:
    with Program([*PROGRAM, "run", str(config), "--status", str(file)], **options) as program:
        wait_until_begun(program)
        yield program


def read(file: Path) -> Json:
    found: Json = json.loads(file.read_text()) if file.exists() else {}
    return found


def wait_for_status(file: Path, condition: Callable[[Json], object], seconds: float = 30) -> Json:
    """The file's content, as soon as it is so."""
    seen: list[Json] = [{}]

    def come_true() -> bool:
        seen[0] = read(file)
        return bool(seen[0] and condition(seen[0]))

    wait_for(come_true, f"the status, which is {seen}", seconds)
    return seen[0]


# --- the file -----------------------------------------------------------------------------------------------------


def test_the_file_tells_how_the_service_is_doing(dongle: Dongle, tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    # The server repeats the token, in what it answers.
    with FaultyServer(answering(401, f'{{"message":"no such token: {TOKEN}"}}')) as server:
        mqtt = f'[[mqtt]]\nurl = "mqtt://127.0.0.1:1"\nusername = "u"\npassword = "{PASSWORD}"'
        config = write(tmp_path / "c.toml", influxdb2(server.url), mqtt, "[[console]]", filter=dongle.filter)
        before = time.time()
        with running(config, file) as program:
            sent = dongle.send(1)
            wait_for_status(file, lambda status: status["readings"] == 1)
            time.sleep(1)  # Intervals are in seconds.
            sent += dongle.send(1)
            status = wait_for_status(
                file,
                lambda status: (
                    status["readings"] == status["backends"][2]["delivered"] == 2
                    and status["backends"][0]["problem"]
                    and status["backends"][1]["problem"]
                ),
            )
            text = file.read_text()
            assert TOKEN not in text
            assert PASSWORD not in text
            assert status["version"] == __version__
            assert before - 1 <= status["started"] <= status["written"] <= time.time() + 1
            assert (status["device"], status["capturing"], status["problem"]) == ("lo", True, "")
            assert (status["reports"], status["unknown"], status["held_back"]) == (2, 0, 0)
            assert status["packets"] >= 2
            (inverter,) = status["inverters"]
            assert {name: inverter[name] for name in sent[1]} == sent[1]
            assert inverter["kind"] == "single-phase"
            assert inverter["texts"]["inverter_state"] in ("standby", "normal")
            assert inverter["texts"]["inverter_faults"] == "none"
            assert inverter["due"] == inverter["received"] + inverter["interval"]
            assert before - 1 <= inverter["received"] <= time.time() + 1
            assert inverter["chart"]["time"] == [reading["timestamp"] // SECOND for reading in sent]
            for field in CHART_FIELDS:
                assert inverter["chart"][field] == [round(reading["values"][field]) for reading in sent]
            influx, broker, console = status["backends"]
            assert (influx["name"], influx["connected"], influx["waiting"]) == (f"influxdb2 {server.url}", False, 2)
            assert "token" in influx["problem"]
            assert before - 1 <= influx["failing_since"] <= time.time() + 1
            assert (broker["connected"], broker["dropped"], broker["waiting"]) == (False, 1, 1)
            assert "Connection refused" in broker["problem"]
            assert (console["connected"], console["delivered"], console["problem"]) == (True, 2, "")
            assert console["failing_since"] is None
            assert stat.S_IMODE(file.stat().st_mode) == 0o644
            assert program.stop().code == 0
        assert list(tmp_path.iterdir()) == [config]


def test_each_change_of_state_is_told_without_a_reading(tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    with (
        Network() as network,
        Mosquitto(tmp_path) as broker,
        running(write(tmp_path / "c.toml", device=BRIDGE), file, where=network.router),
        FaultyServer(answering(503)) as server,
    ):
        wait_for_status(file, lambda status: status["capturing"])
        network.delete_bridge()
        status = wait_for_status(file, lambda status: not status["capturing"])
        assert "waiting for it" in status["problem"]
        network.create_bridge()
        assert wait_for_status(file, lambda status: status["capturing"])["problem"] == ""

        other = tmp_path / "other.json"
        config = write(tmp_path / "d.toml", influxdb2(server.url), f'[[mqtt]]\nurl = "mqtt://127.0.0.1:{broker.port}"')
        with running(config, other) as program:
            wait_for_status(
                other,
                lambda status: [backend["connected"] for backend in status["backends"]] == [False, True],
            )
            server.play = well
            broker.kill()
            wait_for_status(other, lambda status: not status["backends"][1]["connected"])
            broker.start()
            wait_for_status(other, lambda status: status["backends"][1]["connected"])
            os.kill(program.pid, signal.SIGHUP)  # which says: try now
            influx = wait_for_status(other, lambda status: status["backends"][0]["connected"])["backends"][0]
            assert (influx["problem"], influx["failing_since"]) == ("", None)


def test_nothing_is_written_and_nothing_wakes_while_nothing_changes(tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    config = write(
        tmp_path / "c.toml", "[[console]]", f'[metrics]\nlisten = "127.0.0.1:{free_port()}"', filter="port 1"
    )
    with running(config, file) as program:
        wait_for_status(file, lambda status: status["capturing"])
        program.wait_until_asleep(3)
        written = file.stat()
        program.wait_until_asleep(3)
        assert file.stat().st_ino == written.st_ino


def test_at_most_once_a_second(dongle: Dongle, tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    with running(write(tmp_path / "c.toml", filter=dongle.filter), file):
        wait_for_status(file, lambda status: status["capturing"])
        seen: set[tuple[int, int]] = set()
        began = time.monotonic()
        sender = threading.Thread(target=lambda: [dongle.send(20) for _ in range(5)])
        sender.start()
        while sender.is_alive() or read(file)["readings"] < 100:
            found = file.stat()
            seen.add((found.st_ino, found.st_mtime_ns))
            time.sleep(0.01)
        assert 1 < len(seen) <= time.monotonic() - began + 2


def recent_of(*readings: Reading) -> RecentReadings:
    recent = RecentReadings(chart=True)
    for reading in readings:
        recent.take(reading)
    return recent


def test_a_reader_always_sees_a_whole_file_and_a_running_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(status_file, "WRITE_SECONDS", 0.0)
    monkeypatch.setattr(status_file, "WORK_SHARE", 0)
    path = tmp_path / "status.json"
    recent = recent_of(*(Reading.of("A", (NOON + at) * SECOND, {"pv_power": at}) for at in range(0, 86400, 120)))
    file = StatusFile(str(path), lambda: STATUS, recent)
    file.start()
    wait_for(path.exists, "file")
    seen = set()
    until = time.monotonic() + 3
    while time.monotonic() < until:
        file.note_status()
        assert len(json.loads(path.read_text())["inverters"][0]["chart"]["time"]) == 720
        text = read_status_file(str(path))
        assert text is not None
        assert json.loads(text)["version"] == __version__
        seen.add(path.stat().st_mtime_ns)
    assert len(seen) > 50
    file.stop()
    file.join(5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_of_one_inverter_is_small(kind: str) -> None:
    fields = KINDS[kind].fields
    codes = KINDS[kind].codes.fields
    values: dict[str, int | float] = {
        field.id: 2**64 - 1 if field.id in codes and "fault" in field.id else -(field.limit or 99999) - 0.01
        for field in fields
        if field.id not in codes or "fault" in field.id or "warning" in field.id
    }
    recent = recent_of(
        *(Reading.of("S" * 10, (NOON + at) * SECOND, values, KINDS[kind]) for at in range(0, 2 * 86400, 60))
    )
    backend = BackendStatus("influxdb2 http://" + "h" * 60, False, 10**9, 10**6, 10**6, "x" * 400, 1.5e9)
    text = json.dumps(content(STATUS._replace(backends=(backend,) * 4), recent.all()), separators=(",", ":"))
    assert 20_000 < len(text) <= FILE_BYTES_MAX
    for number in range(2 * INVERTERS_MAX):
        recent.take(Reading.of(f"F{number}", NOON * SECOND, values, KINDS[kind]))
    assert len(content(STATUS, recent.all())["inverters"]) == INVERTERS_MAX


def test_a_place_that_cannot_be_written_stops_nothing(dongle: Dongle, tmp_path: Path) -> None:
    folder = tmp_path / "later"
    file = folder / "status.json"
    with running(write(tmp_path / "c.toml", '[[console]]\nformat = "json"', filter=dongle.filter), file) as program:
        program.wait_until_said(f"--status {file}: cannot be written (No such file or directory)")
        sent = dongle.send(2)
        assert program.wait_for_readings(2) == sent
        time.sleep(2)
        assert program.said("cannot be written") == 1
        folder.mkdir()
        dongle.send(1)
        wait_for_status(file, lambda status: status["readings"] == 3)
        assert program.stop().code == 0
        assert program.said("cannot be written") == 1


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    file = tmp_path / "status.json"
    for name in ("status.json", "status.json.new"):
        (tmp_path / name).symlink_to(victim)
    with running(write(tmp_path / "c.toml"), file):
        wait_for(lambda: not file.is_symlink(), "file")
        wait_for_status(file, lambda status: status["capturing"])
    assert victim.read_text() == "mine"


def test_the_next_service_takes_the_file_over(tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    config = write(tmp_path / "c.toml")
    with running(config, file) as first:
        wait_for_status(file, lambda status: status["capturing"])
        with running(config, file):
            assert first.wait() == 0
            wait_for_status(file, lambda status: status.get("capturing"))
            time.sleep(1.5)
            assert read_status_file(str(file)) is not None


# --- the command --------------------------------------------------------------------------------------------------


def test_status_of_a_running_service(dongle: Dongle, tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    with FaultyServer(answering(401)) as server:
        config = write(tmp_path / "c.toml", influxdb2(server.url), "[[console]]", filter=dongle.filter)
        with running(config, file) as program:
            empty = wait_for_status(file, lambda status: status["capturing"])
            assert empty["inverters"] == []
            done = run_program("status", file)
            assert (done.code, done.err) == (0, "")
            assert "no reading yet" in done.out
            (sent,) = dongle.send(1)
            wait_for_status(
                file, lambda status: status["backends"][1]["delivered"] and status["backends"][0]["problem"]
            )
            done = run_program("status", file)
            assert (done.code, done.err) == (0, "")
            for fact in (__version__, "lo: capturing", "1 report,", server.url, "token", "waiting 1", sent["serial"]):
                assert fact in done.out, fact
            assert f"{sent['values']['battery_soc']} %" in done.out
            assert "\x1b" not in done.out
            done = run_program("status", file, "--json")
            assert (done.code, done.out) == (0, file.read_text())
            # Killed, it leaves the file.
            program.stop(signal.SIGKILL)
    assert file.exists()
    assert_not_running(file)


def assert_not_running(file: Path, *options: str) -> None:
    done = run_program("status", file, *options)
    assert (done.code, done.out) == (1, "")
    (error,) = done.errors
    assert "no service is running" in error
    assert "/etc/init.d/inverter-capture start" in error
    assert f"inverter-capture run CONFIG.toml --status {file}" in error


def test_without_a_service(tmp_path: Path) -> None:
    assert_not_running(tmp_path / "status.json")
    assert_not_running(tmp_path / "status.json", "--json")
    done = run_program("status")
    assert (done.code, done.out) == (1, "")
    assert "/var/run/inverter-capture/status.json" in done.err


def test_a_service_that_cannot_write(tmp_path: Path) -> None:
    """As on a full disk."""
    file = tmp_path / "status.json"
    (tmp_path / "status.json.new").mkdir()
    with running(write(tmp_path / "c.toml"), file) as program:
        program.wait_until_said("cannot be written")
        done = run_program("status", file)
        assert (done.code, done.out) == (1, "")
        assert "the service runs, but has not written it" in done.err
        assert "start it" not in done.err
        program.stop()


def test_after_a_service(tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    with running(write(tmp_path / "c.toml"), file) as program:
        wait_for_status(file, lambda status: status["capturing"])
        program.stop()
    assert_not_running(file)


@contextmanager
def kept(file: Path, text: str) -> Iterator[None]:
    """A file as a running service keeps it."""
    file.write_text(text)
    with open(f"{file}.lock", "w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def test_on_a_terminal(tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    reading = Reading.of("A", NOON * SECOND, {"inverter_faults": 1, "battery_soc": 50})
    with kept(file, json.dumps(content(STATUS, recent_of(reading).all()))):
        master, slave = pty.openpty()
        with subprocess.Popen([*PROGRAM, "status", str(file)], stdout=slave, env=environment(), cwd=ROOT) as process:
            assert process.wait(30) == 0
        os.close(slave)
        shown = os.read(master, 65536).decode()
        os.close(master)
    assert "\x1b[1;31mF01" in shown


def test_what_others_say_does_not_steer_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    hostile = "\x1b[2J\r\nerror"
    status = STATUS._replace(
        device=hostile, problem=hostile, backends=(BackendStatus(hostile, False, 0, 0, 0, hostile),)
    )
    with kept(file, json.dumps(content(status, recent_of(Reading.of(hostile, NOON * SECOND, {"pv_power": 1})).all()))):
        done = run_program("status", file)
        assert done.code == 0
        assert "\x1b" not in done.out
        assert "\\x1b[2J\\r\\nerror" in done.out
        assert "\x1b" not in run_program("status", file, "--json").out


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 1}', "\xff"])
def test_a_file_of_something_else(tmp_path: Path, text: str) -> None:
    file = tmp_path / "status.json"
    with kept(file, text):
        done = run_program("status", file)
        assert (done.code, done.out, len(done.errors)) == (1, "", 1)


@pytest.mark.parametrize("wrong", [{"started": math.inf}, {"inverters": ["A"]}, {"inverters": [{}]}, {"backends": [1]}])
def test_a_file_with_wrong_values(tmp_path: Path, wrong: Json) -> None:
    file = tmp_path / "status.json"
    with kept(file, json.dumps(content(STATUS, []) | wrong)):
        done = run_program("status", file)
    assert (done.code, done.out, len(done.errors)) == (1, "", 1)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    done = run_program("status", tmp_path)
    assert (done.code, done.out) == (1, "")
    assert f"{tmp_path}: cannot be read (Is a directory)" in done.err
