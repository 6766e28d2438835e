"""The service as a process: capture files to their end, outputs that are slow, full or gone, signals at any time."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from inverter_capture.backends import console
from inverter_capture.backends.backend import Backend
from inverter_capture.config.schema import Config, ConsoleConfig, SectionConfig
from inverter_capture.config.toml_file import load
from inverter_capture.protocol.packets_to_readings import Decoder
from inverter_capture.protocol.readings import Reading
from inverter_capture.service.service import Service
from tests import wire
from tests.dongle.reports import encode_values
from tests.network import ROOT, wait_for
from tests.programs import (
    DAY,
    PROGRAM,
    Program,
    day_by_inverter,
    environment,
    run_program,
    service,
    write_config,
)

STOP_SECONDS = 4  # procd kills the service after five
READINGS = 576
"""Of the bundled day."""


@pytest.fixture
def day_config(tmp_path: Path) -> Path:
    """Decodes the bundled day."""
    return write_config(tmp_path / "day.toml", DAY, file=True)


def run_words(config: Path) -> list[str]:
    return [*PROGRAM, "run", str(config)]


# --- capture files ------------------------------------------------------------------------------------------------


def test_a_file_is_read_to_its_end(day_config: Path) -> None:
    done = run_program("run", day_config)
    assert done.code == 0
    assert done.by_inverter == day_by_inverter()
    lines = done.err.splitlines()
    assert [line for line in lines if not line.startswith("info: ")] == []
    for text in (
        "inverter 2205164738: 292-byte reports from 192.168.8.202 to 203.0.113.10 port 51100",
        "inverter E47R2K0193: 306-byte reports from 192.168.8.203 to 203.0.113.10 port 51100",
        "inverter 2205164738: a layout of 292 bytes, learnt from the server (registers 59-124, 150-199, 312-319)",
        "reports: 576, readings: 576; reports of unknown length: 0",
    ):
        assert sum(text in line for line in lines) == 1, text


def test_what_make_run_shows() -> None:
    done = run_program("run", "tests/captures/day.toml", cwd=ROOT)
    assert done.code == 0
    assert done.out.count("\nInverter 2205164738   2024-06-21 ") + done.out.startswith("Inverter 2205164738") == 288
    assert done.out.count("\nInverter E47R2K0193   2024-06-21 ") + done.out.startswith("Inverter E47R2K0193") == 288


def test_filters_and_formats_are_those_of_the_configuration(tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.toml", DAY, file=True, filter="src host 192.168.8.203", format="line-protocol")
    config.write_text(config.read_text() + '[[console]]\nformat = "csv"\n')
    done = run_program("run", config)
    assert done.code == 0
    lines = done.out.splitlines()
    assert sum(line.startswith("inverter,serial=E47R2K0193 ") for line in lines) == 288
    assert sum(line.startswith("timestamp,time,serial,") for line in lines) == 1
    assert sum(",E47R2K0193," in line and line.startswith("171") for line in lines) == 288
    assert "2205164738" not in done.out


def test_the_log_tells_as_much_as_it_is_asked_to(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcap"
    path.write_bytes(DAY.read_bytes()[:-1])
    errs = {}
    for level in ("error", "info", "debug"):
        errs[level] = run_program("run", write_config(tmp_path / "c.toml", path, file=True, level=level)).err
        assert errs[level].count("error: ") == 1
    assert errs["error"].count("\n") == 1
    assert "info: " in errs["info"]
    assert "debug: " not in errs["info"]
    assert "info: " in errs["debug"]


def test_a_slow_reader_gets_every_reading_of_a_file(day_config: Path) -> None:
    with Program(run_words(day_config), reading=False) as program:
        # The pipe is full long before.
        time.sleep(1)
        program.read_on()
        assert program.wait() == 0
        assert len(program.out) == READINGS
        assert program.said("warning: ") == 0


def test_readings_of_a_file_that_cannot_be_delivered_are_an_error(day_config: Path) -> None:
    with Program(run_words(day_config), reading=False) as program:
        program.close_output()
        assert program.wait() == 1
        assert program.said("standard output is closed (Broken pipe); dropping readings") == 1
        assert program.said("console: lost: ") == 1


@pytest.mark.parametrize("where", ["full", "closed"])
def test_output_that_cannot_be_written_ends_it(day_config: Path, where: str) -> None:
    redirection = ">/dev/full" if where == "full" else "| head -1 >/dev/null"
    command = ["bash", "-c", f'set -o pipefail; "$@" {redirection}', "bash", *PROGRAM, "run", str(day_config)]
    done = subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "console: lost: " in done.stderr
    # It does not read on for nothing.
    assert " readings: 576;" not in done.stderr


def test_a_second_sender_does_not_change_what_the_guard_believes(tmp_path: Path) -> None:
    """Somebody on the network sends reports with the serial number of an inverter, and other totals."""
    server = wire.Endpoint("203.0.113.10", 51100, wire.MAC_B)
    records: list[wire.Record] = []
    begin = datetime(2024, 6, 12, 10, tzinfo=UTC)
    lines = [("192.168.8.202", 100.0 + number / 10, 5 * number) for number in range(10)]
    # So many in a row that they would confirm each other.
    lines += [("192.168.8.77", 900.0, minute) for minute in (11, 12, 13, 14, 31, 32, 33, 34)]
    for host, total, minute in sorted(lines, key=lambda line: line[2]):
        moment = begin + timedelta(minutes=minute)
        client = wire.Endpoint(host, 50000 + minute)
        connection = wire.Connection(client, server)
        when = int(moment.timestamp()) * wire.SECOND
        connection.packet(when, client, 999, flags=wire.SYN)
        report = encode_values("2205164738", moment.replace(tzinfo=None), {"pv_production_total": total})
        connection.packet(when, client, 1000, report, wire.PSH | wire.ACK)
        records += connection.records
    capture = tmp_path / "two.pcap"
    with open(capture, "wb") as file:
        wire.write_pcap(file, records)
    done = run_program("run", write_config(tmp_path / "c.toml", capture, file=True, timezone="UTC"))
    assert done.code == 0
    totals = [reading["values"].get("pv_production_total") for reading in done.readings]
    assert [total for total in totals if total is not None] == [total for host, total, _ in lines if total < 900]
    assert len(totals) == len(lines)
    assert done.err.count("reports come from a second address, 192.168.8.77") == 1


# --- signals ------------------------------------------------------------------------------------------------------


@contextmanager
def endless_capture(*, with_frames: bool) -> Iterator[int]:
    """The end of a pipe from which a capture can be read for ever."""
    packets = [record.data for record in make_records(with_frames=with_frames)]
    header, chunk = make_chunk(packets)
    reader, writer = os.pipe()

    def feed() -> None:
        with open(writer, "wb", buffering=0) as file:
            try:
                file.write(header)
                while True:
                    file.write(chunk)
                    time.sleep(0.01)
            except BrokenPipeError:
                return

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield reader
    finally:
        os.close(reader)
        thread.join(10)


def make_records(*, with_frames: bool) -> list[wire.Record]:
    if with_frames:
        data = DAY.read_bytes()
        return [wire.Record(0, packet) for packet in packets_of(data)]
    other = wire.Connection(wire.Endpoint("192.168.8.50", 40000), wire.Endpoint("203.0.113.80", 443, wire.MAC_B))
    for number in range(500):
        other.packet(0, other.client, number * 1400, b"\x17\x03\x03" + bytes(1400))
    return other.records


def packets_of(data: bytes) -> Iterator[bytes]:
    at = 24
    while at < len(data):
        length = int.from_bytes(data[at + 8 : at + 12], "little")
        yield data[at + 16 : at + 16 + length]
        at += 16 + length


def make_chunk(packets: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The header of a capture file, and these packets as they stand in it."""
    now = int(time.time())
    records = b"".join(
        now.to_bytes(4, "little") + bytes(4) + 2 * len(packet).to_bytes(4, "little") + packet for packet in packets
    )
    return DAY.read_bytes()[:24], records


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_at_once_while_it_reads(tmp_path: Path, number: signal.Signals) -> None:
    config = write_config(tmp_path / "c.toml", "-", file=True)
    with ExitStack() as stack:
        frames = [stack.enter_context(endless_capture(with_frames=True)) for _ in range(2)]
        no_frames = stack.enter_context(endless_capture(with_frames=False))
        beginning, silence = os.pipe()
        stack.callback(os.close, silence)
        stack.callback(os.close, beginning)
        os.write(silence, DAY.read_bytes()[:1000])
        nothing = stack.enter_context(open(os.devnull, "w"))
        states: list[tuple[int, Any]] = [
            (no_frames, nothing),
            (beginning, nothing),
            *zip(frames, (nothing, PIPE), strict=True),
        ]
        programs = [
            stack.enter_context(Program(run_words(config), stdin=source, stdout=output, reading=False))
            for source, output in states
        ]
        for program in programs:
            # One of them captures.
            program.wait_for(lambda program=program: len(list_threads(program)) > 2, "threads")  # type: ignore[misc]
        time.sleep(0.5)
        for program in programs:
            stopped = program.stop(number)
            assert stopped.code == 0, program.log
            assert stopped.seconds < STOP_SECONDS, program.log
            assert program.said("info: packets: ") == 1


def list_threads(program: Program) -> list[str]:
    return os.listdir(f"/proc/{program.pid}/task")


def test_a_signal_during_the_last_readings_ends_it_too(day_config: Path) -> None:
    # The file has long been read, but its readings wait for somebody who reads.
    with Program(run_words(day_config), reading=False) as program:
        program.wait_until_said("inverter ", 2)
        time.sleep(1)
        stopped = program.stop()
        assert stopped.code == 0
        assert stopped.seconds < STOP_SECONDS
        assert program.said("console: lost: ") == 1


def test_many_signals_are_one(tmp_path: Path) -> None:
    with service(write_config(tmp_path / "c.toml", "lo")) as program:
        for _ in range(50):
            os.kill(program.pid, signal.SIGINT)
        assert program.stop().code == 0


# --- outputs ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: captures on a device")
def test_closed_standard_streams_are_not_taken_by_others(tmp_path: Path) -> None:
    # A device's descriptor in the place of standard output would send readings onto the wire.
    config = write_config(tmp_path / "c.toml", "lo")
    with Program(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *run_words(config)]) as program:
        program.wait_for(lambda: sum("socket" in name for name in program.descriptors().values()) == 2, "capture")
        names = program.descriptors()
        assert [names[number] for number in range(3)] == ["/dev/null"] * 3
        assert program.stop().code == 0


def test_closed_output_is_said(day_config: Path) -> None:
    with Program(["sh", "-c", 'exec "$@" >&-', "sh", *run_words(day_config)]) as program:
        assert program.wait() == 1
        assert program.said("console: standard output is closed (Bad file descriptor); dropping readings") == 1


def test_every_reading_for_a_closed_output_is_lost_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(console, "_STANDARD_OUTPUT", writer)
    backend = console.Console(ConsoleConfig(format="json"), None)
    backend.start()
    backend.put(Reading.of("2205164738", 0, {"battery_soc": 50}))
    wait_for(lambda: backend.ended, "end")
    backend.put(*(Reading.of("2205164738", number, {"battery_soc": 50}) for number in range(1, 4)))
    backend.stop()
    assert backend.join(10) == 4
    os.close(writer)


def test_a_full_disk_is_said_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "readings"
    full, disk = os.open("/dev/full", os.O_WRONLY), os.open(path, os.O_WRONLY | os.O_CREAT)
    output = os.dup(full)
    monkeypatch.setattr(console, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(console, "_STANDARD_OUTPUT", output)
    backend = console.Console(ConsoleConfig(format="line-protocol"), None)
    backend.start()
    for number in range(console.WAITING_MAX + 11):
        backend.put(Reading.of("2205164738", number, {"battery_soc": 50}))
        if number == 0:
            wait_for(lambda: caplog.records, "line about the problem")
    # One is being written; of those that wait, the oldest have gone.
    assert not backend.wait_until_empty(0.2)
    os.dup2(disk, output)
    assert backend.wait_until_empty(30)
    backend.stop()
    assert backend.join(10) == 10
    problem, recovery = [record.getMessage() for record in caplog.records]
    assert problem == "console: cannot write to standard output (No space left on device); trying again"
    assert recovery.startswith("console: delivering again, after a failure since ")
    assert recovery.endswith("; waiting: 0 readings, dropped: 10 readings")
    times = [int(line.split()[-1]) for line in path.read_text().splitlines()]
    assert times == [0, *range(11, console.WAITING_MAX + 11)]
    for descriptor in (full, disk, output):
        os.close(descriptor)


def test_output_that_others_made_non_blocking_is_waited_for(day_config: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with Program(run_words(day_config), stdout=writer, reading=False) as program:
        os.close(writer)
        time.sleep(0.5)
        with open(reader, "rb") as file:
            assert len(file.read().splitlines()) == READINGS
        assert program.wait() == 0
        assert program.said("warning: ") == 0


# --- inside -------------------------------------------------------------------------------------------------------


class Collector(Backend):
    """Keeps readings."""

    stop_seconds = 0.5

    def __init__(self) -> None:
        super().__init__("collector")
        self.readings: list[Reading] = []

    def _run(self) -> None:
        pass

    def _counts(self) -> tuple[int, int, int]:
        return len(self.readings), 0, 0

    def put(self, *readings: Reading) -> None:
        assert self._importing
        self.readings += readings

    def wait_until_empty(self, seconds: float) -> bool:
        assert not self._importing, "the file has ended"
        return super().wait_until_empty(seconds)

    def reconfigure(self, section: SectionConfig, zone: tzinfo | None) -> None:
        pass


def test_every_backend_gets_every_reading(day_config: Path) -> None:
    collectors: list[Collector] = []

    def create(*_: object) -> Collector:
        collectors.append(Collector())
        return collectors[-1]

    day_config.write_text(day_config.read_text() + "[[console]]\n")
    assert Service(load(str(day_config)), never, create).run() == 0
    assert len(collectors) == 2
    assert len(collectors[0].readings) == READINGS
    assert collectors[0].readings == collectors[1].readings


class Faulty(Collector):
    """Raises an error of ours for all readings but the first ones."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "faulty"

    def put(self, *readings: Reading) -> None:
        super().put(*readings)
        if len(self.readings) > len(readings):
            raise ZeroDivisionError


def test_a_backend_that_raises_starves_no_other(day_config: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The error is told once, and it is no success."""
    made: list[Collector] = []

    def create(*_: object) -> Collector:
        made.append(Collector() if made else Faulty())
        return made[-1]

    day_config.write_text(day_config.read_text() + "[[console]]\n")
    assert Service(load(str(day_config)), never, create).run() == 1
    assert [len(collector.readings) for collector in made] == [READINGS, READINGS]
    assert caplog.text.count("faulty: an error in inverter-capture itself") == 1


def never() -> Config:
    """Nobody asks for the configuration again."""
    raise AssertionError


def test_an_error_of_ours_in_a_file_is_told_and_fails(
    day_config: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Decoder, *packets: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Decoder, "receive", fail)
    assert Service(load(str(day_config)), never, lambda *_: Collector()).run() == 1
    assert "an error in inverter-capture itself" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_name_that_cannot_be_resolved_yet_is_tried_again(tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.toml", "lo", filter="host dongle.invalid")
    with Program(run_words(config)) as program:
        program.wait_until_said("[pcap] filter = \"host dongle.invalid\": unknown host 'dongle.invalid'")
        program.wait_until_said("trying again")
        assert program.stop().code == 0
        assert program.said("unknown host") == 1
    done = run_program("check", config)
    assert done.code == 2
    assert "unknown host" in done.errors[0]
