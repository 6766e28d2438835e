"""The interface of a backend, which delivers readings to one destination."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import tzinfo
from typing import Any

from inverter_capture.backends.status import BackendStatus
from inverter_capture.protocol.readings import Reading


class Backend(ABC):
    """Delivers readings in a thread of its own, so that no backend can stop, slow or starve another.

    Order of calls: `start`, `put` for each reading, `stop`, `join`. A failed delivery raises no exception: it is logged
    once and shown by `status`.
    """

    name: str  # For the log; unique among the backends of one configuration
    stop_seconds: float
    """Seconds granted for the last readings when the service stops. procd kills the service after five."""
    on_change: Callable[[], None] = staticmethod(lambda: None)
    """Called when `status` has changed, in any thread. Must return at once."""
    on_earlier: Callable[[Reading], None] = staticmethod(lambda _: None)
    """Called with the newest reading that an earlier run of the service has published, for each inverter, as far as the
    destination can tell. In any thread, before or after the first `put`. Must return at once."""
    _told: BackendStatus | None = None

    @abstractmethod
    def start(self) -> None:
        """Start to deliver."""

    @abstractmethod
    def put(self, reading: Reading) -> None:
        """Queue a reading for delivery. Returns at once. A full queue drops its oldest reading and counts it."""

    def begin_import(self) -> None:  # noqa: B027 (not every backend needs it)
        """Start an import: the following readings come from a file, and `wait_for_room` is called before each."""

    def end_import(self) -> None:  # noqa: B027 (the same)
        """End the import: deliver the readings that were collected."""

    @abstractmethod
    def wait_for_room(self, seconds: float) -> bool:
        """Wait at most this time until `put` would not drop a reading. Returns whether that is so."""

    @abstractmethod
    def wait_until_empty(self, seconds: float) -> bool:
        """Wait at most this time until all readings are delivered. Returns whether they are."""

    def retry(self) -> None:  # noqa: B027 (the same)
        """If the backend waits after a failure, make it try again now. Returns at once."""

    @abstractmethod
    def stop(self) -> None:
        """Ask the backend to make a last attempt to deliver the queued readings, and to finish. Returns at once."""

    @abstractmethod
    def join(self, seconds: float) -> int:
        """Wait at most this time for the backend to finish. Returns the number of readings lost since `start`."""

    @abstractmethod
    def reconfigure(self, section: Any, zone: tzinfo | None) -> None:
        """Apply changed settings and keep the queued readings. Returns at once.

        `zone` is the inverter's time zone, None the system's.
        """

    @abstractmethod
    def status(self) -> BackendStatus:
        """The current state and counters. May be called from any thread. Returns at once."""

    def _tell_change(self) -> None:
        """Call `on_change` if the status has changed. Backends call this wherever it may have."""
        status = self.status()
        if status != self._told:
            self._told = status
            self.on_change()

    def check(self) -> str | None:
        """Test the connection and the permissions without delivering a reading. Returns the problem, or None.

        Only for a backend that is not started.
        """
        return None
