"""One connection to an MQTT broker, through paho-mqtt of either line, in the thread of whoever uses it.

paho only speaks the protocol here. Its own loop hides why a connection fails, wakes up each second, keeps messages of
connections that are no more, and dies of an exception; none of that is used.
"""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil
from typing import Any, NamedTuple

import paho.mqtt.client as paho

from inverter_capture.backends.certificates import authority_problem, explain_certificate, no_tls
from inverter_capture.config.schema import MqttConfig
from inverter_capture.config.values import BROKER_PORTS, split_port
from inverter_capture.text import printable

CONNECT_SECONDS = 5.0
"""How long to wait for a network connection, and for each step of TLS."""
ANSWER_SECONDS = 10.0
"""How long to wait for the broker's answer over it."""


class MqttError(Exception):
    """There is no connection, or no more; says why."""

    def __init__(self, reason: str, *, passing: bool, closed: bool = False) -> None:
        """`passing`: it can mend itself, without anybody changing a setting. `closed`: the broker ended it."""
        super().__init__(reason)
        self.passing = passing
        self.closed = closed


class Message(NamedTuple):
    """What the broker passes on."""

    topic: str
    payload: bytes
    retained: bool
    """It was there before we asked for it."""


class Sent(NamedTuple):
    """What was sent to be confirmed."""

    topic: str
    size: int


class Connection:
    """A connection, from `open` to `close`. Calls raise MqttError when it is lost."""

    def __init__(self, config: MqttConfig, client_id: str, will: tuple[str, bytes] | None = None) -> None:
        """`will` is the retained message that the broker sends for us when we are gone without a word."""
        self.messages: deque[Message] = deque()
        """What has come; whoever reads it takes it out."""
        self.unconfirmed: dict[int, Sent] = {}
        """What the broker has not confirmed yet, by the number that `publish` gave."""
        self.subscribed = 0
        """Subscriptions that the broker has answered."""
        self._config = config
        self._refusal: int | None = None
        self._is_open = False
        self._complaint = ""
        self._client_id = client_id
        self._will = will
        self._client: Any = None

    def open(self) -> None:
        """Connect, and wait until the broker has agreed."""
        self._client = self._make_client()
        host, port, _ = _place(self._config.url)
        try:
            self._client.connect(host, port, keepalive=self._config.keepalive)
        except Exception as error:  # noqa: BLE001 (paho and ssl raise what they like)
            # paho forgets what it cannot use.
            self._client.close_made()
            raise self._explain(error) from None
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self._is_open:
            left = deadline - time.monotonic()
            if left <= 0:
                raise MqttError(f"no answer within {ANSWER_SECONDS:g} s", passing=True)
            self.wait(left)

    def close(self) -> None:
        """End it. The broker sends the will, unless `disconnect` came before."""
        if self._client is not None:
            connection = self._client.socket()
            self._client.on_log = None
            if connection is not None:
                connection.close()

    def disconnect(self, seconds: float) -> None:
        """End it in an orderly way, in this time at most; the broker sends no will then."""
        self._client.disconnect()
        deadline = time.monotonic() + seconds
        while self._client.want_write() and (left := deadline - time.monotonic()) > 0:
            try:
                self.wait(left)
            except MqttError:
                return

    def publish(self, topic: str, payload: bytes, *, retain: bool = True, confirm: bool = True) -> int:
        """Send a message. With `confirm` the broker confirms it. Returns its number."""
        number: int = self._client.publish(topic, payload, qos=1 if confirm else 0, retain=retain).mid
        if confirm:
            self.unconfirmed[number] = Sent(topic, len(payload))
        return number

    def subscribe(self, topics: Sequence[str]) -> None:
        """Ask for messages of these topics."""
        self._client.subscribe([(topic, 1) for topic in topics])

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """Ask for no more of them."""
        self._client.unsubscribe(list(topics))

    def wait(self, seconds: float, wake: int | None = None) -> None:
        """Send and receive, until something has happened, `wake` can be read, or the time is over."""
        connection = self._client.socket()
        if connection is None:
            raise self._lost()
        ready = select.poll()
        number = connection.fileno()
        ready.register(number, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        if wake is not None:
            ready.register(wake, select.POLLIN)
        # What TLS has decrypted already, the kernel knows nothing of.
        waiting = connection.pending() if hasattr(connection, "pending") else 0
        # Often enough for the broker, which waits for one and a half times what was agreed.
        seconds = 0 if waiting else min(max(0.0, seconds), self._config.keepalive / 3)
        events = dict(ready.poll(ceil(seconds * 1000)))
        if waiting or events.get(number, 0) & ~select.POLLOUT:
            self._step(self._client.loop_read)
        if events.get(number, 0) & select.POLLOUT:
            self._step(self._client.loop_write)
        self._step(self._client.loop_misc, keepalive=True)

    def _step(self, step: Callable[[], Any], *, keepalive: bool = False) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 (paho raises what it likes when an answer is not MQTT)
            self._complaint = self._complaint or str(error)
            raise self._lost() from None
        if self._client.socket() is None:
            if keepalive:
                raise MqttError("the broker does not answer any more", passing=True)
            raise self._lost()

    def _lost(self) -> MqttError:
        if self._refusal is not None:
            return self._explain_refusal(self._refusal)
        if self._is_open:
            return MqttError("the broker has ended the connection", passing=True, closed=True)
        alert = re.search(r"\[SSL: (\w+)\]", self._complaint)
        if alert:
            return MqttError(
                f"the broker refuses our certificate, or wants one ({alert[1]}): set certificate and key", passing=False
            )
        return MqttError(
            "what answers does not speak MQTT: is url right, with mqtts:// or wss:// for TLS, and its port?",
            passing=True,
        )

    def _make_client(self) -> Any:
        """Raises MqttError for files that cannot be used."""
        config = self._config
        scheme = config.url.partition("://")[0]
        # The second line of paho wants to know which callbacks are meant.
        version: Any = getattr(paho, "CallbackAPIVersion", None)
        make: Any = _Client
        client = make(
            *((version.VERSION2,) if version else ()),
            client_id=self._client_id,
            transport="websockets" if scheme in ("ws", "wss") else "tcp",
            reconnect_on_failure=False,
        )
        client.url = config.url
        if config.username:
            client.username_pw_set(config.username, config.password or None)
        if self._will is not None:
            client.will_set(*self._will, qos=1, retain=True)
        if scheme in ("ws", "wss"):
            host, port, path = _place(config.url)
            client.ws_set_options(path or "/mqtt", {"Host": f"[{host}]:{port}"} if ":" in host else None)
        if scheme in ("mqtts", "wss"):
            client.context = self._tls_context()
            client.tls_set_context(client.context)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_log = self._on_log
        # Else paho writes at once what it is to send, in the midst of whatever it does.
        client.on_socket_register_write = _nothing
        return client

    def _tls_context(self) -> _Context:
        config = self._config
        problem = authority_problem(config.verify)
        if problem:
            raise MqttError(problem, passing=False)
        context = _Context(ssl.PROTOCOL_TLS_CLIENT)
        if isinstance(config.verify, str):
            where = "capath" if os.path.isdir(config.verify) else "cafile"
            context.load_verify_locations(**{where: config.verify})
        elif config.verify:
            context.load_default_certs()
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if config.certificate:
            try:
                # Without a password of ours, OpenSSL would ask for one at the terminal.
                context.load_cert_chain(config.certificate, config.key or None, password="")
            except (OSError, ValueError) as error:
                file = f'key = "{config.key}"' if config.key else "its key"
                reason = "not in PEM format, or not of each other" if isinstance(error, ssl.SSLError) else error
                reason = getattr(reason, "strerror", None) or reason
                raise MqttError(
                    printable(f'certificate = "{config.certificate}" and {file} cannot be used ({reason})'),
                    passing=False,
                ) from None
        return context

    def _explain(self, error: Exception) -> MqttError:
        if isinstance(error, MqttError):
            return error
        if isinstance(error, ssl.SSLCertVerificationError):
            reason, passing = explain_certificate(error, "url")
            return MqttError(reason, passing=passing)
        if isinstance(error, ssl.SSLError):
            return MqttError(no_tls(error, 'url = "mqtts://..." or "wss://..."'), passing=True)
        if isinstance(error, socket.gaierror):
            return MqttError(f"its name cannot be resolved ({error.strerror})", passing=True)
        if isinstance(error, TimeoutError):
            return MqttError(f"no answer within {CONNECT_SECONDS:g} s", passing=True)
        if isinstance(error, paho.WebsocketConnectionError):
            return MqttError("no WebSocket for MQTT there: is url right, with its port and path?", passing=True)
        if isinstance(error, OSError) and error.strerror:
            return MqttError(f"cannot be reached ({error.strerror})", passing=True)
        return MqttError(f"cannot be asked ({type(error).__name__}): is url right?", passing=False)

    def _explain_refusal(self, code: int) -> MqttError:
        user = f'username = "{printable(self._config.username)}"'
        if code in (1, 132):
            return MqttError("the broker does not know MQTT 3.1.1", passing=False)
        if code in (2, 133):
            return MqttError(f'the broker refuses client_id = "{printable(self._client_id)}"', passing=False)
        if code in (3, 136):
            return MqttError("the broker has trouble (unavailable)", passing=True)
        if code not in (4, 5, 134, 135):
            return MqttError(f"the broker refuses the connection (code {code})", passing=False)
        if self._config.username:
            return MqttError(f"the broker refuses {user} with this password", passing=False)
        return MqttError("the broker wants a username and a password", passing=False)

    # What paho calls. An exception in one would pass through all of paho.

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any = None) -> None:
        number = getattr(code, "value", code)
        if number:
            self._refusal = number
        else:
            self._is_open = True

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        with suppress(UnicodeDecodeError):  # of a topic that is none of ours
            self.messages.append(Message(message.topic, bytes(message.payload), bool(message.retain)))

    def _on_publish(self, _client: Any, _data: Any, number: int, *_: Any) -> None:
        self.unconfirmed.pop(number, None)

    def _on_subscribe(self, *_: Any) -> None:
        self.subscribed += 1

    def _on_log(self, _client: Any, _data: Any, level: int, text: str) -> None:
        if level == paho.MQTT_LOG_ERR:
            self._complaint = text


class _Context(ssl.SSLContext):
    """Keeps hold of what it makes."""

    made: ssl.SSLSocket | None = None

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        self.made = super().wrap_socket(*arguments, **options)
        return self.made


class _Client(paho.Client):
    """A client whose sockets are ours: also to a path, which the first line of paho does not know."""

    url = ""
    context: _Context | None = None
    _made: socket.socket | None = None

    def close_made(self) -> None:
        """Close the socket, whatever has become of it."""
        for made in (self._made, None if self.context is None else self.context.made):
            if made is not None:
                made.close()

    def _create_socket_connection(self) -> socket.socket:
        if self.url.startswith("unix://"):
            self._made = socket.socket(socket.AF_UNIX)
            self._made.settimeout(CONNECT_SECONDS)
            self._made.connect(self.url.removeprefix("unix://"))
        else:
            host, port, _ = _place(self.url)
            self._made = socket.create_connection((host, port), CONNECT_SECONDS)
            # Else a message may wait for the acknowledgement of the one before, which brokers delay by 40 ms.
            self._made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._made


def _nothing(*_: Any) -> None:
    pass


def _place(url: str) -> tuple[str, int, str]:
    """Host, port and path of a checked URL; of a socket's something that paho takes."""
    scheme, _, rest = url.partition("://")
    if scheme == "unix":
        return "localhost", BROKER_PORTS["mqtt"], ""
    authority, slash, path = rest.partition("/")
    name, port = split_port(authority)
    return name.strip("[]"), int(port or BROKER_PORTS[scheme]), slash + path
