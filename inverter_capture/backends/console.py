"""The console backend: writes each reading to standard output at once."""

from __future__ import annotations

import errno
import logging
import os
import select
import sys
from collections import deque
from datetime import tzinfo

from inverter_capture.backends.backend import Backend
from inverter_capture.config.schema import ConsoleConfig
from inverter_capture.output.formats import Formatter, formatter
from inverter_capture.output.terminal import has_colour, width
from inverter_capture.protocol.readings import Reading
from inverter_capture.text import OWN_ERROR

WAITING_MAX = 256  # Maximum number of readings queued for a slow reader
RETRY_SECONDS = 5  # Seconds between attempts to write, for example while a disk is full

_STANDARD_OUTPUT = 1

_log = logging.getLogger(__name__)


class Console(Backend):
    """Writes readings to standard output in one format, unbuffered."""

    stop_seconds = 0.5

    def __init__(self, config: ConsoleConfig, zone: tzinfo | None) -> None:
        """`zone` is the time zone of the table's times, None the system's."""
        super().__init__("console")
        self.delivered = 0
        self.dropped = 0
        self._formatter = _formatter(config, zone)
        self._waiting: deque[Reading] = deque()
        self._writing = False  # Whether a reading has left the queue and is not written yet

    def put(self, *readings: Reading) -> None:
        with self._changed:
            for reading in readings:
                self._wait_for_room(lambda: self.ended or len(self._waiting) < WAITING_MAX)
                if self.ended:
                    self.dropped += 1
                    continue
                self._waiting.append(reading)
                if len(self._waiting) > WAITING_MAX:
                    self._waiting.popleft()
                    self.dropped += 1
                    if not self._problem:
                        self._fail("nothing reads standard output; dropping the oldest readings")
            self._changed.notify_all()

    def reconfigure(self, section: ConsoleConfig, zone: tzinfo | None) -> None:
        with self._changed:
            self._formatter = _formatter(section, zone)

    def _counts(self) -> tuple[int, int, int]:
        return self.delivered, len(self._waiting) + self._writing, self.dropped

    def _run(self) -> None:
        while True:
            try:
                self._print_readings()
                return
            except Exception:  # noqa: BLE001 (nothing may end a thread unseen)
                _log.exception("console: %s", OWN_ERROR)
                with self._changed:
                    self.dropped += self._writing
                    self._writing = False
                    self._changed.notify_all()

    def _print_readings(self) -> None:
        used = self._formatter
        self._write(used.header.encode())
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if not self._waiting:
                    return
                reading = self._waiting.popleft()
                self._writing = True
            if self._formatter is not used:
                used = self._formatter
                self._write(used.header.encode())
            written = self._write(used.format(reading).encode())
            with self._changed:
                self._writing = False
                if written:
                    self.delivered += 1
                    if not self._waiting:
                        self._recover()
                else:
                    self.dropped += 1 + len(self._waiting)
                    self._waiting.clear()
                    self.ended = True
                self._changed.notify_all()
            self._notify_if_changed()
            if self.ended:
                return

    def _write(self, data: bytes) -> bool:
        """Write the data, however long that takes. Returns False when the output is closed or the backend stops."""
        while data:
            try:
                data = data[os.write(_STANDARD_OUTPUT, data) :]
            except BlockingIOError:
                # Another process that shares standard output has made it non-blocking.
                writable = select.poll()
                writable.register(_STANDARD_OUTPUT, select.POLLOUT)
                writable.poll()
            except OSError as error:
                if error.errno in (errno.EPIPE, errno.EBADF):
                    self._fail(f"standard output is closed ({error.strerror}); dropping readings")
                    return False
                if self._importing:
                    self._fail(f"cannot write to standard output ({error.strerror}); dropping readings")
                    return False
                self._fail(f"cannot write to standard output ({error.strerror}); trying again")
                with self._changed:
                    if self._changed.wait_for(lambda: self._stopping, RETRY_SECONDS):
                        return False
        return True


def _formatter(config: ConsoleConfig, zone: tzinfo | None) -> Formatter:
    return formatter(config.format, zone=zone, colour=has_colour(sys.stdout), width=width(sys.stdout))
