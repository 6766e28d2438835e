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

    def check(self) -> str | None:
        """Try whether readings could be delivered, and deliver none. Returns what is wrong; None when nothing is."""
        return None


def create(config: Config) -> list[Backend]:
    """The backends that a configuration asks for. Each kind is imported only where it is used."""
    backends: list[Backend] = []
    for influxdb2 in config.influxdb2:
        from inverter_capture.backends.influxdb2 import InfluxDb2

        backends.append(InfluxDb2(influxdb2))
    for console in config.console:
        from inverter_capture.backends.console import Console

        backends.append(Console(console, named_zone(config.pcap.timezone)))
    return backends
