"""The status file: the service's status as JSON, for the router's web page, `inverter-capture status` and scripts.

It is replaced atomically by renaming. README describes the content, which has no secrets.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from inverter_capture import __version__
from inverter_capture.backends.status import Status
from inverter_capture.protocol.codes import describe
from inverter_capture.protocol.times import SECOND
from inverter_capture.service.recent_readings import Recent, RecentReadings
from inverter_capture.service.single import is_kept
from inverter_capture.text import OWN_ERROR, printable, utc_text

WRITE_SECONDS = 1.0  # Minimum time between two writes. A write also waits this long for further changes.
WORK_SHARE = 10  # Minimum pause after a write, as a multiple of its duration: with many inverters, a write takes long
MODE = 0o644

_log = logging.getLogger(__name__)

Json = dict[str, Any]


class StatusFile:
    """Writes the status file after changes, in a thread of its own."""

    def __init__(self, path: str, status: Callable[[], Status], recent: RecentReadings) -> None:
        self._path = path
        self._new = f"{path}.new"
        self._status = status
        self._recent = recent
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._problem = ""
        self._thread = threading.Thread(target=self._run, name="status file", daemon=True)

    def start(self) -> None:
        """Start the thread, which writes the file at once."""
        self._changed.set()
        self._thread.start()

    def note_status(self) -> None:
        """Note that the status has changed. May be called from any thread. Returns at once."""
        self._changed.set()

    def stop(self) -> None:
        """Ask the thread to remove the file and finish. Returns at once."""
        self._stopping.set()
        self._changed.set()

    def join(self, seconds: float) -> None:
        """Wait at most this time for the thread to finish."""
        self._thread.join(seconds)

    def _run(self) -> None:
        pause = 0.0
        while True:
            self._changed.wait()
            if self._stopping.wait(pause):
                break
            self._changed.clear()
            began = time.monotonic()
            try:
                self._write()
            except OSError as error:
                self._fail(f"--status {printable(self._path)}: cannot be written ({error.strerror})")
            except Exception:  # noqa: BLE001 (nothing may end a thread unseen)
                _log.exception("status file: %s", OWN_ERROR)
            pause = max(WRITE_SECONDS, WORK_SHARE * (time.monotonic() - began))
        for path in (self._path, self._new):
            with suppress(OSError):
                os.unlink(path)

    def _write(self) -> None:
        text = json.dumps(content(self._status(), self._recent.all()), allow_nan=False, separators=(",", ":"))
        with suppress(FileNotFoundError):
            os.unlink(self._new)
        with open(self._new, "x", encoding="ascii") as file:
            os.fchmod(file.fileno(), MODE)
            file.write(text + "\n")
        os.rename(self._new, self._path)
        self._problem = ""

    def _fail(self, problem: str) -> None:
        """Log the problem once. The next change makes another attempt."""
        if problem != self._problem:
            self._problem = problem
            _log.error("%s: check its directory, who may write there, and how full it is", problem)


def content(status: Status, recent: list[Recent]) -> Json:
    """The content of the file. Times are in seconds since the epoch, `timestamp` in nanoseconds."""
    return {
        "version": __version__,
        "written": round(time.time()),
        **status._asdict(),
        "started": status.started // SECOND,
        "backends": [
            backend._asdict() | {"failing_since": backend.failing_since and round(backend.failing_since)}
            for backend in status.backends
        ],
        "inverters": [_inverter(each) for each in recent],
    }


def _inverter(recent: Recent) -> Json:
    reading = recent.reading
    values = reading.values
    # The clock may have been set since then.
    received = time.time() - (time.monotonic() - recent.received)
    interval = round(recent.interval or 0)
    return {
        "serial": reading.serial,
        "kind": reading.kind.name,
        "timestamp": reading.time,
        "time": utc_text(reading.time),
        "received": round(received),
        "interval": interval or None,
        "due": round(received) + interval if interval else None,
        "values": values,
        "texts": {
            name: describe(name, values[name], reading.kind.codes)
            for name in reading.kind.codes.fields
            if name in values
        },
        "chart": recent.chart,
    }


def read_status_file(path: str) -> str | None:
    """The status file of a running service: empty when it has not written it; None when no service is running.

    Raises OSError, ValueError.
    """
    text = ""
    with suppress(FileNotFoundError), open(path, encoding="ascii") as file:
        text = file.read()
    # A service that was started before the directory was there has no lock.
    return text if is_kept(path, without_lock=bool(text)) else None
