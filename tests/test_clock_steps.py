"""The system's clock is set while packets are captured: nothing is lost by it. Routers start in the past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from inverter_capture.capture import events as capture_events
from inverter_capture.capture.events import events_of
from inverter_capture.protocol.packets import Packet
from inverter_capture.protocol.packets_to_readings import AHEAD_MAX, Decoded, Decoder
from inverter_capture.protocol.streams import GAP_SECONDS
from tests import wire
from tests.dongle.reports import encode_values
from tests.wire import SECOND, Endpoint

DONGLE, SERVER = Endpoint("192.168.8.202", 50586), Endpoint("203.0.113.10", 51100, wire.MAC_B)
SERIAL = "2205164738"
DAY = 24 * 3600
NOW = int(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp())
STEPS = [56 * 365 * DAY, 90 * DAY, 3 * 3600, 60, 11, 2, -2, -60, -3 * 3600, -56 * 365 * DAY]


class Clock:
    """In place of the module `time`: a clock that is set, and one that nobody sets."""

    def __init__(self, wall: int) -> None:
        self.elapsed = 0
        self.offset = wall * SECOND

    def time_ns(self) -> int:
        return self.offset + self.elapsed

    def monotonic_ns(self) -> int:
        return self.elapsed

    def pass_by(self, seconds: float) -> None:
        self.elapsed += round(seconds * SECOND)

    def set_by(self, seconds: int) -> None:
        self.offset += seconds * SECOND


class Capture:
    """A live capture of what is put into it. Each step is what happens before `wait` returns, and gives packets."""

    live = True
    ended = False
    dongles = None

    def __init__(self, steps: list[Any]) -> None:
        self._steps = steps

    def wait(self, seconds: float | None) -> list[Packet]:
        packets: list[Packet] = self._steps.pop(0)()
        self.ended = not self._steps
        return packets


def decode(clock: Clock, steps: list[Any], monkeypatch: pytest.MonkeyPatch) -> list[Decoded]:
    monkeypatch.setattr(capture_events, "time", clock)
    decoder = Decoder(UTC, live=True)
    capture: Any = Capture(steps)
    found = [event for events in events_of(capture, decoder) for event in events]
    found += decoder.close()
    return [event for event in found if isinstance(event, Decoded)]


class Sender:
    """A dongle's connection. What it sends is captured at the clock's time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sequence = 1000

    def segment(self, offset: int, data: bytes, flags: int = wire.PSH | wire.ACK) -> Packet:
        connection = wire.Connection(DONGLE, SERVER)
        connection.packet(self._clock.time_ns(), DONGLE, self._sequence + offset, data, flags)
        (record,) = connection.records
        return Packet(record.time, wire.LINK_ETHERNET, record.data)


def report(minute: int = 0, at: int = NOW) -> bytes:
    clock = datetime.fromtimestamp(at, UTC).replace(tzinfo=None) + timedelta(minutes=minute)
    return encode_values(SERIAL, clock, {"battery_soc": 50})


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["between", "unread"])
@pytest.mark.parametrize("syn", [True, False])
@pytest.mark.parametrize("order", ["in order", "reordered"])
def test_in_the_middle_of_a_split_report(
    step: int, when: str, syn: bool, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that the clock is right in the end, or was at first: no report is ahead of it.
    clock = Clock(NOW - step if step > 0 else NOW)
    sender = Sender(clock)
    whole, next_one = report(), report(5)
    parts = [(0, whole[:100]), (100, whole[100:200]), (200, whole[200:])]
    if order == "reordered":
        parts[1], parts[2] = parts[2], parts[1]

    def begin() -> list[Packet]:
        return [sender.segment(-1, b"", wire.SYN)] if syn else []

    def send(number: int, pause: float) -> list[Packet]:
        clock.pass_by(pause)
        return [sender.segment(*parts[number])]

    def set_clock() -> list[Packet]:
        clock.set_by(step)
        return []

    def send_next() -> list[Packet]:
        clock.pass_by(300)
        return [sender.segment(len(whole), next_one)]

    # It is set while nothing is captured, or before what has been captured is read.
    middle = {
        "between": [lambda: send(1, 0.1), set_clock],
        "unread": [lambda: send(1, 0.1) + set_clock()],
    }
    steps = [lambda: begin() + send(0, 0.1), *middle[when], lambda: send(2, GAP_SECONDS / 2), send_next]
    found = decode(clock, steps, monkeypatch)
    assert [event.report.data for event in found] == [whole, next_one]
    assert all(event.reading is not None for event in found) or step < 0


@pytest.mark.parametrize("days", [2, 90])
def test_reports_that_only_a_late_clock_makes_look_ahead(days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenWrt starts with the time of its newest file, which can be months ago, until it has asked a time server."""
    clock = Clock(NOW - days * DAY)
    sender = Sender(clock)
    data = [report(minute) for minute in range(3)]
    at = [sum(map(len, data[:number])) for number in range(3)]

    def send(number: int) -> list[Packet]:
        clock.pass_by(60)
        return [sender.segment(at[number], data[number])]

    def synchronise() -> list[Packet]:
        clock.set_by(days * DAY)
        return []

    steps = [lambda: [sender.segment(-1, b"", wire.SYN)], lambda: send(0), lambda: send(1), synchronise]
    found = decode(clock, [*steps, lambda: send(2)], monkeypatch)
    read = [event.report.data for event in found if event.reading is not None]
    assert read == data
    assert [event.time // SECOND - NOW for event in found if event.reading is not None] == [60, 120, 180]


def test_reports_from_the_future_are_not_kept_for_ever() -> None:
    decoder = Decoder(UTC, live=True)
    clock = Clock(NOW)
    sender = Sender(clock)
    decoder.receive(sender.segment(-1, b"", wire.SYN))
    at = 0
    for minute in range(3 * AHEAD_MAX):
        data = report(minute, NOW + 30 * DAY)
        decoder.receive(sender.segment(at, data))
        at += len(data)
    assert decoder.readings.counts.ahead == 3 * AHEAD_MAX
    events = decoder.clock_set(30 * DAY * SECOND)
    assert len(events) == AHEAD_MAX
    assert decoder.clock_set(SECOND) == []


def test_a_gap_waits_no_longer_than_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What never comes is given up in time, whatever the clock says meanwhile."""
    clock = Clock(NOW)
    sender = Sender(clock)
    first, second = report(), report(5)

    def lose() -> list[Packet]:
        return [sender.segment(-1, b"", wire.SYN), sender.segment(50, first[50:]), sender.segment(len(first), second)]

    found: list[int] = []

    def look(seconds: float, step: int) -> list[Packet]:
        clock.pass_by(seconds)
        clock.set_by(step)
        return []

    monkeypatch.setattr(capture_events, "time", clock)
    decoder = Decoder(UTC, live=True)
    capture: Any = Capture([lose, lambda: look(4, -3600), lambda: look(4, 7200), lambda: look(3, 0)])
    for events in events_of(capture, decoder):
        found.append(sum(isinstance(event, Decoded) for event in events))
    assert found == [0, 0, 0, 1]
