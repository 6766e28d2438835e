"""What broken servers say: answers of HTTP servers to the InfluxDB backend, and of brokers to the MQTT backend."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import threading

from inverter_capture.backends.influxdb2.write_api import WriteApi
from inverter_capture.backends.mqtt.connection import Connection, MqttError
from inverter_capture.backends.mqtt.homeassistant import Service
from inverter_capture.backends.mqtt.session import Session, Shared
from inverter_capture.backends.status import no_status
from inverter_capture.config.schema import InfluxDb2Config, MqttConfig
from tests.fuzz import Failure
from tests.fuzz.texts import changed

ROUND_INPUTS = 5
TOKEN = "t0ken=Se-cret"
REASON_LENGTH_MAX = 600

_ERROR = json.dumps({"code": "invalid", "message": f"unauthorized: {TOKEN}", "error": TOKEN}).encode()
HTTP = (
    b"HTTP/1.1 %s Said\r\nContent-Type: application/json\r\nRetry-After: 3\r\n"
    b"Location: http://x/t0ken=Se-cret\r\nContent-Length: 99\r\n\r\n" + _ERROR.ljust(99)
)
STATUSES = [b"200", b"204", b"100", b"301", b"400", b"401", b"404", b"413", b"429", b"503", b"999", b"-1"]
PIECES = [
    b"\r\n",
    b"\n",
    b":",
    b" ",
    b"\0",
    b"chunked",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n",
]
PIECES += [
    b"ffffffffff\r\n",
    b"{",
    b"[" * 3000,
    b'"message"',
    b"Retry-After: ",
    b"1e400",
    b"Content-Length: -1\r\n",
    b"\xff",
]
SERIAL = "2211229876"
SERVICE = Service("fuzz", "router", "")
STATE = json.dumps({"timestamp": 1795000000000000000, "time": "", "serial": SERIAL, "values": {"battery_soc": 5}})
DISCOVERY = """{"device": {"identifiers": ["x"]}, "origin": {"name": "inverter-capture"},
"availability": [{"topic": "other/status"}], "components": {"battery_soc": {"platform": "sensor"}}}"""
TOPICS = [f"inverter-capture/{SERIAL}/state", "inverter-capture/status", "homeassistant/status", "other/status"]
TOPICS += [f"homeassistant/device/inverter-capture-{name}/config" for name in (SERIAL, "fuzz")]
JSON_PIECES = [b"null", b"-1", b"1e999", b"[" * 3000, b'"values"', b"{}", b"NaN", b"true", b'"\\ud800"', b"\xff"]


class Server:
    """Sends each client a given answer to its first bytes, and closes the connection. Runs in its own thread."""

    def __init__(self) -> None:
        self.says = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65536)
                    connection.sendall(self.says)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except OSError:
                    continue


class Answers:
    """Of a database."""

    def __init__(self, chance: random.Random) -> None:
        self.inputs: list[object] = []
        self._chance = chance
        self._server = Server()
        host = f"http://127.0.0.1:{self._server.port}"
        self._api = WriteApi(InfluxDb2Config(host=host, org="o", bucket="b", token=TOKEN, timeout=20.0))

    def round(self) -> None:
        """Raises whatever goes wrong."""
        self.inputs = []
        for _ in range(ROUND_INPUTS):
            answer = changed(HTTP.replace(b"%s", self._chance.choice(STATUSES)), self._chance, PIECES)
            self.inputs.append(answer)
            self._server.says = answer
            verdict = self._api.write([b"a b=1 1"])
            self._api.close()
            if TOKEN in verdict.reason or len(verdict.reason) > REASON_LENGTH_MAX or not verdict.reason.isprintable():
                raise Failure(f"a short reason without secrets, not {verdict}")

    def close(self) -> None:
        self._server.close()


class Broker:
    """Packets of a broker, whole and broken ones."""

    def __init__(self, chance: random.Random) -> None:
        self.inputs: list[object] = []
        self._chance = chance
        self._server = Server()
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK)
        self._config = MqttConfig(url=f"mqtt://127.0.0.1:{self._server.port}")

    def round(self) -> None:
        """Raises whatever goes wrong."""
        self.inputs = []
        for _ in range(ROUND_INPUTS):
            self._server.says = self._packets()
            self.inputs.append(self._server.says)
            connection = Connection(self._config, "fuzz", will=("inverter-capture/status", b"offline"))
            try:
                connection.open()
                session = Session(connection, self._config, Shared(), no_status, SERVICE, lambda reading: None)
                session.open()
                session.serve(self._wake, lambda: False)
            except MqttError as error:
                if not str(error).isprintable():
                    raise Failure(f"a reason, not {error!r}") from error
            finally:
                connection.close()

    def close(self) -> None:
        self._server.close()
        os.close(self._wake)
        os.close(self._waker)

    def _packets(self) -> bytes:
        chance = self._chance
        packets = [packet(0x20, b"\0\0"), packet(0x90, b"\0\1\1\1\1"), *(self._publish() for _ in range(3))]
        packets += chance.choices(
            [packet(0x40, b"\0\1"), packet(0xD0), packet(0xB0, b"\0\1"), packet(0x20, b"\0\5")], k=2
        )
        data = b"".join(packets)
        # Most of them begin as a broker's do.
        kept = chance.choice([0, 4, 4, 4, 11])
        return data[:kept] + changed(
            data[kept:], chance, [bytes([chance.randrange(256)]), b"\xff\xff\xff\x7f", b"\x32"]
        )

    def _publish(self) -> bytes:
        chance = self._chance
        topic = chance.choice(TOPICS).encode()
        text = chance.choice([STATE.encode(), DISCOVERY.encode(), b"online", b""])
        text = changed(text, chance, JSON_PIECES)
        kind = chance.choice([0x30, 0x31, 0x31, 0x33, 0x32, 0x35])
        number = b"\0\7" if kind & 6 else b""
        return packet(kind, struct.pack(">H", len(topic)) + topic + number + text)


def packet(kind: int, body: bytes = b"") -> bytes:
    """An MQTT packet."""
    length, left = b"", len(body)
    while True:
        left, low = divmod(left, 128)
        length += bytes([low | (128 if left else 0)])
        if not left:
            return bytes([kind]) + length + body
