"""Backends: where readings go. One module for each kind; they know nothing of captures."""

from __future__ import annotations

from abc import ABC, abstractmethod

from inverter_capture.clock import named_zone
from inverter_capture.config import Config
from inverter_capture.readings import Reading


class Backend(ABC):
    """Takes readings and delivers them in a thread of its own, so that none can stop, slow or starve another."""

    name: str
    """As the logs call it."""

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
    def finish(self, seconds: float) -> int:
        """Deliver what waits, for at most this time, and stop. Returns how many readings were not delivered."""


def create(config: Config) -> list[Backend]:
    """The backends that a configuration asks for. Each kind is imported only where it is used."""
    backends: list[Backend] = []
    for console in config.console:
        from inverter_capture.backends.console import Console

        backends.append(Console(console, named_zone(config.pcap.timezone)))
    return backends
