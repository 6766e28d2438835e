"""Delivery to a real database: importing a year, and the memory of a backlog."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.captures import dongle_records, write_reports_capture
from tests.databases import VictoriaMetrics

YEAR = 105_000
"""Readings of one inverter in a year, one every five minutes."""
SINGLES = 2_000
"""Readings sent one by one, for comparison."""
BACKLOG = 30 * 288

CONFIG = """
[pcap]
device = "{path}"
file = true
filter = "tcp"
timezone = "Africa/Johannesburg"
[[influxdb2]]
host = "{url}"
authentication = "none"
"""

SINGLE_REQUESTS = """
import sys, time, requests
lines = open(sys.argv[2], "rb").read().splitlines()
with requests.Session() as session:
    began = time.perf_counter()
    for line in lines:
        session.post(sys.argv[1] + "/api/v2/write", data=line).raise_for_status()
    print(time.perf_counter() - began)
"""


def import_measurements(folder: Path) -> Iterator[tuple[str, float, float, bool, str]]:
    """Title, ratio, limit, whether the limit is a lower one, and the figures behind the ratio."""
    year, few, lines = folder / "year.pcap", folder / "few.pcap", folder / "few.txt"
    write_reports_capture(year, YEAR)
    write_reports_capture(few, SINGLES)
    decode = [sys.executable, "-m", "inverter_capture", "decode", "--format", "line-protocol", "--filter", "tcp"]
    with lines.open("wb") as file:
        subprocess.run([*decode, str(few)], stdout=file, check=True)
    before = time.perf_counter()
    subprocess.run([*decode, str(year)], stdout=subprocess.DEVNULL, check=True)
    decoding = time.perf_counter() - before
    database_folder = folder / "database"
    database_folder.mkdir()
    with VictoriaMetrics(database_folder) as database:
        single = [sys.executable, "-c", SINGLE_REQUESTS, database.url, str(lines)]
        singles = float(subprocess.run(single, capture_output=True, text=True, check=True).stdout)
        config = folder / "import.toml"
        config.write_text(CONFIG.format(path=year, url=database.url))
        before = time.perf_counter()
        run = [sys.executable, "-m", "inverter_capture", "run", str(config)]
        subprocess.run(run, stderr=subprocess.DEVNULL, check=True)
        importing = time.perf_counter() - before
    rate, single_rate = YEAR / importing, SINGLES / singles
    yield (
        "importing a year, against one request a reading",
        *(rate / single_rate, 5.0, True),
        f"{rate:,.0f}/s against {single_rate:,.0f}/s",
    )
    yield (
        "importing a year, against decoding it alone",
        *(importing / decoding, 2.0, False),
        f"{importing:.1f} s against {decoding:.1f} s",
    )


def backlog_memory() -> int:
    """The kB that a process grows by when 30 days of readings wait."""
    program = [sys.executable, "-m", "tests.bench.delivery"]
    return int(subprocess.run(program, capture_output=True, text=True, check=True).stdout)


def measure_backlog() -> int:
    from inverter_capture.backends.influxdb2.buffer import Buffer
    from inverter_capture.output.line_protocol import line_protocol
    from inverter_capture.protocol.packets import Packet
    from inverter_capture.protocol.packets_to_readings import Decoded, Decoder

    buffer, decoder = Buffer(4 * 1024 * 1024), Decoder()
    empty = 0
    for number, record in enumerate(dongle_records(BACKLOG)):
        for event in decoder.receive(Packet(record.time, 1, record.data)):
            if isinstance(event, Decoded) and event.reading is not None:
                buffer.add(line_protocol(event.reading).encode())
        if number == 0:
            empty = resident()
    assert len(buffer) == BACKLOG
    assert not buffer.counts.dropped
    return resident() - empty


def resident() -> int:
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0])


if __name__ == "__main__":
    print(measure_backlog())
