"""HTTP POST requests with a total timeout, a size limit for the response, and a reason for each failure.

The timeout of the library requests applies to each read, not to the whole response: a server that sends a byte now and
then could block the caller for ever. Therefore each request runs in a thread of its own. After `TOTAL_TIMEOUTS`
timeouts, which include name resolution, `post` returns and abandons the thread. That thread ends when the server closes
the connection or sends nothing for one timeout. While `ABANDONED_MAX` abandoned threads run, no requests are sent.

Requests use the transport adapter of requests without a Session: a Session would take proxies, passwords and CA
certificates from the environment, keep cookies, and read the whole body of a redirect.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import requests
import urllib3
from requests.adapters import HTTPAdapter

from inverter_capture.backends.connection_errors import certificate_problem, explain
from inverter_capture.text import printable

TOTAL_TIMEOUTS = 3  # Maximum duration of a request, as a multiple of its timeout
ABANDONED_MAX = 4  # Maximum number of abandoned requests per client. Each holds a thread, a connection and its body.
ANSWER_BYTES_MAX = 2048  # Maximum number of bytes read of a response body: enough for an error message
EXPLANATION_LENGTH_MAX = 200  # Maximum length in characters of a server's error message in our messages

# urllib3 warns in the log, with tracebacks, about what it also raises.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)


class HttpError(Exception):
    """There was no response. The text gives the reason."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        """`passing`: the failure is temporary, no setting needs to be changed."""
        super().__init__(reason)
        self.passing = passing


class Answer(NamedTuple):
    """An HTTP response."""

    status: int  # The HTTP status code
    explanation: str  # The error message in the body, on one line, without secrets; empty when none came in time
    retry_after: float | None  # Seconds to wait before the next attempt, as the server requests
    location: str  # The target of a redirect
    is_page: bool  # Whether the body is HTML, which no database answers with


class HttpClient:
    """Sends requests to one server over a connection that stays open until `close`. Not thread-safe."""

    def __init__(self, *, timeout: float, verify: bool | str, secrets: tuple[str, ...] = ()) -> None:
        """`timeout`: seconds for the connection and for each read. `verify`: whether to verify the server's certificate
        with the system's CA certificates, or the path of a file or directory of CA certificates.

        `secrets` are replaced where a response repeats them.
        """
        self._timeout = timeout
        self._verify = verify
        self._secrets = sorted(
            {form for secret in secrets if secret for form in _spellings(secret)}, key=len, reverse=True
        )
        self._adapter = HTTPAdapter()
        self._abandoned: list[threading.Thread] = []
        if verify is False:
            # It would warn at each request.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def close(self) -> None:
        """Close the connection. The next request opens another one."""
        self._adapter.close()

    def post(self, url: str, params: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a request. Redirects are not followed.

        Raises HttpError when there is no status within `TOTAL_TIMEOUTS` timeouts, or the request fails.
        """
        self._abandoned = [thread for thread in self._abandoned if thread.is_alive()]
        if len(self._abandoned) >= ABANDONED_MAX:
            raise HttpError(f"no complete response to the last {ABANDONED_MAX} requests yet", passing=True)
        # Error messages are read without decompression.
        headers = {"User-Agent": "inverter-capture", "Accept-Encoding": "identity", **headers}
        request = requests.Request("POST", url, params=params, headers=headers, data=body)
        attempt = _Attempt()
        thread = threading.Thread(target=attempt.make, args=(self._adapter, request, self._timeout, self._verify))
        thread.daemon = True
        thread.start()
        thread.join(self._timeout * TOTAL_TIMEOUTS)
        response, text, error = attempt.response, attempt.body, attempt.error
        if thread.is_alive():
            self._abandoned.append(thread)
            self._adapter.close()
            self._adapter = HTTPAdapter()
        if response is not None:
            return self._answer(response, text)
        if error is not None:
            for cause in _causes(error):
                # Its frames keep a connection open that urllib3 has not closed, as after conflicting headers.
                cause.__traceback__ = None
            # Not "from error", whose traceback may show a secret.
            raise self._explain(error) from None
        raise HttpError(f"no complete response within {self._timeout * TOTAL_TIMEOUTS:g} s", passing=True)

    def _answer(self, response: requests.Response, body: bytes) -> Answer:
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
            # The last characters may be the beginning of a secret.
            text = text[: max(0, len(text) - len(self._secrets[0]))]
        return text[:EXPLANATION_LENGTH_MAX]

    def _redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "(hidden)")
        return text

    def _explain(self, error: BaseException) -> HttpError:
        if problem := certificate_problem({"verify": self._verify} if isinstance(self._verify, str) else {}):
            return HttpError(problem, passing=False)
        causes = (TimeoutError() if isinstance(cause, requests.Timeout) else cause for cause in _causes(error))
        if found := explain(causes, "host", '"https://..."', self._timeout):
            return HttpError(found[0], passing=found[1])
        if isinstance(error, requests.ConnectionError):
            return HttpError("the connection was closed, or the server does not speak HTTP: check host", passing=True)
        return HttpError(f"cannot send a request ({type(error).__name__}): check host", passing=False)


class _Attempt:
    """The result of one request. Can be read while the request runs."""

    def __init__(self) -> None:
        self.response: requests.Response | None = None  # The status and the headers
        self.body = b""  # The first `ANSWER_BYTES_MAX` bytes of the body
        self.error: Exception | None = None

    def make(self, adapter: HTTPAdapter, request: requests.Request, timeout: float, verify: bool | str) -> None:
        """Send the request and wait for the response."""
        try:
            with adapter.send(request.prepare(), stream=True, timeout=timeout, verify=verify) as response:
                self.response = response
                self.body = response.raw.read(ANSWER_BYTES_MAX, decode_content=False)
        except Exception as error:  # noqa: BLE001 (`post` raises it)
            self.error = error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and its causes, which requests and urllib3 keep in several places."""
    seen: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and all(cause is not other for other in seen):
            seen.append(cause)
            yield cause
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]


def _spellings(secret: str) -> tuple[str, ...]:
    """The forms in which a server may repeat a secret."""
    return secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1]


def _explanation(body: bytes) -> str:
    """The error message in a response body: databases send it in JSON."""
    try:
        answer = json.loads(body)
        text = next(str(answer[key]) for key in ("message", "error") if answer.get(key))
    except (ValueError, AttributeError, StopIteration, RecursionError):
        text = body.decode("utf-8", "replace")
    return printable(" ".join(text.split()))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The Retry-After header in seconds. The header holds seconds or a date."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
