"""The service: a capture thread that feeds the backends, until the capture file ends or a signal comes."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue

from inverter_capture.backends import Backend
from inverter_capture.capture import CaptureError, FileCapture, LiveCapture, check_filter, takes_large_filters
from inverter_capture.clock import named_zone
from inverter_capture.config import Config
from inverter_capture.decoder import Decoded, Decoder, Event
from inverter_capture.finder import Finder
from inverter_capture.observer import Observer
from inverter_capture.signals import on_stop

STOP_SECONDS = 0.5
"""How long the capture may take to end once the service is to stop."""
NOTICE_SECONDS = 0.1
"""How soon what waits for a backend notices that."""
WAIT_SECONDS_MAX = 3600
"""How long the capture waits at most: when the clock is set, what was to be done by then looks far away."""
RESTART_SECONDS = 5
"""How long the capture rests after an error of ours."""

_SECOND = 1_000_000_000

_log = logging.getLogger(__name__)


class Service:
    """One run of the program."""

    def __init__(self, config: Config, backends: Sequence[Backend]) -> None:
        """Raises FilterError for a wrong filter."""
        self._backends = backends
        self._config = config.pcap
        self._finder = None if config.pcap.filter else Finder()
        self._stopping = False
        self._stopped_at = 0.0
        self._ended: SimpleQueue[None] = SimpleQueue()
        """Gets an item when the capture has ended or the service is to stop; signal handlers may put one."""
        self._failure: str | None = None
        self._readings = 0
        live = not config.pcap.file
        self._decoder = Decoder(named_zone(config.pcap.timezone), live=live)
        self._observer = Observer(self._decoder, time.time_ns(), live=live)
        if config.pcap.filter:
            check_filter(config.pcap.filter)
        self._capture: FileCapture | LiveCapture
        self._thread = threading.Thread(target=self._run_capture, name="capture", daemon=True)

    def run(self) -> int:
        """Capture and deliver. Returns the exit code: 1 when the capture file is damaged or not all of it delivered.

        Raises CaptureError when the device or the capture file cannot be used.
        """
        if self._config.file:
            # Here libpcap may wait for a pipe, from which a signal's own effect frees us, but no handler could.
            self._capture = FileCapture(self._config.device, self._filter)
        with on_stop(self._stop):
            if not self._config.file:
                self._capture = LiveCapture(self._config.device, self._filter)
            for backend in self._backends:
                backend.start()
            with _progress(self._capture):
                self._thread.start()
                self._ended.get()
            if isinstance(self._capture, LiveCapture):
                self._capture.wake()
            self._thread.join(self._seconds_left(STOP_SECONDS))
            undelivered = self._finish()
            if not self._thread.is_alive():
                self._capture.close()
        if self._failure:
            _log.error("%s", self._failure)
        self._summarise()
        return 1 if self._failure or (undelivered and not self._stopping) else 0

    def _stop(self) -> None:
        if not self._stopping:
            self._stopped_at = time.monotonic()
            self._stopping = True
        self._ended.put(None)

    def _seconds_left(self, seconds: float) -> float:
        """What is left of this time, which began with the signal to stop, if there was one."""
        return max(0.0, self._stopped_at + seconds - time.monotonic()) if self._stopping else seconds

    def _finish(self) -> int:
        """Let the backends end: at the end of a file as long as they need, otherwise in short time."""
        for backend in self._backends:
            while not self._stopping and not backend.wait_until_empty(NOTICE_SECONDS):
                pass
        for backend in self._backends:
            backend.end()
        lost = 0
        for backend in self._backends:
            left = backend.join(self._seconds_left(backend.stop_seconds))
            if left:
                _log.warning("%s: %d readings are lost", backend.name, left)
            lost += left
        return lost

    def _filter(self, link_type: int) -> str:
        if self._finder is None:
            return self._config.filter
        live = not self._config.file
        return self._finder.filter(link_type, live=live, small=live and not takes_large_filters())

    def _run_capture(self) -> None:
        try:
            if isinstance(self._capture, LiveCapture):
                self._keep_capturing(self._capture)
            else:
                self._run_file(self._capture)
        except CaptureError as error:
            self._failure = f"[pcap] device = {error}"
        except Exception:  # noqa: BLE001 (nothing may end a thread unseen)
            _log.exception("an error in inverter-capture itself, please report it")
            self._failure = f"{self._config.device}: the capture file was not read to its end"
        finally:
            self._ended.put(None)

    def _keep_capturing(self, capture: LiveCapture) -> None:
        while not self._stopping:
            try:
                self._run_live(capture)
            except Exception:  # noqa: BLE001 (the same)
                # Ours, not the network's. Say everything, and go on with what comes then.
                _log.exception("an error in inverter-capture itself, please report it; capturing goes on")
                time.sleep(RESTART_SECONDS)
        # What waited for a gap to be filled need not wait any more.
        self._handle(self._decoder.close())

    def _run_live(self, capture: LiveCapture) -> None:
        while not self._stopping:
            deadlines = [
                deadline for deadline in (self._decoder.deadline, self._observer.deadline) if deadline is not None
            ]
            seconds = (min(deadlines) - time.time_ns()) / _SECOND if deadlines else WAIT_SECONDS_MAX
            for packet in capture.wait(min(max(seconds, 0), WAIT_SECONDS_MAX)):
                self._handle(self._decoder.receive(packet))
            now = time.time_ns()
            self._handle(self._decoder.advance(now))
            self._observer.advance(now)

    def _run_file(self, capture: FileCapture) -> None:
        try:
            for packet in capture:
                self._handle(self._decoder.receive(packet))
                if self._stopping:
                    return
        finally:
            self._handle(self._decoder.close())

    def _handle(self, events: list[Event]) -> None:
        if events and self._finder is not None and self._finder.heed(events):
            self._capture.refilter()
        for event in events:
            self._observer.observe(event)
            if isinstance(event, Decoded) and event.reading is not None:
                self._readings += 1
                for backend in self._backends:
                    self._make_room(backend)
                    backend.put(event.reading)

    def _make_room(self, backend: Backend) -> None:
        """A file can wait for the backends, the network cannot."""
        if self._config.file:
            while not backend.wait_for_room(NOTICE_SECONDS) and not self._stopping:
                pass

    def _summarise(self) -> None:
        packets, frames = self._decoder.packets.counts, self._decoder.frame_counts
        _log.info(
            "packets: %d, frames: %d, readings: %d; frames of unknown length: %d, cut off: %d; implausible values: %d",
            packets.packets,
            frames.frames,
            self._readings,
            frames.unknown,
            frames.cut,
            self._decoder.readings.counts.implausible,
        )
        if isinstance(self._capture, LiveCapture) and self._capture.dropped:
            _log.warning("%d packets were dropped by the kernel before they could be read", self._capture.dropped)


@contextmanager
def _progress(capture: FileCapture | LiveCapture) -> Iterator[None]:
    """A progress bar for a file, unless readings appear on the same terminal."""
    if isinstance(capture, LiveCapture) or os.isatty(1) or not os.isatty(2):
        yield
        return
    from inverter_capture.progress import ProgressBar

    with ProgressBar(lambda: capture.position, capture.size, capture.path):
        yield
