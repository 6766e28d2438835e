"""The running service: its memory after it has captured a day's frames on a real device, and how soon it captures."""

from __future__ import annotations

import compileall
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.captures import REPORTS_A_DAY, dongle_records
from tests.network import Network

ROOT = Path(__file__).parents[2]

CONFIG = """
[pcap]
device = "br-lan"
timezone = "Africa/Johannesburg"
[[console]]
format = "json"
"""
MQTT = """
[[mqtt]]
url = "mqtt://127.0.0.1"
"""
EVERYTHING = """
[pcap]
device = "lo"
filter = "tcp port 51100"
[[influxdb2]]
host = "http://127.0.0.1:1"
authentication = "none"
[[mqtt]]
url = "mqtt://127.0.0.1:1"
"""
DEPENDENCIES = "import pcap, dpkt, requests, paho.mqtt.client"


def service_memory(folder: Path, *, mqtt: bool) -> tuple[int, int]:
    """Peak kB of the service, and how many readings it has printed; with a broker, too."""
    config, output = folder / "bench.toml", folder / "readings.json"
    config.write_text(CONFIG + (MQTT if mqtt else ""))
    with Network() as network, output.open("wb") as readings:
        if mqtt:
            network.popen(network.router, ["mosquitto", "-p", "1883"], stderr=subprocess.DEVNULL)
        command = [sys.executable, "-m", "inverter_capture", "run", str(config)]
        service = network.popen(network.router, command, stdout=readings, stderr=subprocess.PIPE)
        wait_for_log(service, "capturing on")
        if mqtt:
            wait_for_log(service, "mqtt", "ready to deliver")
        replay = [sys.executable, "-m", "tests.bench.service"]
        network.run(network.dongle, replay)
        time.sleep(1)
        peak = high_water(service.pid)
        service.terminate()
        service.wait(10)
    return peak, output.read_bytes().count(b"\n")


def sourceless(folder: Path) -> Path:
    """The package as it is on a router, bytecode without sources; returns where it can be imported from."""
    shutil.copytree(
        ROOT / "inverter_capture", folder / "inverter_capture", ignore=shutil.ignore_patterns("__pycache__")
    )
    compileall.compile_dir(folder, quiet=1, legacy=True)
    for path in folder.rglob("*.py"):
        path.unlink()
    return folder


def seconds_to_capture(folder: Path, modules: Path) -> float:
    """From the start of the service, with a database and a broker, until it captures."""
    config = folder / "start.toml"
    config.write_text(EVERYTHING)
    environment = os.environ | {"PYTHONPATH": str(modules)}
    before = time.perf_counter()
    command = [sys.executable, "-m", "inverter_capture", "run", str(config)]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as service:
        wait_for_log(service, "capturing on")
        seconds = time.perf_counter() - before
        service.kill()
    return seconds


def wait_for_log(service: subprocess.Popen[str], *words: str) -> None:
    """Until a line of its log has these words."""
    assert service.stderr is not None
    for line in service.stderr:
        if all(word in line for word in words):
            return
    raise AssertionError(f"the service has ended without {words}")


def high_water(process: int) -> int:
    """The most resident memory that a process ever had, in kB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def replay() -> None:
    """Send a day's frames, faster than a day, as packets on eth0 of this namespace."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("eth0", 0))
        for record in dongle_records(REPORTS_A_DAY):
            wire.send(record.data)
            time.sleep(0.005)


if __name__ == "__main__":
    replay()
