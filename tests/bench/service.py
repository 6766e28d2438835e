"""The memory of the running service, after it has captured a day's frames on a real device."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.captures import FRAMES_A_DAY, dongle_records
from tests.network import Network

CONFIG = """
[pcap]
device = "br-lan"
timezone = "Africa/Johannesburg"
[[console]]
format = "json"
"""


def service_memory(folder: Path) -> tuple[int, int]:
    """Peak kB of the service, and how many readings it has printed."""
    config, output = folder / "bench.toml", folder / "readings.json"
    config.write_text(CONFIG)
    with Network() as network, output.open("wb") as readings:
        command = [sys.executable, "-m", "inverter_capture", "run", str(config)]
        service = network.popen(network.router, command, stdout=readings, stderr=subprocess.PIPE)
        assert service.stderr is not None
        while "capturing" not in service.stderr.readline():
            assert service.poll() is None
        replay = [sys.executable, "-m", "tests.bench.service"]
        network.run(network.dongle, replay)
        time.sleep(1)
        peak = high_water(service.pid)
        service.terminate()
        service.wait(10)
    return peak, output.read_bytes().count(b"\n")


def high_water(process: int) -> int:
    """The most resident memory that a process ever had, in kB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def replay() -> None:
    """Send a day's frames, faster than a day, as packets on eth0 of this namespace."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("eth0", 0))
        for record in dongle_records(FRAMES_A_DAY):
            wire.send(record.data)
            time.sleep(0.005)


if __name__ == "__main__":
    replay()
