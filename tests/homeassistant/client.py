"""Home Assistant's interfaces, as its own pages use them: REST and the WebSocket, from within its namespace."""

from __future__ import annotations

import base64
import ctypes
import http.client
import json
import os
import socket
import struct
import threading
import time
import urllib.parse
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tests.network import Host, namespace_of

PATIENCE_SECONDS = 60

Json = dict[str, Any]

_NEW_NETWORK = 0x40000000
"""CLONE_NEWNET of Linux."""
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
"""What a WebSocket frame may be."""
_LAST, _MASKED = 0x80, 0x80


class RefusedError(Exception):
    """Home Assistant did not do what it was asked for; the message is its own."""


def connect(where: Host | str, port: int) -> socket.socket:
    """A connection to a port on a namespace's loopback. Raises OSError."""
    results: list[socket.socket | OSError] = []

    def work() -> None:
        # Only this thread moves there. A socket stays where it was made.
        try:
            with open(f"/run/netns/{namespace_of(where)}", "rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _NEW_NETWORK) != 0:
                    raise OSError(ctypes.get_errno(), "setns failed")
            results.append(socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS))
        except OSError as error:
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    (result,) = results
    if isinstance(result, OSError):
        raise result
    return result


class _Connection(http.client.HTTPConnection):
    def __init__(self, where: Host | str, port: int) -> None:
        super().__init__("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        self._where = where

    def connect(self) -> None:
        self.sock = connect(self._where, self.port)


class Rest:
    """Requests, each on a connection of its own."""

    def __init__(self, where: Host | str, port: int) -> None:
        self._where = where
        self._port = port
        self.token = ""

    def get(self, path: str) -> Any:
        """The answer to GET. Raises RefusedError, or OSError when there is no answer."""
        return self._request("GET", path)

    def post(self, path: str, fields: Json | None = None, *, form: bool = False) -> Any:
        """The answer to POST with these fields. Raises RefusedError, or OSError when there is no answer."""
        if form:
            body, kind = urllib.parse.urlencode(fields or {}), "application/x-www-form-urlencoded"
        else:
            body, kind = json.dumps(fields or {}), "application/json"
        return self._request("POST", path, body, {"Content-Type": kind})

    def _request(self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None) -> Any:
        authority = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        connection = _Connection(self._where, self._port)
        try:
            connection.request(method, path, body, {**authority, **(headers or {})})
            answer = connection.getresponse()
            text = answer.read().decode()
        except http.client.HTTPException as error:
            raise ConnectionError(f"{method} {path}: {error}") from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise RefusedError(f"{method} {path}: {answer.status} {text}")
        return json.loads(text)


class WebSocket:
    """The conversation of a page with Home Assistant; a context manager."""

    def __init__(self, where: Host | str, port: int, token: str) -> None:
        self._socket = connect(where, port)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._number = 0
        self._events: list[Json] = []
        self._shake_hands(port)
        self._expect("auth_required")
        self._send({"type": "auth", "access_token": token})
        self._expect("auth_ok")

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def ask(self, type: str, **fields: Any) -> Any:
        """The result of a command. RefusedError if there is none."""
        self._number += 1
        number = self._number
        self._send({"id": number, "type": type, **fields})
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            message = self._message(deadline)
            if message["type"] == "result" and message["id"] == number:
                if not message["success"]:
                    raise RefusedError(f"{type}: {message['error']}")
                return message["result"]
            self._keep(message)

    def wait_for_event(self, fits: Callable[[Json], bool], what: str, seconds: float = PATIENCE_SECONDS) -> Json:
        """The next event of a subscription that fits; those before are forgotten. TimeoutError if none comes."""
        deadline = time.monotonic() + seconds
        while True:
            while self._events:
                event = self._events.pop(0)
                if fits(event):
                    return event
            try:
                self._keep(self._message(deadline))
            except TimeoutError as error:
                raise TimeoutError(f"no {what} within {seconds:g} s") from error

    def take_events(self) -> list[Json]:
        """The events of the subscriptions that have come so far."""
        # Whatever came before this answer has been sent before it.
        self.ask("config/auth/list")
        events, self._events = self._events, []
        return events

    def _keep(self, message: Json) -> None:
        if message["type"] == "event":
            self._events.append(message["event"])

    def _expect(self, type: str) -> None:
        message = self._message(time.monotonic() + PATIENCE_SECONDS)
        assert message["type"] == type, message

    # --- the protocol: RFC 6455 ---

    def _shake_hands(self, port: int) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            "GET /api/websocket HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
        )
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        deadline = time.monotonic() + PATIENCE_SECONDS
        while b"\r\n\r\n" not in self._received:
            self._receive(deadline)
        head, _, rest = bytes(self._received).partition(b"\r\n\r\n")
        assert b" 101 " in head.split(b"\r\n")[0], head
        self._received = bytearray(rest)

    def _send(self, message: Json) -> None:
        self._send_frame(_TEXT, json.dumps(message).encode())

    def _send_frame(self, kind: int, data: bytes) -> None:
        if len(data) < 126:
            length = struct.pack(">B", _MASKED | len(data))
        else:
            length = struct.pack(">BH", _MASKED | 126, len(data))
        # A mask of zeros changes nothing, and is allowed.
        self._socket.sendall(bytes([_LAST | kind]) + length + bytes(4) + data)

    def _message(self, deadline: float) -> Json:
        text = bytearray()
        while True:
            first, data = self._frame(deadline)
            kind = first & 0x0F
            if kind == _PING:
                self._send_frame(_PONG, data)
            elif kind == _CLOSE:
                raise ConnectionError("Home Assistant has ended the conversation")
            elif kind != _PONG:
                text += data
                if first & _LAST:
                    message: Json = json.loads(text)
                    return message

    def _frame(self, deadline: float) -> tuple[int, bytes]:
        first, length = self._take(2, deadline)
        if length == 126:
            (length,) = struct.unpack(">H", self._take(2, deadline))
        elif length == 127:
            (length,) = struct.unpack(">Q", self._take(8, deadline))
        return first, self._take(length, deadline)

    def _take(self, count: int, deadline: float) -> bytes:
        while len(self._received) < count:
            self._receive(deadline)
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def _receive(self, deadline: float) -> None:
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("Home Assistant has hung up")
        self._received += data
