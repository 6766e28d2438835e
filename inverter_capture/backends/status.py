"""How the service and its backends are doing, as plain values."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class BackendStatus(NamedTuple):
    """How a backend is doing."""

    name: str
    """As in the log."""
    connected: bool
    """Whether the latest attempt succeeded."""
    delivered: int
    """Readings since the service was started."""
    waiting: int
    """Readings that are not delivered yet."""
    dropped: int
    """Readings that were lost."""
    problem: str
    """Why nothing can be delivered now. Empty when nothing is known to be wrong."""
    failing_since: float | None = None
    """Seconds since the epoch. None when nothing is known to be wrong."""


class Status(NamedTuple):
    """How the service is doing."""

    started: int
    """Nanoseconds since the epoch."""
    device: str
    capturing: bool
    packets: int
    reports: int
    readings: int
    held_back: int
    """Values that the guard did not believe."""
    backends: tuple[BackendStatus, ...]
    unknown: int = 0
    """Reports whose registers are not known."""
    problem: str = ""
    """Why nothing is captured. Empty when nothing is known to be wrong."""


StatusSource = Callable[[], Status]
"""Returns the status of this moment. May be called from any thread."""


def no_status() -> Status:
    """The status where no service runs."""
    return Status(started=0, device="", capturing=False, packets=0, reports=0, readings=0, held_back=0, backends=())
