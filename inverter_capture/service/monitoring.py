"""The status file and the metrics server, each imported only when it is used."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from inverter_capture.backends.status import Status
from inverter_capture.config.schema import MetricsConfig
from inverter_capture.protocol.readings import Reading
from inverter_capture.service.recent_readings import RecentReadings
from inverter_capture.service.signals import without_signals

if TYPE_CHECKING:
    from inverter_capture.service.metrics_server import MetricsServer
    from inverter_capture.service.status_file import StatusFile

STOP_SECONDS = 0.5  # Timeout in seconds for a thread that is no backend's to finish


class Monitoring:
    """Passes readings and changes to the status file and the metrics server. `start` first, `stop` last."""

    def __init__(self, status_path: str, status: Callable[[], Status]) -> None:
        """`status_path`: path of the status file; empty for none. `status` returns the service's status."""
        self._status = status
        self._recent = RecentReadings(chart=bool(status_path))
        self._server: MetricsServer | None = None
        self._file: StatusFile | None = None
        if status_path:
            from inverter_capture.service.status_file import StatusFile

            self._file = StatusFile(status_path, status, self._recent)

    def start(self, metrics: MetricsConfig) -> None:
        """Start the threads."""
        if self._file is not None:
            with without_signals():
                self._file.start()
        self.reconfigure(metrics)

    def take(self, reading: Reading) -> None:
        """Keep a reading for the status file and the metrics."""
        if self._file is not None or self._server is not None:
            self._recent.take(reading)

    def note_status(self) -> None:
        """Note that the status has changed. May be called from any thread. Returns at once."""
        if self._file is not None:
            self._file.note_status()

    def reconfigure(self, metrics: MetricsConfig) -> None:
        """Apply these settings: start, stop or replace the metrics server."""
        server = self._server
        if server is not None:
            if server.listen == metrics.listen:
                return
            server.stop()
            server.join(STOP_SECONDS)
            self._server = None
        if metrics.listen:
            from inverter_capture.service.metrics_server import MetricsServer

            self._server = MetricsServer(metrics.listen, self._metrics)
            with without_signals():
                self._server.start()

    def stop(self) -> None:
        """Stop the threads, and remove the status file."""
        threads = [thread for thread in (self._file, self._server) if thread is not None]
        for thread in threads:
            thread.stop()
        for thread in threads:
            thread.join(STOP_SECONDS)

    def _metrics(self) -> str:
        from inverter_capture.service.metrics import metrics_text

        return metrics_text(self._status(), self._recent.all(), time.time(), time.monotonic())
