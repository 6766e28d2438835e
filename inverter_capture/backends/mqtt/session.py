"""One session with a broker: publishes states, availability and discovery, and handles received messages."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from inverter_capture.backends.mqtt import homeassistant
from inverter_capture.backends.mqtt.connection import Connection, Message, MessageTooLarge
from inverter_capture.backends.mqtt.freshness import Presence
from inverter_capture.backends.mqtt.homeassistant import OFFLINE, ONLINE, Device, Topics
from inverter_capture.backends.status import BackendStatus, StatusSource
from inverter_capture.config.schema import MqttConfig
from inverter_capture.protocol.inverter_kinds import INVERTERS_MAX
from inverter_capture.protocol.readings import Reading

STATE_BYTES_MAX = 64 * 1024
"""Maximum size of a retained state in bytes. Larger ones are ignored."""
LEARN_SECONDS = 0.5
"""Seconds to wait for retained messages after the answer to a subscription."""
ECHO_SECONDS = 5.0
"""Timeout in seconds for our own messages to come back."""
AGAIN_SECONDS = 1.5
"""Seconds that Home Assistant needs after its `online` until it has subscribed to everything."""
COLLECT_SECONDS = 1.0
"""Seconds between states published while a file is imported."""
CLOSE_SECONDS = 1.0
"""Timeout in seconds for the last confirmations, and again for DISCONNECT."""


class Inverter:
    """The state of an inverter. Guarded by the lock of `Shared`."""

    def __init__(self, stale_after: float) -> None:
        self.presence = Presence(stale_after)
        self.reading: Reading | None = None
        """The newest reading. None while only the state of an earlier run is known."""
        self.left: bytes | None = None
        """The retained state of an earlier run."""
        self.device = homeassistant.USUAL
        """The inverter as discovery describes it."""
        self.waiting = False
        """Whether the reading is not sent yet."""
        self.sending: set[int] = set()
        """Numbers of the messages with readings that the broker has not confirmed."""

    @property
    def importance(self) -> tuple[bool, float]:
        """A sort key: the inverter with the lowest is forgotten first."""
        return self.reading is not None, self.presence.until

    @property
    def is_current(self) -> bool:
        """Whether to announce it: not when only an earlier run had readings of it, and they are no longer fresh."""
        return self.reading is not None or time.monotonic() < self.presence.until


class Shared:
    """The data shared by the threads of a backend, guarded by `changed`."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.inverters: dict[str, Inverter] = {}
        self.delivered = 0
        self.dropped = 0
        self.importing = False
        """Whether a file is being imported: only its newest reading is published."""
        self.learned = False
        """Whether the retained states of an earlier run have been read, or given up."""

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
        on_earlier: Callable[[Reading], None],
    ) -> None:
        """`connection` is open. `on_earlier` as in Backend."""
        self.refused: list[str] = []
        """Topics whose messages did not come back. The reader clears the list."""
        self._connection = connection
        self._config = config
        self._topics = Topics(config.base_topic, config.discovery_prefix)
        self._shared = shared
        self._status = status
        self._on_earlier = on_earlier
        self._echoes: set[str] = set()
        """Topics whose messages have not come back yet."""
        self._echoes_until = 0.0
        self._told: dict[str, bool] = {}
        """The published availability, by serial number."""
        self._announced: dict[str, tuple[tuple[BackendStatus, ...], Device]] = {}
        """The announced inverters by serial number: with the backends and the inverter as announced."""
        self._again_at: float | None = None
        self._next_at = 0.0

    @property
    def settled(self) -> bool:
        """Whether all expected messages have come back or are given up."""
        return not self._echoes

    def open(self) -> None:
        """Subscribe, and publish all states, availability and discovery."""
        self._subscribe_first()
        for serial, inverter in list(self._shared.inverters.items()):
            if inverter.is_current:
                self._announce(serial)
            self._send_state(serial)
        self._tell_availability()
        # Last, so that no old state is shown as current.
        self._expect_echo(self._topics.service)
        self._connection.publish(self._topics.service, ONLINE)

    def serve(self, wake: int, is_over: Callable[[], bool]) -> None:
        """Publish changes until `is_over`. A byte that can be read from the descriptor `wake` interrupts the wait."""
        while not is_over():
            self._send_waiting()
            self._tell_availability()
            if self._again_at is not None and time.monotonic() >= self._again_at:
                self._again_at = None
                self._say_again()
            self._give_up_echoes()
            self._connection.wait(self._seconds_left(), wake)
            drain(wake)
            self._heed_messages()
            self._note_confirmed()

    def close(self) -> None:
        """Publish the waiting readings and that the service is offline, and disconnect."""
        self._next_at = 0.0
        self._send_waiting()
        self._tell_availability()
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
        if self._shared.learned:
            self._connection.subscribe(wanted)
            return
        self._connection.subscribe([*wanted, topics.any_state])
        try:
            self._collect_states()
        except MessageTooLarge:
            # The message would arrive again with each subscription.
            self._shared.learned = True
            raise
        self._connection.unsubscribe([topics.any_state])
        self._shared.learned = True

    def _collect_states(self) -> None:
        until = time.monotonic() + ECHO_SECONDS
        answered = False
        while (left := until - time.monotonic()) > 0:
            self._connection.wait(left)
            self._heed_messages()
            if self._connection.subscribed and not answered:
                answered = True
                until = time.monotonic() + LEARN_SECONDS

    def _heed_messages(self) -> None:
        while self._connection.messages:
            message = self._connection.messages.popleft()
            device = next((serial for serial in self._announced if self._topics.device(serial) == message.topic), "")
            if message.retained and device:
                if self._remove_what_is_gone(device, message.payload):
                    self._connection.publish(message.topic, self._device_payload(device))
            elif message.topic in self._echoes:
                if not message.retained:
                    self._hear(message.topic)
            elif message.topic == self._topics.home_assistant:
                if message.payload == ONLINE and not message.retained:
                    self._again_at = time.monotonic() + AGAIN_SECONDS
            elif message.retained and not self._shared.learned:
                self._learn(message)

    def _learn(self, message: Message) -> None:
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
            inverter.left = message.payload
            inverter.device = known.device
            inverter.presence.restore(known.reading.time, known.clock_behind, time.time_ns(), time.monotonic())
        self._on_earlier(known.reading)

    def _announce(self, serial: str) -> None:
        """Publish the discovery of an inverter for Home Assistant."""
        if not self._topics.prefix:
            return
        topic = self._topics.device(serial)
        before = self._announced.get(serial)
        announced = b""
        if before is not None:
            announced = self._device_payload(serial)
        else:
            # Before publishing, so that the retained discovery of an earlier version arrives first.
            self._connection.subscribe([topic])
            self._expect_echo(topic)
        inverter = self._shared.inverters.get(serial)
        if inverter is None:
            return  # forgotten meanwhile
        self._announced[serial] = self._status().backends, inverter.device
        self._remove_what_is_gone(serial, announced)
        self._connection.publish(topic, self._device_payload(serial))

    def _device_payload(self, serial: str, gone: homeassistant.Json | None = None) -> bytes:
        backends, device = self._announced[serial]
        return homeassistant.device_payload(serial, self._topics, backends, self._config.stale_after, gone, device)

    def _remove_what_is_gone(self, serial: str, announced: bytes) -> bool:
        """Publish the removal of components: Home Assistant keeps components that are only left out.

        Returns whether there are any. Then the current payload must be published next.
        """
        gone = homeassistant.removals(announced, self._device_payload(serial))
        if gone:
            self._connection.publish(self._topics.device(serial), self._device_payload(serial, gone))
        return bool(gone)

    def _send_waiting(self) -> None:
        shared = self._shared
        if shared.importing and time.monotonic() < self._next_at:
            return
        with shared.changed:
            waiting = [serial for serial, inverter in shared.inverters.items() if inverter.waiting]
        if not waiting:
            return
        self._next_at = time.monotonic() + COLLECT_SECONDS
        names = _names(self._status().backends)
        for serial in waiting:
            backends, device = self._announced.get(serial, ((), None))
            inverter = shared.inverters.get(serial)
            if inverter is not None and (device != inverter.device or _names(backends) != names):
                self._announce(serial)
            self._send_state(serial)

    def _send_state(self, serial: str) -> None:
        shared = self._shared
        with shared.changed:
            inverter = shared.inverters.get(serial)
            if inverter is None:
                return
            reading, behind = inverter.reading, inverter.presence.behind
            is_news, inverter.waiting = inverter.waiting, False
        topic = self._topics.state(serial)
        if reading is None:
            if inverter.left is not None:
                self._connection.publish(topic, inverter.left)
            return
        number = self._connection.publish(topic, homeassistant.state_payload(reading, behind, self._status()))
        if self._config.field_topics:
            for field in reading.fields:
                value = homeassistant.field_text(reading.values.get(field.id))
                self._connection.publish(self._topics.field(serial, field.id), value, confirm=False)
        with shared.changed:
            if is_news:
                inverter.sending.add(number)

    def _tell_availability(self) -> None:
        now = time.monotonic()
        inverters = dict(list(self._shared.inverters.items()))
        for serial in [serial for serial in self._told if serial not in inverters]:
            # Forgotten.
            self._announced.pop(serial, None)
            if self._told.pop(serial):
                self._connection.publish(self._topics.availability(serial), OFFLINE)
        for serial, inverter in inverters.items():
            available = now < inverter.presence.until
            # After a waiting state, so that no old state is shown as current.
            if self._told.get(serial) != available and not inverter.waiting:
                self._told[serial] = available
                self._connection.publish(self._topics.availability(serial), ONLINE if available else OFFLINE)

    def _say_again(self) -> None:
        self._told.clear()
        for serial, inverter in list(self._shared.inverters.items()):
            if inverter.is_current:
                self._announce(serial)
            self._send_state(serial)

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

    def _hear(self, topic: str) -> None:
        self._echoes.discard(topic)
        self._connection.unsubscribe([topic])

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
        times = [inverter.presence.until for serial, inverter in inverters if self._told.get(serial)]
        if self._echoes:
            times.append(self._echoes_until)
        if self._again_at is not None:
            times.append(self._again_at)
        if self._shared.importing and self._next_at > now:
            times.append(self._next_at)
        return max(0.0, min(times) - now) if times else 3600.0


def drain(wake: int) -> None:
    """Empty the pipe that interrupts a wait."""
    with suppress(BlockingIOError):
        os.read(wake, 4096)


def _names(backends: tuple[BackendStatus, ...]) -> list[str]:
    return [backend.name for backend in backends]
