"""Packets to readings: connects the stages. No I/O, no clock, no logging."""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from typing import NamedTuple

from inverter_capture.protocol.counts import Counts
from inverter_capture.protocol.learnt_layouts import LearntLayouts
from inverter_capture.protocol.messages import Message, MessageCounts, MessageParser
from inverter_capture.protocol.packets import Flow, Packet, PacketParser
from inverter_capture.protocol.poll_maps import PollMap, parse_poll_map
from inverter_capture.protocol.readings import Reading, ReportReader
from inverter_capture.protocol.reports import Report, parse_report
from inverter_capture.protocol.streams import Data, Gap, Reassembler, StreamEvent

REPEATS_MAX = 256
"""Maximum number of reports remembered to recognise copies. A capture on all devices sees each packet several times."""
AHEAD_MAX = 16  # Maximum number of reports remembered that are ahead of the clock
DONGLES_MAX = 256  # Maximum number of flows remembered in which a dongle has sent a message


class Decoded(NamedTuple):
    """A report, and its reading; None when the report is from the future, or its values do not fit its registers."""

    time: int  # Time of the capture, in nanoseconds since the epoch
    flow: Flow
    report: Report
    reading: Reading | None
    is_ahead: bool = False  # Whether the report is from the future


class Unknown(NamedTuple):
    """A report with an unknown layout: its length is not one of LAYOUTS, and no poll map with this length was seen."""

    time: int
    flow: Flow
    report: Report


class MapHeard(NamedTuple):
    """A poll map."""

    time: int
    flow: Flow  # From the server to the dongle
    poll_map: PollMap
    message: Message


class Heard(NamedTuple):
    """Another message. It may contain a secret: only its header and a dongle's serial number may be shown."""

    time: int
    flow: Flow
    message: Message


Event = Decoded | Unknown | MapHeard | Heard

Admit = Callable[[Report, Flow, int], bool]  # Whether to read a report captured at this time (ns since the epoch)


class ReportCounts(Counts):
    """Counters of reports."""

    __slots__ = ("known", "refused", "repeated", "unknown")

    known: int  # With a layout
    unknown: int
    repeated: int  # Copies of a recent report
    refused: int  # Not admitted


class Decoder:
    """Turns packets into events, such as readings. Never raises; its memory is bounded."""

    def __init__(self, zone: tzinfo | None = None, *, live: bool = False, admit: Admit | None = None) -> None:
        """`zone`: the inverter's time zone; None: the system's. `live`: packets arrive as they are captured.

        `admit` is called for each report before anything is learnt from it; None: all reports are read.
        """
        self.packets = PacketParser()
        self.streams = Reassembler()
        self.readings = ReportReader(zone, live=live)
        self.message_counts = MessageCounts()
        self.counts = ReportCounts()
        self._admit = admit
        self._layouts = LearntLayouts()
        self._parsers: dict[int, MessageParser] = {}
        self._latest: dict[int, tuple[Flow, int]] = {}  # By stream: its flow and the time of its last segment
        self._dongles: dict[Flow, None] = {}
        self._recent: dict[bytes, None] = {}
        self._ahead: list[Decoded] = []
        """Flows, times and reports that are ahead of the capture's clock, which may be wrong."""

    @property
    def deadline(self) -> int | None:
        """When to call `advance` unless a packet arrives before (ns since the epoch); None: never."""
        return self.streams.deadline

    def receive(self, *packets: Packet) -> list[Event]:
        """The events of these packets.

        All of them pass one stage before the next one begins: this is faster, since a processor's cache holds a stage.
        """
        stream_events: list[StreamEvent] = []
        for segment in map(self.packets.parse, packets):
            if segment is not None:
                stream_events += self.streams.receive(segment)
        return self._messages(stream_events)

    def advance(self, time: int) -> list[Event]:
        """The events of waiting until this time (ns since the epoch)."""
        return self._messages(self.streams.advance(time))

    def clock_set(self, by: int) -> list[Event]:
        """The capture's clock was set by so many nanoseconds. Reads again the reports that were ahead of it."""
        self.streams.clock_set(by)
        self._latest = {stream: (flow, time + by) for stream, (flow, time) in self._latest.items()}
        ahead, self._ahead = self._ahead, []
        return [self._read(event.time + by, event.flow, event.report) for event in ahead]

    def close(self) -> list[Event]:
        """The capture has ended: the events of the data that was waiting."""
        return self._messages(self.streams.close())

    def _messages(self, stream_events: list[StreamEvent]) -> list[Event]:
        events: list[Event] = []
        for event in stream_events:
            if isinstance(event, Data):
                stream, flow, time, data = event
                parser = self._parsers.get(stream)
                if parser is None:
                    parser = self._parsers[stream] = MessageParser(self.message_counts)
                self._latest[stream] = (flow, time)
                messages = parser.receive(data)
            elif event.stream not in self._parsers:
                continue
            elif isinstance(event, Gap):
                self._parsers[event.stream].gap()
                continue
            else:
                flow, time = self._latest.pop(event.stream)
                messages = self._parsers.pop(event.stream).close()
            for message in messages:
                if found := self._event(flow, time, message):
                    events.append(found)
        return events

    def _event(self, flow: Flow, time: int, message: Message) -> Event | None:
        """The event of a message; None for a report that is repeated or not admitted."""
        if flow not in self._dongles and message.from_dongle:
            self._dongles[flow] = None
            if len(self._dongles) > DONGLES_MAX:
                del self._dongles[next(iter(self._dongles))]
        if report := parse_report(message):
            return self._report(flow, time, report)
        if poll_map := parse_poll_map(message):
            back = flow.reversed()
            self._layouts.learn(back, poll_map.layout, asked=back in self._dongles)
            return MapHeard(time, flow, poll_map, message)
        return Heard(time, flow, message)

    def _report(self, flow: Flow, time: int, report: Report) -> Decoded | Unknown | None:
        data = report.data
        if data in self._recent:
            self.counts.repeated += 1
            return None
        self._recent[data] = None
        if len(self._recent) > REPEATS_MAX:
            del self._recent[next(iter(self._recent))]
        if self._admit is not None and not self._admit(report, flow, time):
            self.counts.refused += 1
            return None
        if learnt := self._layouts.find(flow, report.serial, len(data)):
            report = report._replace(layout=learnt, learnt=True)
        if report.layout is None:
            self.counts.unknown += 1
            return Unknown(time, flow, report)
        self.counts.known += 1
        self.streams.prove(flow)
        return self._read(time, flow, report)

    def _read(self, time: int, flow: Flow, report: Report) -> Decoded:
        ahead = self.readings.counts.ahead
        reading = self.readings.read(report, time)
        event = Decoded(time, flow, report, reading, self.readings.counts.ahead > ahead)
        if event.is_ahead:
            self._ahead = [*self._ahead, event][-AHEAD_MAX:]
        return event
