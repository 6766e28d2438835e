"""The pipeline from a capture to readings: one thread that captures, decodes and checks values."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime

from inverter_capture.backends.backoff import RESTART_SECONDS
from inverter_capture.backends.status import BackendStatus, Status
from inverter_capture.capture.device import LiveCapture
from inverter_capture.capture.dongle_filter import DongleFilter
from inverter_capture.capture.dongle_search import DongleSearch
from inverter_capture.capture.events import Capture, events_of
from inverter_capture.capture.file import FileCapture
from inverter_capture.capture.libpcap import CaptureError
from inverter_capture.config.schema import PcapConfig
from inverter_capture.config.timezone import named_zone
from inverter_capture.protocol.admission import Admission, Verdict
from inverter_capture.protocol.clock import FileClocks
from inverter_capture.protocol.guard import Guard
from inverter_capture.protocol.inverter_kinds import INVERTERS_MAX
from inverter_capture.protocol.packets import Flow
from inverter_capture.protocol.packets_to_readings import Decoded, Decoder, Event
from inverter_capture.protocol.readings import Reading
from inverter_capture.protocol.reports import Report
from inverter_capture.protocol.times import SECOND
from inverter_capture.service.file_checks import UNKNOWN, explain_clocks, why_nothing
from inverter_capture.service.report_log import ReportLog
from inverter_capture.text import OWN_ERROR

CHANGE_SECONDS = 2  # Maximum time in seconds that `reconfigure` waits for new settings to take effect


_log = logging.getLogger(__name__)

Deliver = Callable[[list[Reading]], None]


class Pipeline:
    """Captures and decodes in a thread of its own, which ends with the capture file or after `stop`."""

    def __init__(
        self, config: PcapConfig, deliver: Deliver, ended: Callable[[], None], on_change: Callable[[], None]
    ) -> None:
        """The callbacks are called in the thread: `deliver` with readings, `ended` at its end, `on_change` after
        reports and when capturing becomes possible or impossible.

        Raises CaptureError for a capture file that cannot be read.
        """
        self.failure: str | None = None  # Why a capture file was not read to its end
        self._readings = 0
        self._config = config
        self._deliver = deliver
        self._ended = ended
        self._on_change = on_change
        self._notified: tuple[object, ...] = ()
        self._next: PcapConfig | None = None
        self._changed = threading.Event()
        self._stopping = False
        self._admission = Admission(config.serials, live=not config.file)
        self._decoder = Decoder(named_zone(config.timezone), live=not config.file, admit=self._admit)
        self._report_log = ReportLog(self._decoder, time.time_ns(), live=not config.file)
        self._clocks = FileClocks()
        self._guard = Guard() if config.guard else None
        self._earlier: deque[Reading] = deque(maxlen=INVERTERS_MAX)
        """Readings of an earlier run that the guard does not know yet."""
        self._dongles = DongleFilter()
        self._capture: Capture | None = None
        self._replacing = threading.Lock()  # Held while the capture is replaced, closed or woken
        if config.file:
            # Opening a pipe may block. Only before signal handlers are set can a signal end the program then.
            self._capture = FileCapture(config.device, config.filter or DongleSearch())
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    @property
    def capture(self) -> Capture:
        """The open capture. Only after `open`."""
        assert self._capture is not None
        return self._capture

    def status(self, started: int, backends: tuple[BackendStatus, ...]) -> Status:
        """The service's status, to which the service adds its start (nanoseconds since the epoch) and its backends.

        May be called from any thread.
        """
        capture, guard, counts = self._capture, self._guard, self._decoder.counts
        return Status(
            started=started,
            device=self._config.device,
            capturing=capture is not None and capture.capturing,
            problem=self._problem,
            packets=self._decoder.packets.counts.packets,
            dropped_packets=0 if capture is None else capture.dropped,
            reports=counts.known,
            unknown=counts.unknown,
            readings=self._readings,
            held_back=0 if guard is None else guard.counts.held,
            backends=backends,
        )

    @property
    def _problem(self) -> str:
        return "" if self._capture is None else self._capture.problem

    def open(self) -> None:
        """Open the device. Raises CaptureError when it exists but cannot be opened."""
        if not self._config.file:
            self._capture = LiveCapture(self._config.device, self._config.filter or self._dongles)

    def start(self) -> None:
        """Start the thread. Only after `open`."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to finish. May be called from any thread, and more than once. Returns at once."""
        self._stopping = True
        self._wake()

    def join(self, seconds: float) -> None:
        """Wait at most this time for the thread to finish."""
        self._thread.join(seconds)

    def reconfigure(self, config: PcapConfig) -> bool:
        """Apply changed settings, with a checked filter, to a live capture. Streams that are decoded in part continue.

        Returns at the latest after `CHANGE_SECONDS`, whether all settings are in use: the device and the filter do not
        change when the new device cannot be opened.
        """
        self._changed.clear()
        self._next = config
        self._wake()
        return self._changed.wait(CHANGE_SECONDS) and self._config == config

    def recall(self, reading: Reading) -> None:
        """Tell the guard of a live capture what an earlier run has published. May be called from any thread."""
        if not self._config.file:
            self._earlier.append(reading)

    def summarise(self) -> None:
        """Log the final counters."""
        status, decoder = self.status(0, ()), self._decoder
        text = f"packets: {status.packets}, reports: {status.reports}, readings: {status.readings}; "
        text += f"reports of unknown length: {status.unknown}, messages cut off: {decoder.message_counts.cut}; "
        text += f"implausible values: {decoder.readings.counts.implausible}, held back: {status.held_back}"
        _log.info("%s", text)
        if fragments := self._decoder.packets.counts.fragments:
            _log.info("%d IP fragments were ignored", fragments)
        if status.dropped_packets:
            _log.warning("%d packets were dropped by the kernel before they could be read", status.dropped_packets)

    def _wake(self) -> None:
        with self._replacing:
            if isinstance(self._capture, LiveCapture):
                self._capture.wake()

    def _run(self) -> None:
        try:
            if self._config.file:
                self._follow_file()
                self._judge_file()
            else:
                self._keep_capturing()
        except CaptureError as error:
            self.failure = f"[pcap] {error.setting} = {error}"
        except Exception:  # noqa: BLE001 (nothing may end a thread unseen)
            _log.exception(OWN_ERROR)
            self.failure = f"{self._config.device}: the capture file was not read to its end"
        finally:
            with self._replacing:
                if self._capture is not None:
                    self._capture.close()
            self._ended()

    def _keep_capturing(self) -> None:
        while not self._stopping:
            try:
                self._follow_device()
            except Exception:  # noqa: BLE001 (the same)
                _log.exception("%s; capturing goes on", OWN_ERROR)
                time.sleep(RESTART_SECONDS)
        # Decode the bytes after gaps: the missing segments can no longer arrive.
        self._handle(self._decoder.close())

    def _follow_device(self) -> None:
        """Handle captured packets until the thread stops or the settings change. Then apply those."""
        self._notify_if_changed()
        for events in events_of(self.capture, self._decoder, lambda: self._report_log.deadline):
            self._handle(events)
            self._notify_if_changed()
            self._report_log.advance(time.time_ns())
            if self._stopping or self._next is not None:
                break
        if self._next is not None:
            self._change()
            self._changed.set()

    def _follow_file(self) -> None:
        try:
            for events in events_of(self.capture, self._decoder):
                self._handle(events)
                self._notify_if_changed()
                if self._stopping:
                    return
        finally:
            self._handle(self._decoder.close())

    def _judge_file(self) -> None:
        """Note why nothing, or not all, came of the file."""
        reason = ""
        if unknown := self._decoder.counts.unknown:
            reason = UNKNOWN.format(unknown)
        elif not self._readings and not self._stopping:
            reason = why_nothing(self._decoder, [self._config.device], filtered=bool(self._config.filter))
        if reason:
            self.failure = f'[pcap] device = "{self._config.device}": {reason}'
        if error := self._clocks.error:
            _log.warning("[pcap] timezone: %s", explain_clocks(error, 'set it to "{}"'))

    def _change(self) -> None:
        """Apply the next settings. If the new device cannot be opened, keep the previous device and filter."""
        before, after = self._config, self._next
        assert after is not None
        self._next = None
        if (before.device, before.filter) != (after.device, after.filter):
            try:
                capture = LiveCapture(after.device, after.filter or self._dongles)
            except CaptureError as error:
                text = "[pcap] %s = %s; the capture continues with the previous device and filter"
                _log.error(text, error.setting, error)
                after = PcapConfig(**(vars(after) | {"device": before.device, "filter": before.filter}))
            else:
                # Both captures are open for a moment, so that no packet is lost; duplicates are ignored.
                assert isinstance(self._capture, LiveCapture)
                with self._replacing:
                    packets = capture.replace(self._capture)
                    self._capture = capture
                self._handle(self._decoder.receive(*packets))
        self._config = after
        if before.timezone != after.timezone:
            self._decoder.readings.zone = named_zone(after.timezone)
            self._report_log = ReportLog(self._decoder, time.time_ns(), live=True)
        self._admission.serials = frozenset(after.serials)
        if before.guard != after.guard:
            self._guard = Guard() if after.guard else None

    def _notify_if_changed(self) -> None:
        counts, dropped = self._decoder.counts, self.capture.dropped
        state = (self._config.device, self._problem, dropped, counts.known, counts.unknown)
        if state != self._notified:
            self._notified = state
            self._on_change()

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            self._report_log.observe(event)
        readings = []
        for event in events:
            if isinstance(event, Decoded) and event.reading is not None:
                if self._config.file:
                    self._clocks.add(event.report, event.reading, event.time)
                readings.append(self._guarded(event, event.reading))
        self._readings += len(readings)
        self._deliver(readings)

    def _admit(self, report: Report, flow: Flow, captured: int) -> bool:
        now = captured if self._config.file else time.monotonic_ns()
        verdict = self._admission.judge(report.serial, flow.source, now)
        if verdict is Verdict.KNOWN:
            return True
        self._report_log.judged(verdict, report, flow, captured)
        return verdict.admitted

    def _guarded(self, event: Decoded, reading: Reading) -> Reading:
        if self._guard is None:
            return reading
        while self._earlier:
            earlier = self._earlier.popleft()
            clock = datetime.fromtimestamp(earlier.time // SECOND, self._decoder.readings.zone)
            self._guard.recall(clock.replace(tzinfo=None), earlier)
        learn = self._admission.is_sender(reading.serial, event.flow.source)
        reading, held = self._guard.check(event.report.clock, reading, learn=learn)
        if held:
            self._report_log.held(held, event.time)
        return reading
