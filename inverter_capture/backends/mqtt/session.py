"""What is said over one connection to a broker: who is there, how they are doing, and how to show it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from inverter_capture.backends.mqtt import homeassistant
from inverter_capture.backends.mqtt.connection import Connection, Message
from inverter_capture.backends.mqtt.freshness import Presence
from inverter_capture.backends.mqtt.homeassistant import OFFLINE, ONLINE, Device, Topics
from inverter_capture.backends.status import BackendStatus, StatusSource
from inverter_capture.config.schema import MqttConfig
from inverter_capture.protocol.readings import Reading

INVERTERS_MAX = 64
"""Whoever forges frames, or may write to the broker, can make up any number of them."""
STATE_BYTES_MAX = 64 * 1024
"""A longer state is none of ours."""
LEARN_SECONDS = 0.5
"""How long after its answer a broker may take to pass on what it has kept."""
ECHO_SECONDS = 5.0
"""How long our own message may take to come back."""
AGAIN_SECONDS = 1.5
"""How long Home Assistant takes, once it says that it is there, until it has subscribed to everything."""
COLLECT_SECONDS = 1.0
"""While a file is read, its newest reading is sent this often."""
LEAVE_SECONDS = 1.0
"""How long the broker may take for each of the last two messages."""


class Inverter:
    """What there is to say about an inverter. Shared by threads, under the lock of whoever shares it."""

    def __init__(self, stale_after: float) -> None:
        self.presence = Presence(stale_after)
        self.reading: Reading | None = None
        """The newest; None while only an earlier run has had one."""
        self.left: bytes | None = None
        """The state that an earlier run has left."""
        self.device = homeassistant.USUAL
        """What is known of the inverter itself."""
        self.waiting = False
        """The reading has not been sent."""
        self.sending: set[int] = set()
        """The numbers of the messages with readings that are not confirmed yet."""

    @property
    def is_current(self) -> bool:
        """Whether it is to be announced: one that is silent, and that only an earlier run has heard, may be no more."""
        return self.reading is not None or time.monotonic() < self.presence.until


class Shared:
    """What the threads of a backend share."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.inverters: dict[str, Inverter] = {}
        self.delivered = 0
        self.dropped = 0
        self.importing = False
        """A file is being read, of which only the newest reading matters."""
        self.learned = False
        """What an earlier run has left at the broker is known."""


class Session:
    """One connection's life, in one thread."""

    def __init__(
        self,
        connection: Connection,
        config: MqttConfig,
        shared: Shared,
        status: StatusSource,
        size_limit: int | None,
    ) -> None:
        """`size_limit`: the broker takes no message of so many bytes."""
        self.refused: list[str] = []
        """Topics of messages that never came back; whoever reads them takes them out."""
        self._connection = connection
        self._config = config
        self._topics = Topics(config.base_topic, config.discovery_prefix)
        self._shared = shared
        self._status = status
        self._size_limit = size_limit
        self._echoes: set[str] = set()
        """Topics of messages that are to come back."""
        self._echoes_until = 0.0
        self._told: dict[str, bool] = {}
        """What the broker knows of each inverter's availability."""
        self._announced: dict[str, tuple[tuple[BackendStatus, ...], Device]] = {}
        """The inverters that Home Assistant knows, and what it knows of each."""
        self._again_at: float | None = None
        self._next_at = 0.0

    @property
    def settled(self) -> bool:
        """Whether all has come back that was to come back."""
        return not self._echoes

    def greet(self) -> None:
        """Tell the broker all there is."""
        self._subscribe_first()
        for serial, inverter in list(self._shared.inverters.items()):
            if inverter.is_current:
                self._announce(serial)
            self._send_state(serial)
        self._tell_availability()
        # Last, so that nothing old is shown before.
        self._expect_echo(self._topics.service)
        self._publish(self._topics.service, ONLINE)

    def serve(self, wake: int, has_to_leave: Callable[[], bool]) -> None:
        """Pass on what is new, until it is to end. What is written to `wake` interrupts the wait for that."""
        while not has_to_leave():
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

    def leave(self) -> None:
        """Send what waits, say that the service ends, and end the connection."""
        self._next_at = 0.0
        self._send_waiting()
        self._tell_availability()
        self._publish(self._topics.service, OFFLINE)
        deadline = time.monotonic() + LEAVE_SECONDS
        while self._connection.unconfirmed and (left := deadline - time.monotonic()) > 0:
            self._connection.wait(left)
        self._note_confirmed()
        self._connection.disconnect(LEAVE_SECONDS)

    def _subscribe_first(self) -> None:
        """Ask for all we want to know, and wait for what earlier runs have left."""
        topics = self._topics
        wanted = [topics.service] + [topics.home_assistant] * bool(topics.prefix)
        if self._shared.learned:
            self._connection.subscribe(wanted)
            return
        self._connection.subscribe([*wanted, topics.any_state])
        until = time.monotonic() + ECHO_SECONDS
        answered = False
        while (left := until - time.monotonic()) > 0:
            self._connection.wait(left)
            self._heed_messages()
            if self._connection.subscribed and not answered:
                answered = True
                until = time.monotonic() + LEARN_SECONDS
        self._connection.unsubscribe([topics.any_state])
        self._shared.learned = True

    def _heed_messages(self) -> None:
        while self._connection.messages:
            message = self._connection.messages.popleft()
            device = next((serial for serial in self._announced if self._topics.device(serial) == message.topic), "")
            if message.retained and device:
                if self._remove_what_is_gone(device, message.payload):
                    self._publish(message.topic, self._device_payload(device))
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
            inverter = self._shared.inverters[serial] = Inverter(self._config.stale_after)
            inverter.left = message.payload
            inverter.device = homeassistant.read_device(message.payload)
            inverter.presence.restore(known.time, known.clock_behind, time.time_ns(), time.monotonic())

    def _announce(self, serial: str) -> None:
        """Tell Home Assistant about an inverter."""
        if not self._topics.prefix:
            return
        topic = self._topics.device(serial)
        before = self._announced.get(serial)
        announced = b""
        if before is not None:
            announced = self._device_payload(serial)
        else:
            # Before our own message, so that what an earlier version has announced comes first.
            self._connection.subscribe([topic])
            self._expect_echo(topic)
        self._announced[serial] = self._status().backends, self._shared.inverters[serial].device
        self._remove_what_is_gone(serial, announced)
        self._publish(topic, self._device_payload(serial))

    def _device_payload(self, serial: str, gone: homeassistant.Json | None = None) -> bytes:
        backends, device = self._announced[serial]
        return homeassistant.device_payload(serial, self._topics, backends, gone, device)

    def _remove_what_is_gone(self, serial: str, announced: bytes) -> bool:
        """Tell Home Assistant what to remove of what was announced, as it keeps what is merely left out.

        Returns whether there is anything; then the present payload must follow.
        """
        gone = homeassistant.removals(announced, self._device_payload(serial))
        if gone:
            self._publish(self._topics.device(serial), self._device_payload(serial, gone))
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
            if device != shared.inverters[serial].device or _names(backends) != names:
                self._announce(serial)
            self._send_state(serial)

    def _send_state(self, serial: str) -> None:
        shared = self._shared
        with shared.changed:
            inverter = shared.inverters[serial]
            reading, behind = inverter.reading, inverter.presence.behind
            is_news, inverter.waiting = inverter.waiting, False
        topic = self._topics.state(serial)
        if reading is None:
            if inverter.left is not None:
                self._publish(topic, inverter.left)
            return
        number = self._publish(topic, homeassistant.state_payload(reading, behind, self._status()))
        if self._config.field_topics:
            for field in reading.fields:
                value = homeassistant.field_text(reading.values.get(field.id))
                self._connection.publish(self._topics.field(serial, field.id), value, confirm=False)
        with shared.changed:
            if number is not None and is_news:
                inverter.sending.add(number)
            elif is_news:
                shared.dropped += 1
                shared.changed.notify_all()

    def _tell_availability(self) -> None:
        now = time.monotonic()
        for serial, inverter in list(self._shared.inverters.items()):
            available = now < inverter.presence.until
            # A state that waits comes first: an old one is not to be shown as new.
            if self._told.get(serial) != available and not inverter.waiting:
                self._told[serial] = available
                self._publish(self._topics.availability(serial), ONLINE if available else OFFLINE)

    def _say_again(self) -> None:
        self._told.clear()
        for serial, inverter in list(self._shared.inverters.items()):
            if inverter.is_current:
                self._announce(serial)
            self._send_state(serial)

    def _publish(self, topic: str, payload: bytes) -> int | None:
        """The message's number; None when it is too large for the broker."""
        if self._size_limit is not None and len(payload) >= self._size_limit:
            self._echoes.discard(topic)
            return None
        return self._connection.publish(topic, payload)

    def _note_confirmed(self) -> None:
        unconfirmed = self._connection.unconfirmed.keys()
        with self._shared.changed:
            for inverter in self._shared.inverters.values():
                confirmed = inverter.sending - unconfirmed
                if confirmed:
                    inverter.sending -= confirmed
                    self._shared.delivered += len(confirmed)
                    self._shared.changed.notify_all()

    # A broker that does not let us write confirms all the same. It shows by what does not come back.

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
            # The broker is slow, or says nothing at all.
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
    """Read what was written to interrupt a wait."""
    with suppress(BlockingIOError):
        os.read(wake, 4096)


def _names(backends: tuple[BackendStatus, ...]) -> list[str]:
    return [backend.name for backend in backends]
