"""One session with a broker: publishes states, availability and discovery, and handles received messages."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from inverter_capture.backends.mqtt import homeassistant
from inverter_capture.backends.mqtt.connection import Connection, Message, MessageTooLarge
from inverter_capture.backends.mqtt.freshness import Freshness
from inverter_capture.backends.mqtt.homeassistant import OFFLINE, ONLINE, Device, Json, Service, Topics
from inverter_capture.backends.status import StatusSource
from inverter_capture.config.schema import MqttConfig
from inverter_capture.protocol.inverter_kinds import INVERTERS_MAX
from inverter_capture.protocol.readings import Reading

STATE_BYTES_MAX = 64 * 1024  # Maximum size of a retained state in bytes. Larger ones are ignored.
RETAINED_SECONDS = 0.5  # Seconds to wait for a retained message, after the answer to a subscription or another message
ECHO_SECONDS = 5.0  # Timeout in seconds for our own messages to come back, and for all retained ones
AGAIN_SECONDS = 1.5  # Seconds that Home Assistant needs after its `online` until it has subscribed to everything
SETTLE_SECONDS = 2.0
"""Seconds after a change of the service's status until it is published: after a reading, until it is delivered."""
STATUS_SECONDS = 60.0  # Minimum seconds between two states of the service
COLLECT_SECONDS = 1.0  # Seconds between states published while a file is imported
CLOSE_SECONDS = 1.0  # Timeout in seconds for the last confirmations, and again for DISCONNECT


_log = logging.getLogger(__name__)


class Inverter:
    """The state of an inverter. Guarded by the lock of `Shared`."""

    def __init__(self, stale_after: float) -> None:
        self.freshness = Freshness(stale_after)
        self.reading: Reading | None = None  # The newest reading. None while only the state of an earlier run is known.
        self.earlier_state: bytes | None = None  # The retained state of an earlier run
        self.device = homeassistant.UNKNOWN  # The inverter as discovery describes it
        self.waiting = False  # Whether the reading is not sent yet
        self.sending: set[int] = set()  # Numbers of the messages with readings that the broker has not confirmed

    @property
    def importance(self) -> tuple[bool, float]:
        """A sort key: the inverter with the lowest is forgotten first."""
        return self.reading is not None, self.freshness.until

    @property
    def is_current(self) -> bool:
        """Whether to announce it: not when only an earlier run had readings of it, and they are no longer fresh."""
        return self.reading is not None or time.monotonic() < self.freshness.until


class Shared:
    """The data shared by the threads of a backend, guarded by `changed`."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.inverters: dict[str, Inverter] = {}
        self.delivered = 0
        self.dropped = 0
        self.importing = False  # Whether a file is being imported: only its newest reading is published
        self.status_changed = False  # Whether the status of the service has changed since it was published
        self.announced_elsewhere: set[str] = set()
        """Serial numbers of the inverters that another service announces to Home Assistant."""
        self.shared_logged = False  # Whether it was logged that another service publishes the same topics
        self.states_read = False  # Whether the retained states of an earlier run have been read, or given up

    def add(self, serial: str, stale_after: float) -> Inverter:
        """Add an inverter. At `INVERTERS_MAX` another one is removed: first one without a reading in this run, then the
        one that has been silent for longest.
        """
        if len(self.inverters) >= INVERTERS_MAX:
            gone = min(self.inverters, key=lambda serial: self.inverters[serial].importance)
            self.dropped += self.inverters.pop(gone).waiting
        inverter = self.inverters[serial] = Inverter(stale_after)
        return inverter


class Session:
    """One connection: `open`, `serve`, `close`, in one thread. Each raises MqttError when the connection is lost."""

    def __init__(
        self,
        connection: Connection,
        config: MqttConfig,
        shared: Shared,
        status: StatusSource,
        service: Service,
        on_earlier: Callable[[Reading], None],
    ) -> None:
        """`connection` is open. `on_earlier` as in Backend."""
        self.refused: list[str] = []  # Topics whose messages did not come back. The reader clears the list.
        self._connection = connection
        self._config = config
        self._topics = Topics(config.base_topic, config.discovery_prefix)
        self._shared = shared
        self._status = status
        self._service = service
        self._on_earlier = on_earlier
        self._echoes: set[str] = set()  # Topics whose messages have not come back yet
        self._echoes_until = 0.0
        self._availability: dict[str, bool] = {}  # The published availability, by serial number
        self._announced: dict[str, Callable[..., bytes]] = {}
        """What makes the announced discovery of each device, by topic, with `gone` as in homeassistant.py."""
        self._devices: dict[str, Device] = {}  # The announced inverters, by serial number
        self._backends: list[str] = []  # The names of the announced backends
        self._others: dict[str, dict[str, bytes]] = {}
        """By the status topics of other services: their discovery of inverters, by serial number. Empty when it is left
        to the other, which is online."""
        self._again_at: float | None = None
        self._next_at = 0.0
        self._status_at: float | None = time.monotonic() + SETTLE_SECONDS  # When the state of the service is due
        self._status_sent = b"", 0.0  # The published state of the service, and its monotonic time

    @property
    def settled(self) -> bool:
        """Whether all expected messages have come back or are given up."""
        return not self._echoes

    def open(self) -> None:
        """Subscribe, and publish all states, availability and discovery."""
        self._subscribe_first()
        self._publish_all()
        self._publish_availability()
        # Last, so that no old state is shown as current.
        self._expect_echo(self._topics.service)
        self._connection.publish(self._topics.service, ONLINE)

    def serve(self, woken: int, is_over: Callable[[], bool]) -> None:
        """Publish changes until `is_over`. The eventfd `woken` interrupts the wait."""
        while not is_over():
            self._send_waiting()
            self._publish_availability()
            if self._again_at is not None and time.monotonic() >= self._again_at:
                self._again_at = None
                self._availability.clear()
                self._publish_all()
            self._publish_status()
            self._give_up_echoes()
            self._connection.wait(self._seconds_left(), woken)
            self._handle_messages()
            self._note_confirmed()

    def close(self) -> None:
        """Publish the waiting readings and that the service is offline, and disconnect."""
        self._next_at = 0.0
        self._send_waiting()
        self._publish_availability()
        self._connection.publish(self._topics.service, OFFLINE)
        deadline = time.monotonic() + CLOSE_SECONDS
        while self._connection.unconfirmed and (left := deadline - time.monotonic()) > 0:
            self._connection.wait(left)
            self._connection.messages.clear()
        self._note_confirmed()
        self._connection.disconnect(CLOSE_SECONDS)

    def _subscribe_first(self) -> None:
        """Subscribe to status topics. The first time, also read the retained states of earlier runs."""
        topics = self._topics
        wanted = [topics.service] + [topics.home_assistant] * bool(topics.prefix)
        if self._shared.states_read:
            self._connection.subscribe(wanted)
            return
        self._connection.subscribe([*wanted, topics.any_state])
        try:
            self._collect_states()
        except MessageTooLarge:
            # The message would arrive again with each subscription.
            self._shared.states_read = True
            raise
        self._connection.unsubscribe([topics.any_state])
        self._shared.states_read = True

    def _collect_states(self) -> None:
        last = until = time.monotonic() + ECHO_SECONDS
        answered = False
        while (left := until - time.monotonic()) > 0:
            self._connection.wait(left)
            if self._connection.subscribed and (self._connection.messages or not answered):
                answered = True
                until = min(last, time.monotonic() + RETAINED_SECONDS)
            self._handle_messages()

    def _handle_messages(self) -> None:
        while self._connection.messages:
            message = self._connection.messages.popleft()
            topic = message.topic
            if message.retained and topic in self._announced:
                self._handle_discovery(topic, message.payload)
            elif topic in self._others:
                self._handle_other_status(topic, message.payload)
            elif topic == self._topics.service and message.payload == OFFLINE and not message.retained:
                # Another service with this base topic has ended.
                self._expect_echo(topic)
                self._connection.publish(topic, ONLINE)
            elif topic in self._echoes:
                # Of two services that announce an inverter at once, both hear the one that came first.
                if not message.retained and not self._is_of_another(topic, message.payload):
                    self._echoes.discard(topic)
                    if topic != self._topics.service:
                        self._connection.unsubscribe([topic])
            elif topic == self._topics.service:
                if message.payload == ONLINE and not message.retained and not self._shared.shared_logged:
                    self._shared.shared_logged = True
                    text = 'mqtt %s: another service has base_topic = "%s" too: give each one its own'
                    _log.warning(text, self._config.url, self._config.base_topic)
            elif topic == self._topics.home_assistant:
                if message.payload == ONLINE and not message.retained:
                    self._again_at = time.monotonic() + AGAIN_SECONDS
            elif message.retained and not self._shared.states_read:
                self._restore(message)

    def _restore(self, message: Message) -> None:
        serial = message.topic.removeprefix(f"{self._topics.base}/").removesuffix("/state")
        if message.topic != self._topics.state(serial) or len(message.payload) > STATE_BYTES_MAX:
            return
        known = homeassistant.read_state(serial, message.payload)
        if known is None:
            return
        with self._shared.changed:
            if serial in self._shared.inverters or len(self._shared.inverters) >= INVERTERS_MAX:
                return
            inverter = self._shared.add(serial, self._config.stale_after)
            inverter.earlier_state = message.payload
            inverter.device = known.device
            inverter.freshness.restore(known.reading.time, known.clock_behind, time.time_ns(), time.monotonic())
        self._on_earlier(known.reading)

    def _publish_all(self) -> None:
        self._announce_service()
        for serial, inverter in list(self._shared.inverters.items()):
            if inverter.is_current:
                self._announce_inverter(serial)
            self._send_state(serial)

    def _announce_service(self) -> None:
        backends = self._status().backends
        self._backends = [backend.name for backend in backends]
        payload = partial(homeassistant.service_payload, self._service, backends, self._topics)
        self._announce(self._service.id, payload)

    def _announce_inverter(self, serial: str) -> None:
        inverter = self._shared.inverters.get(serial)
        if inverter is None or any(discovery.get(serial) == b"" for discovery in self._others.values()):
            return  # forgotten meanwhile, or announced by another service
        device = self._devices[serial] = inverter.device
        payload = partial(
            homeassistant.device_payload, serial, device, self._service, self._topics, self._config.stale_after
        )
        self._announce(serial, payload)

    def _announce(self, name: str, payload: Callable[..., bytes]) -> None:
        """Publish the discovery of an inverter or the service for Home Assistant."""
        if not self._topics.prefix:
            return
        topic = self._topics.device(name)
        before = self._announced.get(topic)
        if before is None:
            # Before publishing, so that the retained discovery of an earlier version arrives first.
            self._connection.subscribe([topic])
            self._expect_echo(topic)
        self._announced[topic] = payload
        self._publish_discovery(topic, homeassistant.removals(before() if before else b"", payload()))

    def _publish_discovery(self, topic: str, gone: Json) -> None:
        """`gone`: components to remove first, since Home Assistant keeps those that are only left out."""
        payload = self._announced[topic]
        if gone:
            self._connection.publish(topic, payload(gone=gone))
        self._connection.publish(topic, payload())

    def _handle_discovery(self, topic: str, payload: bytes) -> None:
        """A retained discovery, of an earlier version or of another service."""
        if gone := homeassistant.removals(payload, self._announced[topic]()):
            self._publish_discovery(topic, gone)
        self._is_of_another(topic, payload)

    def _is_of_another(self, topic: str, payload: bytes) -> bool:
        """Whether this is the discovery of an inverter by another service. Then ask whether that one is online."""
        other = homeassistant.announcing_service(payload)
        serial = next((serial for serial in self._devices if self._topics.device(serial) == topic), "")
        if not serial or other in ("", self._topics.service, self._topics.home_assistant):
            return False
        self._others.setdefault(other, {})[serial] = payload
        self._connection.subscribe([other])
        return True

    def _handle_other_status(self, status_topic: str, status: bytes) -> None:
        """Leave to another service that is online what it has announced; take it over when that one has ended."""
        for serial, payload in list(self._others[status_topic].items()):
            if status == ONLINE and payload:
                self._others[status_topic][serial] = b""
                self._announced.pop(self._topics.device(serial), None)
                self._connection.publish(self._topics.device(serial), payload)
                if serial not in self._shared.announced_elsewhere:
                    self._shared.announced_elsewhere.add(serial)
                    text = "mqtt %s: inverter %s: announced to Home Assistant by another service (%s), not by this one"
                    _log.info(text, self._config.url, serial, status_topic)
            elif status != ONLINE:
                del self._others[status_topic][serial]
                if not payload:
                    self._shared.announced_elsewhere.discard(serial)
                    text = "mqtt %s: inverter %s: announced to Home Assistant by this service now: %s is offline"
                    _log.info(text, self._config.url, serial, status_topic)
                    self._announce_inverter(serial)
        if not self._others[status_topic]:
            del self._others[status_topic]
            self._connection.unsubscribe([status_topic])

    def _publish_status(self) -> None:
        """Publish the state of the service, when it is due."""
        now = time.monotonic()
        if self._shared.status_changed and self._status_at is None:
            self._status_at = max(now + SETTLE_SECONDS, self._status_sent[1] + STATUS_SECONDS)
        if self._status_at is None or now < self._status_at:
            return
        self._status_at = None
        self._shared.status_changed = False
        status = self._status()
        if self._backends != [backend.name for backend in status.backends]:
            self._announce_service()
        payload = homeassistant.service_state_payload(status)
        if payload != self._status_sent[0]:
            self._status_sent = payload, now
            self._connection.publish(self._topics.service_state, payload)

    def _send_waiting(self) -> None:
        shared = self._shared
        if shared.importing and time.monotonic() < self._next_at:
            return
        with shared.changed:
            waiting = [serial for serial, inverter in shared.inverters.items() if inverter.waiting]
        if not waiting:
            return
        self._next_at = time.monotonic() + COLLECT_SECONDS
        for serial in waiting:
            inverter = shared.inverters.get(serial)
            if inverter is not None and self._devices.get(serial) != inverter.device:
                self._announce_inverter(serial)
            self._send_state(serial)

    def _send_state(self, serial: str) -> None:
        shared = self._shared
        with shared.changed:
            inverter = shared.inverters.get(serial)
            if inverter is None:
                return
            reading, behind = inverter.reading, inverter.freshness.behind
            is_news, inverter.waiting = inverter.waiting, False
        topic = self._topics.state(serial)
        if reading is None:
            if inverter.earlier_state is not None:
                self._connection.publish(topic, inverter.earlier_state)
            return
        number = self._connection.publish(topic, homeassistant.state_payload(reading, behind))
        if self._config.field_topics:
            values = reading.values
            for field in reading.fields:
                # An empty message removes what is retained of an absent value.
                value = str(values.get(field.id, "")).encode()
                self._connection.publish(self._topics.field(serial, field.id), value, confirm=False)
        with shared.changed:
            if is_news:
                inverter.sending.add(number)

    def _publish_availability(self) -> None:
        now = time.monotonic()
        inverters = dict(list(self._shared.inverters.items()))
        for serial in [serial for serial in self._availability if serial not in inverters]:
            # Forgotten.
            self._devices.pop(serial, None)
            self._announced.pop(self._topics.device(serial), None)
            if self._availability.pop(serial):
                self._connection.publish(self._topics.availability(serial), OFFLINE)
        for serial, inverter in inverters.items():
            available = now < inverter.freshness.until
            # After a waiting state, so that no old state is shown as current.
            if self._availability.get(serial) != available and not inverter.waiting:
                self._availability[serial] = available
                self._connection.publish(self._topics.availability(serial), ONLINE if available else OFFLINE)

    def _note_confirmed(self) -> None:
        unconfirmed = self._connection.unconfirmed
        with self._shared.changed:
            for inverter in self._shared.inverters.values():
                confirmed = inverter.sending - unconfirmed
                if confirmed:
                    inverter.sending -= confirmed
                    self._shared.delivered += len(confirmed)
                    self._shared.changed.notify_all()

    # A broker also confirms messages that its access rules forbid. Therefore the session subscribes to some of its own
    # topics, and checks that the messages come back.

    def _expect_echo(self, topic: str) -> None:
        self._echoes.add(topic)
        self._echoes_until = time.monotonic() + ECHO_SECONDS

    def _give_up_echoes(self) -> None:
        if not self._echoes or time.monotonic() < self._echoes_until:
            return
        if self._connection.unconfirmed:
            # The broker is slow, or does not answer at all.
            self._echoes_until = time.monotonic() + ECHO_SECONDS
            return
        self.refused = sorted(self._echoes, key=lambda topic: topic != self._topics.service)
        self._connection.unsubscribe(self.refused)
        self._echoes.clear()

    def _seconds_left(self) -> float:
        now = time.monotonic()
        inverters = list(self._shared.inverters.items())
        times = [inverter.freshness.until for serial, inverter in inverters if self._availability.get(serial)]
        if self._echoes:
            times.append(self._echoes_until)
        times += [at for at in (self._again_at, self._status_at) if at is not None]
        if self._shared.importing and self._next_at > now:
            times.append(self._next_at)
        return max(0.0, min(times) - now) if times else 3600.0
