"""The write endpoint of InfluxDB, and of other databases that take line protocol over HTTP.

What an answer means: whether the lines are stored, and if not, who can change that.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from inverter_capture.backends.influxdb2.http_post import Answer, HttpClient, HttpError
from inverter_capture.config.schema import InfluxDb2Config

GZIP_BYTES_MIN = 2048
"""Shorter bodies are sent uncompressed: they fit into two packets."""
GZIP_LEVEL = 3
"""Low, for a router's processor is slower than its network."""


class Outcome(Enum):
    """What a server did with some lines."""

    TAKEN = "taken"
    """It has stored them."""
    REFUSED = "refused"
    """It refuses what one or more of them say."""
    TOO_OLD = "too old"
    """One or more of them are older than its retention period. It may have stored the others."""
    TOO_LARGE = "too large"
    """It takes fewer bytes at a time."""
    PASSING = "passing"
    """It cannot take anything now; no setting has to be changed."""
    LASTING = "lasting"
    """It takes nothing until a setting is changed, here or there."""


class Verdict(NamedTuple):
    """What a server did with some lines, and why."""

    outcome: Outcome
    reason: str = ""
    """For the log. Names the setting to be changed, if there is one."""
    retry_after: float | None = None
    """Seconds after which the server wants the next attempt."""


class WriteApi:
    """The write endpoint that one `[[influxdb2]]` section names. For one thread at a time."""

    def __init__(self, config: InfluxDb2Config) -> None:
        self._config = config
        self._url = config.host + config.path
        names = {"db": config.db} if config.db else {"org": config.org, "bucket": config.bucket}
        self._params = {"precision": "ns"} | {name: value for name, value in names.items() if value}
        self._headers = {"Content-Type": "text/plain; charset=utf-8"} | _authorization(config)
        encoded = self._headers.get("Authorization", "").partition(" ")[2]
        self._client = HttpClient(timeout=config.timeout, verify=config.verify, secrets=(config.token, encoded))

    def close(self) -> None:
        """Close the connection. The next `write` opens another one."""
        self._client.close()

    def write(self, lines: Sequence[bytes]) -> Verdict:
        """Write lines of line protocol. What a server or the network does raises nothing."""
        body = b"\n".join(lines)
        headers = self._headers
        if len(body) >= GZIP_BYTES_MIN:
            body = gzip.compress(body, GZIP_LEVEL)
            headers = headers | {"Content-Encoding": "gzip"}
        try:
            return self._verdict(self._client.post(self._url, self._params, headers, body))
        except HttpError as error:
            return Verdict(Outcome.PASSING if error.passing else Outcome.LASTING, str(error))

    def check(self) -> Verdict:
        """Whether writing would work. Writes no lines: servers look at the token and the bucket first."""
        verdict = self.write([])
        return Verdict(Outcome.TAKEN) if verdict.outcome is Outcome.REFUSED else verdict

    def _verdict(self, answer: Answer) -> Verdict:
        status = answer.status
        said = f"{status}: {answer.explanation}" if answer.explanation else str(status)
        if 200 <= status < 300:
            if answer.is_page:
                return Verdict(Outcome.LASTING, "what answers is a web page, no database: is host right, and path?")
            return Verdict(Outcome.TAKEN)
        if status in (400, 422):
            if "HTTPS" in answer.explanation:
                return Verdict(Outcome.LASTING, f"the server wants https:// in host ({said})")
            too_old = "beyond retention" in answer.explanation
            return Verdict(Outcome.TOO_OLD if too_old else Outcome.REFUSED, said)
        if status == 413:
            return Verdict(Outcome.TOO_LARGE, said)
        if status in (408, 425, 429) or status >= 500:
            return Verdict(Outcome.PASSING, f"the server has trouble ({said})", answer.retry_after)
        return Verdict(Outcome.LASTING, f"{self._culprit(answer)} ({said})")

    def _culprit(self, answer: Answer) -> str:
        config = self._config
        where = f'db = "{config.db}"' if config.db else f'bucket = "{config.bucket}" or org = "{config.org}"'
        if answer.status == 401:
            return "the token is wrong" if config.token else "the server wants a token: set token and authentication"
        if answer.status == 403:
            return f"the token must not write to {where}"
        if answer.status == 404:
            return f'there is no {where}, or the server does not know path = "{config.path}"'
        if 300 <= answer.status < 400:
            return f"the server points to {answer.location or 'another place'}: set host to where it is"
        return f'the server does not take this: is host right, and path = "{config.path}"?'


def _authorization(config: InfluxDb2Config) -> dict[str, str]:
    if config.authentication == "none":
        return {}
    if config.authentication == "basic":
        return {"Authorization": f"Basic {base64.b64encode(config.token.encode()).decode()}"}
    return {"Authorization": f"{config.authentication.capitalize()} {config.token}"}
