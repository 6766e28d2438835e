"""Capture files of every kind: read whole, in part, or not at all, and then with a reason."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from inverter_capture.capture.dongle_search import DongleSearch
from inverter_capture.capture.file import FileCapture
from inverter_capture.capture.libpcap import FILTER_REMEDY, CaptureError, FilterError, check_filter
from inverter_capture.commands.decode import DecodeCommand
from inverter_capture.config.timezone import named_zone
from inverter_capture.protocol.packets import Packet
from tests import wire
from tests.dongle.inverter import Inverter, Report
from tests.dongle.profiles import LARGE, SMALL
from tests.programs import (
    DAY,
    PROGRAM,
    ZONE,
    Json,
    by_inverter,
    day_by_inverter,
    environment,
    run_program,
    without_rights,
    write_config,
)
from tests.wire import LINK_ETHERNET, LINK_RAW, LINK_SLL, LINK_SLL2, Connection, Endpoint, Record

START = datetime(2024, 6, 20, 22, tzinfo=UTC)
DONGLE, CLOUD = Endpoint("192.168.8.202", 50586), Endpoint("203.0.113.10", 51100, wire.MAC_B)
WRAPPERS: dict[int, Callable[..., bytes]] = {
    LINK_ETHERNET: wire.ethernet,
    LINK_RAW: lambda packet: packet,
    LINK_SLL: wire.sll,
    LINK_SLL2: wire.sll2,
}


def make_reports(count: int) -> list[Report]:
    """Of two inverters in turns."""
    inverters = [Inverter(profile, START) for profile in (SMALL, LARGE)]
    return [inverters[number % 2].report(START + number * timedelta(minutes=5)) for number in range(count)]


REPORTS = make_reports(6)


def records_of(reports: list[Report], link_type: int = LINK_ETHERNET, sizes: tuple[int, ...] = ()) -> list[Record]:
    """A whole connection."""
    connection = Connection(DONGLE, CLOUD, wrap=lambda packet, _sender, _receiver: WRAPPERS[link_type](packet))
    time = int(START.timestamp()) * wire.SECOND + 123_456_789
    time = connection.open(time)
    for report in reports:
        time = connection.send(time + wire.SECOND, report.message(), sizes)
    connection.close(time)
    return connection.records


def write(path: Path, records: list[Record], **options: Any) -> Path:
    with path.open("wb") as file:
        wire.write_pcap(file, records, **options)
    return path


def expected(reports: list[Report]) -> list[Json]:
    return [report.expected() for report in reports]


def decode(capsys: pytest.CaptureFixture[str], *paths: Path, filter: str = "") -> tuple[list[Json], list[str]]:
    """Readings and problems, by the `decode` command in this process."""
    problems = DecodeCommand(named_zone(ZONE), "json", filter=filter).run([str(path) for path in paths])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()], problems


def packets_of(capture: FileCapture) -> list[Packet]:
    """All packets that pass its filter."""
    packets: list[Packet] = []
    while not capture.ended:
        packets += capture.wait()
    return packets


# --- whole files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link_type", WRAPPERS)
@pytest.mark.parametrize("nanoseconds", [False, True])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("write_file", [wire.write_pcap, wire.write_pcapng])
def test_every_kind_of_file_is_read(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    write_file: Callable[..., None],
    byte_order: str,
    nanoseconds: bool,
    link_type: int,
) -> None:
    records = records_of(REPORTS, link_type, sizes=(100,))
    path = tmp_path / "capture"
    with path.open("wb") as file:
        write_file(file, records, link_type=link_type, nanoseconds=nanoseconds, byte_order=byte_order)
    assert decode(capsys, path) == (expected(REPORTS), [])

    with FileCapture(str(path), "") as capture:
        assert capture.size == path.stat().st_size
        packets = packets_of(capture)
        step = 1 if nanoseconds else 1000
        assert [packet.time for packet in packets] == [record.time // step * step for record in records]
        assert [packet.data for packet in packets] == [record.data for record in records]
        assert capture.position == capture.size


def test_packets_that_were_cut_are_no_readings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "cut.pcap", records_of(REPORTS), snap_length=200)
    (problem,) = decode(capsys, path)[1]
    assert problem.startswith("no reading: 18 packets in all, ")
    assert problem.endswith(": capture whole packets (`tcpdump -s 0`)")


def test_a_file_without_packets_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (problem,) = decode(capsys, write(tmp_path / "nothing.pcap", []))[1]
    assert problem.startswith("no reading: 0 packets in all, ")


def test_the_bundled_day_is_decoded_to_its_last_reading() -> None:
    done = run_program("decode", DAY, "--format", "json", "--timezone", ZONE)
    assert (done.code, done.err) == (0, "")
    assert done.by_inverter == day_by_inverter()


def test_several_files_are_one_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = records_of(REPORTS, sizes=(100, 20))
    # One ends in the middle of the first frame, the next in the middle of a later one, and kinds differ.
    places = [4, 5, 17, len(records)]
    paths = []
    for number, place in enumerate(places):
        begin = places[number - 1] if number else 0
        paths.append(write(tmp_path / f"{number}.pcap", records[begin:place], nanoseconds=bool(number % 2)))
    assert decode(capsys, *paths) == (expected(REPORTS), [])

    # A file that is missing does not keep the others from being read.
    readings, problems = decode(capsys, paths[0], paths[1], tmp_path / "missing.pcap", paths[2], paths[3])
    assert readings == expected(REPORTS)
    assert [problem.partition(": ")[0] for problem in problems] == [f'"{tmp_path}/missing.pcap"']


def test_a_filter_lets_only_some_packets_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "capture.pcap", records_of(REPORTS))
    assert decode(capsys, path, filter="tcp dst port 51100") == (expected(REPORTS), [])
    (problem,) = decode(capsys, path, filter="tcp dst port 51101")[1]
    assert "0 packets through the filter" in problem
    assert "check the filter" in problem


def test_standard_input_and_pipes_are_files_too(tmp_path: Path) -> None:
    data = DAY.read_bytes()
    arguments = ["--format", "json", "--timezone", ZONE]
    assert run_program("decode", "-", *arguments, input=data).by_inverter == day_by_inverter()

    def feed(path: Path) -> None:
        with path.open("wb") as file:
            file.write(data)

    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    thread = threading.Thread(target=feed, args=(fifo,))
    thread.start()
    done = run_program("decode", fifo, *arguments)
    thread.join()
    assert (done.code, done.by_inverter) == (0, day_by_inverter())

    # As a shell does it: <(zcat day.pcap.gz).
    words = ["bash", "-c", 'exec "$@" <(cat "$0")', str(DAY), *PROGRAM, "decode", *arguments]
    output = subprocess.run(words, capture_output=True, env=environment(), text=True, check=True).stdout
    assert by_inverter([json.loads(line) for line in output.splitlines()]) == day_by_inverter()


@pytest.mark.parametrize("filter", ["tcp", DongleSearch()], ids=["filter", "search"])
def test_packets_from_a_pipe_are_there_as_they_come(tmp_path: Path, filter: str | DongleSearch) -> None:
    data = write(tmp_path / "capture.pcap", records_of(REPORTS[:1])).read_bytes()
    reader, writer = os.pipe()
    os.write(writer, data)
    with FileCapture(f"/dev/fd/{reader}", filter) as capture:
        packets: list[Packet] = []
        waiting = threading.Thread(target=lambda: packets.extend(capture.wait()))
        waiting.start()
        waiting.join(30)
        arrived = len(packets)
        os.close(writer)
        waiting.join()
        os.close(reader)
    assert arrived == 1


# --- files that are cut off ---------------------------------------------------------------------------------------


def pcap_ends(records: list[Record]) -> list[int]:
    """Where each packet of a classic file ends."""
    ends = [24]
    for record in records:
        ends.append(ends[-1] + 16 + len(record.data))
    return ends


def test_everything_before_a_cut_is_decoded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = records_of(REPORTS[:3], sizes=(100,))
    data = write(tmp_path / "whole.pcap", records).read_bytes()
    ends = pcap_ends(records)
    assert ends[-1] == len(data)
    path = tmp_path / "cut.pcap"
    places = {place for end in ends for place in (end - 1, end, end + 1, end + 15, end + 16, end + 17)}
    for place in sorted(place for place in places if 24 <= place <= len(data)):
        path.write_bytes(data[:place])
        readings, problems = decode(capsys, path, filter="tcp")
        whole = sum(end <= place for end in ends) - 1
        # A frame is in two segments, each of which is acknowledged; three packets open the connection.
        assert readings == expected(REPORTS[:3][: max(0, (whole - 3 + 1) // 4)])
        assert len(problems) == (place not in ends or not readings)
        for problem in problems if place not in ends else ():
            assert problem.startswith(f'"{path}": the capture file is damaged or was cut off: truncated dump file')


def test_pcapng_files_may_be_cut_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = io.BytesIO()
    wire.write_pcapng(whole, records_of(REPORTS[:3]))
    data = whole.getvalue()
    path = tmp_path / "cut.pcapng"
    seen = set()
    for place in range(80, len(data), 13):
        path.write_bytes(data[:place])
        readings, problems = decode(capsys, path, filter="tcp")
        assert readings == expected(REPORTS[: len(readings)])
        seen.add((len(readings), len(problems)))
        assert all("cut off" in problem for problem in problems)
    assert seen >= {(0, 1), (1, 1), (2, 1)}


def test_garbage_in_the_middle_ends_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = records_of(REPORTS)
    path = write(tmp_path / "damaged.pcap", records)
    data = bytearray(path.read_bytes())
    end = pcap_ends(records)[6]
    data[end : end + 16] = b"\xff" * 16
    path.write_bytes(data)
    readings, problems = decode(capsys, path)
    assert readings == expected(REPORTS[:2])
    assert len(problems) == 1
    assert "damaged" in problems[0]


def test_a_cut_file_ends_with_exit_code_1(tmp_path: Path) -> None:
    data = DAY.read_bytes()
    path = tmp_path / "cut.pcap"
    path.write_bytes(data[:-5])
    # The last packet is another machine's, and the last frame is whole.
    for done in (
        run_program("decode", path, "--format", "json", "--timezone", ZONE),
        run_program("decode", "-", "--format", "json", "--timezone", ZONE, input=data[:-5]),
        run_program("run", write_config(tmp_path / "cut.toml", path, file=True, level="error")),
    ):
        assert done.code == 1
        assert done.by_inverter == day_by_inverter()
        (line,) = done.err.splitlines()
        assert "damaged or was cut off: truncated dump file; tried to read" in line
        assert f'"{path}"' in line or '"-"' in line


# --- files that are none ------------------------------------------------------------------------------------------

NO_CAPTURE = "is no capture file (pcap or pcapng)"


def make_bad_files(folder: Path) -> dict[str, str]:
    """Names of files, and what is said of each."""
    day = DAY.read_bytes()
    (folder / "empty.pcap").write_bytes(b"")
    (folder / "notes.txt").write_text("no capture at all\n")
    (folder / "tiny").write_bytes(b"\xd4\xc3")
    (folder / "day.pcap.gz").write_bytes(gzip.compress(day))
    (folder / "day.pcap.zst").write_bytes(b"\x28\xb5\x2f\xfd rest")
    (folder / "day.pcap.xz").write_bytes(b"\xfd7zXZ\0 rest")
    (folder / "header.pcap").write_bytes(day[:20])
    (folder / "wifi.pcap").write_bytes(day[:20] + (105).to_bytes(4, "little") + day[24:])
    (folder / "old.pcap").write_bytes(day[:4] + b"\x63\0" + day[6:])
    (folder / "folder").mkdir()
    return {
        "missing.pcap": "cannot be read (No such file or directory): check the path, and who may read the file",
        "folder": "cannot be read (Is a directory): check the path, and who may read the file",
        "empty.pcap": "the file is empty; a capture file is what `tcpdump -w FILE` writes",
        "notes.txt": f"{NO_CAPTURE}; a capture file is what `tcpdump -w FILE` writes",
        "tiny": f"{NO_CAPTURE}; a capture file is what `tcpdump -w FILE` writes",
        "day.pcap.gz": f"{NO_CAPTURE}; unpack it first with gunzip",
        "day.pcap.zst": f"{NO_CAPTURE}; unpack it first with unzstd",
        "day.pcap.xz": f"{NO_CAPTURE}; unpack it first with unxz",
        "header.pcap": f"{NO_CAPTURE}, or damaged or cut off in its first bytes",
        "old.pcap": f"{NO_CAPTURE}, or damaged or cut off in its first bytes",
        "wifi.pcap": "has the data link type 105, which is not supported; supported: Ethernet, raw IP, Linux cooked, "
        "Linux cooked v2",
    }


def test_what_is_no_capture_file_is_said_in_a_line(tmp_path: Path) -> None:
    messages = make_bad_files(tmp_path)
    done = run_program("decode", *messages, cwd=tmp_path)
    assert done.code == 1
    assert done.out == ""
    assert done.err.splitlines() == [f'error: "{name}": {message}' for name, message in messages.items()]


@pytest.mark.parametrize("name", ["missing.pcap", "day.pcap.gz", "header.pcap"])
def test_the_service_says_it_with_the_setting(tmp_path: Path, name: str) -> None:
    message = make_bad_files(tmp_path)[name]
    write_config(tmp_path / "c.toml", name, file=True)
    for command, code, place in (("run", 1, "c.toml"), ("check", 2, "c.toml:2")):
        done = run_program(command, "c.toml", cwd=tmp_path)
        assert (done.code, done.out) == (code, "")
        assert done.err == f'error: {place}: [pcap] device = "{name}": {message}\n'


@pytest.mark.parametrize("data", [b"", b"no capture at all", DAY.read_bytes()[:20]])
def test_standard_input_may_be_no_capture_file(data: bytes) -> None:
    done = run_program("decode", "-", input=data)
    assert (done.code, done.out) == (1, "")
    assert done.err == f'error: "-": {NO_CAPTURE}, or damaged or cut off in its first bytes\n'


def test_a_file_that_nobody_may_read(tmp_path: Path) -> None:
    path = tmp_path / "private.pcap"
    shutil.copy(DAY, path)
    path.chmod(0)
    done = run_program("decode", path, before=without_rights())
    assert (done.code, done.out) == (1, "")
    assert (
        done.err == f'error: "{path}": cannot be read (Permission denied): check the path, and who may read the file\n'
    )


@pytest.mark.parametrize("name", ["lo", "any", "-x"])
def test_a_file_may_be_called_like_a_device(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path(name), records_of(REPORTS))
    with FileCapture(name, "") as capture:
        assert len(packets_of(capture)) == len(records_of(REPORTS))
    Path(name).write_bytes(DAY.read_bytes()[:10])
    with pytest.raises(CaptureError, match="first bytes"):
        FileCapture(name, "")


def test_names_that_no_text_can_hold(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\n.pcap"
    with open(name, "wb") as file:
        file.write(DAY.read_bytes())
    done = run_program("decode", os.fsdecode(name))
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert line.endswith(": the name of a capture file must be UTF-8; rename it")


# --- filters ------------------------------------------------------------------------------------------------------


def test_filters_are_checked_without_a_device() -> None:
    for good in (
        "tcp",
        "host 192.168.8.202 and tcp port 51100",
        "ip6 or vlan 5",
        "tcp[tcpflags] & tcp-syn != 0",
    ):
        check_filter(good)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("host 192.168.8.202 adn port 51100", 'at "adn port 51100" after "host 192.168.8.202"'),
        ("tcp and prot 51100", 'at "and prot 51100" after "tcp"'),
        ("prot 51100 and tcp", 'at "prot 51100"'),
        ("tcp port fiftyone", "fiftyone"),
        ("host 192.168.8.300", "192.168.8.300"),
        ("tcp[0:3] = 1", "data size must be 1, 2, or 4"),
        ("(tcp", "syntax error"),
        ("tcp port 70000", "70000"),
    ],
)
def test_what_is_wrong_with_a_filter_is_named(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(FilterError) as caught:
        check_filter(text)
    message = str(caught.value)
    assert message.startswith(f'"{text}": ')
    assert part in message.removeprefix(f'"{text}": ')
    assert "\n" not in message
    assert "b'" not in message


def test_a_wrong_filter_is_an_error_of_whoever_wrote_it(tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.toml", DAY, file=True, filter="tcp adn port 5")
    message = f'"tcp adn port 5": syntax error, at "adn port 5" after "tcp": {FILTER_REMEDY}\n'
    for arguments, name in (
        (("decode", DAY, "--filter", "tcp adn port 5"), "--filter"),
        (("run", config), f"{config}:5: [pcap] filter ="),
        (("check", config), f"{config}:5: [pcap] filter ="),
    ):
        done = run_program(*arguments)
        assert (done.code, done.out, done.err) == (2, "", f"error: {name} {message}")


# --- memory -------------------------------------------------------------------------------------------------------

# Measured from a small process: whoever starts a program lends it the memory that it has itself at that moment.
MEASURE = """
import os, sys
no_output = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[no_output])
_, status, usage = os.wait4(process, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""


def peak_memory(*arguments: str | Path) -> int:
    """In kB."""
    words = [sys.executable, "-I", "-S", "-c", MEASURE, *PROGRAM, *map(str, arguments)]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True, timeout=60)
    code, size = map(int, done.stdout.split())
    assert code == 0, done.stderr
    return size


def test_a_large_file_takes_no_more_memory_than_a_small_one(tmp_path: Path) -> None:
    reports = make_reports(200)
    connection = Connection(DONGLE, CLOUD)
    other = Connection(Endpoint("192.168.8.50", 40000), Endpoint("203.0.113.80", 443, wire.MAC_B))
    for number, report in enumerate(reports):
        connection.packet(number * wire.SECOND, DONGLE, connection.sequence, report.message())
        connection.sequence += len(report.message())
        other.packet(number * wire.SECOND, other.client, number * 1400, b"\x17\x03\x03" + bytes(1400))
    files = {"small": 1, "large": 280}
    for name, times in files.items():
        with (tmp_path / name).open("wb") as file:
            wire.write_pcap(file, connection.records)
            chunk = io.BytesIO()
            wire.write_pcap(chunk, other.records)
            file.write(chunk.getvalue()[24:] * times)
            # The frames are sent once more at the end: they count as repeated, but take their way through all of it.
            again = io.BytesIO()
            wire.write_pcap(again, connection.records)
            file.write(again.getvalue()[24:])
    assert (tmp_path / "large").stat().st_size > 80_000_000
    # With this filter all packets are looked at.
    small, large = (peak_memory("decode", "--format", "json", "--filter", "tcp", tmp_path / name) for name in files)
    assert small > 5_000
    assert large < 1.1 * small
