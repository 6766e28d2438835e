"""The interface of a backend: a place where readings are delivered to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import tzinfo
from typing import Any

from inverter_capture.backends.status import BackendStatus
from inverter_capture.protocol.readings import Reading


class Backend(ABC):
    """Delivers readings in a thread of its own, so that no backend can stop, slow or starve another.

    `start`, then any number of `put`, then `stop` and `join`. Failures to deliver raise nothing: they are logged once,
    and `status` tells them.
    """

    name: str
    """For the log; unique among the backends of one configuration."""
    stop_seconds: float
    """Seconds granted for the last readings when the service stops. procd kills the service after five."""
    on_change: Callable[[], None] = staticmethod(lambda: None)
    """Called in any thread when `status` tells something new. Returns at once."""
    _told: BackendStatus | None = None

    @abstractmethod
    def start(self) -> None:
        """Start to deliver."""

    @abstractmethod
    def put(self, reading: Reading) -> None:
        """Take a reading. Returns at once. A full backend drops its oldest reading and counts it."""

    @abstractmethod
    def begin_import(self) -> None:
        """The readings that follow come from a file: `wait_for_room` is called before each, and none is urgent."""

    @abstractmethod
    def end_import(self) -> None:
        """The file is read. What was collected is delivered now."""

    @abstractmethod
    def wait_for_room(self, seconds: float) -> bool:
        """Wait until a reading can be taken without dropping another. Returns whether it can, within this time."""

    @abstractmethod
    def wait_until_empty(self, seconds: float) -> bool:
        """Wait until no reading waits. Returns whether that is so, within this time."""

    @abstractmethod
    def retry(self) -> None:
        """Make the next attempt now if the backend waits after a failure. Returns at once."""

    @abstractmethod
    def stop(self) -> None:
        """Ask the backend to deliver what waits, if that is possible at once, and to finish. Returns at once."""

    @abstractmethod
    def join(self, seconds: float) -> int:
        """Wait at most this time for the backend to finish. Returns how many readings it has lost since `start`."""

    @abstractmethod
    def reconfigure(self, section: Any, zone: tzinfo | None) -> None:
        """Change to other settings of the same kind, keeping the readings that wait. Returns at once.

        `zone` is the inverter's time zone, None the system's.
        """

    @abstractmethod
    def status(self) -> BackendStatus:
        """How the backend is doing. May be called from any thread. Returns at once."""

    def _tell_change(self) -> None:
        """To be called by the backend wherever its status may have changed."""
        status = self.status()
        if status != self._told:
            self._told = status
            self.on_change()

    def check(self) -> str | None:
        """Try whether readings could be delivered, without delivering any. Returns what is wrong; None if nothing is.

        For a backend that is not started.
        """
        return None
