"""The HTTP server for the metrics: one request at a time, each with a timeout. Imported only when it is configured.

It answers only `GET /metrics`. Therefore it does not use the standard library's server, whose modules take 6 MB of
memory.
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
from inverter_capture.text import OWN_ERROR, printable

REQUEST_SECONDS = 2.0  # Timeout in seconds for the request, and again for each part of the response
REQUEST_BYTES_MAX = 8192
LISTEN_RETRY_SECONDS = 10.0
"""Seconds between attempts to listen: at boot, the address may be added after the service has started."""
BACKLOG = 8  # Maximum number of waiting connections

_log = logging.getLogger(__name__)


class MetricsServer:
    """Listens on one address, in a thread of its own."""

    def __init__(self, listen: str, text: Callable[[], str]) -> None:
        """`listen`: ADDRESS:PORT, checked by the setting. `text` returns the metrics; it is called for each request."""
        self.listen = listen
        self._text = text
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to release the address and finish. Returns at once."""
        self._stopping.set()
        listener = self._listener
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)

    def join(self, seconds: float) -> None:
        """Wait at most this time for the thread to finish."""
        self._thread.join(seconds)

    def _run(self) -> None:
        logged = ""
        while not self._stopping.is_set():
            try:
                with _listener(self.listen) as listener:
                    logged = ""
                    _log.info("metrics: serving http://%s/metrics", self.listen)
                    self._listener = listener
                    self._serve(listener)
            except OSError as error:
                problem = error.strerror or str(error)
                if problem != logged:
                    logged = problem
                    remedy = (
                        "use an address of this system and a free port, at least 1024 unless the service runs as root"
                    )
                    text = '[metrics] listen = "%s": cannot listen there (%s), trying again; %s'
                    _log.error(text, printable(self.listen), problem, remedy)
            except Exception:  # noqa: BLE001 (nothing may end a thread unseen)
                _log.exception("metrics: %s", OWN_ERROR)
            finally:
                self._listener = None
            self._stopping.wait(LISTEN_RETRY_SECONDS)

    def _serve(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                if self._stopping.is_set():
                    return
                raise
            # A client may close the connection, or not read the response.
            with client, suppress(OSError):
                self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        head = _read_head(client)
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if b"\r\n\r\n" not in head:
            answer = _response("400 Bad Request", "the request is incomplete or too long\n")
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
    """The request head, up to its empty line; incomplete after a timeout or `REQUEST_BYTES_MAX`."""
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
