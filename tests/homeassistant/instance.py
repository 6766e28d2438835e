"""A Home Assistant of the tests' own, without a screen, in a network namespace from which nothing leads out."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from tests.homeassistant.client import Json, RefusedError, Rest, WebSocket
from tests.network import ROOT, Host, in_namespace, wait_for

ENVIRONMENT = "homeassistant-newest" if os.environ.get("HOMEASSISTANT") == "newest" else "homeassistant-3.13"
PYTHON = Path(ROOT) / ".venv" / ENVIRONMENT / "bin" / "python"
"""Of the environment that `make test-homeassistant` makes."""
PORT = 8123
CLIENT = f"http://127.0.0.1:{PORT}/"
"""What its own pages call themselves."""
START_SECONDS = 120
STOP_SECONDS = 60

CONFIGURATION = f"""
http:
  server_host: 127.0.0.1
  server_port: {PORT}
recorder:
  commit_interval: 0
history:
energy:
logger:
  default: warning
"""

# What it says of itself in a place without cameras, and without the internet.
ITS_OWN_TROUBLES = (
    "homeassistant.bootstrap: Skipping pip installation",
    "homeassistant.components.network: Because the system does not have any enabled IPv4 addresses",
    "homeassistant.components.camera.img_util: Error loading libturbojpeg",
    "haffmpeg.",
    # Voice assistants need a compiler for what they import.
    "homeassistant.setup: Setup failed for 'assist_",
    "homeassistant.setup: Unable to set up dependencies of 'assist_",
)

_LOG_LINE = re.compile(r"\S+ \S+ (WARNING|ERROR|CRITICAL) \(.*?\) \[(.*?)\] (.*)")


class Trouble(NamedTuple):
    """A warning or an error in the log, with the lines that belong to it."""

    level: str
    logger: str
    text: str


class HomeAssistant:
    """The process; a context manager, at whose end it is killed."""

    def __init__(self, folder: Path, where: Host | str) -> None:
        self._folder = folder
        self._where = where
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.rest = Rest(where, PORT)
        (folder / "configuration.yaml").write_text(CONFIGURATION)

    def __enter__(self) -> HomeAssistant:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        """Start it, and wait until it has begun to run."""
        words = [str(PYTHON), "-m", "homeassistant", "--config", str(self._folder), "--skip-pip"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                in_namespace(self._where, words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=os.environ | {"HOME": str(self._folder)},
            )
        wait_for(self._answers, "answer from Home Assistant", START_SECONDS)

    def stop(self) -> None:
        """As its own shutdown does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(STOP_SECONDS)
        self._process = None

    def onboard(self) -> None:
        """Make its first user, and be that one from now on."""
        user = {"name": "Owner", "username": "owner", "password": "secret", "language": "en", "client_id": CLIENT}
        code = self.rest.post("/api/onboarding/users", user)["auth_code"]
        fields = {"grant_type": "authorization_code", "code": code, "client_id": CLIENT}
        self.rest.token = self.rest.post("/auth/token", fields, form=True)["access_token"]

    def add_mqtt(self, host: str, port: int, username: str, password: str) -> str:
        """Add the integration, as its owner does in the forms. Returns the id of the entry."""
        flow = self.rest.post("/api/config/config_entries/flow", {"handler": "mqtt"})
        broker: Json = {"broker": host, "port": port, "username": username, "password": password}
        if any(field["name"] == "other_settings" for field in flow["data_schema"]):
            # Newer versions have a part of the form for these.
            broker["other_settings"] = {"set_client_cert": False, "set_ca_cert": "off"}
        answer = self.rest.post(f"/api/config/config_entries/flow/{flow['flow_id']}", broker)
        assert answer["type"] == "create_entry", answer
        entry: str = answer["result"]["entry_id"]
        return entry

    def wait_until_running(self) -> None:
        """Until all of it is started."""
        wait_for(lambda: self.rest.get("/api/config")["state"] == "RUNNING", "running Home Assistant", START_SECONDS)

    def converse(self) -> WebSocket:
        """A conversation, which ends when it is stopped."""
        return WebSocket(self._where, PORT, self.rest.token)

    def states(self) -> dict[str, Json]:
        """All entities that have a state, by their ids."""
        return {state["entity_id"]: state for state in self.rest.get("/api/states")}

    def troubles(self) -> list[Trouble]:
        """What its log has warned of so far, save what has to do with the place where it runs."""
        found: list[Trouble] = []
        for line in self._log_lines():
            match = _LOG_LINE.match(line)
            if match:
                found.append(Trouble(*match.groups()))
            elif found:
                found[-1] = found[-1]._replace(text=f"{found[-1].text}\n{line}")
        return [trouble for trouble in found if not f"{trouble.logger}: {trouble.text}".startswith(ITS_OWN_TROUBLES)]

    def log_tail(self) -> str:
        """For the report of a failure."""
        return "\n".join(self._log_lines()[-60:])

    def _log_lines(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines()

    def _answers(self) -> Any:
        assert self._process is not None
        assert self._process.poll() is None, self.log_tail()
        try:
            return self.rest.get("/api/onboarding")
        except (OSError, RefusedError):
            return False
