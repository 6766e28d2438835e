"""One connection to an MQTT broker with paho-mqtt 1.6.1 or 2.x, in the thread of the caller.

Only paho's implementation of the protocol is used, not its network loop: that hides why a connection fails, wakes up
each second, keeps the messages of broken connections, and ends with any exception.

The sockets are made here, not by paho: 1.6.1 has no Unix sockets, and either version buffers a message of any size
before it calls back, which `_Bounded` limits.
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

from inverter_capture.backends.connection_errors import certificate_files, certificate_problem, explain
from inverter_capture.config.schema import MqttConfig
from inverter_capture.config.values import split_broker
from inverter_capture.text import printable

CONNECT_SECONDS = 5.0  # Timeout in seconds for the network connection, and for each read and write of the TLS handshake
ANSWER_SECONDS = 10.0  # Timeout in seconds for the broker's CONNACK
MESSAGE_BYTES_MAX = 256 * 1024  # Maximum size of a received message in bytes: ten times our own messages

_RECEIVED_AT_QOS_2 = ("Received PUBLISH (d0, q2", "Received PUBLISH (d1, q2")
"""The beginnings of paho's log lines for messages at QoS 2, which it keeps until they are released."""


class MqttError(Exception):
    """The connection failed or is lost. The text gives the reason."""

    def __init__(self, reason: str, *, passing: bool, closed: bool = False) -> None:
        """`passing`: temporary, no setting needs to change. `closed`: the broker closed an established connection."""
        super().__init__(reason)
        self.passing = passing
        self.closed = closed


class MessageTooLarge(MqttError):
    """The broker sent a message larger than `MESSAGE_BYTES_MAX`, or one at QoS 2."""


class Message(NamedTuple):
    """A message from the broker."""

    topic: str
    payload: bytes
    retained: bool  # Whether it is a retained message, sent because of a new subscription


class Connection:
    """A connection, from `open` to `close`. Methods raise MqttError when it is lost. Not thread-safe."""

    def __init__(self, config: MqttConfig, client_id: str, will: tuple[str, bytes] | None = None) -> None:
        """`will`: topic and payload that the broker publishes, retained, if the connection breaks."""
        self.messages: deque[Message] = deque()  # Received messages. The reader removes them.
        self.unconfirmed: set[int] = set()  # Numbers of the published messages that the broker has not confirmed
        self.subscribed = 0  # The number of calls of `subscribe` that the broker has answered
        self._config = config
        self._broker = split_broker(config.url)
        self._refusal: int | None = None
        self._is_open = False
        self._complaint = ""
        self._unwanted = False  # Whether a message at QoS 2 was received
        self._client_id = client_id
        self._will = will
        self._socket: Any = None
        self._client: Any = None

    def open(self) -> None:
        """Connect, and wait until the broker has accepted the connection. Raises MqttError."""
        try:
            self._connect()
            self._client = self._make_client()
            # paho does not connect to this host, since it has a socket already.
            self._client.connect("localhost", keepalive=self._config.keepalive)
        except Exception as error:  # noqa: BLE001 (paho and ssl raise exceptions of many types)
            raise self._explain(error) from None
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self._is_open:
            left = deadline - time.monotonic()
            if left <= 0:
                remedy = "check that what listens on the port in url is an MQTT broker"
                raise MqttError(f"no answer within {ANSWER_SECONDS:g} s: {remedy}", passing=True)
            self.wait(left)

    @property
    def address(self) -> str:
        """This system's address in the network of the broker; empty when the broker is on this system."""
        if self._socket.family == socket.AF_UNIX:
            return ""
        host: str = self._socket.getsockname()[0]
        if host == self._socket.getpeername()[0] or "%" in host:
            return ""
        return f"[{host}]" if ":" in host else host

    def close(self) -> None:
        """Close the socket. The broker publishes the will, unless `disconnect` was called before."""
        if self._socket is not None:
            self._socket.close()

    def disconnect(self, seconds: float) -> None:
        """Send DISCONNECT within this time, so that the broker does not publish the will."""
        self._client.disconnect()
        deadline = time.monotonic() + seconds
        while self._client.want_write() and (left := deadline - time.monotonic()) > 0:
            try:
                self.wait(left)
            except MqttError:
                return

    def publish(self, topic: str, payload: bytes, *, retain: bool = True, confirm: bool = True) -> int:
        """Queue a message, at QoS 1 with `confirm`, else at QoS 0; `wait` sends it. Returns its number."""
        number: int = self._client.publish(topic, payload, qos=1 if confirm else 0, retain=retain).mid
        if confirm:
            self.unconfirmed.add(number)
        return number

    def subscribe(self, topics: Sequence[str]) -> None:
        """Subscribe to topics, at QoS 1 at most: messages at QoS 2 would have to be kept until they are released."""
        self._client.subscribe([(topic, 1) for topic in topics])

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """Unsubscribe from topics."""
        self._client.unsubscribe(list(topics))

    def wait(self, seconds: float, woken: int | None = None) -> None:
        """Wait until something was sent or received, the eventfd `woken` was written, or the time is over."""
        if self._client.socket() is None:
            raise self._lost()
        ready = select.poll()
        number = self._socket.fileno()
        ready.register(number, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        if woken is not None:
            ready.register(woken, select.POLLIN)
        # poll() does not report bytes that TLS has decrypted already.
        waiting = isinstance(self._socket.inner, ssl.SSLSocket) and self._socket.pending()
        # paho sends keep-alive pings only when it is called.
        seconds = 0 if waiting else min(max(0.0, seconds), self._config.keepalive / 3)
        events = dict(ready.poll(ceil(seconds * 1000)))
        if woken in events:
            os.eventfd_read(woken)
        if waiting or events.get(number, 0) & ~select.POLLOUT:
            self._step(self._client.loop_read)
        if events.get(number, 0) & select.POLLOUT:
            self._step(self._client.loop_write)
        self._step(self._client.loop_misc, keepalive=True)

    def _step(self, step: Callable[[], Any], *, keepalive: bool = False) -> None:
        try:
            step()
        except MqttError:
            raise
        except Exception as error:  # noqa: BLE001 (paho raises exceptions of many types for what is not MQTT)
            self._complaint = self._complaint or str(error)
            raise self._lost() from None
        if self._unwanted:
            raise MessageTooLarge("the broker sends a message at QoS 2, which was not asked for", passing=True)
        if self._client.socket() is None:
            if keepalive:
                raise MqttError("the broker no longer responds", passing=True)
            raise self._lost()

    def _lost(self) -> MqttError:
        if self._refusal is not None:
            return self._explain_refusal(self._refusal)
        if self._is_open:
            return MqttError("the broker closed the connection", passing=True, closed=True)
        if alert := re.search(r"\[SSL: (\w+)\]", self._complaint):
            reason = f"the broker requires a valid client certificate ({alert[1]}): set certificate and key"
            return MqttError(reason, passing=False)
        reason = "the server does not speak MQTT: check url, with mqtts:// or wss:// for TLS, and its port"
        return MqttError(reason, passing=True)

    def _connect(self) -> None:
        """Raises OSError, and MqttError for certificate files that cannot be used."""
        broker = self._broker
        if broker.scheme == "unix":
            self._socket = _Bounded(socket.socket(socket.AF_UNIX))
            self._socket.settimeout(CONNECT_SECONDS)
            self._socket.connect(broker.path)
            return
        context = self._tls_context() if broker.scheme in ("mqtts", "wss") else None
        inner = socket.create_connection((broker.host, broker.port), CONNECT_SECONDS)
        self._socket = _Bounded(inner)
        # With Nagle's algorithm, messages would wait for acknowledgements, which brokers delay by 40 ms.
        inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self._socket = _Bounded(context.wrap_socket(inner, server_hostname=broker.host))

    def _make_client(self) -> Any:
        config, broker = self._config, self._broker
        is_websocket = broker.scheme in ("ws", "wss")
        # paho 2.x requires the version of the callbacks.
        version: Any = getattr(paho, "CallbackAPIVersion", None)
        make: Any = _Client
        client = make(
            *((version.VERSION2,) if version else ()),
            client_id=self._client_id,
            transport="websockets" if is_websocket else "tcp",
            reconnect_on_failure=False,
        )
        client.connected_socket = self._socket
        if config.username:
            client.username_pw_set(config.username, config.password or None)
        if self._will is not None:
            client.will_set(*self._will, qos=1, retain=True)
        if is_websocket:
            authority = config.url.split("/")[2]
            origin = f"{'https' if broker.scheme == 'wss' else 'http'}://{authority}"
            client.ws_set_options(broker.path or "/mqtt", {"Host": authority, "Origin": origin})
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_log = self._on_log
        # Without it, paho would write to the socket within `publish`.
        client.on_socket_register_write = _nothing
        return client

    def _tls_context(self) -> ssl.SSLContext:
        config = self._config
        if problem := certificate_problem(certificate_files(config)):
            raise MqttError(problem, passing=False)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if isinstance(config.verify, str):
            where = "capath" if os.path.isdir(config.verify) else "cafile"
            context.load_verify_locations(**{where: config.verify})
        elif config.verify:
            context.load_default_certs()
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if config.certificate:
            context.load_cert_chain(config.certificate, config.key or None, password="")
        return context

    def _explain(self, error: Exception) -> MqttError:
        if isinstance(error, MqttError):
            return error
        if isinstance(error, paho.WebsocketConnectionError):
            return MqttError("the server has no MQTT WebSocket there: check the port and the path in url", passing=True)
        if found := explain([error], "url", '"mqtts://..." or "wss://..."', CONNECT_SECONDS):
            return MqttError(found[0], passing=found[1])
        return MqttError(f"cannot connect ({type(error).__name__}): check url", passing=False)

    def _explain_refusal(self, code: int) -> MqttError:
        user = f'username = "{printable(self._config.username)}"'
        if code in (1, 132):
            return MqttError("the broker does not support MQTT 3.1.1: use another broker", passing=False)
        if code in (2, 133):
            return MqttError(f'the broker refuses client_id = "{printable(self._client_id)}": change it', passing=False)
        if code in (3, 136):
            return MqttError("the broker is temporarily unavailable", passing=True)
        if code not in (4, 5, 134, 135):
            return MqttError(f"the broker refuses the connection (code {code}): see its log", passing=False)
        if self._config.username:
            return MqttError(f"the broker refuses {user} with this password: correct them", passing=False)
        return MqttError("the broker requires a login: set username and password", passing=False)

    # Callbacks of paho, which passes on their exceptions.

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any = None) -> None:
        number = getattr(code, "value", code)
        if number:
            self._refusal = number
        else:
            self._is_open = True

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        with suppress(UnicodeDecodeError):  # in a topic, which is not ours then
            self.messages.append(Message(message.topic, bytes(message.payload), bool(message.retain)))

    def _on_publish(self, _client: Any, _data: Any, number: int, *_: Any) -> None:
        self.unconfirmed.discard(number)

    def _on_subscribe(self, *_: Any) -> None:
        self.subscribed += 1

    def _on_log(self, _client: Any, _data: Any, level: int, text: str) -> None:
        if level == paho.MQTT_LOG_ERR:
            self._complaint = text
        elif text.startswith("Received "):
            # paho logs each message when it is complete.
            self._socket.message_ended()
            self._unwanted = self._unwanted or text.startswith(_RECEIVED_AT_QOS_2)


class _Bounded:
    """A socket whose `recv` raises MessageTooLarge when a message exceeds `MESSAGE_BYTES_MAX`.

    paho asks for as many bytes as a message announces. A WebSocket divides messages into smaller pieces; so the bytes
    are counted as well, and `message_ended` resets the count.
    """

    def __init__(self, inner: socket.socket) -> None:
        self.inner = inner
        self._received = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def recv(self, size: int) -> bytes:
        if max(size, self._received) > MESSAGE_BYTES_MAX:
            raise MessageTooLarge(
                f"the broker sends a message of more than {MESSAGE_BYTES_MAX // 1024} KiB: check what else publishes "
                "to base_topic, or to the status topic of discovery_prefix",
                passing=True,
            )
        data = self.inner.recv(size)
        self._received += len(data)
        return data

    def message_ended(self) -> None:
        """The bytes that follow belong to the next message."""
        self._received = 0


class _Client(paho.Client):
    """A client on a socket that is connected already, for which no version of paho has a public interface.

    Every version from 1.6.1 calls this method for its socket, and then speaks WebSocket on it if it is to.
    """

    connected_socket: Any

    def _create_socket_connection(self) -> Any:
        return self.connected_socket


def _nothing(*_: Any) -> None:
    pass
