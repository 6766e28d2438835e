"""What a backend is: where readings go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import tzinfo
from typing import Any

from inverter_capture.backends.status import BackendStatus
from inverter_capture.protocol.readings import Reading


class Backend(ABC):
    """Takes readings and delivers them in a thread of its own, so that none can stop, slow or starve another."""

    name: str
    """As the logs call it."""
    stop_seconds: float
    """How long the last readings may take to be delivered when the service is to stop. procd kills after five."""

    @abstractmethod
    def start(self) -> None:
        """Begin to deliver."""

    @abstractmethod
    def put(self, reading: Reading) -> None:
        """Take a reading. Returns at once; when the backend is full, the oldest reading goes, counted."""

    @abstractmethod
    def wait_for_room(self, seconds: float) -> bool:
        """Whether the next reading can be taken without dropping one, at the latest after this time."""

    @abstractmethod
    def wait_until_empty(self, seconds: float) -> bool:
        """Whether all readings are delivered or given up, at the latest after this time."""

    @abstractmethod
    def end(self) -> None:
        """Deliver what waits, if that is possible at once, and stop. Does not wait for that; `join` does."""

    @abstractmethod
    def join(self, seconds: float) -> int:
        """Wait for the end, at most this time. Returns how many readings are lost, those dropped before among them."""

    @abstractmethod
    def reconfigure(self, section: Any, zone: tzinfo | None) -> None:
        """Go on with other settings of the same kind. What waits is kept. Returns at once."""

    @abstractmethod
    def status(self) -> BackendStatus:
        """How it is doing. May be called from any thread, and does not wait."""

    def check(self) -> str | None:
        """Try whether readings could be delivered, and deliver none. Returns what is wrong; None when nothing is."""
        return None
