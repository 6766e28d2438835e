"""Running programs, and measuring them: processor time, and memory as the kernel counts it."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from tests.network import ROOT

OURS = (sys.executable, "-m", "inverter_capture")
LIBRARIES = "import pcap, dpkt, requests, paho.mqtt.client"
"""What the service needs, with both kinds of backends."""
ROUNDS = 5


def medians(*measures: Callable[[], float], rounds: int = ROUNDS) -> list[float]:
    """The median of each, measured in turns, so that what disturbs one disturbs all."""
    columns = zip(*([measure() for measure in measures] for _ in range(rounds)), strict=True)
    return [statistics.median(column) for column in columns]


class Running:
    """A program that runs; at the end of the context it is ended."""

    def __init__(self, words: Sequence[str | Path], out: Path | None = None) -> None:
        """`out`: a file for what it prints; without one that is lost. What it logs can be waited for."""
        with Path(out or os.devnull).open("wb") as stdout:
            self._process = subprocess.Popen(
                list(map(str, words)),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
        self.pid = self._process.pid
        self.log: list[str] = []
        self._seconds: float | None = None
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(signal.SIGTERM)

    def wait_until_said(self, *words: str, seconds: float = 30) -> None:
        """Until a line of its log has all these words."""
        with self._changed:
            said = self._changed.wait_for(
                lambda: any(all(word in line for word in words) for line in self.log), seconds
            )
        assert said, (words, self.log)

    def end(self, number: int | None = None) -> float:
        """Wait for its end, after a signal if one is given. Returns its processor time and its children's."""
        if self._seconds is None:
            if number is not None:
                self._process.send_signal(number)
            _, status, usage = os.wait4(self.pid, 0)
            self._process.returncode = os.waitstatus_to_exitcode(status)
            self._seconds = usage.ru_utime + usage.ru_stime
            self._reader.join()
        return self._seconds

    @property
    def resident(self) -> float:
        """Its resident memory and that of its children, in MB."""
        return sum(resident(str(each)) for each in self._family())

    @property
    def processor_seconds(self) -> float:
        """The processor time that its threads and its children's have taken so far."""
        tasks = (task for each in self._family() for task in Path(f"/proc/{each}/task").glob("*/schedstat"))
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def _family(self) -> list[int]:
        return [self.pid, *map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split())]

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as log:
            for line in log:
                with self._changed:
                    self.log.append(line)
                    self._changed.notify_all()


def resident(process: str) -> float:
    """The resident memory of a process, in MB."""
    return int(Path(f"/proc/{process}/smaps_rollup").read_text().partition("Rss:")[2].split()[0]) / 1000


def seconds_of(*words: str | Path) -> float:
    """Processor time of a program, from its start to its end."""
    program = Running(words)
    seconds = program.end()
    assert not any("Traceback" in line for line in program.log), program.log
    return seconds


def number_of(code: str, *arguments: str | Path) -> float:
    """The number that a Python program prints."""
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return float(subprocess.run(words, stdout=subprocess.PIPE, check=True, cwd=ROOT, text=True).stdout)
