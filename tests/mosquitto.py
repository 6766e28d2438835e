"""A real broker, mosquitto, started for a test on loopback, and a client that writes down all that it hears."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.databases import Server
from tests.network import Host, in_namespace, wait_for

PATIENCE_SECONDS = 20


class Mosquitto(Server):
    """A broker. What it keeps is lost when it is killed."""

    def __init__(
        self,
        folder: Path,
        *,
        users: dict[str, str] | None = None,
        rules: Sequence[str] = (),
        options: Sequence[str] = (),
        certificate: tuple[str, str] | None = None,
        authority: Path | None = None,
        websockets: bool = False,
        keep: bool = False,
        where: Host | None = None,
    ) -> None:
        """`users` have passwords; without, everybody may come. `rules` and `options` are lines of its files.

        With `certificate` (the files of one and its key) it speaks TLS; with `authority` it wants clients' certificates
        that this one has signed. `keep`: retained messages outlive an orderly end. `where` is its machine, if it is not
        this one.
        """
        super().__init__(folder)
        folder.mkdir(exist_ok=True)
        self.socket = folder / "socket"
        scheme = ("wss" if certificate else "ws") if websockets else ("mqtts" if certificate else "mqtt")
        self.address = where.ipv4 if where else "127.0.0.1"
        self.url = f"{scheme}://{self.address}:{self.port}"
        self._where = where
        lines = ["user root", f"listener {self.port} {self.address}"]
        if websockets:
            lines.append("protocol websockets")
        if certificate:
            lines += [f"certfile {certificate[0]}", f"keyfile {certificate[1]}"]
        if authority:
            lines += [f"cafile {authority}", "require_certificate true"]
        # The tests' own client connects to a Unix socket.
        lines.append(f"listener 0 {self.socket}")
        lines.append(f"allow_anonymous {'false' if users else 'true'}")
        if users:
            passwords = folder / "passwords"
            passwords.write_text("".join(f"{name}:{password}\n" for name, password in (users | {"test": "t"}).items()))
            subprocess.run(("mosquitto_passwd", "-U", str(passwords)), check=True)
            lines.append(f"password_file {passwords}")
        if rules:
            (folder / "rules").write_text("user test\ntopic readwrite #\n" + "".join(f"{rule}\n" for rule in rules))
            lines.append(f"acl_file {folder / 'rules'}")
        if keep:
            lines += ["persistence true", f"persistence_location {folder}/"]
        (folder / "config").write_text("".join(f"{line}\n" for line in [*lines, *options]))

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            words = ["mosquitto", "-c", str(self.folder / "config"), "-v"]
            if self._where:
                words = in_namespace(self._where, words)
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(self._listens, "broker", PATIENCE_SECONDS)

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send the process a signal, and wait until it has ended."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE_SECONDS)
            self._process = None
            self.socket.unlink(missing_ok=True)

    def log(self) -> str:
        """The log since the first start."""
        return (self.folder / "log").read_text()

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        # WebSockets also listen on IPv6. The file of the Unix socket exists before the broker listens on it.
        tables = "".join(Path(f"/proc/{self._process.pid}/net/{name}").read_text() for name in ("tcp", "tcp6", "unix"))
        return all(re.search(how, tables) for how in (f":{self.port:04X} 0+:0000 0A", f" 00010000 .* {self.socket}\n"))


class Heard(NamedTuple):
    """A message."""

    topic: str
    text: str
    retained: bool
    time: float
    """Of the monotonic clock."""

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Listener:
    """A client that subscribes to all topics and can publish; a context manager."""

    def __init__(self, broker: Mosquitto, topics: str = "#") -> None:
        self.heard: list[Heard] = []
        self._topics = topics
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, transport="unix")
        self._client.username_pw_set("test", "t")
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(str(broker.socket))

    def __enter__(self) -> Listener:
        self._client.loop_start()
        assert self._subscribed.wait(PATIENCE_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, topic: str, text: str, *, retain: bool = False) -> None:
        """Publish a message."""
        self._client.publish(topic, text, qos=1, retain=retain).wait_for_publish(PATIENCE_SECONDS)

    def of(self, topic: str) -> list[Heard]:
        """What it has heard of a topic."""
        return [heard for heard in list(self.heard) if heard.topic == topic]

    def texts(self, topic: str) -> list[str]:
        """The same, without the rest."""
        return [heard.text for heard in self.of(topic)]

    def last(self, topic: str) -> Any:
        """The newest of it, as JSON."""
        return self.of(topic)[-1].json

    def wait_for(
        self, topic: str, condition: Callable[[list[Heard]], object] = bool, seconds: float = 30
    ) -> list[Heard]:
        """What it has heard of a topic, as soon as that is something, and fulfils a condition."""

        def come_true() -> bool:
            heard = self.of(topic)
            return bool(heard and condition(heard))

        wait_for(come_true, f"{topic} as it should be", seconds)
        return self.of(topic)

    def wait_for_text(self, topic: str, text: str, seconds: float = 30) -> None:
        """Until this is the newest of a topic."""
        self.wait_for(topic, lambda heard: heard[-1].text == text, seconds)

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.subscribe(self._topics, 1)

    def _on_message(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        self.heard.append(Heard(message.topic, message.payload.decode(), bool(message.retain), time.monotonic()))


def retained(broker: Mosquitto) -> dict[str, str]:
    """All that the broker keeps."""
    with Listener(broker) as listener:
        # All that it keeps comes before this.
        listener.say("end of the retained", "")
        listener.wait_for("end of the retained")
        return {heard.topic: heard.text for heard in listener.heard if heard.retained}
