"""The whole service under all that can happen to it, and a judge: `python -m tests.soak --seconds N [--seed S]`.

A dongle reports twice a second over a bad line. Its bridge is deleted and made anew, its databases and its broker are
killed, stopped and continued, the settings are read again, good and bad ones, while a stranger on the same network
scans, floods and forges. What tcpdump saw on the bridge tells what must have been delivered: every reading that passed
whole while the service could hear it is in every database, none is invented, and neither memory nor file descriptors
have grown.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.arguments import read_arguments
from tests.databases import Influx, VictoriaMetrics
from tests.dongle.profiles import SMALL
from tests.mosquitto import Listener, Mosquitto
from tests.network import BRIDGE, Host, Network, inside, wait_for
from tests.programs import PORT, PROGRAM, ZONE, Program, bracketed, wait_until_begun
from tests.soak.judge import Interval, Passed, passed

OUTAGE_SECONDS = 4.0
PAUSE_SECONDS = 2.5
SETTLE_SECONDS = 30
START = timedelta(days=3)
"""So long ago the dongle's first report was made. The next ones follow a minute apart."""
MEMORY_GROWTH_MAX = 2048
"""kB, from the first third to the end."""

DROPPED = re.compile(r"the kernel dropped (\d+) packet")

CONFIG = """
[pcap]
device = "{device}"
timezone = "{zone}"
filter = "{filter}"
[[influxdb2]]
host = "{victoria}"
authentication = "none"
org = "o"
bucket = "b"
timeout = {timeout}
[[influxdb2]]
host = "{influx}"
db = "solar"
path = "/write"
authentication = "none"
timeout = {timeout}
[[mqtt]]
url = "{broker}"
keepalive = 5
[log]
level = "info"
"""


class Failure(Exception):
    """What the judge found."""


class Soak:
    """One run, in the router's namespace."""

    def __init__(self, network: Network, folder: Path, seed: int) -> None:
        self._network = network
        self._folder = folder
        self._seed = seed
        self._chance = random.Random(seed)
        self._victoria = VictoriaMetrics(self._made("victoria"))
        self._influx = Influx(self._made("influx"))
        self._broker = Mosquitto(self._made("broker"))
        self._config = folder / "config.toml"
        self._captures: list[Path] = []
        self._tcpdump: subprocess.Popen[str] | None = None
        self._heard: list[Interval] = []
        """When the service was listening."""
        self._since = 0.0
        self._memory: list[int] = []
        self._descriptors: list[int] = []
        self._deeds: Counter[str] = Counter()

    def run(self, seconds: float) -> str:
        """Returns what it was. Raises Failure, or what the service's tests raise."""
        network = self._network
        with self._victoria, self._influx, self._broker, Listener(self._broker, "inverter-capture/+/state") as listener:
            self._influx.create("solar")
            self._write_config()
            self._capture()
            with Program([*PROGRAM, "run", str(self._config)], where=network.router) as service:
                self._service = service
                wait_until_begun(service)
                self._since = time.time()
                self._begin_traffic()
                service.wait_until_said("ready to deliver", 3)
                self._watch(PAUSE_SECONDS)
                before = len(service.descriptors())
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    for deed in self._chance.sample(self._all_deeds(), len(self._all_deeds())):
                        if time.monotonic() < until:
                            self._deeds[deed.__name__] += 1
                            deed()
                            self._watch(PAUSE_SECONDS)
                assert self._dongle.poll() is None, "the dongle has ended"
                assert self._stranger.poll() is None, "the stranger has ended"
                # The service goes on listening, the judge does not.
                self._dongle.kill()
                self._stranger.kill()
                self._watch(1)
                self._heard.append((self._since, time.time()))
                self._stop_capture()
                seen = passed(self._captures)
                problems = self._settle(seen, listener)
                problems += self._grown(before)
                if service.stop().code != 0:
                    problems.append("it did not end well")
                lines = list(service.log)
        if problems:
            raise Failure("\n".join([*lines, *problems]))
        return self._summary(seen, lines)

    # --- deeds ---

    def _all_deeds(self) -> list[Callable[[], None]]:
        return [
            self.kill_influx,
            self.stop_influx,
            self.stop_victoria,
            self.kill_broker,
            self.stop_broker,
            self.delete_bridge,
            self.unplug_dongle,
            self.reload_good,
            self.reload_bad,
        ]

    def kill_influx(self) -> None:
        # What it has confirmed is on the disk; with VictoriaMetrics only seconds later.
        self._influx.kill()
        self._watch(OUTAGE_SECONDS)
        self._influx.start()

    def stop_influx(self) -> None:
        self._influx.freeze()
        self._watch(OUTAGE_SECONDS)
        self._influx.thaw()

    def stop_victoria(self) -> None:
        self._victoria.freeze()
        self._watch(OUTAGE_SECONDS)
        self._victoria.thaw()

    def kill_broker(self) -> None:
        self._broker.kill()
        self._watch(OUTAGE_SECONDS)
        self._broker.start()

    def stop_broker(self) -> None:
        self._broker.freeze()
        self._watch(2 * OUTAGE_SECONDS)
        self._broker.thaw()

    def delete_bridge(self) -> None:
        # While not both the service and the judge listen, nobody is on it.
        self._plug(*self._network.hosts, up=False)
        time.sleep(PAUSE_SECONDS / 10)
        self._heard.append((self._since, time.time()))
        said = self._service.said("capturing ")
        self._network.delete_bridge()
        self._stop_capture()
        self._watch(OUTAGE_SECONDS)
        self._network.create_bridge()
        self._capture()
        self._service.wait_until_said("capturing ", said + 1)
        self._since = time.time()
        self._plug(*self._network.hosts, up=True)

    def unplug_dongle(self) -> None:
        self._plug(self._network.dongle, up=False)
        self._watch(OUTAGE_SECONDS)
        self._plug(self._network.dongle, up=True)

    def _plug(self, *hosts: Host, up: bool) -> None:
        for host in hosts:
            self._network.set_link(self._network.router, host.port, up=up)

    def reload_good(self) -> None:
        self._write_config(filter=self._chance.choice(["", f"tcp port {PORT}"]), timeout=self._chance.choice([2, 3]))
        self._reload("has been read again")

    def reload_bad(self) -> None:
        bad = ["[pcap", '[pcap]\ndevice = ""', CONFIG.replace("{filter}", "no filter"), "[nonsense]\nx = 1"]
        self._config.write_text(self._chance.choice(bad))
        self._reload("continues with the previous one")
        self._write_config()

    def _reload(self, answer: str) -> None:
        said = self._service.said(answer)
        os.kill(self._service.pid, signal.SIGHUP)
        self._service.wait_until_said(answer, said + 1)

    # --- parts ---

    def _begin_traffic(self) -> None:
        network, seed = self._network, str(self._seed)
        stranger = network.add_host("stranger", 66)
        network.put_between(network.dongle, [sys.executable, "-m", "tests.soak.relay", seed])
        server = bracketed(network.server.ipv4)
        network.popen(
            network.server, [sys.executable, "-m", "tests.dongle.server", "--listen", server], stdout=subprocess.DEVNULL
        )
        start = (datetime.now(UTC) - START).isoformat(timespec="seconds")
        words = ["--server", server, "--start", start, "--interval", "60", "--pace", "0.5", "--readings", "1000000"]
        habits = [
            "--split",
            "random",
            "--reconnect",
            "40",
            "--reset",
            "--source-port",
            "50586",
            "--patience",
            "60",
        ]
        client = [sys.executable, "-m", "tests.dongle.client", *words, *habits]
        self._dongle = network.popen(network.dongle, client, stdout=subprocess.DEVNULL)
        # Who comes first is read; inverters that are new later have to wait.
        self._service.wait_until_said(f"inverter {SMALL.serial}")
        addresses = [network.server.ipv4, network.server.mac, network.dongle.ipv4]
        self._stranger = network.popen(stranger, [sys.executable, "-m", "tests.soak.stranger", seed, *addresses])

    def _made(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder

    def _write_config(self, *, filter: str = "", timeout: int = 3) -> None:
        addresses = {"victoria": self._victoria.url, "influx": self._influx.url, "broker": self._broker.url}
        self._config.write_text(CONFIG.format(device=BRIDGE, zone=ZONE, filter=filter, timeout=timeout, **addresses))

    def _capture(self) -> None:
        path = self._folder / f"{len(self._captures)}.pcap"
        words = [
            "tcpdump",
            "-i",
            BRIDGE,
            "-U",
            "--immediate-mode",
            "-B",
            "8192",
            "-w",
            str(path),
            "-Z",
            "root",
            f"tcp dst port {PORT}",
        ]
        with (self._folder / "tcpdump").open("ab") as log:
            self._tcpdump = self._network.popen(self._network.router, words, stderr=log)
        wait_for(path.exists, "capture by tcpdump")
        self._captures.append(path)

    def _stop_capture(self) -> None:
        assert self._tcpdump is not None
        self._tcpdump.terminate()
        self._tcpdump.wait(20)

    def _watch(self, seconds: float) -> None:
        """Wait, and measure meanwhile."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            status = Path(f"/proc/{self._service.pid}/status").read_text()
            self._memory.append(int(status.partition("VmRSS:")[2].split()[0]))
            self._descriptors.append(len(self._service.descriptors()))
            time.sleep(0.5)

    # --- the judge ---

    def _settle(self, seen: list[Passed], listener: Listener) -> list[str]:
        """What is still wrong when there was time to deliver."""
        due = [each for each in seen if each.reading["serial"] == SMALL.serial and each.is_due(self._heard)]
        assert due
        os.kill(self._service.pid, signal.SIGHUP)
        until = time.monotonic() + SETTLE_SECONDS
        while problems := self._missing(seen, due, listener):
            if time.monotonic() > until:
                break
            time.sleep(0.5)
        return problems

    def _missing(self, seen: list[Passed], due: list[Passed], listener: Listener) -> list[str]:
        true = {point for each in seen for point in each.points}
        kept = {"victoria": set(self._victoria.points()), "influx": set(self._influx.points())}
        # On a busy machine, the kernel drops packets, which is logged. No database has the readings in them then.
        dropped = sum(int(count) for line in list(self._service.log) for count in DROPPED.findall(line))
        there = {point.time for points in kept.values() for point in points}
        lost = sorted({point.time for each in due for point in each.points} - there)
        wanted = {point for each in due for point in each.points if point.time not in lost[:dropped]}
        problems = []
        for name, stored in kept.items():
            if missing := wanted - stored:
                times = sorted({point.time for point in missing})
                problems.append(f"{name} lacks {len(missing)} values of {len(times)} readings: {sorted(missing)[:3]}")
            if invented := stored - true:
                problems.append(f"{name} has {len(invented)} invented values: {sorted(invented)[:3]}")
        states = [heard.json for heard in listener.of(f"inverter-capture/{SMALL.serial}/state")]
        times = [state["timestamp"] for state in states]
        if times != sorted(times):
            problems.append("MQTT went backwards")
        if not times or times[-1] < max(point.time for point in wanted):
            problems.append("MQTT has not the newest reading")
        return problems

    def _grown(self, descriptors: int) -> list[str]:
        third = len(self._memory) // 3
        first, last = max(self._memory[:third]), max(self._memory[-third:])
        problems = []
        if last > first + MEMORY_GROWTH_MAX:
            problems.append(f"memory has grown from {first} to {last} kB")
        if (now := len(self._service.descriptors())) > descriptors:
            problems.append(f"{now} file descriptors, not {descriptors}: {self._service.descriptors()}")
        return problems

    def _summary(self, seen: list[Passed], lines: list[str]) -> str:
        serials = Counter(each.reading["serial"] for each in seen)
        due = sum(each.is_due(self._heard) for each in seen if each.reading["serial"] == SMALL.serial)
        third = len(self._memory) // 3
        return (
            f"{serials[SMALL.serial]} reports passed whole, {due} of them while the service listened, all delivered; "
            f"{serials.total() - serials[SMALL.serial]} of {len(serials) - 1} forged inverters; "
            f"memory {max(self._memory[:third])} kB in the first third, {max(self._memory[-third:])} kB in the last; "
            f"at most {max(self._descriptors)} file descriptors; {len(lines)} lines of log; "
            + ", ".join(f"{name} {count}" for name, count in sorted(self._deeds.items()))
        )


def main() -> int:
    """Run, and print what was done."""
    seconds, seed = read_arguments("soak", "The service under all that can happen.", 600)
    folder = tempfile.mkdtemp(prefix="soak-")
    with Network(ipv6=False, offloads=False) as network:
        try:
            with inside(network.router):
                print("soak:", Soak(network, Path(folder), seed).run(seconds))
        except Failure as failure:
            print(f"soak: {failure}\nsoak: {folder} has the captures and logs", file=sys.stderr)
            return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
