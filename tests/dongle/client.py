"""The dongle as a real TCP client.

    python -m tests.dongle.client --server 192.168.8.10:51100 --readings 12 --split random --offline 4:9

simulates a house and sends a report for every five of its minutes, as fast as `--pace` says. Each connection begins
with login, device information and the question for the poll map; the reports then hold the registers that the server
asks for. Each reading is printed on stdout when the server's end has its report, one JSON object a line, exactly as it
should be decoded.
"""

from __future__ import annotations

import argparse
import array
import fcntl
import select
import socket
import sys
import termios
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tests.dongle.addresses import parse_address
from tests.dongle.chance import Dice
from tests.dongle.inverter import Inverter, Report, parse_zone
from tests.dongle.messages import (
    DONGLE_SERIAL,
    HEADER_LENGTH,
    POLL_MAP,
    REDIRECT,
    Ranges,
    control,
    cut_messages,
    greeting,
    parse_header,
    parse_poll_map,
    ranges_of,
    redirected_to,
)
from tests.dongle.profiles import PROFILES
from tests.dongle.server import close_with_reset

ANSWER_SECONDS = 1.0
"""How long the dongle waits for an answer, then goes on without it."""


class Habits(NamedTuple):
    """How a dongle sends."""

    split: tuple[int, ...] = ()
    """Sizes in bytes of the writes of which a message consists; what is left goes in the last one."""
    split_randomly: bool = False
    merge: int = 1
    """So many reports go in one write."""
    pause: float = 0.01
    """Seconds between two writes, so that they become segments."""
    greets: bool = True
    """Every connection begins with login, device information and the question for the poll map."""
    controls: bool = False
    """Before every report comes a short control message."""
    reconnect_every: int = 0
    """A new connection after so many reports; 0 keeps it."""
    resets: bool = False
    """Connections end with RST in place of FIN."""
    source_port: int = 0
    """Every connection comes from this port; 0 takes a free one."""
    patience: float = 30.0
    """Seconds for which connecting is tried, and for which an acknowledgement is waited for."""


class Dongle:
    """One dongle, which keeps what it could not send yet. Errors of the network are raised when its patience ends."""

    def __init__(
        self,
        server: tuple[str, int],
        habits: Habits,
        on_delivered: Callable[[Report], None],
        seed: int = 1,
        dongle_serial: str = DONGLE_SERIAL,
    ) -> None:
        self._server = server
        self._habits = habits
        self._on_delivered = on_delivered
        self._dice = Dice(seed, 20)
        self._socket: socket.socket | None = None
        self._waiting: list[Report] = []
        self._dongle_serial = dongle_serial
        self._ranges: Ranges | None = None
        """What the latest poll map asks for."""
        self._moved = False
        """The server has sent this dongle to another one."""
        self._heard = b""
        self._number = 0
        self._delivered = 0
        """A report keeps its number when it is sent again; other messages are counted by themselves."""
        self._since_connect = 0

    def keep(self, report: Report) -> None:
        """Buffers a report."""
        self._waiting.append(report)

    def send_waiting(self, *, all_of_it: bool = True) -> None:
        """Sends everything buffered, oldest first; or, without `all_of_it`, only whole groups of `merge` reports.

        A connection that breaks is made anew, and the reports that were under way are sent again.
        """
        while self._waiting and (all_of_it or len(self._waiting) >= self._habits.merge):
            group = self._waiting[: self._habits.merge]
            if not self._deliver(group):
                continue
            del self._waiting[: len(group)]
            for report in group:
                self._on_delivered(self._as_polled(report))
            self._delivered += len(group)
            self._since_connect += len(group)
            if self._habits.reconnect_every and self._since_connect >= self._habits.reconnect_every:
                self.disconnect()

    def disconnect(self) -> None:
        """Ends the connection in its habitual way, if there is one."""
        if self._socket is None:
            return
        if self._habits.resets:
            close_with_reset(self._socket)
        else:
            close_with_fin(self._socket)
        self._socket = None

    def _as_polled(self, report: Report) -> Report:
        """The report with the registers that the server has requested, if any."""
        return report if self._ranges is None else report._replace(ranges=self._ranges)

    def _deliver(self, group: list[Report]) -> bool:
        """Whether the server has acknowledged these reports. If not, the connection is closed."""
        try:
            connection = self._connected()
            if self._habits.controls:
                self._write(connection, control(self._next_number()))
                time.sleep(self._habits.pause)
            messages = [self._as_polled(report).message(self._delivered + n) for n, report in enumerate(group)]
            self._write(connection, b"".join(messages))
            wait_until_acknowledged(connection, self._habits.patience)
        except ConnectionError:
            self._forget()
            return False
        return True

    def _next_number(self) -> int:
        self._number += 1
        return self._number - 1

    def _forget(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is not None and not self._still_open(self._socket):
            self._forget()
        if self._moved:
            self.disconnect()
        while self._socket is None:
            self._socket = self._connect()
            self._since_connect = 0
            self._heard = b""
            self._moved = False
            if self._habits.greets:
                self._greet(self._socket)
            if self._moved:
                self.disconnect()
        return self._socket

    def _greet(self, connection: socket.socket) -> None:
        """Says what a connection begins with, until a redirect comes."""
        messages = greeting(self._dongle_serial, self._number)
        self._number += len(messages)
        for message in messages:
            self._write(connection, message)
            self._wait_for_answer(connection, parse_header(message).number)
            if self._moved:
                return

    def _wait_for_answer(self, connection: socket.socket, number: int) -> None:
        """Until the server has answered this, or some time has passed."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            if select.select([connection], [], [], left)[0] and number in self._hear(connection):
                return

    def _hear(self, connection: socket.socket) -> list[int]:
        """Takes what has come, and heeds it. Returns the messages' numbers. Raises ConnectionError at the end."""
        data = connection.recv(4096)
        if not data:
            raise ConnectionError("the server has hung up")
        messages, self._heard = cut_messages(self._heard + data)
        for message in messages:
            header = parse_header(message)
            if header.type == POLL_MAP and header.length > HEADER_LENGTH:
                self._ranges = ranges_of(parse_poll_map(message))
            elif header.type == REDIRECT:
                self._server = parse_address(redirected_to(message))
                self._moved = True
        return [parse_header(message).number for message in messages]

    def _still_open(self, connection: socket.socket) -> bool:
        """Takes what the server has said, without waiting. False when it has hung up."""
        try:
            while select.select([connection], [], [], 0)[0]:
                self._hear(connection)
        except ConnectionError:
            return False
        return True

    def _connect(self) -> socket.socket:
        deadline = time.monotonic() + self._habits.patience
        while True:
            try:
                return self._try_to_connect()
            except OSError as error:
                if time.monotonic() > deadline:
                    host, port = self._server
                    raise TimeoutError(f"{host} port {port} was not reached in {self._habits.patience:g} s") from error
                time.sleep(0.1)

    def _try_to_connect(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._server[0] else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._habits.source_port:
                connection.bind(("", self._habits.source_port))
            # Sooner than the kernel's own repetitions, which grow slow on a link that is down.
            connection.settimeout(1)
            connection.connect(self._server)
            connection.settimeout(self._habits.patience)
        except OSError:
            connection.close()
            raise
        return connection

    def _write(self, connection: socket.socket, data: bytes) -> None:
        position = 0
        for size in self._sizes(len(data)):
            if position:
                time.sleep(self._habits.pause)
            connection.sendall(data[position : position + size])
            position += size

    def _sizes(self, length: int) -> Iterator[int]:
        """Sizes of writes, together `length`."""
        wanted = iter(self._habits.split)
        while length > 0:
            size = next(wanted, length)
            if self._habits.split_randomly:
                size = self._dice.whole(1, max(1, min(length, 200)))
            size = min(size, length)
            yield size
            length -= size


def wait_until_acknowledged(connection: socket.socket, patience: float) -> None:
    """Until the other end's kernel has everything. Raises TimeoutError after `patience` seconds, ConnectionError if
    it broke."""
    deadline = time.monotonic() + patience
    unsent = array.array("i", [1])
    while True:
        broken = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if broken:
            raise ConnectionError(broken, "the connection broke")
        fcntl.ioctl(connection, termios.TIOCOUTQ, unsent)
        if not unsent[0]:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{unsent[0]} bytes were not acknowledged in {patience:g} s")
        time.sleep(0.002)


def close_with_fin(connection: socket.socket) -> None:
    """Closes in good order. The other end has a second to do the same: closing with unread answers would send an
    RST."""
    with connection:
        try:
            connection.settimeout(1)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
        except OSError:
            return


def simulate(
    dongle: Dongle,
    inverter: Inverter,
    start: datetime,
    readings: int,
    *,
    interval: timedelta = timedelta(minutes=5),
    offline: range = range(0),
    pace: float = 0.05,
) -> None:
    """Sends so many readings. Those whose number is in `offline` are kept, and follow with the next one after it."""
    for number in range(readings):
        if number:
            time.sleep(pace)
        dongle.keep(inverter.report(start + number * interval))
        if number in offline:
            dongle.disconnect()
        else:
            dongle.send_waiting(all_of_it=False)
    dongle.send_waiting()
    dongle.disconnect()


def print_report(report: Report) -> None:
    """One JSON object a line, at once."""
    sys.stdout.write(report.to_json() + "\n")
    sys.stdout.flush()


def parse_start(text: str) -> datetime:
    """An ISO time, in UTC unless it says otherwise, or "now"."""
    if text == "now":
        return datetime.now(UTC)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_range(text: str) -> range:
    """FIRST:END, counting from 0; END itself is not part of it."""
    first, _, end = text.partition(":")
    return range(int(first), int(end))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.dongle.client", description="A dongle and its inverter.")
    add = parser.add_argument
    add("--server", type=parse_address, default=("127.0.0.1", 51100), metavar="HOST:PORT")
    add(
        "--profile",
        choices=sorted(PROFILES),
        default="small",
        help="small: 292-byte reports; large: 306; three-phase: 436",
    )
    add("--seed", type=int, default=1, help="of the house and of random splits")
    add("--zone", type=parse_zone, default=parse_zone("+02:00"), help="of the inverter's clock: a name or +02:00")
    add("--start", type=parse_start, default=parse_start("2024-06-20T22:00"), help="first reading: ISO time, or now")
    add("--readings", type=int, default=12, metavar="N")
    add("--interval", type=float, default=300, metavar="S", help="simulated seconds between readings")
    add("--pace", type=float, default=0.05, metavar="S", help="real seconds between readings")
    add("--offline", type=parse_range, default=range(0), metavar="A:B", help="readings A to B-1 are sent later")
    add("--split", default="", metavar="SIZES", help="write sizes such as 100,1 or random")
    add("--pause", type=float, default=0.01, metavar="S", help="real seconds between the writes of one message")
    add("--merge", type=int, default=1, metavar="N", help="reports in one write")
    add("--reconnect", type=int, default=0, metavar="N", help="a new connection after N reports")
    add("--reset", action="store_true", help="end connections with RST")
    add("--source-port", type=int, default=0, metavar="PORT")
    add("--bare", action="store_true", help="send reports only: no login, no question for the poll map")
    add("--control", action="store_true", help="send a short message before every report")
    add("--patience", type=float, default=30, metavar="S", help="seconds to try for")
    return parser.parse_args()


def main() -> None:
    """The command."""
    options = parse_arguments()
    random_split = options.split == "random"
    habits = Habits(
        split=() if random_split or not options.split else tuple(int(size) for size in options.split.split(",")),
        split_randomly=random_split,
        merge=options.merge,
        pause=options.pause,
        greets=not options.bare,
        controls=options.control,
        reconnect_every=options.reconnect,
        resets=options.reset,
        source_port=options.source_port,
        patience=options.patience,
    )
    profile = PROFILES[options.profile]
    dongle = Dongle(options.server, habits, print_report, options.seed, profile.dongle_serial)
    inverter = Inverter(profile, options.start, options.seed, options.zone)
    interval = timedelta(seconds=options.interval)
    simulate(
        dongle, inverter, options.start, options.readings, interval=interval, offline=options.offline, pace=options.pace
    )


if __name__ == "__main__":
    main()
