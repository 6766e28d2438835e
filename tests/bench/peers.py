"""`make bench-peers`: other programs for the same job, or a part of it, as a second table.

tcpdump and tshark capture; a plain scapy sniffer finds the reports; sunsniff, a program for the same inverters in Rust,
also delivers them. Its binary is named by the variable SUNSNIFF.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench import live
from tests.bench.captures import DONGLE_EVERY, dongle_records, write_capture
from tests.bench.programs import OURS, Running, seconds_of
from tests.databases import VictoriaMetrics

SCAPY = """
import sys
from scapy.layers.inet import TCP
import scapy.layers.l2
from scapy.sendrecv import sniff

def show(packet):
    payload = bytes(packet[TCP].payload) if TCP in packet else b""
    if len(payload) >= 292 and payload[:2] == b"\\xa5\\x06":
        print(payload.hex(), flush=True)

print("ready", file=sys.stderr, flush=True)
sniff(iface=sys.argv[1], filter=sys.argv[2] if sys.argv[2:] else None, prn=show, store=False)
"""
IMPORTED = 10_000


class Peer(NamedTuple):
    """A program."""

    name: str
    command: Sequence[str]
    option: str
    """The option before a filter; empty for none."""
    ready: str
    """What it says when it captures."""
    shows: bool
    """Whether it prints a line for each report."""
    configured: bool = False
    """Whether its last argument is a configuration file like ours."""


def peers() -> list[Peer]:
    """Ours, and those that are there."""
    device = live.DEVICE
    fields = ["-Y", "tcp.port == 51100 && tcp.len >= 292", "-T", "fields", "-e", "tcp.payload"]
    found = [
        Peer("inverter-capture", [*OURS, "run"], "", "capturing on", shows=True, configured=True),
        Peer("tcpdump", ["tcpdump", "-i", device, "-w", "-"], "", "listening on", shows=False),
        Peer("tshark", ["tshark", "-n", "-l", "-i", device, *fields], "-f", "Capturing on", shows=True),
        Peer("scapy", [sys.executable, "-c", SCAPY, device], "", "ready", shows=True),
    ]
    if binary := os.environ.get("SUNSNIFF"):
        found.append(Peer("sunsniff", [binary], "", "", shows=False, configured=True))
    return found


def rows(folder: Path) -> list[list[str]]:
    """The table, with its heading first."""
    columns = [column(peer, folder) for peer in peers()]
    titles = [
        "",
        f"Processor time per million foreign packets, `{live.FILTER}`",
        "The same without a filter",
        f"Reports found among them, at {live.FOREIGN_A_SECOND:,} packets a second",
        "Memory at rest",
        "Memory with a backlog of 30 days",
        f"Import of {IMPORTED:,} readings into VictoriaMetrics, processor time for one",
        "From the packet to the server, median, 99 %",
    ]
    return [list(row) for row in zip(titles, *columns, strict=True)]


def column(peer: Peer, folder: Path) -> list[str]:
    """What is measured of one program."""
    out = folder / "out"
    cells = [peer.name]
    for expression in (live.FILTER, ""):
        url = "" if peer.shows else f"http://{live.NOWHERE}"
        words: list[str | Path] = [*peer.command]
        if peer.configured:
            words.append(live.config(folder, filter=expression, url=url, console=peer.shows))
        elif expression:
            words += [word for word in (peer.option, expression) if word]
        cells.append(f"{live.foreign_seconds(words, peer.ready, out) * 1e6 / live.FOREIGN:.2f} s")
    reports = live.FOREIGN // DONGLE_EVERY
    if peer.shows:
        cells.append(f"{out.read_bytes().count(10)} of {reports}")
    else:
        cells.append(f"{live.delivered(folder, peer.command)} of {reports}" if peer.configured else "")
    with Running(words) as program:
        if peer.ready:
            program.wait_until_said(peer.ready)
        time.sleep(live.SETTLE_SECONDS)
        cells.append(f"{program.resident:.1f} MB")
    if not peer.configured:
        return [*cells, "", "", ""]
    is_ours = peer.command[: len(OURS)] == list(OURS)
    backlog = live.backlog_memory(folder, peer.command, peer.ready)
    cells.append(f"{backlog:.1f} MB")
    capture = write_capture(folder / "import.pcap", dongle_records(IMPORTED))
    (folder / peer.name).mkdir()
    with VictoriaMetrics(folder / peer.name) as database:
        seconds = seconds_of(*peer.command, live.config(folder, device=str(capture), filter="tcp", url=database.url))
    cells.append(f"{seconds * 1e6 / IMPORTED:.0f} µs")
    median, last = live.delivery_times(folder, peer.command, "ready to deliver" if is_ours else "")
    return [*cells, f"{median:.1f} ms, {last:.1f} ms"]
