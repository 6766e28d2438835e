"""Serves the metrics over HTTP: one request at a time, each in short time. Loaded only when it is configured.

It answers `GET /metrics` and nothing else. That takes so little of HTTP that the standard library's server, which
brings 6 MB of modules for mail and files, is not worth a router's memory.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from inverter_capture.config.values import split_port
from inverter_capture.service.metrics import CONTENT_TYPE
from inverter_capture.text import printable

REQUEST_SECONDS = 2.0
"""How long a client may take to send its request, and again to take the answer."""
REQUEST_BYTES_MAX = 8192
RETRY_SECONDS = 10.0
"""How often an address that cannot be served on is tried again: at boot it may come later than we do."""
BACKLOG = 8
"""Clients that wait for the one before."""

_log = logging.getLogger(__name__)


class MetricsServer:
    """Listens on one address, in a thread of its own that sleeps until a client comes."""

    def __init__(self, listen: str, text: Callable[[], str]) -> None:
        """`listen` is ADDRESS:PORT, as checked by the setting; `text` makes the metrics."""
        self.listen = listen
        self._text = text
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end and free the address. Returns at once."""
        self._stopping.set()
        listener = self._listener
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)

    def join(self, seconds: float) -> None:
        """Wait for that, at most this time."""
        self._thread.join(seconds)

    def _run(self) -> None:
        said = ""
        while not self._stopping.is_set():
            try:
                with _listener(self.listen) as listener:
                    said = ""
                    _log.info("metrics: serving http://%s/metrics", self.listen)
                    self._listener = listener
                    self._serve(listener)
            except OSError as error:
                problem = error.strerror or str(error)
                if problem != said:
                    said = problem
                    _log.error(
                        '[metrics] listen = "%s": cannot be served on (%s); trying again: it must be an address of '
                        "this system and a free port, from 1024 on unless the service runs as root",
                        printable(self.listen),
                        problem,
                    )
            except Exception:  # noqa: BLE001 (nothing may end a thread unseen)
                _log.exception("metrics: an error in inverter-capture itself, please report it")
            finally:
                self._listener = None
            self._stopping.wait(RETRY_SECONDS)

    def _serve(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                if self._stopping.is_set():
                    return
                raise
            # A client that goes away, or does not read, is no news.
            with client, suppress(OSError):
                self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        head = _read_head(client)
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if b"\r\n\r\n" not in head:
            answer = _response("400 Bad Request", "no request in time, or a longer one than is taken\n")
        elif method not in (b"GET", b"HEAD"):
            answer = _response("405 Method Not Allowed", "GET /metrics\n", "Allow: GET, HEAD\r\n")
        elif path != b"/metrics":
            answer = _response("404 Not Found", "GET /metrics\n")
        else:
            answer = _response("200 OK", self._text(), type=CONTENT_TYPE)
        if method == b"HEAD":
            answer = answer[: answer.index(b"\r\n\r\n") + 4]
        client.settimeout(REQUEST_SECONDS)
        client.sendall(answer)


def _listener(listen: str) -> socket.socket:
    name, port = split_port(listen)
    host = name.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=BACKLOG)


def _read_head(client: socket.socket) -> bytes:
    """What has come until the empty line behind the headers, the time is over or it is too long."""
    deadline = time.monotonic() + REQUEST_SECONDS
    head = b""
    while b"\r\n\r\n" not in head and len(head) < REQUEST_BYTES_MAX and (left := deadline - time.monotonic()) > 0:
        client.settimeout(left)
        with suppress(TimeoutError):
            data = client.recv(REQUEST_BYTES_MAX)
            if not data:
                break
            head += data
    return head


def _response(status: str, body: str, more: str = "", type: str = "text/plain; charset=utf-8") -> bytes:
    data = body.encode()
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {type}\r\nContent-Length: {len(data)}\r\n{more}Connection: close\r\n\r\n"
    ).encode() + data
