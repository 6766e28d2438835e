"""Segments to streams: the bytes of each direction of each TCP connection, in order, and the gaps in them.

A sniffer sees what passes by, which is not what an endpoint gets: the connection may be older than the capture, and
what the capture lost is never sent again once the server has it. So a gap is waited for only as long as a
retransmission may take, then skipped; what arrives late all the same is delivered as a stream of its own. Where the
beginning of a connection was not seen, the first segment may not be the first that was sent: those of the first moment
are put in order before they are delivered, in both directions together.

No I/O and no clock: time comes with the segments, or from `advance`.
"""

from __future__ import annotations

from operator import itemgetter
from typing import NamedTuple

from inverter_capture.protocol.counts import Counts
from inverter_capture.protocol.packets import FIN, RST, SYN, Flow, Segment
from inverter_capture.protocol.times import SECOND

FLOWS_MAX = 256
"""Flows remembered at a time. Those go first that have carried nothing, then those that are not proven, then those that
have been quiet the longest."""
FLOW_QUIET_SECONDS_MAX = 3600
"""A flow without data for this long is forgotten. Dongles speak every five minutes."""
GAP_SECONDS = 10
"""How long a gap may wait for a retransmission."""
OPENING_SECONDS = 1
"""How long the first segments of a connection whose beginning was not seen may wait for earlier ones."""
FLOW_BYTES_MAX = 64 * 1024
"""Memory for segments behind a gap, in one flow. Beyond it the gap is skipped."""
TOTAL_BYTES_MAX = 1024 * 1024
"""The same for all flows together."""
SEGMENT_OVERHEAD = 200
"""What a held segment takes beside its bytes, so that many tiny ones count for what they cost."""
WINDOW = 1024 * 1024
"""Segments further than this from where the stream stands belong to another connection on the same ports."""
HOLES_MAX = 8
"""Skipped ranges remembered for each flow, in which late data is still news."""

_SEQUENCES = 1 << 32


class Data(NamedTuple):
    """Bytes that follow those that the same stream delivered before."""

    stream: int
    flow: Flow
    time: int
    """When the segment that held them was captured, in nanoseconds since the epoch."""
    data: bytes


class Gap(NamedTuple):
    """Bytes of the stream are missing between what came and what comes."""

    stream: int


class End(NamedTuple):
    """The stream is over; its number is not used again."""

    stream: int


StreamEvent = Data | Gap | End


class StreamCounts(Counts):
    """What became of the segments."""

    __slots__ = ("displaced", "flows_dropped", "gaps", "late", "reordered", "repeated", "skipped", "streams")

    streams: int
    repeated: int
    """Bytes that had been there before."""
    reordered: int
    """Segments that came before an earlier one."""
    late: int
    """Bytes that came after their gap had been skipped, or from before the capture began."""
    gaps: int
    skipped: int
    """Bytes that never came."""
    displaced: int
    """Segments that fitted nowhere in their flow, and began a new stream."""
    flows_dropped: int
    """Flows forgotten because there were too many."""


class _Held(NamedTuple):
    start: int
    time: int
    data: bytes

    @property
    def cost(self) -> int:
        return len(self.data) + SEGMENT_OVERHEAD


class _FlowState:
    """Where a flow stands. Positions are sequence numbers that do not wrap."""

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
        self.is_open = initial is not None
        """Whether it is known where the stream begins."""
        self.is_proven = False
        self.stream: int | None = None
        self.end: int | None = None
        self.held: list[_Held] = []
        self.held_bytes = 0
        self.holes: list[tuple[int, int]] = []
        self.waiting_since = 0
        self.last_time = 0

    def is_continued_by(self, segment: Segment) -> bool:
        """The usual case: data that follows what was delivered, in an open stream in which nothing waits."""
        return (
            self.is_open
            and not self.held
            and self.end is None
            and segment.sequence == self.position % _SEQUENCES
            and not segment.flags & (SYN | FIN | RST)
            and not segment.cut
            and segment.payload != b""
        )


class Reassembler:
    """Takes segments, gives the bytes of their streams in order. Never raises; the constants above bound its memory."""

    def __init__(self) -> None:
        self.counts = StreamCounts()
        self._flows: dict[Flow, _FlowState] = {}
        self._opening: dict[Flow, _FlowState] = {}
        """Flows whose first segments wait for earlier ones, and flows that wait for a gap to be filled."""
        self._waiting: dict[Flow, _FlowState] = {}
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Memory for segments that wait behind gaps."""
        return self._held_bytes

    @property
    def deadline(self) -> int | None:
        """When `advance` has something to do, in nanoseconds since the epoch; None when nothing is waiting."""
        first = [
            next(iter(states.values())).waiting_since + seconds * SECOND
            for states, seconds in ((self._opening, OPENING_SECONDS), (self._waiting, GAP_SECONDS))
            if states
        ]
        return min(first) if first else None

    def prove(self, flow: Flow) -> None:
        """This flow has carried what matters: it goes last when there are too many."""
        state = self._flows.get(flow)
        if state is not None:
            state.is_proven = True

    def receive(self, segment: Segment) -> list[StreamEvent]:
        """What this segment, and the time it brings, add to the streams."""
        events = self.advance(segment.time)
        flow = segment.flow
        begin = (segment.sequence + 1) % _SEQUENCES if segment.flags & SYN else segment.sequence
        state = self._flows.pop(flow, None)
        if state is not None and state.is_continued_by(segment):
            self._flows[flow] = state
            state.last_time = segment.time
            self._deliver(state, flow, segment.time, segment.payload, events)
            return events
        if state is not None and not self._belongs(state, segment, begin):
            if segment.flags & RST:
                self._flows[flow] = state
                return events
            if not segment.flags & SYN:
                self.counts.displaced += 1
            self._end(flow, state, events)
            state = None
        if state is None:
            if segment.flags & RST:
                return events
            state = self._open(segment, begin)
        elif segment.flags & SYN and state.initial is None:
            state.initial = segment.sequence
            if not state.is_open:
                state.position += _distance(state.position, begin)
                self._begin(flow, state)
        self._flows[flow] = state
        state.last_time = segment.time

        start = state.position + _distance(state.position, begin)
        if segment.flags & RST:
            # What a reset carries is for people, not part of the stream.
            self._end(flow, state, events)
            return events
        if segment.cut and not state.is_open:
            self._begin(flow, state)
        if segment.payload or segment.cut:
            self._data(state, segment, start, events)
        if segment.flags & FIN:
            state.end = start + len(segment.payload) + segment.cut
        self._settle(flow, state, segment.time, events)
        if len(self._flows) > FLOWS_MAX:
            self.counts.flows_dropped += 1
            self._forget(self._least_worth(), events)
        return events

    def advance(self, time: int) -> list[StreamEvent]:
        """Skip the gaps that have waited long enough at this time, and forget flows that have long been quiet."""
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
            if abs(time - state.last_time) <= FLOW_QUIET_SECONDS_MAX * SECOND:
                break
            self._forget(next(iter(self._flows)), events)
        return events

    def clock_set(self, by: int) -> None:
        """The clock was set by so many nanoseconds: what has been waiting goes on waiting as long as before."""
        for state in self._flows.values():
            state.last_time += by
            state.waiting_since += by
            state.held = [held._replace(time=held.time + by) for held in state.held]

    def close(self) -> list[StreamEvent]:
        """The capture is over: deliver what waits behind gaps, and end all streams."""
        events: list[StreamEvent] = []
        while self._flows:
            self._forget(next(iter(self._flows)), events)
        return _as_captured(events)

    @staticmethod
    def _belongs(state: _FlowState, segment: Segment, begin: int) -> bool:
        if segment.flags & SYN:
            # Small devices choose the same ports and numbers after each start: only what comes soon is a repetition.
            if abs(segment.time - state.last_time) > GAP_SECONDS * SECOND:
                return False
            if state.initial is not None:
                return segment.sequence == state.initial
            # The connection was there before its SYN: either this is that SYN, late, or a new connection begins.
            return -WINDOW <= _distance(state.position, begin) <= 0
        return abs(_distance(state.position, begin)) <= WINDOW

    def _open(self, segment: Segment, begin: int) -> _FlowState:
        state = _FlowState(begin, segment.sequence if segment.flags & SYN else None)
        if not state.is_open:
            state.waiting_since = segment.time
            self._opening[segment.flow] = state
        return state

    def _begin(self, flow: Flow, state: _FlowState) -> None:
        """The stream begins with the earliest segment that has come; what is still to come of before is late."""
        del self._opening[flow]
        state.is_open = True
        state.holes.append((state.position - WINDOW, state.position))

    def _begin_connection(self, flow: Flow, time: int) -> list[StreamEvent]:
        """Begin both directions at once: what one side says can depend on what the other has said before."""
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
            # Cut by the capture: a retransmission would be cut just the same. Another copy may hold some of it.
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
        """Keep a segment beside others that wait. Where it overlaps with them, the first copy wins."""
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
        """Deliver what lies in ranges that were skipped, each piece as a stream of its own; the rest has been there."""
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
        """Give up the first gap of the flow. It holds something behind it, or it would not be a gap."""
        self._skip_to(state, state.held[0].start, events)

    def _settle(self, flow: Flow, state: _FlowState, time: int, events: list[StreamEvent]) -> None:
        """Bring a flow in order after a change, and keep all flows within their common bound."""
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
        """Deliver what can be delivered, keep within the bound, and note whether the flow waits for a gap."""
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
            # The gap it waited for is filled; this is the next one.
            del self._waiting[flow]
            state.waiting_since = time
            self._waiting[flow] = state

    def _end(self, flow: Flow, state: _FlowState, events: list[StreamEvent]) -> None:
        """End the stream but remember the flow: what is sent again after its end must not look new."""
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
        """The flow to forget when there are too many: never the latest."""
        *flows, _ = self._flows
        unproven = [flow for flow in flows if not self._flows[flow].is_proven]
        bare = (flow for flow in unproven if self._flows[flow].stream is None and not self._flows[flow].held)
        return next(bare, (unproven or flows)[0])


def _as_captured(events: list[StreamEvent]) -> list[StreamEvent]:
    """Events of several streams in the order in which they were captured; those of each stream stay in theirs."""
    latest: dict[int, int] = {}
    keyed: list[tuple[int, StreamEvent]] = []
    for event in events:
        time = latest.get(event.stream, 0)
        if isinstance(event, Data):
            time = latest[event.stream] = max(time, event.time)
        keyed.append((time, event))
    return [event for _, event in sorted(keyed, key=itemgetter(0))]


def _distance(position: int, sequence: int) -> int:
    """How far a sequence number lies ahead of a position, from -2^31 up to 2^31."""
    return (sequence - position + _SEQUENCES // 2) % _SEQUENCES - _SEQUENCES // 2
