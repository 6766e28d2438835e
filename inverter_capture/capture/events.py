"""The one loop of a capture, its decoder and the filter that follows from what the decoder finds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from inverter_capture.capture.device import LiveCapture
from inverter_capture.capture.file import FileCapture
from inverter_capture.protocol.packets import Packet
from inverter_capture.protocol.packets_to_readings import Decoder, Event
from inverter_capture.protocol.times import SECOND

WAIT_SECONDS_MAX = 3600
"""How long to wait for packets at most: when the clock is set, what was due by then looks far away."""
STEP_NANOSECONDS = SECOND
"""Clocks that are set by less than this disturb nothing."""

Capture = FileCapture | LiveCapture


def events_of(
    capture: Capture, decoder: Decoder, deadline: Callable[[], int | None] = lambda: None
) -> Iterator[list[Event]]:
    """What a decoder finds in a capture, some packets at a time. Ends with a file; a live capture goes on for ever.

    Yields at the latest at `deadline`, which is asked for before each wait (ns since the epoch), and when the capture
    is woken; there may be no event then. The decoder is not closed at the end: another file may continue this one.
    Raises CaptureError behind the last whole packet of a truncated file.
    """
    ahead = time.time_ns() - time.monotonic_ns()
    while not capture.ended:
        events: list[Event] = []
        packets = capture.wait(_seconds_until(decoder.deadline, deadline()))
        if capture.live:
            now = time.time_ns()
            ahead_before, ahead = ahead, now - time.monotonic_ns()
            by = ahead - ahead_before
            if abs(by) > STEP_NANOSECONDS:
                events += decoder.clock_set(by)
                packets = [_restamped(packet, by, now) for packet in packets]
        for packet in packets:
            events += decoder.receive(packet)
        if capture.live:
            events += decoder.advance(time.time_ns())
        if events and capture.dongles is not None and capture.dongles.heed(events):
            capture.refilter()
        yield events


def _restamped(packet: Packet, by: int, now: int) -> Packet:
    """A packet that has just been read, with its time by a clock that was set meanwhile: before it came, or after."""
    moved = packet._replace(time=packet.time + by)
    return moved if abs(moved.time - now) < abs(packet.time - now) else packet


def _seconds_until(*deadlines: int | None) -> float:
    """Until the first of these times, in ns since the epoch; at most WAIT_SECONDS_MAX."""
    times = [deadline for deadline in deadlines if deadline is not None]
    seconds = (min(times) - time.time_ns()) / SECOND if times else WAIT_SECONDS_MAX
    return min(max(seconds, 0), WAIT_SECONDS_MAX)
