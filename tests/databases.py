"""Real databases, started for a test on loopback, with their data in a folder of the test's."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.network import wait_for

PATIENCE_SECONDS = 30

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Point(NamedTuple):
    """One stored value."""

    time: int
    """Nanoseconds since the epoch."""
    tags: tuple[tuple[str, str], ...]
    """Sorted by name."""
    field: str
    value: float


# Below those that the kernel gives to connections: nobody else has it before a server does, or while one is restarted.
_ports = itertools.cycle(range(20_000, 32_000))
for _ in range(os.getpid() % 12_000):
    next(_ports)


def free_port() -> int:
    """An unused TCP port, a different one at each call."""
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError


class Server(ABC):
    """A server's process; a context manager, at whose end it is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Start it, and wait until it can be used. After `kill` it has the port from before."""

    @abstractmethod
    def kill(self) -> None:
        """End the process at once, as a power cut does."""

    def freeze(self) -> None:
        """Stop the process without ending it (SIGSTOP)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the process continue (SIGCONT)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()


class Database(Server):
    """A server that answers over HTTP. After `kill` it has the data from before, too."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.words(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(self._is_ready, f"answer from {self._process.args!r}", PATIENCE_SECONDS)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def request(self, path: str, params: Mapping[str, str] | None = None, body: bytes | None = None) -> bytes:
        """GET, or POST when there is a body."""
        url = f"{self.url}{path}?{urllib.parse.urlencode(params or {})}"
        with _opener.open(urllib.request.Request(url, data=body), timeout=PATIENCE_SECONDS) as answer:
            read: bytes = answer.read()
            return read

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            self.request(self.health)
        except OSError:
            return False
        return True

    health: str

    @abstractmethod
    def words(self) -> Sequence[str]:
        """The command that starts it."""

    @abstractmethod
    def points(self, measurement: str = "inverter") -> list[Point]:
        """All that is stored, sorted."""


class Influx(Database):
    """Debian's influxd, version 1.6."""

    health = "/ping"

    def words(self) -> Sequence[str]:
        config = self.folder / "influxd.toml"
        config.write_text(
            f"""reporting-disabled = true
bind-address = "127.0.0.1:{free_port()}"
[meta]
dir = "{self.folder}/meta"
[data]
dir = "{self.folder}/data"
wal-dir = "{self.folder}/wal"
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:{self.port}"
log-enabled = false
"""
        )
        return "influxd", "-config", str(config)

    def query(self, text: str, db: str = "") -> list[Any]:
        """The series that a query gives."""
        answer = json.loads(self.request("/query", {"q": text, "db": db, "epoch": "ns"}, b""))
        series: list[Any] = answer["results"][0].get("series", [])
        return series

    def create(self, db: str) -> None:
        """A database."""
        self.query(f'CREATE DATABASE "{db}"')

    def points(self, measurement: str = "inverter", db: str = "solar") -> list[Point]:
        found = []
        for series in self.query(f'SELECT * FROM "{measurement}" GROUP BY *', db):
            tags = tuple(sorted((name, text) for name, text in series["tags"].items() if text))
            for time, *values in series["values"]:
                for field, value in zip(series["columns"][1:], values, strict=True):
                    if value is not None:
                        found.append(Point(time, tags, field, float(value)))
        return sorted(found)


class VictoriaMetrics(Database):
    """Debian's victoria-metrics, a store of a hundred years."""

    health = "/health"

    def words(self) -> Sequence[str]:
        return (
            "victoria-metrics",
            f"-storageDataPath={self.folder}/data",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=100y",
            "-memory.allowedBytes=64MiB",
        )

    def flush(self) -> None:
        """Let it write what it has taken, and show it."""
        self.request("/internal/force_flush")

    def end(self) -> None:
        """End it in good order (SIGTERM): it keeps all that it has acknowledged."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)
        self._process = None

    def points(self, measurement: str = "inverter") -> list[Point]:
        self.flush()
        found = []
        selector = f'{{__name__=~"{measurement}_.*"}}'
        for line in self.request("/api/v1/export", {"match[]": selector}).splitlines():
            series = json.loads(line)
            metric = series["metric"]
            field = metric.pop("__name__").removeprefix(f"{measurement}_")
            # What VictoriaMetrics adds for `db`.
            metric.pop("db", None)
            for time, value in zip(series["timestamps"], series["values"], strict=True):
                found.append(Point(time * 1_000_000, tuple(sorted(metric.items())), field, float(value)))
        return sorted(found)
