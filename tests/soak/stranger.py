"""A hostile machine on the bridge: bulk traffic, port scans, and segments that look like a dongle's.

    python -m tests.soak.stranger SEED SERVER SERVER-MAC DONGLE

None of it makes the service believe anything but the whole reports of inverters that do not exist.
"""

from __future__ import annotations

import errno
import random
import socket
import struct
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from tests import wire
from tests.dongle.messages import control, login, message
from tests.dongle.reports import encode_values
from tests.network import DEVICE
from tests.programs import PORT

PAUSE_SECONDS = 0.05
BURST = 50
"""Packets at once: fewer than the kernel keeps for the service while it is busy."""
SERIALS = 200
"""Inverters that it makes up."""


class Stranger:
    def __init__(self, seed: int, server: str, server_mac: str, dongle: str) -> None:
        self._chance = random.Random(seed)
        self._server, self._dongle = server, dongle
        self._server_mac = bytes.fromhex(server_mac.replace(":", ""))
        self._raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._raw.bind((DEVICE, 0))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._number = 0

    def run(self) -> None:
        deeds = (self.bulk, self.scan, self.bad_reports, self.good_reports, self.spoofed, self.opened)
        while True:
            self._chance.choice(deeds)()
            time.sleep(PAUSE_SECONDS)

    def bulk(self) -> None:
        for _ in range(300):
            self._udp.sendto(bytes(1400), (self._server, 9))

    def scan(self) -> None:
        """Of every port, that of the cloud among them, from everywhere."""
        for _ in range(BURST):
            to = self._chance.choice([PORT, self._chance.randrange(1, 65536)])
            self._segment(self._chance.randrange(1024, 65536), to, flags=wire.SYN)

    def opened(self) -> None:
        """Flows to the cloud's port that carry something: soon more than are remembered."""
        for _ in range(BURST):
            self._segment(self._chance.randrange(1024, 65536), PORT, b"GET / HTTP/1.0\r\n\r\n")

    def bad_reports(self) -> None:
        """On a real connection: cut off, too long, too short, not of an inverter, or nonsense."""
        chance, report = self._chance, self._report()
        self._say(
            chance.choice(
                [
                    report[: chance.randrange(1, len(report))],
                    b"\xa5\x06\x01\x09" + chance.randbytes(400),
                    report[:9] + chance.choice([b"\0\0", b"\xff\xff"]) + report[11:150],
                    message(9, chance.randbytes(chance.choice([281, 291, 295, 30])), status=2),
                    login() + control() + chance.randbytes(100),
                    b"\xa5" * 5000,
                ]
            )
        )

    def good_reports(self) -> None:
        """Of inverters that do not exist: only a few of them are read."""
        self._say(self._report() + self._report())

    def spoofed(self) -> None:
        """With the dongle's address, but not its port: who knows that can break the report that is under way."""
        for _ in range(BURST):
            payload = self._chance.choice([b"", b"\xa5\x06\x01\x09", self._report()[:200]])
            flags = self._chance.choice([wire.ACK, wire.ACK | wire.PSH, wire.RST, wire.FIN | wire.ACK])
            self._segment(self._chance.randrange(32768, 50000), PORT, payload, flags=flags, source=self._dongle)

    def _report(self) -> bytes:
        self._number += 1
        serial = f"9{self._chance.randrange(SERIALS):09}"
        clock = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=2) + timedelta(seconds=self._number)
        values = {"battery_soc": self._chance.randrange(101), "pv1_power": self._chance.randrange(5000)}
        return encode_values(serial, clock, values, self._chance.choice([292, 306]))

    def _say(self, data: bytes) -> None:
        with socket.socket() as connection:
            connection.settimeout(2)
            # Without waiting for the server's FIN: the next one is due.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
            try:
                connection.connect((self._server, PORT))
                for piece in pieces(data, self._chance):
                    connection.sendall(piece)
                    time.sleep(0.01)
            except OSError:
                return  # the bridge is away

    def _segment(self, port: int, to: int, payload: bytes = b"", *, flags: int = wire.ACK, source: str = "") -> None:
        sequence = self._chance.randrange(2**32)
        source = source or f"192.168.8.{self._chance.randrange(100, 200)}"
        segment = wire.tcp(source, port, self._server, to, sequence, payload, flags=flags)
        frame = wire.ethernet(wire.ipv4(source, self._server, segment), destination=self._server_mac)
        try:
            self._raw.send(frame)
        except OSError as error:
            # On a busy machine the kernel drops packets.
            if error.errno != errno.ENOBUFS:
                raise


def pieces(data: bytes, chance: random.Random) -> Iterator[bytes]:
    """Of any size."""
    while data:
        size = chance.randrange(1, 400)
        yield data[:size]
        data = data[size:]


if __name__ == "__main__":
    Stranger(int(sys.argv[1]), *sys.argv[2:]).run()
