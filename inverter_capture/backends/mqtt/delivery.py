"""The MQTT backend: publishes each inverter's newest reading as its state, and discovery for Home Assistant.

While there is no connection, the newest reading of each inverter is kept, and older ones are dropped.
"""

from __future__ import annotations

import logging
import os
import time
from datetime import tzinfo

from inverter_capture.backends.backend import Backend
from inverter_capture.backends.backoff import RESTART_SECONDS, Backoff
from inverter_capture.backends.mqtt.connection import Connection, MqttError
from inverter_capture.backends.mqtt.homeassistant import OFFLINE, ORIGIN, Service, Topics
from inverter_capture.backends.mqtt.session import Session, Shared
from inverter_capture.backends.status import StatusSource
from inverter_capture.config.schema import MqttConfig
from inverter_capture.protocol.readings import Reading
from inverter_capture.text import OWN_ERROR, printable

RECONNECT_SECONDS_MAX = 4.0
"""Maximum seconds between attempts while the broker cannot be reached. It is to be up to date 10 s after its return."""
REFUSED_SECONDS = 60.0
"""Seconds between attempts after a failure that lasts until a setting is changed, here or at the broker."""
STABLE_CONNECTION_SECONDS = 120.0  # Seconds after which a connection ends a series of closed connections
SERIES = 3  # Number of closed connections in a row that is logged as a failure. The restart of a broker closes one.
CHECK_SECONDS = 5.0  # Timeout in seconds of `check` for its own messages to come back

LUCI_MENU = "/usr/share/luci/menu.d/luci-app-inverter-capture.json"
LUCI_PAGE = "cgi-bin/luci/admin/services/inverter-capture"  # A file of the LuCI app, and the path of its page

_log = logging.getLogger(__name__)


class Mqtt(Backend):
    """Delivers readings to one broker."""

    stop_seconds = 3.0

    def __init__(self, config: MqttConfig, status: StatusSource) -> None:
        """`status` returns the service's status, for the diagnostic values in each inverter's state."""
        super().__init__(f"mqtt {config.url}")
        self._config = config
        self._status_source = status
        self._shared = Shared()
        self._changed = self._shared.changed
        self._reconfigured = False
        self._connected = False
        self._woken = -1  # While the thread runs, an eventfd: writing to it interrupts the thread's wait
        self._backoff = Backoff()
        self._broken = 0  # Connections in a row that the broker closed
        self._was_ready = False

    def start(self) -> None:
        self._woken = os.eventfd(0)
        super().start()

    def put(self, *readings: Reading) -> None:
        shared = self._shared
        with self._changed:
            for reading in readings:
                inverter = shared.inverters.get(reading.serial) or shared.add(reading.serial, self._config.stale_after)
                if not inverter.freshness.take(reading.time, time.time_ns(), time.monotonic()):
                    continue
                if inverter.waiting and self._failing_since is not None:
                    shared.dropped += 1
                inverter.reading, inverter.earlier_state = reading, None
                inverter.device = inverter.device.after(reading)
                inverter.waiting = True
        self._wake()

    def begin_import(self) -> None:
        self._shared.importing = True

    def end_import(self) -> None:
        self._shared.importing = False
        self._wake()

    def retry(self) -> None:
        with self._changed:
            if self._failing_since is not None:
                self._reconfigured = True
                self._changed.notify_all()
        self._wake()

    def stop(self) -> None:
        super().stop()
        self._wake()

    def join(self, seconds: float) -> int:
        # Without a connection nothing can be sent, and the thread may be blocked in an attempt to connect.
        return super().join(seconds if self._connected else min(seconds, 0.1))

    def reconfigure(self, section: MqttConfig, zone: tzinfo | None) -> None:  # noqa: ARG002 (times are UTC)
        with self._changed:
            if section.base_topic != self._config.base_topic or section.url != self._config.url:
                self._shared.states_read = False
            self._config = section
            self._reconfigured = True
            for inverter in self._shared.inverters.values():
                inverter.freshness.until += section.stale_after - inverter.freshness.stale_after
                inverter.freshness.stale_after = section.stale_after
            self._changed.notify_all()
        self._wake()

    def note_status(self) -> None:
        if not self._shared.status_changed:
            self._shared.status_changed = True
            self._wake()

    def check(self) -> str | None:
        return _check(self._config)

    def _is_connected(self) -> bool:
        return self._connected

    def _counts(self) -> tuple[int, int, int]:
        waiting = sum(inverter.waiting or bool(inverter.sending) for inverter in self._shared.inverters.values())
        return self._shared.delivered, waiting, self._shared.dropped

    def _wake(self) -> None:
        with self._changed:
            if self._woken >= 0:
                os.eventfd_write(self._woken, 1)

    def _run(self) -> None:
        while not self._stopping:
            try:
                seconds = self._connect()
            except Exception:  # noqa: BLE001 (nothing may end a thread unseen)
                _log.exception("%s: %s", self.name, OWN_ERROR)
                seconds = RESTART_SECONDS
            self._notify_if_changed()
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._reconfigured, seconds)
        with self._changed:
            os.close(self._woken)
            self._woken = -1

    def _connect(self) -> float:
        """Connect, and deliver until the connection ends. Returns seconds until the next attempt."""
        with self._changed:
            config = self._config
            if self._reconfigured:
                self._reconfigured = False
                self.name = f"mqtt {config.url}"
                self._broken = 0
                self._logged.clear()
        topics = Topics(config.base_topic, config.discovery_prefix)
        connection = Connection(config, client_id(config), will=(topics.service, OFFLINE))
        began: float | None = None
        try:
            connection.open()
            began = time.monotonic()
            self._deliver(connection, config)
        except MqttError as error:
            return self._lost(error, None if began is None else time.monotonic() - began)
        finally:
            with self._changed:
                self._connected = False
                for inverter in self._shared.inverters.values():
                    # A message without a confirmation may not have arrived: it is sent again.
                    inverter.waiting = inverter.waiting or bool(inverter.sending)
                    inverter.sending.clear()
            connection.close()
        return 0

    def _deliver(self, connection: Connection, config: MqttConfig) -> None:
        session = Session(
            connection, config, self._shared, self._status_source, _service(config, connection), self.on_earlier
        )
        self._connected = True
        stable_at = time.monotonic() + STABLE_CONNECTION_SECONDS
        has_echoes = True
        session.open()

        def is_over() -> bool:
            nonlocal has_echoes
            if session.refused:
                has_echoes = False
                self._fail(_no_echo(config, session.refused))
                session.refused.clear()
            if time.monotonic() >= stable_at:
                self._broken = 0
                self._backoff.reset()
            if has_echoes and session.settled and self._broken < SERIES:
                self._recover()
            self._notify_if_changed()
            return self._stopping or self._reconfigured

        session.serve(self._woken, is_over)
        session.close()

    def _lost(self, error: MqttError, lasted: float | None) -> float:
        """Record a failure after a connection of `lasted` seconds, or None. Returns seconds until the next attempt."""
        if lasted is None or not error.closed:
            self._broken = 0
            self._fail(str(error))
            return min(self._backoff.passing(), RECONNECT_SECONDS_MAX) if error.passing else REFUSED_SECONDS
        # A broker that restarts is back soon. If not, the next attempt logs the failure.
        self._problem = self._problem or str(error)
        self._broken = 1 if lasted >= STABLE_CONNECTION_SECONDS else self._broken + 1
        if self._broken < SERIES:
            return min(self._backoff.passing(), RECONNECT_SECONDS_MAX)
        name = printable(client_id(self._config))
        self._fail(
            f'the broker closes each connection: check whether another client uses client_id = "{name}" too, and '
            "whether the broker's max_packet_size is smaller than 64 KiB"
        )
        return REFUSED_SECONDS

    def _fail(self, problem: str, more: str = "") -> None:
        if not self._stopping:
            super()._fail(problem, more)

    def _recover(self) -> None:
        if self._failing_since is None and not self._was_ready:
            _log.info("%s: ready to deliver", self.name)
        self._was_ready = True
        super()._recover()


def client_id(config: MqttConfig) -> str:
    """The MQTT client ID: as configured, or derived from this system's network cards and the section's `base_topic`.

    A broker closes the connection of a client when another one connects with the same ID, so each needs its own.
    """
    # Brokers must take 23 characters, and may refuse more.
    return config.client_id or f"{ORIGIN}-{_service_id(config)}"


def _service_id(config: MqttConfig) -> str:
    import zlib

    return f"{zlib.crc32(f'{_machine()} {config.base_topic}'.encode()) & 0xFFFFFF:06x}"


def _service(config: MqttConfig, connection: Connection) -> Service:
    """This service, with its page in LuCI, where that is installed and the broker is not on the router itself."""
    address = connection.address
    page = f"http://{address}/{LUCI_PAGE}" if address and os.path.exists(LUCI_MENU) else ""
    return Service(_service_id(config), os.uname().nodename, page)


def _machine() -> str:
    """An identifier of this system. Routers often have the same host name, but never the same MAC addresses."""
    addresses = []
    try:
        for device in os.listdir("/sys/class/net"):
            if os.path.exists(f"/sys/class/net/{device}/device"):
                with open(f"/sys/class/net/{device}/address", encoding="ascii") as file:
                    addresses.append(file.read().strip())
    except OSError:
        # A jail can hide /sys.
        pass
    return f"{os.uname().nodename} {min(addresses, default='')}"


def _no_echo(config: MqttConfig, topics: list[str]) -> str:
    """The error when the broker does not send back the messages published to these topics."""
    user = f'username = "{printable(config.username)}"' if config.username else "a client without username"
    return (
        f"the broker does not send back messages published to {' and '.join(topics[:2])}: allow {user} to write and "
        "read there (the broker's access rules), and raise the broker's message_size_limit, if set"
    )


def _check(config: MqttConfig) -> str | None:
    """Test a connection with messages that are not retained. Returns the problem; None when there is none."""
    connection = Connection(config, f"{client_id(config)}-check")
    # Topics that nobody else subscribes to.
    topics = [f"{config.base_topic}/check"]
    if config.discovery_prefix:
        topics.append(f"{config.discovery_prefix}/device/inverter-capture/check")
    try:
        connection.open()
        connection.subscribe(topics)
        for topic in topics:
            connection.publish(topic, b"check", retain=False)
        deadline = time.monotonic() + CHECK_SECONDS
        missing = list(topics)
        while missing and (left := deadline - time.monotonic()) > 0:
            connection.wait(left)
            while connection.messages:
                topic = connection.messages.popleft().topic
                missing = [other for other in missing if other != topic]
        connection.disconnect(1)
    except MqttError as error:
        return str(error)
    finally:
        connection.close()
    return _no_echo(config, missing) if missing else None
