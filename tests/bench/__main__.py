"""`make bench`: what the program takes, beside what others take for the same in the same run, as a table in Markdown.

Figures are processor time where that is what counts, since it does not depend on what else the machine does; the
programs compared run in turns, and the medians stand in the table. `make bench-peers` adds a table of other programs.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tests.bench import live, peers
from tests.bench.captures import MONTH, busy_records, dongle_records, write_capture
from tests.bench.programs import LIBRARIES, OURS, medians, number_of, seconds_of
from tests.databases import VictoriaMetrics
from tests.network import ROOT

PACKETS = 1_000_000
REPORTS = 10_000
YEAR = 105_000
"""Readings of one inverter in a year, one every five minutes."""
SINGLES = 2_000
"""Readings sent in a request each."""

OWN_MEMORY = "; print(next(int(line.split()[1]) / 1000 for line in open('/proc/self/smaps_rollup') if 'Rss:' in line))"
SINGLE_REQUESTS = """
import sys, time, requests
lines = open(sys.argv[2], "rb").read().splitlines()
with requests.Session() as session:
    began = time.process_time()
    for line in lines:
        session.post(sys.argv[1] + "/api/v2/write", data=line).raise_for_status()
    print(time.process_time() - began)
"""
PACKETS_FROM = """
import sys, time, dpkt
from inverter_capture.capture.file import BATCH_PACKETS
from inverter_capture.protocol.packets import Packet
from inverter_capture.protocol.packets_to_readings import Decoder
packets = [Packet(int(when * 1_000_000_000), 1, data) for when, data in dpkt.pcap.Reader(open(sys.argv[1], "rb"))]
"""
READINGS = f"""{PACKETS_FROM}
decoder = Decoder()
decoder.receive(packets[0])
began = time.process_time()
for first in range(1, len(packets), BATCH_PACKETS):
    decoder.receive(*packets[first : first + BATCH_PACKETS])
print(time.process_time() - began)
assert decoder.readings.counts.readings == len(packets)
"""
BARE_DPKT = f"""{PACKETS_FROM}
buffers = [packet.data for packet in packets]
began = time.process_time()
for buffer in buffers:
    dpkt.ethernet.Ethernet(buffer)
print(time.process_time() - began)
"""


class Figure(NamedTuple):
    """One row of the table."""

    title: str
    unit: str
    ours: float
    other: float = 0
    """What it is compared with; 0 for nothing."""
    limit: float | None = None
    """The goal for `ours`, or for its ratio to `other` where there is one; None for no goal."""
    faster: bool = False
    """Whether the ratio is `other` to `ours`, which the limit is the least for."""

    @property
    def ratio(self) -> float:
        return self.other / self.ours if self.faster else self.ours / self.other

    @property
    def met(self) -> bool:
        measured = self.ratio if self.other else self.ours
        return self.limit is None or (measured >= self.limit if self.faster else measured <= self.limit)

    def cells(self) -> tuple[str, ...]:
        goal, verdict = "", ""
        if self.limit is not None:
            unit = "times" if self.other else self.unit
            goal, verdict = f"{'≥' if self.faster else '≤'} {self.limit:g} {unit}", "met" if self.met else "**missed**"
        absolute = [f"{value:,.3g} {self.unit}" if value else "" for value in (self.ours, self.other)]
        return self.title, goal, verdict, f"{self.ratio:.2f}" if self.other else "", *absolute


def main() -> int:
    """Measure. Returns 1 when a goal is missed."""
    live.make_device()
    with tempfile.TemporaryDirectory() as name:
        # Compiled once, as on a router, and outside the tree.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(name) / "bytecode")
        compile_ours = [sys.executable, "-m", "compileall", "-q", "inverter_capture"]
        subprocess.run(compile_ours, env=os.environ | {"PYTHONNODEBUGRANGES": "1"}, check=True, cwd=ROOT)
        seconds_of(
            *OURS, "check", "--connect", live.config(Path(name), url="http://127.0.0.1:1", broker="mqtt://[::1]:1")
        )
        measure = {"memory": memory}.get(" ".join(sys.argv[1:]), everything)
        print(
            f"{machine()}\n\n| figure | goal | | ratio | inverter-capture | compared with |\n|---|---|---|---|---|---|",
            flush=True,
        )
        missed = 0
        for figure in measure(Path(name)):
            print(f"| {' | '.join(figure.cells())} |", flush=True)
            missed += not figure.met
        if sys.argv[1:] == ["peers"]:
            heading, *lines = peers.rows(Path(name))
            print(f"\n| {' | '.join(heading)} |\n|{'---|' * len(heading)}")
            print(*(f"| {' | '.join(line)} |" for line in lines), sep="\n")
    return 1 if missed else 0


def machine() -> str:
    """The date, and what the figures were measured on."""
    models = {
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    }
    bits = 64 if sys.maxsize > 1 << 32 else 32
    kernel = platform.release().partition("-")[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} processors {', '.join(models)}, Linux {kernel}, "
        f"Python {platform.python_version()} ({bits} bits)"
    )


def everything(folder: Path) -> Iterator[Figure]:
    """Every figure with a goal."""
    yield from importing(folder)
    yield from decoding(folder)
    yield from memory(folder)
    ours, libraries = medians(lambda: live.start(folder), lambda: seconds_of(sys.executable, "-c", LIBRARIES), rounds=9)
    yield Figure("Start: to the first capture; importing the four libraries", "s", ours, libraries, 1.1)
    median, last = live.delivery_times(folder)
    yield Figure("From the packet to the server, median", "ms", median, limit=20)
    yield Figure("From the packet to the server, 99 %", "ms", last, limit=20)


def importing(folder: Path) -> Iterator[Figure]:
    """Importing a year into a database on this machine; then as into another machine's, for which it is compressed."""
    year = write_capture(folder / "year.pcap", dongle_records(YEAR))
    few = write_capture(folder / "few.pcap", dongle_records(SINGLES))
    lines = folder / "lines"
    decode = [*OURS, "decode", "--format", "line-protocol", "--filter", "tcp"]
    with lines.open("wb") as out:
        subprocess.run([*decode, few], stdout=out, check=True)
    (folder / "database").mkdir()
    with VictoriaMetrics(folder / "database") as database:
        run: list[str | Path] = [*OURS, "run", live.config(folder, device=str(year), filter="tcp", url=database.url)]
        (folder / "compressed").mkdir()
        # An address of this machine that does not look like one.
        url = database.url.replace("127.0.0.1", "[::ffff:127.0.0.1]")
        config = live.config(folder / "compressed", device=str(year), filter="tcp", url=url)
        run_compressed: list[str | Path] = [*OURS, "run", config]
        ours, compressed, single, decoding = medians(
            lambda: seconds_of(*run) / YEAR,
            lambda: seconds_of(*run_compressed) / YEAR,
            lambda: number_of(SINGLE_REQUESTS, database.url, lines) / SINGLES,
            lambda: seconds_of(*decode, year) / YEAR,
            rounds=3,
        )
    year.unlink()
    yield Figure("Import of a year: a reading", "µs", ours * 1e6, limit=65)
    yield Figure(
        "Import of a year: a reading; one request each by `requests`", "µs", ours * 1e6, single * 1e6, 12, faster=True
    )
    yield Figure("Import of a year: a reading; decoding alone", "µs", ours * 1e6, decoding * 1e6, 2)
    yield Figure("The same, compressed as for another machine; decoding alone", "µs", compressed * 1e6, decoding * 1e6)


def decoding(folder: Path) -> Iterator[Figure]:
    """From packets to readings."""
    reports = write_capture(folder / "reports.pcap", dongle_records(REPORTS))
    busy = write_capture(folder / "busy.pcap", busy_records(PACKETS))
    # Its first report is the start: with it, what is made once for a kind of inverter and a layout is made.
    first = write_capture(folder / "first.pcap", dongle_records(1))
    ours, bare = medians(lambda: number_of(READINGS, reports), lambda: number_of(BARE_DPKT, reports))
    each = 1e6 / REPORTS
    title = "Frames: a packet with a report after the first, in batches as from a file; `dpkt.ethernet.Ethernet`"
    yield Figure(title, "µs", ours * each, bare * each, 2)

    decode = [*OURS, "decode", "--format", "json"]
    tcpdump = ["tcpdump", "-w", "-", "-r"]
    filtered, found, start, theirs, their_start = medians(
        lambda: seconds_of(*decode, "--filter", live.FILTER, busy),
        lambda: seconds_of(*decode, busy),
        lambda: seconds_of(*decode, "--filter", live.FILTER, first),
        lambda: seconds_of(*tcpdump, busy, live.FILTER),
        lambda: seconds_of(*tcpdump, first, live.FILTER),
    )
    title = "A million packets in a file, with the host's filter, after the first report; `tcpdump`"
    yield Figure(title, "s", filtered - start, theirs - their_start, 1.2)
    yield Figure("The same without a filter", "s", found - start)
    busy.unlink()


def memory(folder: Path) -> Iterator[Figure]:
    """The service with both backends, against importing the libraries. Needs neither a database nor a broker."""
    at_rest, with_backlog = live.service_memory(folder)
    libraries = number_of(LIBRARIES + OWN_MEMORY)
    yield Figure("Memory with both backends, at rest; importing the four libraries", "MB", at_rest, libraries, 1.15)
    title = f"The same with a backlog of 30 days ({MONTH:,} readings)"
    yield Figure(title, "MB", with_backlog, libraries, 1.15)


if __name__ == "__main__":
    sys.exit(main())
