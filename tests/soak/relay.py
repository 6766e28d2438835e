"""A bad line: loses, doubles and reorders the frames between two devices, `near` and `far`.

The same on every machine: few kernels have netem.
"""

from __future__ import annotations

import random
import select
import socket
import sys
import time
from contextlib import suppress

LOST, DOUBLED, REORDERED = 0.02, 0.03, 0.05
HELD_SECONDS = 0.05
"""A frame that is reordered waits so long: others overtake it."""
ETH_P_ALL = 3


def open_device(name: str) -> socket.socket:
    device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    device.bind((name, ETH_P_ALL))
    return device


def main() -> None:
    near, far = open_device("near"), open_device("far")
    other = {near: far, far: near}
    chance = random.Random(int(sys.argv[1]))
    held: list[tuple[float, socket.socket, bytes]] = []
    while True:
        wait = max(0.0, held[0][0] - time.monotonic()) if held else None
        readable, _, _ = select.select([near, far], [], [], wait)
        while held and held[0][0] <= time.monotonic():
            _, device, frame = held.pop(0)
            send(device, frame)
        for device in readable:
            frame, address = device.recvfrom(65536)
            if address[2] == socket.PACKET_OUTGOING or chance.random() < LOST:
                continue
            for _ in range(2 if chance.random() < DOUBLED else 1):
                if chance.random() < REORDERED:
                    held.append((time.monotonic() + HELD_SECONDS, other[device], frame))
                else:
                    send(other[device], frame)


def send(device: socket.socket, frame: bytes) -> None:
    # Nothing passes a device that is down.
    with suppress(OSError):
        device.send(frame)


if __name__ == "__main__":
    main()
