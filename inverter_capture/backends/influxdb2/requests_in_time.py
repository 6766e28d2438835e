"""POST requests that always end: within a bounded time, with a bounded answer, and with a reason when they fail.

requests by itself can be held for ever by an answer that drips, obeys redirects and environment variables, and raises
much that is no RequestException. All of that is dealt with here.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import quote

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from inverter_capture.backends.certificates import authority_problem, explain_certificate, no_tls
from inverter_capture.text import printable

ANSWER_BYTES_MAX = 2048
"""As much of an answer as is read: enough for a server's explanation."""
EXPLANATION_LENGTH_MAX = 200
"""Characters of it that are passed on."""
TOTAL_TIMEOUTS = 3
"""A request ends within this many of its timeouts, name resolution apart, which is the system's affair."""

# What urllib3 has to say comes as exceptions and answers; its warnings would bring tracebacks into the log.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)


class HttpError(Exception):
    """There was no answer; says why. `passing`: it can mend itself, without anybody changing a setting."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.passing = passing


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    explanation: str
    """In the server's words, on one line, without our secrets."""
    retry_after: float | None
    """Seconds that the server asks us to wait."""
    location: str
    """Where a redirect points."""
    is_page: bool
    """HTML, which no database answers."""


class HttpClient:
    """Keeps a connection open from its first request until `close`. For one thread; a context manager."""

    def __init__(self, *, timeout: float, verify: bool | str, secrets: tuple[str, ...] = ()) -> None:
        """`timeout` in seconds; `verify` certificates by the known authorities, not at all, or by those in a file."""
        self._timeout = timeout
        self._secrets = sorted(
            {form for secret in secrets if secret for form in _written(secret)}, key=len, reverse=True
        )
        self._guard = _Guard()
        self._session = requests.Session()
        # Neither proxies nor .netrc nor CA files out of the environment.
        self._session.trust_env = False
        self._session.verify = verify
        if verify is False:
            # Else it would warn at each request.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        # What a server explains is read as it comes.
        self._session.headers["Accept-Encoding"] = "identity"
        for scheme, adapter in (("http://", HTTPAdapter()), ("https://", HTTPAdapter())):
            adapter.poolmanager.pool_classes_by_scheme = _watched_pools(self._guard.watch)
            self._session.mount(scheme, adapter)

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()
        self._guard.close()

    def post(self, url: str, params: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a request. Raises HttpError when no answer comes."""
        with self._guard.limit(self._timeout * TOTAL_TIMEOUTS):
            try:
                with self._session.post(
                    url,
                    params=params,
                    headers=headers,
                    data=body,
                    timeout=self._timeout,
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    return self._answer(response)
            except (requests.RequestException, OSError, ValueError) as error:
                if self._guard.expired:
                    total = self._timeout * TOTAL_TIMEOUTS
                    raise HttpError(f"no whole answer within {total:g} s", passing=True) from None
                # Not "from error": what it holds may show a secret in a traceback.
                raise self._explain(error) from None

    def _answer(self, response: requests.Response) -> Answer:
        try:
            body: bytes = response.raw.read(ANSWER_BYTES_MAX, decode_content=False)
        except Exception:  # noqa: BLE001 (urllib3 raises what it likes; the status is what counts)
            body = b""
        return Answer(
            response.status_code,
            self._redacted_explanation(body),
            _retry_after(response.headers),
            self._redact(printable(response.headers.get("Location", "")))[:EXPLANATION_LENGTH_MAX],
            "text/html" in response.headers.get("Content-Type", "").lower(),
        )

    def _redacted_explanation(self, body: bytes) -> str:
        text = self._redact(_explanation(body))
        if len(body) >= ANSWER_BYTES_MAX and self._secrets:
            # It may end within a secret.
            text = text[: max(0, len(text) - len(self._secrets[0]))]
        return text[:EXPLANATION_LENGTH_MAX]

    def _redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "(hidden)")
        return text

    def _explain(self, error: BaseException) -> HttpError:
        causes = list(_causes(error))
        problem = authority_problem(self._session.verify)
        if problem:
            return HttpError(problem, passing=False)
        for cause in causes:
            if isinstance(cause, ssl.SSLCertVerificationError):
                reason, passing = explain_certificate(cause, "host")
                return HttpError(reason, passing=passing)
        for cause in causes:
            if isinstance(cause, ssl.SSLError):
                return HttpError(no_tls(cause, 'host = "https://..."'), passing=True)
            if isinstance(cause, socket.gaierror):
                return HttpError(f"its name cannot be resolved ({cause.strerror})", passing=True)
            if isinstance(cause, requests.Timeout | TimeoutError):
                return HttpError(f"no answer within {self._timeout:g} s", passing=True)
        for cause in causes:
            if isinstance(cause, OSError) and cause.strerror:
                return HttpError(f"cannot be reached ({cause.strerror})", passing=True)
        if isinstance(error, requests.ConnectionError):
            return HttpError("the connection broke, or what answers does not speak HTTP", passing=True)
        return HttpError(f"cannot be asked ({type(error).__name__}): is host right?", passing=False)


class _Guard:
    """Breaks a connection off that takes too long, from outside: its own timeouts count from the latest byte."""

    def __init__(self) -> None:
        self.expired = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def limit(self, seconds: float) -> _Guard:
        """Begin a `with` block that may take this long."""
        self.expired = False
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        return self

    def __enter__(self) -> None:
        assert self._timer is not None
        self._timer.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._timer is not None
        self._timer.cancel()

    def watch(self, connection: socket.socket) -> None:
        """This connection is the one. It is kept as a duplicate, for TLS takes the original away."""
        self.close()
        with self._lock:
            self._socket = connection.dup()
            if self.expired:
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _expire(self) -> None:
        with self._lock:
            self.expired = True
            if self._socket is not None:
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    # It had broken by itself.
                    self._socket.close()
                    self._socket = None


def _watched_pools(watch: Callable[[socket.socket], None]) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's pools, but for connections that tell of their socket."""

    class Connection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            connection: socket.socket = super()._new_conn()
            watch(connection)
            return connection

    class TlsConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            connection: socket.socket = super()._new_conn()
            watch(connection)
            return connection

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    return {"http": Pool, "https": TlsPool}


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and all those it was made from, which requests and urllib3 keep in several places."""
    seen: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and all(cause is not other for other in seen):
            seen.append(cause)
            yield cause
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]


def _written(secret: str) -> tuple[str, ...]:
    """How a server may write it when it repeats what it was sent."""
    import json

    return secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1]


def _explanation(body: bytes) -> str:
    """What a server says, out of the JSON that databases wrap it in."""
    import json

    try:
        answer = json.loads(body)
        text = next(str(answer[key]) for key in ("message", "error") if answer.get(key))
    except (ValueError, AttributeError, StopIteration, RecursionError):
        text = body.decode("utf-8", "replace")
    return printable(" ".join(text.split()))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; the header holds them or a date."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        import time

        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
