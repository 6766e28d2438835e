"""Segments to streams: the bytes of each direction of each TCP connection, in order, and the gaps in them.

A capture differs from an endpoint: the connection may be older than the capture, and bytes that the capture has lost
are not sent again once the server has them. Therefore a gap is skipped after the time that a retransmission may take.
Bytes that arrive later are delivered as a stream of their own. If the beginning of a connection was not captured, the
first segments may be out of order: those of the first second are sorted before they are delivered, for both directions
together.

No I/O and no clock: times are those of the segments, and of `advance`.
"""

from __future__ import annotations

from operator import itemgetter
from typing import NamedTuple

from inverter_capture.protocol.counts import Counts
from inverter_capture.protocol.packets import FIN, RST, SYN, Flow, Segment
from inverter_capture.protocol.times import SECOND

FLOWS_MAX = 256
"""Maximum number of flows. Those without data are forgotten first, then unproven ones, then the longest silent one."""
FLOW_QUIET_SECONDS_MAX = 3600
"""A flow that is silent for longer is forgotten. Dongles send reports at least every five minutes."""
GAP_SECONDS = 10  # Maximum time to wait for the retransmission of a gap
OPENING_SECONDS = 1  # Time to wait for earlier segments if the beginning of a connection was not captured
FLOW_BYTES_MAX = 64 * 1024  # Maximum memory for segments behind a gap, for one flow. Beyond it, the gap is skipped.
TOTAL_BYTES_MAX = 1024 * 1024  # The same for all flows together
SEGMENT_OVERHEAD = 200  # Memory that a waiting segment takes in addition to its bytes
WINDOW = 1024 * 1024
"""Bytes. A segment further from the position of the stream belongs to another connection on the same ports."""
HOLES_MAX = 8  # Maximum number of skipped ranges per flow for which late data is still delivered

_QUIET = FLOW_QUIET_SECONDS_MAX * SECOND
_SEQUENCES = 1 << 32
_BEGIN_OR_END = SYN | FIN | RST


class Data(NamedTuple):
    """The next bytes of a stream."""

    stream: int
    flow: Flow
    time: int  # Time of the capture of their segment, in nanoseconds since the epoch
    data: bytes


class Gap(NamedTuple):
    """Bytes of the stream are missing here."""

    stream: int


class End(NamedTuple):
    """The stream has ended. Its number is not used again."""

    stream: int


StreamEvent = Data | Gap | End


class StreamCounts(Counts):
    """Counters of segments and bytes."""

    __slots__ = ("displaced", "flows_dropped", "gaps", "late", "reordered", "repeated", "skipped", "streams")

    streams: int
    repeated: int  # Bytes that were captured before
    reordered: int  # Segments that arrived before an earlier one
    late: int  # Bytes that arrived after their gap was skipped, or that precede the first delivered byte
    gaps: int
    skipped: int  # Bytes in skipped gaps
    displaced: int  # Segments outside the window of their flow, which began a new stream
    flows_dropped: int  # Flows forgotten because of FLOWS_MAX


class _Held(NamedTuple):
    start: int
    time: int
    data: bytes

    @property
    def cost(self) -> int:
        return len(self.data) + SEGMENT_OVERHEAD


class _FlowState:
    """The state of a flow. Positions are sequence numbers that do not wrap."""

    __slots__ = (
        "end",
        "held",
        "held_bytes",
        "holes",
        "initial",
        "is_open",
        "is_proven",
        "last_time",
        "position",
        "stream",
        "waiting_since",
    )

    def __init__(self, position: int, initial: int | None) -> None:
        self.position = position
        self.initial = initial
        self.is_open = initial is not None  # Whether the beginning of the stream is known
        self.is_proven = False
        self.stream: int | None = None
        self.end: int | None = None
        self.held: list[_Held] = []
        self.held_bytes = 0
        self.holes: list[tuple[int, int]] = []
        self.waiting_since = 0
        self.last_time = 0


class Reassembler:
    """Turns segments into the bytes of streams, in order. Never raises; the constants above bound its memory."""

    def __init__(self) -> None:
        self.counts = StreamCounts()
        self._flows: dict[Flow, _FlowState] = {}
        self._opening: dict[Flow, _FlowState] = {}  # Flows whose first segments wait for earlier ones
        self._waiting: dict[Flow, _FlowState] = {}  # Flows that wait for a gap to be filled
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Memory of waiting segments in bytes."""
        return self._held_bytes

    @property
    def deadline(self) -> int | None:
        """When to call `advance`, in nanoseconds since the epoch; None: nothing is waiting."""
        first = [
            next(iter(states.values())).waiting_since + seconds * SECOND
            for states, seconds in ((self._opening, OPENING_SECONDS), (self._waiting, GAP_SECONDS))
            if states
        ]
        return min(first) if first else None

    def prove(self, flow: Flow) -> None:
        """Tell that this flow has carried a report: it is among the last to be forgotten."""
        state = self._flows.get(flow)
        if state is not None:
            state.is_proven = True

    def receive(self, segment: Segment) -> list[StreamEvent]:
        """The events of this segment, and of its time."""
        time, flow, sequence, flags, payload, cut = segment
        events = self.advance(time)
        state = self._flows.pop(flow, None)
        if (
            state is not None
            and state.is_open
            and not state.held
            and state.end is None
            and sequence == state.position % _SEQUENCES
            and payload
            and not cut
            and not flags & _BEGIN_OR_END
        ):
            # The usual case: data that follows what was delivered, in an open stream in which nothing waits.
            self._flows[flow] = state
            state.last_time = time
            self._deliver(state, flow, time, payload, events)
            return events
        begin = (sequence + 1) % _SEQUENCES if flags & SYN else sequence
        if state is not None and not self._belongs(state, segment, begin):
            if flags & RST:
                self._flows[flow] = state
                return events
            if not flags & SYN:
                self.counts.displaced += 1
            self._end(flow, state, events)
            state = None
        if state is None:
            if flags & RST:
                return events
            state = self._open(segment, begin)
        elif flags & SYN and state.initial is None:
            state.initial = sequence
            if not state.is_open:
                state.position += _distance(state.position, begin)
                self._begin(flow, state)
        self._flows[flow] = state
        state.last_time = time

        start = state.position + _distance(state.position, begin)
        if flags & RST:
            # Data in a reset explains it, and is not part of the stream.
            self._end(flow, state, events)
            return events
        if cut and not state.is_open:
            self._begin(flow, state)
        if payload or cut:
            self._data(state, segment, start, events)
        if flags & FIN:
            state.end = start + len(payload) + cut
        self._settle(flow, state, time, events)
        if len(self._flows) > FLOWS_MAX:
            self.counts.flows_dropped += 1
            self._forget(self._least_worth(), events)
        return events

    def advance(self, time: int) -> list[StreamEvent]:
        """Skip gaps that have waited long enough at this time, and forget flows that have been silent for long."""
        events: list[StreamEvent] = []
        while self._opening:
            flow, state = next(iter(self._opening.items()))
            if abs(time - state.waiting_since) < OPENING_SECONDS * SECOND:
                break
            events += self._begin_connection(flow, time)
        while self._waiting:
            flow, state = next(iter(self._waiting.items()))
            # A clock that was set back must not keep a gap open for ever.
            if abs(time - state.waiting_since) < GAP_SECONDS * SECOND:
                break
            self._skip(state, events)
            self._settle(flow, state, time, events)
        while self._flows:
            state = next(iter(self._flows.values()))
            if abs(time - state.last_time) <= _QUIET:
                break
            self._forget(next(iter(self._flows)), events)
        return events

    def clock_set(self, by: int) -> None:
        """The clock was set by so many nanoseconds. Waiting times do not change."""
        for state in self._flows.values():
            state.last_time += by
            state.waiting_since += by
            state.held = [held._replace(time=held.time + by) for held in state.held]

    def close(self) -> list[StreamEvent]:
        """The capture has ended: skip all gaps, and end all streams."""
        events: list[StreamEvent] = []
        while self._flows:
            self._forget(next(iter(self._flows)), events)
        return _as_captured(events)

    @staticmethod
    def _belongs(state: _FlowState, segment: Segment, begin: int) -> bool:
        if segment.flags & SYN:
            # Small devices use the same ports and numbers after each start. A repetition follows soon.
            if abs(segment.time - state.last_time) > GAP_SECONDS * SECOND:
                return False
            if state.initial is not None:
                return segment.sequence == state.initial
            # Segments were captured before this SYN: it is out of order, or begins a new connection.
            return -WINDOW <= _distance(state.position, begin) <= 0
        return abs(_distance(state.position, begin)) <= WINDOW

    def _open(self, segment: Segment, begin: int) -> _FlowState:
        state = _FlowState(begin, segment.sequence if segment.flags & SYN else None)
        if not state.is_open:
            state.waiting_since = segment.time
            self._opening[segment.flow] = state
        return state

    def _begin(self, flow: Flow, state: _FlowState) -> None:
        """Begin the stream with the earliest segment captured. Earlier bytes that arrive from now on are late."""
        del self._opening[flow]
        state.is_open = True
        state.holes.append((state.position - WINDOW, state.position))

    def _begin_connection(self, flow: Flow, time: int) -> list[StreamEvent]:
        """Begin both directions at once: messages of one direction refer to earlier ones of the other."""
        events: list[StreamEvent] = []
        for direction in (flow, flow.reversed()):
            state = self._opening.get(direction)
            if state is not None:
                self._begin(direction, state)
                self._settle(direction, state, time, events)
        return _as_captured(events)

    def _data(self, state: _FlowState, segment: Segment, start: int, events: list[StreamEvent]) -> None:
        payload = segment.payload
        end = start + len(payload)
        if not state.is_open:
            state.position = min(state.position, start)
            self._hold(state, _Held(start, segment.time, payload))
            return
        if start < state.position:
            self._late(state, segment, start, events)
            payload = payload[state.position - start :]
            start = state.position
        if not payload:
            pass
        elif start == state.position and not state.held:
            self._deliver(state, segment.flow, segment.time, payload, events)
        else:
            if start > state.position:
                self.counts.reordered += 1
            self._hold(state, _Held(start, segment.time, payload))
        self._deliver_held(state, segment.flow, events)
        if segment.cut and end == state.position:
            # Cut by the capture, which would cut a retransmission, too. A waiting segment may hold some of the bytes.
            end += segment.cut
            self._skip_to(state, min(end, state.held[0].start) if state.held else end, events)
            self._deliver_held(state, segment.flow, events)

    def _deliver(self, state: _FlowState, flow: Flow, time: int, data: bytes, events: list[StreamEvent]) -> None:
        if state.stream is None:
            state.stream = self._new_stream()
        state.position += len(data)
        events.append(Data(state.stream, flow, time, data))

    def _new_stream(self) -> int:
        self.counts.streams += 1
        return self.counts.streams

    def _deliver_held(self, state: _FlowState, flow: Flow, events: list[StreamEvent]) -> None:
        while state.held and state.held[0].start == state.position:
            held = state.held.pop(0)
            state.held_bytes -= held.cost
            self._held_bytes -= held.cost
            self._deliver(state, flow, held.time, held.data, events)

    def _hold(self, state: _FlowState, new: _Held) -> None:
        """Store a segment until its gap is filled. Of bytes that are stored already, the first copy is kept."""
        start, end = new.start, new.start + len(new.data)
        parts: list[_Held] = []
        for held in state.held:
            held_end = held.start + len(held.data)
            if held_end <= start:
                continue
            if held.start >= end:
                break
            if start < held.start:
                parts.append(_Held(start, new.time, new.data[start - new.start : held.start - new.start]))
            start = held_end
        if start < end:
            parts.append(_Held(start, new.time, new.data[start - new.start :]))
        self.counts.repeated += len(new.data) - sum(len(part.data) for part in parts)
        if not parts:
            return
        for part in parts:
            state.held_bytes += part.cost
            self._held_bytes += part.cost
        state.held.extend(parts)
        state.held.sort()

    def _late(self, state: _FlowState, segment: Segment, start: int, events: list[StreamEvent]) -> None:
        """Deliver the bytes in skipped ranges, each range as a stream of its own. The other bytes are repeated."""
        end = min(start + len(segment.payload), state.position)
        news = 0
        holes: list[tuple[int, int]] = []
        for hole_start, hole_end in state.holes:
            piece_start, piece_end = max(start, hole_start), min(end, hole_end)
            if piece_start >= piece_end:
                holes.append((hole_start, hole_end))
                continue
            stream = self._new_stream()
            data = segment.payload[piece_start - start : piece_end - start]
            events += (Data(stream, segment.flow, segment.time, data), End(stream))
            news += len(data)
            holes += [hole for hole in ((hole_start, piece_start), (piece_end, hole_end)) if hole[0] < hole[1]]
        state.holes = holes[-HOLES_MAX:]
        self.counts.late += news
        self.counts.repeated += end - start - news

    def _skip_to(self, state: _FlowState, position: int, events: list[StreamEvent]) -> None:
        self.counts.gaps += 1
        self.counts.skipped += position - state.position
        state.holes = [*state.holes, (state.position, position)][-HOLES_MAX:]
        state.position = position
        if state.stream is not None:
            events.append(Gap(state.stream))

    def _skip(self, state: _FlowState, events: list[StreamEvent]) -> None:
        """Skip the first gap of the flow."""
        self._skip_to(state, state.held[0].start, events)

    def _settle(self, flow: Flow, state: _FlowState, time: int, events: list[StreamEvent]) -> None:
        """Deliver after a change what can be delivered, and enforce all limits."""
        self._settle_flow(flow, state, time, events)
        while self._held_bytes > TOTAL_BYTES_MAX:
            if self._waiting:
                flow, state = next(iter(self._waiting.items()))
                self._skip(state, events)
            else:
                flow, state = next(iter(self._opening.items()))
                self._begin(flow, state)
            self._settle_flow(flow, state, time, events)

    def _settle_flow(self, flow: Flow, state: _FlowState, time: int, events: list[StreamEvent]) -> None:
        """The same for one flow and its limit. Records whether the flow waits for a gap."""
        if not state.is_open:
            if state.held_bytes <= FLOW_BYTES_MAX:
                return
            self._begin(flow, state)
        self._deliver_held(state, flow, events)
        while state.held_bytes > FLOW_BYTES_MAX:
            self._skip(state, events)
            self._deliver_held(state, flow, events)
        if state.end is not None and state.position >= state.end:
            self._end(flow, state, events)
        if not state.held:
            self._waiting.pop(flow, None)
        elif flow not in self._waiting:
            state.waiting_since = time
            self._waiting[flow] = state
        elif state.held[0].time > state.waiting_since:
            # The gap is filled: the flow waits for the next one.
            del self._waiting[flow]
            state.waiting_since = time
            self._waiting[flow] = state

    def _end(self, flow: Flow, state: _FlowState, events: list[StreamEvent]) -> None:
        """End the stream, but keep the flow, to recognise repeated segments."""
        if not state.is_open:
            self._begin(flow, state)
        self._deliver_held(state, flow, events)
        while state.held:
            self._skip(state, events)
            self._deliver_held(state, flow, events)
        self._waiting.pop(flow, None)
        state.end = None
        if state.stream is not None:
            events.append(End(state.stream))
            state.stream = None

    def _forget(self, flow: Flow, events: list[StreamEvent]) -> None:
        self._end(flow, self._flows.pop(flow), events)

    def _least_worth(self) -> Flow:
        """The flow to forget when there are too many. Never the latest."""
        *flows, _ = self._flows
        unproven = [flow for flow in flows if not self._flows[flow].is_proven]
        bare = (flow for flow in unproven if self._flows[flow].stream is None and not self._flows[flow].held)
        return next(bare, (unproven or flows)[0])


def _as_captured(events: list[StreamEvent]) -> list[StreamEvent]:
    """Events of several streams in the order of their capture. The order of each stream does not change."""
    latest: dict[int, int] = {}
    keyed: list[tuple[int, StreamEvent]] = []
    for event in events:
        time = latest.get(event.stream, 0)
        if isinstance(event, Data):
            time = latest[event.stream] = max(time, event.time)
        keyed.append((time, event))
    return [event for _, event in sorted(keyed, key=itemgetter(0))]


def _distance(position: int, sequence: int) -> int:
    """How far a sequence number is ahead of a position, from -2^31 up to 2^31."""
    return (sequence - position + _SEQUENCES // 2) % _SEQUENCES - _SEQUENCES // 2
