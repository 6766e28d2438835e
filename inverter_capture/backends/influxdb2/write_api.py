"""The write endpoint of InfluxDB, and of other databases that accept line protocol over HTTP.

Decides by the HTTP status whether the lines are stored, and if not, whether to retry or which setting to change.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple
from urllib.parse import urlsplit

from inverter_capture.backends.influxdb2.http_post import Answer, HttpClient, HttpError
from inverter_capture.config.schema import InfluxDb2Config

GZIP_BYTES_MIN = 2048  # Minimum size in bytes for compression. Smaller bodies fit into two packets.
GZIP_LEVEL = 3  # Low, because a router's processor is slower than its network
LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Hosts for which nothing is compressed: no network is saved, and compression takes a sixth of an import's time."""


class Outcome(Enum):
    """The result of a write."""

    TAKEN = "taken"  # The lines are stored
    REFUSED = "refused"  # One or more lines are invalid for the server
    TOO_OLD = "too old"  # One or more lines are older than the retention period. The others may be stored.
    TOO_LARGE = "too large"  # The request exceeds the server's size limit
    PASSING = "passing"  # A temporary failure: no setting needs to be changed
    LASTING = "lasting"  # A failure that lasts until a setting is changed, here or on the server


class Verdict(NamedTuple):
    """The result of a write, and its reason."""

    outcome: Outcome
    reason: str = ""  # The reason for the log, with the setting to change, if any
    retry_after: float | None = None  # Seconds to wait before the next attempt, as the server requests


class WriteApi:
    """The write endpoint of one `[[influxdb2]]` section. Not thread-safe."""

    def __init__(self, config: InfluxDb2Config) -> None:
        self._config = config
        self._url = config.host + config.path
        names = {"db": config.db} if config.db else {"org": config.org, "bucket": config.bucket}
        self._params = {"precision": "ns"} | {name: value for name, value in names.items() if value}
        self._headers = {"Content-Type": "text/plain; charset=utf-8"} | _authorization(config)
        self._compresses = urlsplit(config.host).hostname not in LOOPBACK
        encoded = self._headers.get("Authorization", "").partition(" ")[2]
        self._client = HttpClient(timeout=config.timeout, verify=config.verify, secrets=(config.token, encoded))

    def close(self) -> None:
        """Close the connection. The next `write` opens another one."""
        self._client.close()

    def write(self, lines: Sequence[bytes]) -> Verdict:
        """Write lines of line protocol. Failures of the server or the network are returned, not raised."""
        body = b"\n".join(lines)
        headers = self._headers
        if self._compresses and len(body) >= GZIP_BYTES_MIN:
            body = gzip.compress(body, GZIP_LEVEL)
            headers = headers | {"Content-Encoding": "gzip"}
        try:
            return self._verdict(self._client.post(self._url, self._params, headers, body))
        except HttpError as error:
            return Verdict(Outcome.PASSING if error.passing else Outcome.LASTING, str(error))

    def check(self) -> Verdict:
        """Whether a write would succeed. Sends no lines: servers check the token and the bucket first."""
        verdict = self.write([])
        return Verdict(Outcome.TAKEN) if verdict.outcome is Outcome.REFUSED else verdict

    def _verdict(self, answer: Answer) -> Verdict:
        status = answer.status
        said = f"{status}: {answer.explanation}" if answer.explanation else str(status)
        if 200 <= status < 300:
            if answer.is_page:
                return Verdict(Outcome.LASTING, "the response is a web page, not a database's: check host and path")
            return Verdict(Outcome.TAKEN)
        if status in (400, 422):
            if "HTTPS" in answer.explanation:
                return Verdict(Outcome.LASTING, f"the server requires TLS: set host to https://... ({said})")
            too_old = "beyond retention" in answer.explanation
            return Verdict(Outcome.TOO_OLD if too_old else Outcome.REFUSED, said)
        if status == 413:
            return Verdict(Outcome.TOO_LARGE, said)
        if status in (408, 425, 429) or status >= 500:
            return Verdict(Outcome.PASSING, f"temporary server error ({said})", answer.retry_after)
        return Verdict(Outcome.LASTING, f"{self._culprit(answer)} ({said})")

    def _culprit(self, answer: Answer) -> str:
        config = self._config
        where = f'db = "{config.db}"' if config.db else f'bucket = "{config.bucket}" or org = "{config.org}"'
        if answer.status == 401:
            if config.token:
                return "the server rejects the token: correct token"
            return "the server requires a token: set token and authentication"
        if answer.status == 403:
            return f"the token has no permission to write to {where}: set another token"
        if answer.status == 404:
            return f'not found: check {where}, and path = "{config.path}"'
        if 300 <= answer.status < 400:
            return f"the server redirects to {answer.location or 'another address'}: set host to that server"
        return f'the server does not accept the request: check host, and path = "{config.path}"'


def _authorization(config: InfluxDb2Config) -> dict[str, str]:
    if config.authentication == "none":
        return {}
    if config.authentication == "basic":
        return {"Authorization": f"Basic {base64.b64encode(config.token.encode()).decode()}"}
    return {"Authorization": f"{config.authentication.capitalize()} {config.token}"}
