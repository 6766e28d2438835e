"""`make bench`: how fast and how small, as ratios of things measured side by side in one run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.captures import DONGLE_HOST, write_busy_capture, write_reports_capture, write_wire_capture
from tests.bench.delivery import backlog_memory, import_measurements
from tests.bench.service import DEPENDENCIES, seconds_to_capture, service_memory, sourceless

PACKETS = 1_000_000
SMALL_PACKETS = 50_000
REPORTS = 10_000
ROUNDS = 5
BACKENDS = "inverter_capture.backends.influxdb2.delivery, inverter_capture.backends.mqtt.delivery"
IMPORTS = f"import inverter_capture.service.service, {BACKENDS}"


def main() -> int:
    """Run all measurements. Returns 1 when a ratio misses its limit."""
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Compiled once, as on the router, and outside the tree.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
        subprocess.run([sys.executable, "-c", IMPORTS], check=True)
        for title, ratio, limit, at_least, detail in measurements(folder):
            good = ratio >= limit if at_least else ratio <= limit
            missed += not good
            bound = "at least" if at_least else "at most"
            print(f"{'ok  ' if good else 'MISS'} {title}: {ratio:.2f} ({bound} {limit}); {detail}", flush=True)
    return 1 if missed else 0


def measurements(folder: Path) -> Iterator[tuple[str, float, float, bool, str]]:
    """Title, ratio, limit, whether the limit is a lower one, and the figures behind the ratio."""
    busy, small, reports, wire = (folder / f"{name}.pcap" for name in ("busy", "small", "reports", "wire"))
    write_busy_capture(busy, PACKETS)
    write_busy_capture(small, SMALL_PACKETS)
    write_reports_capture(reports, REPORTS)
    write_wire_capture(wire, REPORTS)

    host_filter = f"host {DONGLE_HOST}"
    start = best(lambda: decode(small, "--filter", "port 1"))
    ours = best(lambda: decode(busy, "--filter", host_filter)) - start
    found = best(lambda: decode(busy)) - start
    tcpdump = best(lambda: seconds_of_command("tcpdump", "-r", str(busy), "-w", os.devnull, host_filter))
    yield (
        "decoding a million packets, against tcpdump with the same filter",
        *(ours / tcpdump, 2.0, False),
        f"{ours:.2f} s against {tcpdump:.2f} s; without a filter {found:.2f} s",
    )

    for path, what in ((reports, "nothing but reports"), (wire, "reports with acknowledgements and answers")):
        rates = [frame_rates(path) for _ in range(ROUNDS)]
        yield (
            f"from packets to readings, against a bare dpkt loop over the same packets: {what}",
            *(statistics.median(ours / bare for ours, bare in rates), 0.25, True),
            f"{max(ours for ours, _ in rates):,.0f}/s against {max(bare for _, bare in rates):,.0f}/s",
        )

    memory_small, memory_busy = peak_of_decode(small), peak_of_decode(busy)
    yield (
        "peak memory for a large file, against a small one",
        *(memory_busy / memory_small, 1.1, False),
        f"{memory_busy} kB for {busy.stat().st_size:,} bytes, {memory_small} kB for {small.stat().st_size:,} bytes",
    )

    bare_memory = peak_of("import pcap, dpkt")
    service, readings = service_memory(folder, mqtt=False)
    yield (
        "memory of the service after a day's reports, against importing pcap and dpkt",
        *(service / bare_memory, 1.5, False),
        f"{service} kB after {readings} readings, against {bare_memory} kB",
    )

    added = service_memory(folder, mqtt=True)[0] - service
    paho = peak_of("import pcap, dpkt, paho.mqtt.client") - bare_memory
    yield (
        "memory that [[mqtt]] adds to it, against importing paho",
        *(added / paho, 1.3, False),
        f"{added} kB against {paho} kB",
    )

    modules = sourceless(folder / "modules")
    start = best(lambda: seconds_to_capture(folder, modules))
    imports = best(lambda: seconds_of_command(sys.executable, "-c", DEPENDENCIES))
    yield (
        "from the start to the first capture, against importing its dependencies",
        *(start / imports, 1.3, False),
        f"{start:.2f} s against {imports:.2f} s",
    )

    yield from import_measurements(folder)
    waiting = backlog_memory()
    yield (
        "MiB that a backlog of 30 days takes",
        *(waiting / 1024, 6.0, False),
        f"{waiting} kB above an empty buffer",
    )


def best(measure: Callable[[], float]) -> float:
    """The quickest of some rounds: what disturbs a measurement only ever makes it slower."""
    return min(measure() for _ in range(ROUNDS))


def decode(path: Path, *options: str) -> float:
    """Seconds that the `decode` command takes."""
    return seconds_of_command(
        sys.executable, "-m", "inverter_capture", "decode", str(path), "--format", "json", *options
    )


def seconds_of_command(*command: str) -> float:
    before = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - before


def peak_of_decode(path: Path) -> int:
    """The most kB that the `decode` command ever takes."""
    return peak_of(
        f"from inverter_capture.commands.arguments import main; main(['decode', {str(path)!r}, '--format', 'json'])"
    )


def peak_of(code: str) -> int:
    """The most kB that a program ever takes. It tells itself: the kernel counts its parent in, too."""
    code += "; import sys; print(open('/proc/self/status').read(), file=sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True
    )
    return int(result.stderr.partition("VmHWM:")[2].split()[0])


def frame_rates(path: Path) -> tuple[float, float]:
    """Packets a second of our decoder and of a bare dpkt loop, over the same packets in memory, in turns."""
    import dpkt

    from inverter_capture.protocol.packets import Packet
    from inverter_capture.protocol.packets_to_readings import Decoder

    with path.open("rb") as file:
        packets = [Packet(int(when * 1_000_000_000), 1, data) for when, data in dpkt.pcap.Reader(file)]
    buffers = [packet.data for packet in packets]

    def ours() -> None:
        decoder = Decoder()
        for packet in packets:
            decoder.receive(packet)
        assert decoder.readings.counts.readings == REPORTS

    def bare() -> None:
        for buffer in buffers:
            dpkt.ethernet.Ethernet(buffer)

    return len(packets) / seconds_of(ours), len(packets) / seconds_of(bare)


def seconds_of(work: Callable[[], object]) -> float:
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


if __name__ == "__main__":
    sys.exit(main())
