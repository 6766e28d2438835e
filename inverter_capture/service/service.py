"""The service: delivers the readings of a pipeline to the backends until the capture file ends or a signal arrives."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import tzinfo
from operator import itemgetter
from queue import Empty, SimpleQueue
from typing import NamedTuple

from inverter_capture.backends.backend import Backend
from inverter_capture.backends.create import create_backend, sections
from inverter_capture.backends.status import Status, StatusSource
from inverter_capture.capture.device import LiveCapture
from inverter_capture.capture.events import Capture
from inverter_capture.config.problems import ConfigError
from inverter_capture.config.schema import Config, SectionConfig
from inverter_capture.config.timezone import named_zone
from inverter_capture.protocol.readings import Reading
from inverter_capture.service.log import set_level
from inverter_capture.service.monitoring import STOP_SECONDS, Monitoring
from inverter_capture.service.pipeline import Pipeline
from inverter_capture.service.signals import on_signals, without_signals
from inverter_capture.service.single import end_with_jail
from inverter_capture.text import OWN_ERROR, counted

NOTICE_SECONDS = 0.1  # Seconds between checks for a signal while the service waits for a backend

_END, _RELOAD = "end", "reload"

_log = logging.getLogger(__name__)

Create = Callable[[SectionConfig, tzinfo | None, StatusSource], Backend]


class _Running(NamedTuple):
    section: SectionConfig
    backend: Backend


class _Removed(NamedTuple):
    """A backend that the configuration no longer has. It is joined at this time of the monotonic clock."""

    backend: Backend
    until: float


class Service:
    """One run of the program."""

    def __init__(
        self, config: Config, load: Callable[[], Config], create: Create = create_backend, *, status_path: str = ""
    ) -> None:
        """`load` reads the configuration again, for SIGHUP. `create` returns the backend of a section. `status_path`:
        path of the status file; empty for none.

        Raises CaptureError for a capture file that cannot be read.
        """
        self._config = config
        self._load = load
        self._create = create
        self._started = time.monotonic_ns()
        self._stopping = False
        self._stopped_at = 0.0
        self._requests: SimpleQueue[str] = SimpleQueue()
        """What to do next, _END or _RELOAD. Signal handlers and the pipeline's thread put it there."""
        self._monitoring = Monitoring(status_path, self.status)
        self._pipeline = Pipeline(config.pcap, self._deliver, lambda: self._requests.put(_END), self._note_status)
        self._importing = bool(config.pcap.file)  # Whether a file is being read: its readings can wait for the backends
        self._backends: list[_Running] = []
        self._removed: list[_Removed] = []
        self._failed: set[Backend] = set()  # Backends that raised an exception in `put`

    def run(self) -> int:
        """Capture and deliver. Returns the exit code: 1 when the capture file is damaged or not all of it delivered.

        Raises CaptureError when the device cannot be opened.
        """
        with on_signals(self._stop, lambda: self._requests.put(_RELOAD)):
            end_with_jail(self._stop)
            self._pipeline.open()
            # Importing the backends takes a router seconds. Meanwhile libpcap collects the packets.
            self._backends = [self._open(section) for _, _, section in sections(self._config)]
            with without_signals():
                for _, backend in self._backends:
                    backend.start()
                self._pipeline.start()
            self._monitoring.start(self._config.metrics)
            with _progress(self._pipeline.capture):
                self._handle_requests()
            self._pipeline.stop()
            self._end_import()
            self._pipeline.join(self._seconds_left(STOP_SECONDS))
            undelivered = self._finish()
            self._monitoring.stop()
        if self._pipeline.failure:
            _log.error("%s", self._pipeline.failure)
        self._pipeline.summarise()
        return 1 if self._pipeline.failure or self._failed or (undelivered and not self._stopping) else 0

    def status(self) -> Status:
        """The current state and counters. May be called from any thread."""
        # The clock may have been set since then.
        started = time.time_ns() - (time.monotonic_ns() - self._started)
        return self._pipeline.status(started, tuple(backend.status() for _, backend in self._backends))

    def _note_status(self) -> None:
        """Notify the monitoring and the backends that the status has changed."""
        self._monitoring.note_status()
        for _, backend in self._backends:
            backend.note_status()

    # --- the end ---

    def _stop(self) -> None:
        if not self._stopping:
            self._stopped_at = time.monotonic()
            self._stopping = True
        self._requests.put(_END)

    def _seconds_left(self, seconds: float) -> float:
        """The rest of this time, which began with the signal to stop, if there was one."""
        return max(0.0, self._stopped_at + seconds - time.monotonic()) if self._stopping else seconds

    def _handle_requests(self) -> None:
        while True:
            until = min((removed.until for removed in self._removed), default=None)
            try:
                request = self._requests.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
            except Empty:
                self._join_removed()
                continue
            if request == _END or self._stopping:
                return
            self._try_reload()

    def _end_import(self) -> None:
        """From now on, no backend makes the pipeline wait for room."""
        self._importing = False
        for _, backend in self._backends:
            backend.end_import()

    def _finish(self) -> int:
        """Stop the backends; after a file, when all is delivered. Returns the number of readings lost."""
        while not self._stopping and not all(backend.wait_until_empty(NOTICE_SECONDS) for _, backend in self._backends):
            # A reload may correct the settings that prevent the delivery.
            if not self._requests.empty() and self._requests.get() == _RELOAD:
                self._try_reload()
        for _, backend in self._backends:
            backend.stop()
        ending = [backend for backend, *_ in self._removed] + [backend for _, backend in self._backends]
        return sum(self._join(backend, self._seconds_left(backend.stop_seconds)) for backend in ending)

    def _join(self, backend: Backend, seconds: float) -> int:
        lost = backend.join(seconds)
        if lost:
            _log.warning("%s: lost: %s", backend.name, counted(lost, "reading"))
        return lost

    # --- readings ---

    def _deliver(self, readings: list[Reading]) -> None:
        if self._backends and all(backend.ended for _, backend in self._backends):
            self._requests.put(_END)
        if not readings:
            return
        for reading in readings:
            self._monitoring.take(reading)
        for _, backend in self._backends:
            try:
                backend.put(*readings)
            except Exception:  # noqa: BLE001 (the other backends get the readings)
                if backend not in self._failed:
                    self._failed.add(backend)
                    _log.exception("%s: %s", backend.name, OWN_ERROR)

    # --- the configuration, read again ---

    def _try_reload(self) -> None:
        try:
            self._reload()
        except Exception:  # noqa: BLE001 (waiting readings must not be lost)
            _log.exception("%s; going on", OWN_ERROR)

    def _reload(self) -> None:
        """Apply the changed configuration. If it is invalid, log the errors and keep the previous one."""
        try:
            config = self._load()
        except ConfigError as error:
            for message in error.messages:
                _log.error("%s", message)
            _log.error("the new configuration is invalid; the service continues with the previous one")
            return
        before = self._config
        complete = True
        if before.pcap.file or config.pcap.file:
            if before.pcap != config.pcap:
                complete = False
                _log.warning("capture files are opened at the start only: [pcap] takes effect at the next start")
            config = config._replace(pcap=before.pcap)
        set_level(config.log.level)
        self._config = config
        if not config.pcap.file:
            complete = self._pipeline.reconfigure(config.pcap) and complete
        self._replace_backends(zone_changed=config.pcap.timezone != before.pcap.timezone)
        self._monitoring.reconfigure(config.metrics)
        self._note_status()
        if complete:
            _log.info("the configuration has been read again")
        else:
            _log.warning("the configuration has been read again, but not all of [pcap] is in use")

    def _replace_backends(self, *, zone_changed: bool) -> None:
        """Assign to each section the running backend with the most similar settings, to keep its waiting readings."""
        wanted = [section for _, _, section in sections(self._config)]
        before = list(self._backends)
        pairs = [
            (_likeness(each.section, section), number, each)
            for number, section in enumerate(wanted)
            for each in before
            if type(each.section) is type(section)
        ]
        pairs.sort(key=itemgetter(0), reverse=True)
        found: dict[int, _Running] = {}
        for _, number, each in pairs:
            if number not in found and each in before:
                before.remove(each)
                found[number] = each
        after = []
        for number, section in enumerate(wanted):
            match = found.get(number)
            if match is None:
                match = self._open(section)
                with without_signals():
                    match.backend.start()
            elif match.section != section or zone_changed:
                match.backend.reconfigure(section, self._zone)
            else:
                match.backend.retry()
            after.append(_Running(section, match.backend))
        self._backends = after
        for _, backend in before:
            backend.stop()
            self._removed.append(_Removed(backend, time.monotonic() + backend.stop_seconds))

    def _join_removed(self) -> None:
        """Join the removed backends whose time is over."""
        for removed in list(self._removed):
            if removed.until <= time.monotonic():
                self._removed.remove(removed)
                self._join(removed.backend, 0)

    def _open(self, section: SectionConfig) -> _Running:
        backend = self._create(section, self._zone, self.status)
        backend.on_change = self._note_status
        backend.on_earlier = self._pipeline.recall
        if self._importing:
            backend.begin_import()
        return _Running(section, backend)

    @property
    def _zone(self) -> tzinfo | None:
        return named_zone(self._config.pcap.timezone)


def _likeness(before: SectionConfig, after: SectionConfig) -> list[bool]:
    """Whether each setting is the same. The first settings of a section, such as the address, count most."""
    return [getattr(before, name) == getattr(after, name) for name in before.settings]


@contextmanager
def _progress(capture: Capture) -> Iterator[None]:
    """A progress bar for a file, unless standard output is a terminal too."""
    if isinstance(capture, LiveCapture) or os.isatty(1) or not os.isatty(2):
        yield
        return
    from inverter_capture.output.progress import ProgressBar

    with ProgressBar(lambda: capture.position, capture.size, capture.path):
        yield
