"""Sends what a test says, when it says so.

    python -m tests.talker 192.168.8.10:51100
    python -m tests.talker eth0

sends each line of standard input, which is in hex, in one write on a connection, or as a packet of a device, and prints
"sent" when the other end has it, or the device.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.dongle.addresses import parse_address
from tests.dongle.client import wait_until_acknowledged

PATIENCE_SECONDS = 30


@contextmanager
def connection(address: str) -> Iterator[Callable[[bytes], None]]:
    """Sends on a connection."""
    with socket.create_connection(parse_address(address), PATIENCE_SECONDS) as made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send(data: bytes) -> None:
            made.sendall(data)
            wait_until_acknowledged(made, PATIENCE_SECONDS)

        yield send


@contextmanager
def device(name: str) -> Iterator[Callable[[bytes], object]]:
    """Sends packets."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as made:
        made.bind((name, 0))
        yield made.send


def main() -> None:
    """The command."""
    place = sys.argv[1]
    with connection(place) if ":" in place else device(place) as send:
        for line in sys.stdin:
            send(bytes.fromhex(line))
            print("sent", flush=True)


if __name__ == "__main__":
    main()
