"""What others can see of the service: the status file and the metrics, each loaded only where it is asked for."""

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

STOP_SECONDS = 0.5
"""How long the threads may take to end."""


class Monitoring:
    """Gets each reading, and is told of each change. `start`, then any of the others, then `stop`."""

    def __init__(self, status_path: str, status: Callable[[], Status]) -> None:
        """`status_path` is where a status file is kept; empty for none."""
        self._status = status
        self._recent = RecentReadings(chart=bool(status_path))
        self._server: MetricsServer | None = None
        self._file: StatusFile | None = None
        if status_path:
            from inverter_capture.service.status_file import StatusFile

            self._file = StatusFile(status_path, status, self._recent)

    def start(self, metrics: MetricsConfig) -> None:
        """Begin."""
        if self._file is not None:
            with without_signals():
                self._file.start()
        self.reconfigure(metrics)

    def take(self, reading: Reading) -> None:
        """A reading was received."""
        if self._file is not None or self._server is not None:
            self._recent.take(reading)

    def tell(self) -> None:
        """The status has changed. May be called from any thread; returns at once."""
        if self._file is not None:
            self._file.tell()

    def reconfigure(self, metrics: MetricsConfig) -> None:
        """Serve the metrics as these settings say."""
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
        """End, and remove the status file."""
        threads = [thread for thread in (self._file, self._server) if thread is not None]
        for thread in threads:
            thread.stop()
        for thread in threads:
            thread.join(STOP_SECONDS)

    def _metrics(self) -> str:
        from inverter_capture.service.metrics import metrics_text

        return metrics_text(self._status(), self._recent.all(), time.time(), time.monotonic())
