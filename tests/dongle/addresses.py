"""HOST:PORT as command lines have it."""

from __future__ import annotations


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of "192.168.8.1:51100" or "[fd00::1]:51100". Raises ValueError."""
    host, separator, port = text.rpartition(":")
    if not separator or not host:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)
