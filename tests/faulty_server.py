"""An HTTP server that does what a test wants: stores lines as a database, or fails in any way that there is."""

from __future__ import annotations

import gzip
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import BinaryIO
from urllib.parse import parse_qs, urlsplit

from tests.network import wait_for


class Exchange:
    """A request, and the way to answer it."""

    def __init__(
        self, server: FaultyServer, connection: socket.socket, target: str, headers: dict[str, str], body: bytes
    ) -> None:
        self.time = time.monotonic()
        self.target = target
        self.headers = headers
        """By their names in lower case."""
        self.size = len(body)
        """As sent."""
        self.body = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        self._server = server
        self._connection = connection

    @property
    def lines(self) -> list[str]:
        """The lines of line protocol in it."""
        return self.body.decode().removesuffix("\n").split("\n") if self.body else []

    @property
    def params(self) -> dict[str, str]:
        """The parameters of the query."""
        query = parse_qs(urlsplit(self.target).query, keep_blank_values=True, strict_parsing=True)
        return {name: text for name, (text,) in query.items()}

    def store(self) -> None:
        """As a database does before it answers with 204."""
        self._server.stored += self.lines

    def answer(self, status: int, body: str | bytes = "", headers: Mapping[str, str] | None = None) -> None:
        """A whole answer."""
        data = body.encode() if isinstance(body, str) else body
        fields = {"Content-Length": str(len(data))} | dict(headers or {})
        head = "".join(f"{name}: {text}\r\n" for name, text in fields.items())
        self.send(f"HTTP/1.1 {status} As Asked\r\n{head}\r\n".encode() + data)

    def send(self, data: bytes) -> None:
        """Any bytes."""
        self._connection.sendall(data)

    def drip(self, data: bytes, seconds: float = 0.05) -> None:
        """Any bytes, one at a time, over and over again."""
        while not self._server.ended.wait(seconds):
            for byte in data:
                self.send(bytes([byte]))
                if self._server.ended.wait(seconds):
                    return

    def hang(self) -> None:
        """Say nothing for as long as the server lives."""
        self._server.ended.wait()

    def close(self) -> None:
        """End the connection."""
        self._connection.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Break the connection."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


Play = Callable[[Exchange], None]


def well(exchange: Exchange) -> None:
    """A server that is well."""
    exchange.store()
    exchange.answer(204)


def answering(status: int, body: str = "", **headers: str) -> Play:
    """A server that always answers this and stores nothing. Underscores in headers' names stand for hyphens."""
    fields = {name.replace("_", "-"): text for name, text in headers.items()}
    return lambda exchange: exchange.answer(status, body, fields)


class FaultyServer:
    """The server; a context manager. What it plays can be changed at any time."""

    def __init__(self, play: Play = well, tls: ssl.SSLContext | None = None, family: int = socket.AF_INET) -> None:
        self.play = play
        self.stored: list[str] = []
        """In the order in which they came."""
        self.exchanges: list[Exchange] = []
        self.connections = 0
        self.ended = threading.Event()
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.port = 0
        self.listen()

    def listen(self) -> None:
        """Begin to take connections, on the same port as before."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def refuse(self) -> None:
        """Stop listening: further connections are refused."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}"

    def __enter__(self) -> FaultyServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.ended.set()
        self.refuse()
        wait_for(lambda: not self._open, "end of the connections")

    def wait_for_stored(self, count: int, seconds: float = 30) -> list[str]:
        """What is stored, as soon as there is so much."""
        wait_for(lambda: len(self.stored) >= count, f"{count} lines, but {len(self.stored)}", seconds)
        return list(self.stored)

    def wait_for_exchanges(self, count: int, seconds: float = 30) -> list[Exchange]:
        """The requests, as soon as there are so many."""
        wait_for(lambda: len(self.exchanges) >= count, f"{count} requests, but {len(self.exchanges)}", seconds)
        return list(self.exchanges)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        used = connection
        try:
            connection.settimeout(30)
            if self._tls is not None:
                used = self._tls.wrap_socket(connection, server_side=True)
            while not self.ended.is_set() and (exchange := self._read(used)) is not None:
                self.exchanges.append(exchange)
                self.play(exchange)
        except OSError:
            # The client has gone, or the test has broken the connection.
            pass
        finally:
            used.close()
            self._open.discard(connection)

    def _read(self, connection: socket.socket) -> Exchange | None:
        """The next request; None at the end."""
        with connection.makefile("rb") as file:
            line = file.readline().decode("latin-1")
            if not line.endswith("HTTP/1.1\r\n"):
                if line:
                    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nThis is no HTTP.\n")
                return None
            headers: dict[str, str] = {}
            while (header := file.readline().decode("latin-1").rstrip("\r\n")) != "":
                name, _, text = header.partition(":")
                headers[name.lower()] = text.strip()
            body = file.read(int(headers.get("content-length", 0)))
            if headers.get("transfer-encoding") == "chunked":
                body = _chunks(file)
        return Exchange(self, connection, line.split(" ")[1], headers, body)


def _chunks(file: BinaryIO) -> bytes:
    """A chunked body, as sunsniff sends it."""
    chunks = []
    while size := int(file.readline(), 16):
        chunks.append(file.read(size))
        file.readline()
    file.readline()
    return b"".join(chunks)
