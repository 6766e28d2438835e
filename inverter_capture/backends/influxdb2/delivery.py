"""The InfluxDB backend: delivers readings to a database that accepts line protocol over HTTP.

A reading stays in the buffer until the server has confirmed it with a 2xx status, or refuses it but accepts others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import tzinfo

from inverter_capture.backends.backend import Backend
from inverter_capture.backends.backoff import RESTART_SECONDS, Backoff
from inverter_capture.backends.influxdb2.buffer import Buffer
from inverter_capture.backends.influxdb2.write_api import Outcome, Verdict, WriteApi
from inverter_capture.config.schema import InfluxDb2Config
from inverter_capture.output.line_protocol import line_protocol, narrow_line_protocol
from inverter_capture.protocol.readings import Reading
from inverter_capture.text import OWN_ERROR, counted, local_time_text

REPORT_SECONDS = 3600  # Seconds between log messages that deliveries still fail
PROBES_MAX = 3
"""Number of other readings sent one by one to find out whether a server that refuses one reading refuses all."""
COLLECT_SECONDS = 1.0  # Maximum time in seconds for which the readings of a file are collected before they are sent

_log = logging.getLogger(__name__)


class InfluxDb2(Backend):
    """Delivers readings to one server."""

    stop_seconds = 4.0

    def __init__(self, config: InfluxDb2Config) -> None:
        super().__init__(_name(config))
        self.delivered = 0
        self.refused = 0  # Readings that the server refused, each sent alone
        self._config = config
        self._wanted: InfluxDb2Config | None = config  # Settings that the thread has not applied yet
        self._buffer = Buffer(config.buffer)
        self._backoff = Backoff()
        self._latest_taken: bytes | None = None
        """The last line that the server accepted. It accepts that line again if it accepts any."""
        self._report_at = 0.0
        self._refusal_at = 0.0  # Monotonic time, in seconds, from which the next refused reading may be logged
        self._overflowing = False

    def put(self, *readings: Reading) -> None:
        config, buffer = self._config, self._buffer
        write = line_protocol if config.schema == "wide" else narrow_line_protocol
        with self._changed:
            was_empty = not len(buffer)
            for reading in readings:
                if text := write(reading, config.measurement, config.tags):
                    self._wait_for_room(buffer.has_room)
                    if buffer.add(text) and not self._overflowing:
                        self._overflowing = True
                        _log.error("%s: the buffer is full; dropping the oldest readings from now on", self.name)
            if not self._importing or was_empty or buffer.has_batch:
                self._changed.notify_all()

    def begin_import(self) -> None:
        super().begin_import()
        self._buffer = Buffer(self._config.buffer, keep_raw=True)

    def retry(self) -> None:
        with self._changed:
            if self._failing_since is not None:
                self._wanted = self._config
                self._changed.notify_all()

    def reconfigure(self, section: InfluxDb2Config, zone: tzinfo | None) -> None:  # noqa: ARG002 (times are UTC)
        with self._changed:
            self._config = self._wanted = section
            self._buffer.resize(section.buffer)
            self._changed.notify_all()

    def _counts(self) -> tuple[int, int, int]:
        return self.delivered, len(self._buffer), self._buffer.counts.dropped + self.refused

    def check(self) -> str | None:
        return _problem(WriteApi(self._config))

    def _run(self) -> None:
        api = WriteApi(self._config)
        while not (self._stopping and not len(self._buffer)):
            # An attempt that had begun before `stop` may fail: then one more is made.
            is_last = self._stopping
            try:
                if self._wanted is not None:
                    api = self._take_over()
                    self._say_whether_ready(api)
                    self._notify_if_changed()
                with self._changed:
                    self._changed.wait_for(lambda: len(self._buffer) or self._stopping or self._wanted)
                seconds = self._deliver(api)
            except Exception:  # noqa: BLE001 (nothing may end a thread unseen)
                _log.exception("%s: %s", self.name, OWN_ERROR)
                seconds = RESTART_SECONDS
            finally:
                api.close()
            if seconds:
                if is_last:
                    return
                self._pause(seconds)

    def _take_over(self) -> WriteApi:
        """Apply the new settings, and forget the failures of the previous ones."""
        with self._changed:
            self._wanted = None
            self.name = _name(self._config)
            self._failing_since = None
            self._problem = ""
        self._backoff.reset()
        self._logged.clear()
        self._latest_taken = None
        return WriteApi(self._config)

    def _say_whether_ready(self, api: WriteApi) -> None:
        problem = _problem(api)
        if problem:
            self._fail(problem)
        else:
            _log.info("%s: ready to deliver", self.name)

    def _deliver(self, api: WriteApi) -> float:
        """Deliver all waiting readings. Returns seconds until the next attempt; 0 when none are left."""
        while self._wanted is None:
            with self._changed:
                self._changed.wait_for(lambda: not self._importing or self._buffer.has_batch, COLLECT_SECONDS)
                batch = self._buffer.take(small=self._failing_since is not None)
                if not batch:
                    self._overflowing = False
                    return 0
            verdict = self._deliver_batch(api, batch)
            if verdict is not None:
                self._fail(verdict.reason)
            self._notify_if_changed()
            if verdict is not None:
                if verdict.outcome is Outcome.PASSING:
                    return self._backoff.passing(verdict.retry_after)
                return self._backoff.lasting()
        return 0

    def _deliver_batch(self, api: WriteApi, batch: Sequence[bytes]) -> Verdict | None:
        """Deliver a batch in as few requests as the server allows. Returns the failure that ended it, or None."""
        at, size = 0, len(batch)
        is_sure = False
        while at < len(batch):
            part = batch[at : at + size]
            verdict = api.write(part)
            if verdict.outcome is Outcome.TAKEN:
                is_sure = False
                self._latest_taken = part[-1]
                self._remove(delivered=len(part))
                self._recover()
                at += len(part)
                size *= 2
            elif verdict.outcome in (Outcome.PASSING, Outcome.LASTING):
                return verdict
            elif len(part) > 1:
                size = len(part) // 2
            elif verdict.outcome is Outcome.TOO_OLD or is_sure:
                is_sure = False
                self._refuse(verdict)
                at += 1
            elif self._takes_any(api, batch[at + 1 :]):
                # The reading is tried once more: the server may have recovered between the two.
                is_sure = True
            else:
                return verdict._replace(
                    outcome=Outcome.LASTING, reason=f"the server refuses readings ({verdict.reason})"
                )
        return None

    def _takes_any(self, api: WriteApi, batch: Sequence[bytes]) -> bool:
        """Whether the server accepts other lines, so that only the one reading is refused.

        Sends the last accepted line again, then the newest line, which a small batch does not have, and lines of the
        batch. Writing a line twice changes nothing.
        """
        with self._changed:
            newest = self._buffer.newest
        probes = [*filter(None, (self._latest_taken, newest)), *batch[:PROBES_MAX]]
        return any(api.write([text]).outcome is Outcome.TAKEN for text in probes)

    def _remove(self, *, delivered: int = 0, refused: int = 0) -> None:
        """Readings no longer wait. Whoever asks for the status at the same time sees each in one count."""
        with self._changed:
            self._buffer.remove(delivered + refused)
            self.delivered += delivered
            self.refused += refused
            self._changed.notify_all()

    def _refuse(self, verdict: Verdict) -> None:
        self._remove(refused=1)
        if time.monotonic() >= self._refusal_at:
            self._refusal_at = time.monotonic() + REPORT_SECONDS
            _log.error(
                "%s: the server refuses a reading, which is dropped (%s); %d so far",
                self.name,
                verdict.reason,
                self.refused,
            )

    def _fail(self, problem: str, more: str = "") -> None:
        if self._failing_since is None:
            self._report_at = time.monotonic() + REPORT_SECONDS
        super()._fail(problem, more or f"; waiting: {counted(len(self._buffer), 'reading')}")

    def _recover(self) -> None:
        self._backoff.reset()
        super()._recover()

    def _pause(self, seconds: float) -> None:
        """Wait before the next attempt: less when the backend stops or its settings change. Logs reminders."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._failing_since is not None:
                left = min(left, max(0.0, self._report_at - time.monotonic()))
            with self._changed:
                if self._changed.wait_for(lambda: self._stopping or self._wanted, left):
                    return
            self._remind()

    def _remind(self) -> None:
        if self._failing_since is None or time.monotonic() < self._report_at:
            return
        self._report_at = time.monotonic() + REPORT_SECONDS
        _log.error(
            "%s: nothing delivered since %s (%s); %s",
            self.name,
            local_time_text(self._failing_since),
            self._problem,
            self._backlog(),
        )


def _name(config: InfluxDb2Config) -> str:
    return f"influxdb2 {config.host}"


def _problem(api: WriteApi) -> str | None:
    """The problem that a write would meet; None when it would succeed."""
    verdict = api.check()
    api.close()
    return None if verdict.outcome is Outcome.TAKEN else verdict.reason
