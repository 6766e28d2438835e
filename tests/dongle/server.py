"""A small cloud server: it takes what comes, answers a few bytes, and can hang up.

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
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tests.dongle.addresses import parse_address
from tests.dongle.messages import answer

Event = dict[str, Any]


class CloudServer:
    """A server in threads of its own, from construction until `close`, or as a context manager.

    Port 0 takes a free one: see `address`. `answers` says whether every receipt is answered. With `close_after` a
    connection is closed after so many receipts; with `reset` it is aborted then. `on_event` is called, from the
    threads, with what the command prints.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        answers: bool = True,
        close_after: int | None = None,
        reset: bool = False,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self._answers = answers
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
        with connection:
            while len(brought) != self._close_after:
                try:
                    data = connection.recv(65536)
                    if not data:
                        break
                    brought.append(data)
                    self._on_event({"event": "received", "peer": peer, "bytes": len(data)})
                    if self._answers:
                        connection.sendall(answer(len(brought)))
                except OSError:
                    break
            if self._reset:
                close_with_reset(connection)
        with self._lock:
            self._connections.remove(connection)
        self._on_event({"event": "closed", "peer": peer, "bytes": sum(map(len, brought))})


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
    parser.add_argument("--close-after", type=int, metavar="N", help="hang up after N receipts")
    parser.add_argument("--reset", action="store_true", help="hang up with RST")
    options = parser.parse_args()
    server = CloudServer(
        *options.listen,
        answers=not options.silent,
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
