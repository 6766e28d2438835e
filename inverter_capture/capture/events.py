"""The loop that passes packets of a capture to a decoder, and adapts the filter to the dongles found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from inverter_capture.capture.device import LiveCapture
from inverter_capture.capture.file import FileCapture
from inverter_capture.protocol.packets import Packet
from inverter_capture.protocol.packets_to_readings import Decoder, Event
from inverter_capture.protocol.times import SECOND

WAIT_SECONDS_MAX = 3600  # Maximum time to wait for packets: after the clock was set, a deadline may be wrong
STEP_NANOSECONDS = SECOND  # Smaller corrections of the clock are ignored

Capture = FileCapture | LiveCapture


def events_of(
    capture: Capture, decoder: Decoder, deadline: Callable[[], int | None] = lambda: None
) -> Iterator[list[Event]]:
    """The events that a decoder finds, after every few packets. Ends with the file; a live capture never ends.

    Yields, possibly without events, at the latest at `deadline` (ns since the epoch), which is called before each wait,
    and when the capture is woken. Does not close the decoder: another file may continue this one. Raises CaptureError
    after the last whole packet of a truncated file.
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
        events += decoder.receive(*packets)
        if capture.live:
            events += decoder.advance(time.time_ns())
        if events and capture.dongles is not None and capture.dongles.learn(events):
            capture.refilter()
        yield events


def _restamped(packet: Packet, by: int, now: int) -> Packet:
    """A packet that was captured before or after the clock was set by `by`: with the time that is closer to now."""
    moved = packet._replace(time=packet.time + by)
    return moved if abs(moved.time - now) < abs(packet.time - now) else packet


def _seconds_until(*deadlines: int | None) -> float:
    """Seconds until the first of these times (ns since the epoch); at most WAIT_SECONDS_MAX."""
    times = [deadline for deadline in deadlines if deadline is not None]
    seconds = (min(times) - time.time_ns()) / SECOND if times else WAIT_SECONDS_MAX
    return min(max(seconds, 0), WAIT_SECONDS_MAX)
