"""How the service is doing: plain values, as its diagnostics show them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class BackendStatus(NamedTuple):
    """How a backend is doing."""

    name: str
    """As the logs call it."""
    connected: bool
    """Whether the last thing that was tried went well."""
    delivered: int
    """Readings, since the service was started."""
    waiting: int
    """Readings that are not delivered yet."""
    dropped: int
    """Readings that never will be."""
    problem: str
    """Why nothing can be delivered at the moment; empty when nothing is known to be wrong."""


class Status(NamedTuple):
    """How the service is doing."""

    started: int
    """Nanoseconds since the epoch."""
    device: str
    capturing: bool
    packets: int
    frames: int
    readings: int
    held_back: int
    """Values that the guard did not believe."""
    backends: tuple[BackendStatus, ...]


StatusSource = Callable[[], Status]
"""Gives the status of this moment; may be called from any thread."""


def no_status() -> Status:
    """What there is to tell where no service runs."""
    return Status(started=0, device="", capturing=False, packets=0, frames=0, readings=0, held_back=0, backends=())
