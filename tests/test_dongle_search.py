"""A capture file without a filter gives what it gives with the right one, whatever port the dongle reports to."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from inverter_capture.capture.dongle_filter import ENDPOINTS_MAX, SERVER_PORT
from inverter_capture.capture.dongle_search import CUTS_MAX, DongleSearch
from inverter_capture.capture.file import FileCapture
from inverter_capture.commands.decode import DecodeCommand
from inverter_capture.commands.discover import discover
from inverter_capture.config.timezone import named_zone
from tests import wire
from tests.dongle.inverter import Inverter, Report
from tests.dongle.profiles import LARGE, SMALL
from tests.programs import ZONE, Json, run_program, write_config
from tests.wire import ACK, PSH, Connection, Endpoint, Record

PORT = 6666
START = datetime(2024, 6, 20, 22, tzinfo=UTC)
TIME = int(START.timestamp()) * wire.SECOND
DONGLE, CLOUD = Endpoint("192.168.8.202", 50586), Endpoint("203.0.113.10", PORT, wire.MAC_B)
FILTER = f"host {DONGLE.address} and tcp port {PORT}"
SHORT_MESSAGE = bytes.fromhex("a506 01 05 02 ce 0000 07 0003 010203")


def make_reports(count: int) -> list[Report]:
    inverters = [Inverter(profile, START) for profile in (SMALL, LARGE)]
    return [inverters[number % 2].report(START + number * timedelta(minutes=5)) for number in range(count)]


REPORTS = make_reports(4)
ONE = REPORTS[0].message()
Packets = Callable[[Connection], None]


def in_segments(
    *payloads: bytes, sequence: int = 1000, order: tuple[int, ...] = (), pace: int = wire.MILLISECOND
) -> Packets:
    """Segments one behind the other, captured in this order, and so long after each other."""

    def send(connection: Connection) -> None:
        starts = [sequence + sum(map(len, payloads[:number])) for number in range(len(payloads))]
        for place, number in enumerate(order or range(len(payloads))):
            connection.packet(TIME + place * pace, DONGLE, starts[number] % 2**32, payloads[number], PSH | ACK)

    return send


def split_at(data: bytes, *places: int) -> list[bytes]:
    ends = [0, *places, len(data)]
    return [data[start:end] for start, end in pairwise(ends)]


SCENARIOS: dict[str, Packets] = {
    "one report": in_segments(ONE),
    "reordered first segments": in_segments(*split_at(ONE, 100, 200), order=(2, 0, 1)),
    "reordered, and split after a byte": in_segments(*split_at(ONE, 1, 200), order=(2, 1, 0)),
    "behind a short message": in_segments(SHORT_MESSAGE + ONE),
    "behind the tail of another": in_segments(REPORTS[1].message()[100:] + ONE),
    "sequence numbers wrap": in_segments(*split_at(ONE, 100), sequence=2**32 - 50),
    "sequence numbers wrap in the header": in_segments(*split_at(ONE, 1), sequence=2**32 - 1),
    "after one byte": in_segments(*split_at(ONE, 1)),
    "after two bytes": in_segments(*split_at(ONE, 2)),
    "after three bytes": in_segments(*split_at(ONE, 3)),
    "every byte of the header": in_segments(*split_at(ONE, *range(1, 12))),
    "every byte of the header, backwards": in_segments(*split_at(ONE, *range(1, 12)), order=tuple(range(11, -1, -1))),
    "the first byte behind another's tail": in_segments(REPORTS[1].message()[200:] + ONE[:1], ONE[1:]),
    "the first two bytes behind another's tail": in_segments(REPORTS[1].message()[200:] + ONE[:2], ONE[2:]),
    "many": in_segments(*(report.message() for report in REPORTS)),
    "many, each after one byte": in_segments(*(part for each in REPORTS for part in split_at(each.message(), 1))),
}


def foreign(seed: int, count: int) -> list[Record]:
    """Encrypted traffic of other devices, whose bytes are random."""
    chance = random.Random(seed)
    records = []
    for number in range(count):
        client = Endpoint(f"192.168.8.{chance.randrange(10, 200)}", chance.randrange(32768, 51000))
        connection = Connection(client, Endpoint("198.51.100.1", 443, wire.MAC_B))
        payload = chance.randbytes(chance.choice((0, 1, 2, 3, 100, 1400)))
        connection.packet(TIME + number, client, chance.randrange(1 << 32), payload)
        records.append(connection.records[0])
    return records


def capture_of(
    packets: Packets, *, wrap: Callable[[bytes], bytes] = wire.ethernet, server: Endpoint = CLOUD
) -> list[Record]:
    connection = Connection(DONGLE, server, wrap=lambda packet, _sender, _receiver: wrap(packet))
    packets(connection)
    return connection.records


def write(path: Path, records: list[Record]) -> Path:
    with path.open("wb") as file:
        wire.write_pcap(file, records)
    return path


def decode(capsys: pytest.CaptureFixture[str], *paths: Path, filter: str = "") -> list[Json]:
    assert DecodeCommand(named_zone(ZONE), "json", filter=filter).run([str(path) for path in paths]) == []
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_file_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    records = foreign(1, 50) + capture_of(SCENARIOS[name]) + foreign(2, 50)
    path = write(tmp_path / "capture.pcap", records)
    found = decode(capsys, path)
    assert found == decode(capsys, path, filter=FILTER)
    wanted = REPORTS if "many" in name else REPORTS[:1]
    assert found == [report.expected() for report in wanted]
    # The same on the other commands.
    config = write_config(tmp_path / "c.toml", path, file=True)
    assert run_program("run", config).readings == found
    survey, problem = discover(str(path), 1, print)
    assert not problem
    assert survey.settings["filter"] == FILTER


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda packet: wire.ethernet(packet, tags=[(wire.ETHERTYPE_VLAN, 5)]),
        lambda packet: wire.ethernet(wire.pppoe(packet), ethertype=wire.ETHERTYPE_PPPOE),
        lambda packet: wire.ethernet(packet, trailer=b"\x01\x02\x03\x04"),
    ],
    ids=["vlan", "pppoe", "trailer"],
)
def test_behind_other_headers_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, wrap: Callable[[bytes], bytes]
) -> None:
    found = decode(capsys, write(tmp_path / "capture.pcap", capture_of(SCENARIOS[name], wrap=wrap)))
    assert found == [report.expected() for report in (REPORTS if "many" in name else REPORTS[:1])]


def test_on_the_usual_port_nothing_has_to_be_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = capture_of(SCENARIOS["every byte of the header"], server=CLOUD._replace(port=SERVER_PORT))
    path = write(tmp_path / "capture.pcap", records)
    assert decode(capsys, path) == [REPORTS[0].expected()]
    search = DongleSearch()
    with FileCapture(str(path), search) as capture:
        capture.search()
        assert capture.size == 3 * path.stat().st_size
        assert 2 * path.stat().st_size < capture.position <= capture.size
    assert list(search.dongles.endpoints) == []


@pytest.mark.parametrize("name", SCENARIOS)
def test_several_files_are_one_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    records = capture_of(SCENARIOS[name])
    paths = [write(tmp_path / f"{number}.pcap", [record]) for number, record in enumerate(records)]
    wanted = [report.expected() for report in (REPORTS if "many" in name else REPORTS[:1])]
    assert decode(capsys, *paths) == wanted


def test_more_dongles_than_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reports = make_reports(2 * (ENDPOINTS_MAX + 3))
    records = []
    for number, report in enumerate(reports):
        connection = Connection(Endpoint(f"192.168.8.{100 + number // 2}", 50586 + number), CLOUD)
        for place, part in enumerate(split_at(report.message(), 1)):
            connection.packet(TIME + number * wire.SECOND + place, connection.client, 1000 + place, part, PSH | ACK)
        records += connection.records
    path = write(tmp_path / "capture.pcap", records)
    readings = decode(capsys, path)
    assert readings == decode(capsys, path, filter="tcp")
    assert len(readings) == len(reports)


def test_foreign_traffic_is_not_taken_for_dongles(tmp_path: Path) -> None:
    path = write(tmp_path / "foreign.pcap", foreign(3, 20_000))
    search = DongleSearch()
    with FileCapture(str(path), search) as capture:
        capture.search()
        assert list(search.dongles.endpoints) == []
        passing = []
        while not capture.ended:
            passing += capture.wait()
    # Single bytes that may begin a message; the rest stays with libpcap.
    assert len(passing) < 50


def test_what_is_remembered_of_cuts_is_bounded(tmp_path: Path) -> None:
    records = []
    for number in range(CUTS_MAX + 100):
        connection = Connection(DONGLE, CLOUD)
        connection.packet(TIME, DONGLE, 10 * number, b"x\xa5", PSH | ACK)
        records += connection.records
    search = DongleSearch()
    with FileCapture(str(write(tmp_path / "capture.pcap", records)), search) as capture:
        capture.search()
    assert len(search._cuts) == CUTS_MAX
    assert list(search.dongles.endpoints) == []


def test_a_pipe_learns_as_a_live_capture_does(tmp_path: Path) -> None:
    # On the usual port nothing is lost however it is cut; on another one at most the first report.
    for port in (SERVER_PORT, PORT):
        for whole in (True, False) if port == SERVER_PORT else (True,):
            first = [ONE] if whole else split_at(ONE, 1)
            rest = [part for report in REPORTS[1:] for part in split_at(report.message(), 1)]
            records = capture_of(in_segments(*first, *rest, pace=wire.SECOND), server=CLOUD._replace(port=port))
            data = write(tmp_path / "capture.pcap", foreign(1, 50) + records).read_bytes()
            done = run_program("decode", "-", "--format", "json", "--timezone", ZONE, input=data)
            assert done.readings == [report.expected() for report in REPORTS]
