"""Packets to readings: the stages put in a row, and nothing else. No I/O, no clock, no logging."""

from __future__ import annotations

from datetime import tzinfo
from typing import NamedTuple

from inverter_capture.protocol.frames import Frame, FrameCounts, FrameEvent, FrameParser, Other, UnknownFrame
from inverter_capture.protocol.packets import Flow, Packet, PacketParser
from inverter_capture.protocol.readings import FrameReader, Reading
from inverter_capture.protocol.streams import Data, Gap, Reassembler, StreamEvent

REPEATS_MAX = 256
"""Frames remembered to recognise copies: a capture on all interfaces sees each packet several times."""


class Decoded(NamedTuple):
    """A frame, and the reading in it; no reading when the frame is from the future."""

    time: int
    """When it was captured, in nanoseconds since the epoch."""
    flow: Flow
    frame: Frame
    reading: Reading | None


class Unknown(NamedTuple):
    """A frame of an unknown length."""

    time: int
    flow: Flow
    frame: UnknownFrame


class Begun(NamedTuple):
    """A segment that can be the beginning of a frame; the rest of it is yet to come."""

    flow: Flow


class Skipped(NamedTuple):
    """Bytes of a flow that are no frame."""

    flow: Flow
    head: bytes


Event = Decoded | Unknown | Begun | Skipped


class Decoder:
    """Takes packets, gives readings and what else is worth knowing. Never raises; its memory is bounded."""

    def __init__(self, zone: tzinfo | None = None, *, live: bool = False) -> None:
        """`zone` is the inverter's time zone, None the system's. `live`: the packets come as they are captured."""
        self.packets = PacketParser()
        self.streams = Reassembler()
        self.readings = FrameReader(zone, live=live)
        self.frame_counts = FrameCounts()
        self.repeats = 0
        """Frames that were copies of one decoded shortly before."""
        self._parsers: dict[int, FrameParser] = {}
        self._flows: dict[int, tuple[Flow, int]] = {}
        self._recent: dict[bytes, None] = {}

    @property
    def deadline(self) -> int | None:
        """When `advance` is to be called if no packet comes before (ns since the epoch); None when never."""
        return self.streams.deadline

    def receive(self, packet: Packet) -> list[Event]:
        """What this packet completes."""
        segment = self.packets.parse(packet)
        return [] if segment is None else self._frames(self.streams.receive(segment))

    def advance(self, time: int) -> list[Event]:
        """What the passing of time completes; ns since the epoch."""
        return self._frames(self.streams.advance(time))

    def close(self) -> list[Event]:
        """The capture is over: what can still be completed."""
        return self._frames(self.streams.close())

    def _frames(self, stream_events: list[StreamEvent]) -> list[Event]:
        events: list[Event] = []
        for event in stream_events:
            if isinstance(event, Data):
                parser = self._parsers.get(event.stream)
                if parser is None:
                    parser = self._parsers[event.stream] = FrameParser(self.frame_counts)
                self._flows[event.stream] = (event.flow, event.time)
                self._readings(event.flow, event.time, parser.receive(event.data), events)
                if parser.within_frame:
                    events.append(Begun(event.flow))
            elif event.stream in self._parsers:
                if isinstance(event, Gap):
                    self._parsers[event.stream].gap()
                else:
                    flow, time = self._flows.pop(event.stream)
                    self._readings(flow, time, self._parsers.pop(event.stream).close(), events)
        return events

    def _readings(self, flow: Flow, time: int, frames: list[FrameEvent], events: list[Event]) -> None:
        for frame in frames:
            if isinstance(frame, Other):
                events.append(Skipped(flow, frame.head))
            elif frame.data in self._recent:
                self.repeats += 1
            else:
                self._remember(frame.data)
                if isinstance(frame, Frame):
                    events.append(Decoded(time, flow, frame, self.readings.read(frame, time)))
                else:
                    events.append(Unknown(time, flow, frame))

    def _remember(self, data: bytes) -> None:
        self._recent[data] = None
        if len(self._recent) > REPEATS_MAX:
            del self._recent[next(iter(self._recent))]
