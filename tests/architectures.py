"""`make test-architectures`: the decoder gives the same bytes on other processors as here, or this fails.

For each processor debootstrap downloads Debian's Python and dpkt, about 50 MB, which are unpacked under .venv and run
by QEMU's user-mode emulation. Nothing of them is installed. It needs the packages debootstrap and qemu-user-static,
root for debootstrap, and Debian's package server.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv" / "architectures"
CAPTURES = ROOT / "tests" / "captures"
RELEASE = "bookworm"
"""Debian 12 has Python 3.11, as OpenWrt 23.05 and 24.10, and is the last one for MIPS."""
ARCHITECTURES = {"i386": "32 bits, little-endian", "mipsel": "the same", "s390x": "64 bits, big-endian"}
"""By Debian's name, which is also QEMU's."""


def main() -> int:
    """Decode here and there. Returns 1 when an output differs."""
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        three_phase = Path(name) / "three-phase.pcap"
        write_three_phase_day(three_phase)
        words = [str(Path(__file__)), *map(str, sorted(CAPTURES.glob("*.pcap"))), str(three_phase)]
        here = output([sys.executable, *words])
        print(f"here: {here.count(10)} readings, SHA-256 {hashlib.sha256(here).hexdigest()}", flush=True)
        for architecture, kind in ARCHITECTURES.items():
            directory = unpacked(architecture)
            python = [f"qemu-{architecture}-static", "-L", str(directory), str(directory / "usr/bin/python3")]
            asked = output([*python, "-c", "import struct, sys; print(8 * struct.calcsize('P'), sys.byteorder)"])
            same = output([*python, *words]) == here
            print(
                f"{architecture}, {kind} ({asked.decode().strip()}): {'the same' if same else 'DIFFERENT'}", flush=True
            )
            wrong += not same
    return 1 if wrong else 0


def output(command: list[str]) -> bytes:
    """What a program prints, with our modules and, as here, without the environment's own."""
    environment = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout


def unpacked(architecture: str) -> Path:
    """The directory with Debian's Python for a processor, downloaded the first time."""
    directory = FOLDER / architecture
    if not (directory / "done").exists():
        print(f"{architecture}: downloading Debian's Python", flush=True)
        options = ["--download-only", "--variant=minbase", "--include=python3-dpkt", f"--arch={architecture}"]
        subprocess.run(["debootstrap", *options, RELEASE, str(directory)], check=True, stdout=subprocess.DEVNULL)
        for package in (directory / "var/cache/apt/archives").glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", str(package), str(directory)], check=True)
            package.unlink()
        (directory / "done").touch()
    return directory


def write_three_phase_day(path: Path) -> None:
    """The capture of a simulated day of a three-phase inverter, whose registers the server asks for."""
    from datetime import UTC, datetime, timedelta

    from tests import wire
    from tests.dongle.inverter import Inverter
    from tests.dongle.messages import poll_map
    from tests.dongle.profiles import THREE_PHASE, THREE_PHASE_MAP

    client, server = wire.Endpoint("192.168.1.50", 50586), wire.Endpoint("203.0.113.10", 51100, wire.MAC_B)
    line = wire.Connection(client, server)
    start = datetime(2025, 6, 20, tzinfo=UTC)
    inverter = Inverter(THREE_PHASE, start)
    time = line.reply(line.open(int(start.timestamp()) * wire.SECOND), poll_map(THREE_PHASE_MAP))
    for number in range(288):
        moment = start + timedelta(minutes=5 * number + 1)
        time = max(time + wire.MILLISECOND, int(moment.timestamp()) * wire.SECOND)
        time = line.send(time, inverter.report(moment).message(number & 0xFF))
    with path.open("wb") as file:
        wire.write_pcap(file, line.records)


def readings(path: str) -> Iterator[str]:
    """The readings of a capture file in JSON. libpcap is C, the same everywhere: here dpkt reads the file."""
    from datetime import UTC

    import dpkt

    from inverter_capture.output.formats import formatter
    from inverter_capture.protocol.packets import Packet
    from inverter_capture.protocol.packets_to_readings import Decoded, Decoder

    decoder, form = Decoder(UTC), formatter("json")
    with open(path, "rb") as file:
        capture = dpkt.pcap.Reader(file)
        packets = [Packet(round(when * 1_000_000) * 1000, capture.datalink(), data) for when, data in capture]
    for events in (*map(decoder.receive, packets), decoder.close()):
        for event in events:
            if isinstance(event, Decoded) and event.reading is not None:
                yield form.format(event.reading)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(main())
    for name in sys.argv[1:]:
        sys.stdout.writelines(readings(name))
