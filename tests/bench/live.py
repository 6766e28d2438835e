"""The service and others on a device: memory, the start, other devices' packets, and the time to a server."""

from __future__ import annotations

import json
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests import wire
from tests.bench.captures import DONGLE_HOST, MONTH, busy_records, dongle_records
from tests.bench.programs import OURS, Running
from tests.faulty_server import FaultyServer
from tests.network import wait_for

DEVICE, OTHER_END = "br-lan", "wire"
FILTER = f"host {DONGLE_HOST}"
NOWHERE = "127.0.0.1:1"
FOREIGN = 300_000
FOREIGN_A_SECOND = 60_000
BACKLOG_A_SECOND = 500
DELIVERIES = 200
SETTLE_SECONDS = 1.0


def make_device() -> None:
    """Make the device, whose other end we send to, in a network namespace that is empty; ends the program elsewhere."""
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        sys.exit("bench: needs a network namespace of its own: use make bench, or unshare --net")
    for place in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{place}/disable_ipv6").write_text("1")
    for line in (
        f"add {DEVICE} type veth peer name {OTHER_END}",
        "set lo up",
        f"set {DEVICE} up",
        f"set {OTHER_END} up",
    ):
        subprocess.run(["ip", "link", *line.split()], check=True)


def send(records: Iterable[wire.Record], per_second: float) -> list[float]:
    """Send packets at this rate at most. Returns the times of the monotonic clock."""
    times, ready = [], list(records)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((OTHER_END, 0))
        began = time.monotonic()
        for number, record in enumerate(ready):
            left = began + number / per_second - time.monotonic()
            if left > 0.001:
                time.sleep(left)
            times.append(time.monotonic())
            sender.send(record.data)
    return times


def config(
    folder: Path, *, device: str = DEVICE, filter: str = "", url: str = "", broker: str = "", console: bool = False
) -> Path:
    """A configuration file, with a capture file for `device` or with a device. It is valid for sunsniff, too."""
    lines = ["[pcap]", f'device = "{device}"', f"file = {str('/' in device).lower()}"]
    lines.append('timezone = "Africa/Johannesburg"')
    if filter:
        lines.append(f'filter = "{filter}"')
    if url:
        lines += ["[[influxdb2]]", f'host = "{url}"', 'org = "-"', 'bucket = "bench"', 'token = "bench"']
    if broker:
        lines += ["[[mqtt]]", f'url = "{broker}"']
    if console:
        lines += ["[[console]]", 'format = "json"']
    path = folder / "config.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def service_memory(folder: Path) -> tuple[float, float]:
    """MB of the service with both backends, whose servers are away: at rest, and when a month waits for each."""
    path, status = config(folder, url=f"http://{NOWHERE}", broker=f"mqtt://{NOWHERE}"), folder / "status.json"

    def waiting() -> int:
        return max(int(backend["waiting"]) for backend in json.loads(status.read_text())["backends"])

    with Running([*OURS, "run", path, "--status", status]) as service:
        for backend in ("influxdb2", "mqtt"):
            service.wait_until_said(backend, "cannot be reached")
        wait_for(status.exists, "a status file")
        at_rest = service.resident
        send_month()
        wait_for(lambda: waiting() == MONTH, "a month's readings")
        return at_rest, service.resident


def backlog_memory(folder: Path, command: Sequence[str], ready: str) -> float:
    """MB of a program when a month waits for a database that is away; it may not say how much waits."""
    with Running([*command, config(folder, filter=FILTER, url=f"http://{NOWHERE}")]) as program:
        if ready:
            program.wait_until_said(ready)
        time.sleep(SETTLE_SECONDS)
        send_month()
        time.sleep(SETTLE_SECONDS)
        return program.resident


def send_month() -> None:
    """Send the reports of the past month."""
    midnight = datetime.now(UTC).replace(hour=22, minute=0, second=0, microsecond=0)
    send(dongle_records(MONTH, midnight - timedelta(days=31)), BACKLOG_A_SECOND)


def start(folder: Path) -> float:
    """Processor time of the service with both backends until it captures."""
    path = config(folder, filter=FILTER, url=f"http://{NOWHERE}", broker=f"mqtt://{NOWHERE}")
    service = Running([*OURS, "run", path])
    service.wait_until_said("capturing on")
    return service.end(signal.SIGKILL)


def foreign_seconds(words: Sequence[str | Path], ready: str, out: Path) -> float:
    """Processor time that a program takes for `FOREIGN` packets, one in a thousand of them the dongle's, without its
    start. What it prints of the reports goes to `out`."""
    with Running(words, out) as program:
        if ready:
            program.wait_until_said(ready)
        time.sleep(SETTLE_SECONDS)
        before = program.processor_seconds
        send(busy_records(FOREIGN), FOREIGN_A_SECOND)
        time.sleep(SETTLE_SECONDS)
        return program.processor_seconds - before


def delivered(folder: Path, command: Sequence[str]) -> int:
    """The dongle's readings that a program finds without a filter among `FOREIGN` packets, and delivers to a server."""
    with FaultyServer() as server, Running([*command, config(folder, url=server.url)]):
        time.sleep(SETTLE_SECONDS)
        send(busy_records(FOREIGN), FOREIGN_A_SECOND)
        time.sleep(SETTLE_SECONDS)
        return len({line.rpartition(" ")[2] for exchange in server.exchanges for line in exchange.lines})


def delivery_times(
    folder: Path, words: Sequence[str | Path] = (*OURS, "run"), ready: str = "ready to deliver"
) -> tuple[float, float]:
    """Milliseconds from the dongle's packet to the server's receipt of the reading: the median and the 99th percentile.

    `words`, before the path of the configuration, start the program, which is ready when it has said `ready`.
    """
    with FaultyServer() as server, Running([*words, config(folder, filter=FILTER, url=server.url)]) as program:
        if ready:
            program.wait_until_said(ready)
        time.sleep(SETTLE_SECONDS)
        # The first report on a connection that is captured from its middle waits a second for what may come before it.
        first, *records = dongle_records(DELIVERIES + 1)
        send([first], 1)
        time.sleep(2 * SETTLE_SECONDS)
        server.exchanges.clear()
        sent = send(records, 20)
        time.sleep(SETTLE_SECONDS)
        received: dict[str, float] = {}
        for exchange in server.exchanges:
            for line in exchange.lines:
                received.setdefault(line.rpartition(" ")[2], exchange.time)
    assert len(received) == DELIVERIES, f"{len(received)} readings of {DELIVERIES} were delivered"
    arrivals = (received[moment] for moment in sorted(received))
    milliseconds = sorted(1000 * (then - before) for before, then in zip(sent, arrivals, strict=True))
    return statistics.median(milliseconds), milliseconds[len(milliseconds) * 99 // 100 - 1]
