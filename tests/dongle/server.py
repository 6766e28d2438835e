"""A small cloud server: it takes what comes, answers each message, sends poll maps and redirects, and can hang up.

    python -m tests.dongle.server --listen 192.168.8.10:51100

prints one JSON object a line: that it listens, and connections that come and go with what they brought.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from tests.dongle.addresses import parse_address
from tests.dongle.messages import (
    LOGIN,
    RECORDED_MAP,
    REPORT,
    Entry,
    answer_to,
    cut_messages,
    entries_of,
    parse_header,
    redirect,
)
from tests.dongle.profiles import PROFILES
from tests.dongle.reports import RANGES
from tests.wire import cut

Event = dict[str, Any]

PIECE_SECONDS = 0.01
"""Between two pieces of an answer, so that they become segments."""


class CloudServer:
    """A server in threads of its own, from construction until `close`, or as a context manager.

    Port 0 takes a free one: see `address`. `answers` says whether messages are answered: with `poll_map`, or else with
    the map of the profile whose dongle has logged in; a login with `redirect_to`, if there is one. Answers are written
    in pieces of `piece` bytes. With `close_after` a connection is closed after so many receipts; with `reset` it is
    aborted then. `on_event` is called, from the threads, with what the command prints.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        answers: bool = True,
        poll_map: Sequence[Entry] | None = None,
        redirect_to: tuple[str, int] | None = None,
        piece: int = 65536,
        close_after: int | None = None,
        reset: bool = False,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self._answers = answers
        self.poll_map = poll_map
        """May be changed at any time."""
        self._redirect_to = redirect_to
        self._piece = piece
        self._close_after = close_after
        self._reset = reset
        self._on_event = on_event or (lambda event: None)
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.receipts: list[list[bytes]] = []
        """What each connection has brought, in the order of their beginning, piece by piece."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._on_event({"event": "listening", "host": self.address[0], "port": self.address[1]})
        self._start(self._accept)

    def close(self) -> None:
        """Closes every connection and waits for the threads."""
        # Closing alone would leave the other thread waiting in accept or recv.
        shut_down(self._listener)
        self._listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            shut_down(connection)
        for thread in self._threads:
            thread.join(5)

    @property
    def received(self) -> list[bytes]:
        """What each connection has brought, in the order of their beginning."""
        with self._lock:
            return [b"".join(pieces) for pieces in self.receipts]

    @property
    def reports(self) -> list[bytes]:
        """The reports among it."""
        messages = [message for stream in self.received for message in cut_messages(stream)[0]]
        return [message for message in messages if parse_header(message).type == REPORT]

    @property
    def open_connections(self) -> int:
        """How many there are now."""
        with self._lock:
            return len(self._connections)

    def join(self) -> None:
        """Waits until the server is closed."""
        self._threads[0].join()

    def __enter__(self) -> CloudServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            brought: list[bytes] = []
            with self._lock:
                self._connections.append(connection)
                self.receipts.append(brought)
            self._start(self._serve, connection, f"{peer[0]} {peer[1]}", brought)

    def _serve(self, connection: socket.socket, peer: str, brought: list[bytes]) -> None:
        self._on_event({"event": "connected", "peer": peer})
        unanswered = b""
        entries = self.poll_map or RECORDED_MAP
        with connection:
            while len(brought) != self._close_after:
                try:
                    data = connection.recv(65536)
                    if not data:
                        break
                    brought.append(data)
                    self._on_event({"event": "received", "peer": peer, "bytes": len(data)})
                    if self._answers:
                        messages, unanswered = cut_messages(unanswered + data)
                        for message in messages:
                            entries = self._map_for(message) or entries
                            self._write(connection, self._answer(message, entries))
                except ValueError:
                    # No message of a dongle: nothing to answer.
                    unanswered = b""
                except OSError:
                    break
            if self._reset:
                close_with_reset(connection)
        with self._lock:
            self._connections.remove(connection)
        self._on_event({"event": "closed", "peer": peer, "bytes": sum(map(len, brought))})

    def _map_for(self, message: bytes) -> Sequence[Entry] | None:
        """The map for the dongle that logs in with this message, if that is what it does."""
        if self.poll_map or parse_header(message).type != LOGIN:
            return self.poll_map
        known = [profile for profile in PROFILES.values() if profile.dongle_serial.encode() in message]
        return known[0].poll_map if known else None

    def _answer(self, message: bytes, entries: Sequence[Entry]) -> bytes:
        header = parse_header(message)
        if header.type == LOGIN and self._redirect_to is not None:
            return redirect(*self._redirect_to, header.number)
        return answer_to(message, datetime.now(UTC), entries)

    def _write(self, connection: socket.socket, data: bytes) -> None:
        for number, piece in enumerate(cut(data, (), self._piece)):
            if number:
                time.sleep(PIECE_SECONDS)
            connection.sendall(piece)


def parse_map(text: str) -> tuple[Entry, ...]:
    """The map of reports of 292, 302 or 306 bytes, or of ranges as in 13,59-124. Raises ValueError."""
    if text == "306":
        return RECORDED_MAP
    if text in ("292", "302"):
        return entries_of(RANGES[int(text)])
    ranges = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        ranges.append((int(first), int(last or first)))
    return entries_of(ranges)


def shut_down(connection: socket.socket) -> None:
    """Wakes whoever waits for this socket; a socket that is already closed is fine."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def close_with_reset(connection: socket.socket) -> None:
    """Closes with RST in place of FIN. What is not yet delivered is lost."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def print_event(event: Event) -> None:
    """One JSON object a line, at once."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.dongle.server", description="A small cloud server.")
    parser.add_argument("--listen", type=parse_address, default=("127.0.0.1", 51100), metavar="HOST:PORT")
    parser.add_argument("--silent", action="store_true", help="answer nothing")
    parser.add_argument("--map", type=parse_map, metavar="MAP", help="292, 302, 306, or ranges such as 13,59-124")
    parser.add_argument("--redirect", type=parse_address, metavar="HOST:PORT", help="send dongles that log in there")
    parser.add_argument("--piece", type=int, default=65536, metavar="N", help="answer in pieces of N bytes")
    parser.add_argument("--close-after", type=int, metavar="N", help="hang up after N receipts")
    parser.add_argument("--reset", action="store_true", help="hang up with RST")
    options = parser.parse_args()
    server = CloudServer(
        *options.listen,
        answers=not options.silent,
        poll_map=options.map,
        redirect_to=options.redirect,
        piece=options.piece,
        close_after=options.close_after,
        reset=options.reset,
        on_event=print_event,
    )
    try:
        server.join()
    except KeyboardInterrupt:
        server.close()


if __name__ == "__main__":
    main()
