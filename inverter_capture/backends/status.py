"""The status of the service and its backends, as plain values."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class BackendStatus(NamedTuple):
    """The state and the counters of a backend."""

    name: str  # The backend's name in the log
    connected: bool  # Whether the latest attempt succeeded
    delivered: int  # Readings delivered since the service was started
    waiting: int  # Readings that are not delivered yet
    dropped: int  # Readings lost since the service was started
    problem: str  # Why readings cannot be delivered at present. Empty when no problem is known.
    failing_since: float | None = None
    """Start of the problem, in seconds since the epoch. None when no problem is known."""


class Status(NamedTuple):
    """The state and the counters of the service."""

    started: int  # Start of the service, in nanoseconds since the epoch
    device: str  # Network device, or path of the capture file
    capturing: bool  # Whether packets can be captured
    packets: int  # Packets captured
    reports: int  # Reports with a known layout
    readings: int  # Readings decoded
    held_back: int  # Values held back by the guard
    backends: tuple[BackendStatus, ...]
    unknown: int = 0  # Reports with an unknown layout
    dropped_packets: int = 0  # Packets that the kernel dropped before they could be read
    problem: str = ""  # Why packets cannot be captured. Empty when no problem is known.


StatusSource = Callable[[], Status]  # Returns the current status. May be called from any thread.


def no_status() -> Status:
    """The status when no service is running."""
    return Status(started=0, device="", capturing=False, packets=0, reports=0, readings=0, held_back=0, backends=())
