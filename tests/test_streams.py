"""Segments to streams, judged by a model that knows for each byte of a connection which copy of it came first.

In the property tests every byte tells where it belongs: its value is 64 times the number of its copy, plus its place in
the connection. So whatever a stream delivers can be checked byte by byte.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inverter_capture.protocol import streams
from inverter_capture.protocol.packets import FIN, RST, SYN, Flow, Segment
from inverter_capture.protocol.streams import Data, End, Gap, Reassembler, StreamEvent
from tests.wire import SECOND

PSH_ACK = 0x18
START = 1_700_000_000 * SECOND
FLOWS = [Flow(bytes([10, 0, 0, number]), 50000 + number, bytes([47, 242, 67, 221]), 51100) for number in range(3)]
FLOW = FLOWS[0]
PLACES = 64
COPIES = 4


def content(start: int, length: int, copy: int = 0) -> bytes:
    """Bytes that tell their place and copy."""
    return bytes(copy * PLACES + place for place in range(start, start + length))


def segment(
    initial: int,
    start: int,
    payload: bytes,
    *,
    time: int = START,
    flow: Flow = FLOW,
    flags: int = PSH_ACK,
    cut: int = 0,
) -> Segment:
    """A segment whose first byte has this place behind the connection's first sequence number."""
    return Segment(time, flow, (initial + start) % 2**32, flags, payload, cut)


def syn(initial: int, *, time: int = START, flow: Flow = FLOW, payload: bytes = b"") -> Segment:
    """The segment that begins a connection whose first byte will have the sequence number `initial`."""
    return Segment(time, flow, (initial - 1) % 2**32, SYN, payload)


def check_bounds(reassembler: Reassembler) -> None:
    """What holds after every step."""
    flows, waiting, opening = reassembler._flows, reassembler._waiting, reassembler._opening
    assert len(flows) <= streams.FLOWS_MAX
    assert reassembler.held_bytes <= streams.TOTAL_BYTES_MAX
    held = {flow: sum(held.cost for held in state.held) for flow, state in flows.items()}
    assert reassembler.held_bytes == sum(held.values())
    assert all(state.held_bytes == held[flow] <= streams.FLOW_BYTES_MAX for flow, state in flows.items())
    assert set(opening) == {flow for flow, state in flows.items() if not state.is_open}
    assert set(waiting) == {flow for flow, cost in held.items() if cost} - set(opening)
    assert all(states[flow] is flows[flow] for states in (waiting, opening) for flow in states)
    assert all(len(state.holes) <= streams.HOLES_MAX for state in flows.values())
    assert (reassembler.deadline is None) == (not waiting and not opening)


def held_data(reassembler: Reassembler) -> int:
    """Bytes that wait behind gaps."""
    return sum(len(held.data) for state in reassembler._flows.values() for held in state.held)


def joined(events: list[StreamEvent]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Data))


def kinds(events: list[StreamEvent]) -> list[type]:
    return [type(event) for event in events]


class Model:
    """What has been captured of one flow, and what of it has been delivered."""

    def __init__(self) -> None:
        self.first: dict[int, tuple[int, int]] = {}
        """Place -> value and time of the first copy."""
        self.delivered: set[int] = set()

    def capture(self, start: int, payload: bytes, time: int) -> None:
        for place, value in enumerate(payload, start):
            self.first.setdefault(place, (value, time))


class Judge:
    """Follows all events of a reassembler, and objects to what is wrong."""

    def __init__(self) -> None:
        self.models = {flow: Model() for flow in FLOWS}
        self.reassembler = Reassembler()
        self.next_place: dict[int, int] = {}
        self.after_gap: set[int] = set()
        self.ended: set[int] = set()
        self.received = 0
        self.delivered = 0

    def receive(self, segment: Segment, start: int) -> None:
        self.models[segment.flow].capture(start, segment.payload, segment.time)
        self.received += len(segment.payload)
        self.follow(self.reassembler.receive(segment))

    def follow(self, events: list[StreamEvent]) -> None:
        for event in events:
            assert event.stream not in self.ended, "a stream is over when it is over"
            if isinstance(event, Gap):
                self.after_gap.add(event.stream)
            elif isinstance(event, End):
                self.ended.add(event.stream)
            else:
                self._data(event)
        check_bounds(self.reassembler)
        counts = self.reassembler.counts
        assert self.received == self.delivered + counts.repeated + held_data(self.reassembler)
        assert counts.streams == len(self.next_place)

    def _data(self, event: Data) -> None:
        model = self.models[event.flow]
        assert event.data, "nothing is no data"
        first = event.data[0] % PLACES
        expected = self.next_place.get(event.stream)
        if expected is not None:
            assert first > expected if event.stream in self.after_gap else first == expected
        self.after_gap.discard(event.stream)
        for place, value in enumerate(event.data, first):
            assert place not in model.delivered, "nothing comes twice"
            assert model.first[place] == (value, event.time), "the first copy wins"
            model.delivered.add(place)
        self.next_place[event.stream] = first + len(event.data)
        self.delivered += len(event.data)

    def close(self) -> None:
        self.follow(self.reassembler.close())
        assert set(self.next_place) == self.ended, "every stream ends"
        assert not self.reassembler._flows
        assert self.reassembler.held_bytes == 0


class Piece(NamedTuple):
    flow: Flow
    start: int
    length: int
    copy: int


initials = st.sampled_from([0, 1, 2**31 - 7, 2**32 - 1, 2**32 - 20, 2**32 - PLACES]) | st.integers(0, 2**32 - 1)


@st.composite
def any_pieces(draw: st.DrawFn, flow: Flow) -> Piece:
    start = draw(st.integers(0, PLACES - 1))
    return Piece(flow, start, draw(st.integers(1, min(16, PLACES - start))), draw(st.integers(0, COPIES - 1)))


@st.composite
def covering_pieces(draw: st.DrawFn, flow: Flow) -> list[Piece]:
    """Pieces that together hold all places, in any order, and others that overlap with them."""
    inner = draw(st.sets(st.integers(1, PLACES - 1), max_size=10))
    places = sorted({0, PLACES} | inner)
    whole = [Piece(flow, start, end - start, 0) for start, end in pairwise(places)]
    more = draw(st.lists(any_pieces(flow), max_size=8))
    return list(draw(st.permutations(whole + more)))


def tight(**constants: Any) -> AbstractContextManager[object]:
    """Bounds small enough for the small connections here to reach."""
    changed: AbstractContextManager[object] = patch.multiple(streams, **constants)
    return changed


# --- properties -----------------------------------------------------------------------------------------------------


@given(st.data(), initials)
def test_all_that_was_sent_comes_in_order(data: st.DataObject, initial: int) -> None:
    # Several flows, mixed; each byte of each captured at least once, within the time that a gap may wait.
    flows = FLOWS[: data.draw(st.integers(1, 3))]
    lists = [[*data.draw(covering_pieces(flow))] for flow in flows]
    judge = Judge()
    for flow in flows:
        judge.receive(syn(initial, flow=flow), 0)
    time = START
    while any(lists):
        piece = data.draw(st.sampled_from([pieces for pieces in lists if pieces])).pop()
        time += data.draw(st.integers(-SECOND // 10, SECOND // 10))
        payload = content(piece.start, piece.length, piece.copy)
        judge.receive(segment(initial, piece.start, payload, time=time, flow=piece.flow), piece.start)
    assert judge.reassembler.deadline is None
    assert not judge.after_gap
    assert judge.reassembler.counts.gaps == judge.reassembler.counts.skipped == judge.reassembler.counts.late == 0
    assert len(judge.next_place) == len(flows), "one stream for each flow"
    assert all(len(model.delivered) == PLACES for model in judge.models.values() if model.first)
    judge.close()


@given(st.data(), initials)
def test_what_was_reordered_as_the_capture_began_comes_in_order(data: st.DataObject, initial: int) -> None:
    # No SYN was seen, and the first segment that was captured need not be the first that was sent.
    pieces = data.draw(covering_pieces(FLOW))
    judge = Judge()
    for number, piece in enumerate(pieces):
        payload = content(piece.start, piece.length, piece.copy)
        time = START + number * SECOND // 100
        judge.receive(segment(initial, piece.start, payload, time=time), piece.start)
    judge.follow(judge.reassembler.advance(START + streams.OPENING_SECONDS * SECOND))
    assert judge.models[FLOW].delivered == set(range(PLACES))
    assert len(judge.next_place) == 1, "one stream"
    assert judge.reassembler.counts.gaps == 0
    judge.close()


STEPS = [
    0,
    SECOND // 100,
    SECOND,
    3 * SECOND,
    11 * SECOND,
    300 * SECOND,
    -SECOND,
    -5 * SECOND,
    -11 * SECOND,
    -400 * SECOND,
]


@given(st.data(), initials, st.booleans())
def test_all_that_was_captured_comes_once(data: st.DataObject, initial: int, begun: bool) -> None:
    # Anything lost, any order, and a clock that jumps: each captured byte still comes, once, in its first copy.
    judge = Judge()
    time = START
    with tight(FLOW_BYTES_MAX=900, TOTAL_BYTES_MAX=1500, HOLES_MAX=1000):
        if begun:
            for flow in FLOWS:
                judge.receive(syn(initial, flow=flow), 0)
        for piece in data.draw(st.lists(st.sampled_from(FLOWS).flatmap(any_pieces), min_size=1, max_size=30)):
            time += data.draw(st.sampled_from(STEPS))
            payload = content(piece.start, piece.length, piece.copy)
            judge.receive(segment(initial, piece.start, payload, time=time, flow=piece.flow), piece.start)
            if data.draw(st.booleans()):
                time += data.draw(st.sampled_from(STEPS))
                judge.follow(judge.reassembler.advance(time))
        judge.close()
    counts = judge.reassembler.counts
    assert all(model.delivered == set(model.first) for model in judge.models.values())
    if begun:
        reached = {flow: max(model.first, default=-1) + 1 for flow, model in judge.models.items()}
        never = sum(reached.values()) - sum(len(model.first) for model in judge.models.values())
        assert counts.skipped - counts.late == never
    else:
        assert counts.late >= 0


class Anything(NamedTuple):
    """A step of a test in which anything may come."""

    piece: Piece
    shift: int
    length: int
    flags: int
    cut: int
    step: int
    advance: int | None


anything = st.builds(
    Anything,
    piece=st.sampled_from(FLOWS).flatmap(any_pieces),
    shift=st.sampled_from([0, 0, 0, 0, -1, 70, 150, 2**31, 2**31 - 1, -(2**31), 5000]),
    length=st.sampled_from([0, 1, PLACES]),
    flags=st.sampled_from([PSH_ACK, PSH_ACK, PSH_ACK, SYN, FIN, FIN | PSH_ACK, RST, SYN | FIN, 0xFF]),
    cut=st.sampled_from([0, 0, 0, 5, 65535]),
    step=st.sampled_from([*STEPS, 4000 * SECOND, -4000 * SECOND]),
    advance=st.none() | st.sampled_from(STEPS),
)


@given(st.lists(anything, min_size=1, max_size=25), initials)
def test_bounds_hold_whatever_comes(steps: list[Anything], initial: int) -> None:
    # Beginnings, ends, resets, sequence numbers from anywhere, cut segments, any time.
    reassembler = Reassembler()
    received = delivered = 0
    time = START
    with tight(FLOW_BYTES_MAX=900, TOTAL_BYTES_MAX=1500, HOLES_MAX=3, FLOWS_MAX=2, WINDOW=100):
        for piece, shift, length, flags, cut, step, advance in steps:
            time += step
            payload = content(piece.start, piece.length)[:length]
            received += 0 if flags & RST else len(payload)
            events = reassembler.receive(
                segment(initial, piece.start + shift, payload, time=time, flow=piece.flow, flags=flags, cut=cut)
            )
            if advance is not None:
                events += reassembler.advance(time + advance)
            check_bounds(reassembler)
            delivered += len(joined(events))
            assert received == delivered + reassembler.counts.repeated + held_data(reassembler)
        delivered += len(joined(reassembler.close()))
        assert received == delivered + reassembler.counts.repeated
        assert not reassembler._flows


# --- beginnings -----------------------------------------------------------------------------------------------------


def test_data_with_the_syn() -> None:
    reassembler = Reassembler()
    events = reassembler.receive(syn(100, payload=b"early"))
    assert events == [Data(1, FLOW, START, b"early")]
    assert reassembler.receive(syn(100, payload=b"early")) == []
    assert reassembler.receive(segment(100, 5, b"later")) == [Data(1, FLOW, START, b"later")]
    assert reassembler.counts.repeated == 5


def test_a_repeated_syn_changes_nothing() -> None:
    reassembler = Reassembler()
    for seconds in (0, 3, 9, 21):
        assert reassembler.receive(syn(100, time=START + seconds * SECOND)) == []
    time = START + 22 * SECOND
    reassembler.receive(segment(100, 0, b"one", time=time))
    assert reassembler.receive(syn(100, time=time)) == []
    assert reassembler.receive(segment(100, 3, b"two", time=time)) == [Data(1, FLOW, time, b"two")]


def test_a_late_syn_belongs_to_what_came_before_it() -> None:
    reassembler = Reassembler()
    assert reassembler.receive(segment(100, 0, b"one")) == []
    assert reassembler.receive(syn(100)) == [Data(1, FLOW, START, b"one")]
    assert reassembler.receive(segment(100, 3, b"two")) == [Data(1, FLOW, START, b"two")]
    # The second segment first, then the beginning, which tells that there is a gap.
    reassembler = Reassembler()
    reassembler.receive(segment(100, 3, b"two"))
    assert reassembler.receive(syn(100)) == []
    assert joined(reassembler.receive(segment(100, 0, b"one"))) == b"onetwo"
    assert reassembler.receive(segment(100, 6, b"three")) == [Data(1, FLOW, START, b"three")]
    # Later than the first moment it is not in order any more, but not lost.
    reassembler = Reassembler()
    reassembler.receive(segment(100, 3, b"two"))
    assert reassembler.advance(START + SECOND) == [Data(1, FLOW, START, b"two")]
    assert reassembler.receive(syn(100)) == []
    assert reassembler.receive(segment(100, 0, b"one")) == [Data(2, FLOW, START, b"one"), End(2)]


def test_the_late_syn_is_the_one_there_is() -> None:
    reassembler = Reassembler()
    reassembler.receive(segment(1000, 0, b"one"))
    assert reassembler.receive(syn(1000)) == [Data(1, FLOW, START, b"one")]
    assert reassembler.receive(syn(1000)) == []
    assert reassembler.receive(syn(990)) == [End(1)]
    assert reassembler.receive(segment(990, 0, b"two")) == [Data(2, FLOW, START, b"two")]


def test_capture_that_starts_in_mid_connection() -> None:
    reassembler = Reassembler()
    assert reassembler.receive(segment(100, 1005, b"second")) == []
    assert reassembler.receive(segment(100, 1000, b"first")) == []
    assert reassembler.deadline == START + streams.OPENING_SECONDS * SECOND
    assert reassembler.advance(reassembler.deadline - 1) == []
    begun = reassembler.advance(reassembler.deadline)
    assert begun == [Data(1, FLOW, START, b"first"), Data(1, FLOW, START, b"second")]
    assert reassembler.receive(segment(100, 1011, b"third")) == [Data(1, FLOW, START, b"third")]
    # From before the capture: news all the same, but only once.
    assert reassembler.receive(segment(100, 990, b"before")) == [Data(2, FLOW, START, b"before"), End(2)]
    assert reassembler.receive(segment(100, 990, b"before")) == []
    assert (reassembler.counts.late, reassembler.counts.repeated) == (6, 6)


@pytest.mark.parametrize("initial", [5000, 101, 100_000_000])
@pytest.mark.parametrize("seconds", [0, 60])
def test_a_new_syn_on_the_same_ports(initial: int, seconds: int) -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    reassembler.receive(segment(100, 0, b"old"))
    reassembler.receive(segment(100, 10, b"behind a gap"))
    time = START + seconds * SECOND
    events = reassembler.receive(syn(initial, time=time))
    assert events == [Gap(1), Data(1, FLOW, START, b"behind a gap"), End(1)]
    assert reassembler.receive(segment(initial, 0, b"new", time=time)) == [Data(2, FLOW, time, b"new")]


@pytest.mark.parametrize("with_syn", [True, False])
@pytest.mark.parametrize("shift", [0, -3, -292, -100_000])
def test_a_device_that_starts_with_the_same_numbers_each_time(shift: int, with_syn: bool) -> None:
    # Small TCP stacks count ports and sequence numbers from the start of the device.
    reassembler = Reassembler()
    if with_syn:
        reassembler.receive(syn(200_000))
    else:
        reassembler.receive(segment(200_000, -1, b"\0", time=START - 2 * SECOND))
    for place in range(0, 2920, 292):
        reassembler.receive(segment(200_000, place, bytes(292)))
    time = START + 60 * SECOND
    assert reassembler.receive(syn(200_000 + shift, time=time)) == [End(1)]
    frame = b"\xa5" * 292
    assert reassembler.receive(segment(200_000 + shift, 0, frame, time=time)) == [Data(2, FLOW, time, frame)]


def test_other_connection_on_the_same_ports_without_its_syn() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    reassembler.receive(segment(100, 0, b"old"))
    far = streams.WINDOW + 4
    assert reassembler.receive(segment(100, far, b"new")) == [End(1)]
    assert joined(reassembler.advance(START + SECOND)) == b"new"
    assert reassembler.receive(segment(100, far + 3, b"newer")) == [Data(2, FLOW, START, b"newer")]
    assert reassembler.counts.displaced == 1
    assert reassembler.receive(segment(100, far - streams.WINDOW, b"old?")) != []


# --- repetitions and probes -----------------------------------------------------------------------------------------


def test_keep_alive_probes_bring_nothing() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    reassembler.receive(segment(100, 0, b"frame, first half"))
    for minute in range(10):
        probe = segment(100, 16, b"\0", time=START + minute * 30 * SECOND)
        assert reassembler.receive(probe) == []
    time = START + 301 * SECOND
    assert reassembler.receive(segment(100, 17, b"second half", time=time)) == [Data(1, FLOW, time, b"second half")]
    assert reassembler.counts.repeated == 10


def test_retransmission_that_goes_on_where_the_first_ended() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(2**32 - 3))
    reassembler.receive(segment(2**32 - 3, 0, b"abcdef"))
    assert reassembler.receive(segment(2**32 - 3, 2, b"CDEFghi")) == [Data(1, FLOW, START, b"ghi")]


def test_sequence_numbers_wrap_around_more_than_once() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(0))
    # Large gaps, for speed.
    places = range(0, 3 * 2**32, streams.WINDOW)
    total = 0
    for number, place in enumerate(places):
        total += len(joined(reassembler.receive(segment(0, place, b"data", time=START + 11 * number * SECOND))))
    total += len(joined(reassembler.close()))
    assert total == 4 * len(places)
    assert (reassembler.counts.displaced, reassembler.counts.streams) == (0, 1)


# --- ends -----------------------------------------------------------------------------------------------------------


def test_fin_ends_the_stream_and_what_is_repeated_after_it_is_not_news() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    reassembler.receive(segment(100, 0, b"all"))
    assert reassembler.receive(segment(100, 3, b"", flags=FIN)) == [End(1)]
    for again in (segment(100, 3, b"", flags=FIN), segment(100, 0, b"all"), segment(100, 0, b"all", flags=FIN)):
        assert reassembler.receive(again) == []
    assert reassembler.counts.repeated == 6
    assert reassembler.close() == []


def test_fin_with_data() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    assert reassembler.receive(segment(100, 0, b"all", flags=FIN)) == [Data(1, FLOW, START, b"all"), End(1)]


def test_fin_before_the_last_data() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    reassembler.receive(segment(100, 0, b"one"))
    assert reassembler.receive(segment(100, 6, b"three", flags=FIN)) == []
    assert reassembler.receive(segment(100, 3, b"two")) == [
        Data(1, FLOW, START, b"two"),
        Data(1, FLOW, START, b"three"),
        End(1),
    ]
    # The same with a FIN that has no data.
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    reassembler.receive(segment(100, 0, b"one"))
    assert reassembler.receive(segment(100, 6, b"", flags=FIN)) == []
    assert reassembler.receive(segment(100, 3, b"two")) == [Data(1, FLOW, START, b"two"), End(1)]


def test_reset_ends_the_stream_and_its_text_is_not_data() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    reassembler.receive(segment(100, 0, b"one"))
    reassembler.receive(segment(100, 5, b"three"))
    events = reassembler.receive(segment(100, 10, b"go away", flags=RST))
    assert events == [Gap(1), Data(1, FLOW, START, b"three"), End(1)]
    assert reassembler.deadline is None


def test_reset_from_nowhere_is_ignored() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    reassembler.receive(segment(100, 0, b"one"))
    assert reassembler.receive(segment(100, 2 * streams.WINDOW, b"", flags=RST)) == []
    assert reassembler.receive(segment(100, 3, b"two")) == [Data(1, FLOW, START, b"two")]


def test_resets_of_unknown_connections_leave_nothing() -> None:
    reassembler = Reassembler()
    for number in range(2 * streams.FLOWS_MAX):
        assert reassembler.receive(segment(100, 0, b"", flow=FLOW._replace(source_port=number), flags=RST)) == []
    assert not reassembler._flows


# --- gaps -----------------------------------------------------------------------------------------------------------


def with_gap() -> Reassembler:
    """The first five bytes are there, then three are missing."""
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    reassembler.receive(segment(100, 0, b"01234"))
    assert reassembler.receive(segment(100, 8, b"89", time=START + SECOND)) == []
    return reassembler


def test_gap_is_skipped_in_time() -> None:
    reassembler = with_gap()
    deadline = START + SECOND + streams.GAP_SECONDS * SECOND
    assert reassembler.deadline == deadline
    assert reassembler.advance(deadline - 1) == []
    assert reassembler.advance(deadline) == [Gap(1), Data(1, FLOW, START + SECOND, b"89")]
    assert reassembler.deadline is None
    assert (reassembler.counts.gaps, reassembler.counts.skipped) == (1, 3)
    # Late data is delivered as a stream of its own, once.
    time = deadline + SECOND
    assert reassembler.receive(segment(100, 4, b"4567", time=time)) == [Data(2, FLOW, time, b"567"), End(2)]
    assert reassembler.receive(segment(100, 4, b"45678", time=time)) == []
    assert reassembler.counts.late == 3


def test_gap_is_skipped_when_another_flow_brings_the_time() -> None:
    reassembler = with_gap()
    time = START + 12 * SECOND
    assert reassembler.receive(syn(9, flow=FLOWS[1], time=time)) == [Gap(1), Data(1, FLOW, START + SECOND, b"89")]


def test_gap_that_is_filled() -> None:
    reassembler = with_gap()
    time = START + 10 * SECOND
    assert reassembler.receive(segment(100, 5, b"56", time=time)) == [Data(1, FLOW, time, b"56")]
    assert reassembler.receive(segment(100, 7, b"7", time=time)) == [
        Data(1, FLOW, time, b"7"),
        Data(1, FLOW, START + SECOND, b"89"),
    ]
    assert reassembler.deadline is None
    assert reassembler.counts.reordered == 1


def test_the_next_gap_has_its_own_time() -> None:
    reassembler = with_gap()
    reassembler.receive(segment(100, 20, b"20", time=START + 2 * SECOND))
    time = START + 9 * SECOND
    assert joined(reassembler.receive(segment(100, 5, b"567", time=time))) == b"56789"
    deadline = reassembler.deadline
    assert deadline is not None
    assert START + 12 * SECOND <= deadline <= time + streams.GAP_SECONDS * SECOND
    assert joined(reassembler.advance(deadline)) == b"20"


@pytest.mark.parametrize("seconds", [-11, -3600, -400 * 24 * 3600, 11, 3599])
def test_gap_does_not_outlast_a_clock_that_jumps(seconds: int) -> None:
    reassembler = with_gap()
    events = reassembler.advance(START + (1 + seconds) * SECOND)
    assert kinds(events)[:2] == [Gap, Data]
    assert reassembler.deadline is None


@pytest.mark.parametrize("seconds", [-9, -1, 0, 1, 9])
def test_gap_waits_through_small_corrections_of_the_clock(seconds: int) -> None:
    reassembler = with_gap()
    assert reassembler.advance(START + (1 + seconds) * SECOND) == []
    time = START + (1 + seconds) * SECOND
    assert joined(reassembler.receive(segment(100, 5, b"567", time=time))) == b"56789"


def test_gap_at_the_beginning_is_no_gap_of_a_stream() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    reassembler.receive(segment(100, 8, b"89"))
    assert reassembler.advance(START + 11 * SECOND) == [Data(1, FLOW, START, b"89")]
    assert reassembler.counts.skipped == 8


def test_gap_is_skipped_when_too_much_waits_behind_it() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    reassembler.receive(segment(100, 0, b"01234"))
    size = 1000
    fitting = streams.FLOW_BYTES_MAX // (size + streams.SEGMENT_OVERHEAD)
    for number in range(fitting):
        assert reassembler.receive(segment(100, 8 + number * size, bytes(size))) == []
        check_bounds(reassembler)
    events = reassembler.receive(segment(100, 8 + fitting * size, bytes(size)))
    assert events[0] == Gap(1)
    assert len(joined(events)) == (fitting + 1) * size
    check_bounds(reassembler)


def test_tiny_segments_count_for_what_they_cost() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    most = 0
    for number in range(2000):
        reassembler.receive(segment(100, 2 + 2 * number, b"x"))
        most = max(most, len(reassembler._flows[FLOW].held))
        check_bounds(reassembler)
    assert most == streams.FLOW_BYTES_MAX // (1 + streams.SEGMENT_OVERHEAD)


def test_all_flows_together_are_bounded_and_the_longest_waiting_goes_first() -> None:
    reassembler = Reassembler()
    size = 1000
    fitting = streams.FLOW_BYTES_MAX // (size + streams.SEGMENT_OVERHEAD)
    events: list[StreamEvent] = []
    for number in range(20):
        flow = FLOW._replace(source_port=number)
        reassembler.receive(syn(100, flow=flow))
        # The last segment of the connection waits too.
        reassembler.receive(segment(100, 8 + fitting * size, b"", flow=flow, flags=FIN))
        for place in range(fitting):
            events += reassembler.receive(segment(100, 8 + place * size, bytes(size), flow=flow))
            check_bounds(reassembler)
    first, *others = [event.flow.source_port for event in events if isinstance(event, Data)]
    assert first == 0
    assert others == sorted(others)
    # What was delivered to its end has ended.
    ended = [event for event in events if isinstance(event, End)]
    assert len(ended) == len(set(others))


def test_holes_are_bounded_and_what_falls_out_is_counted() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    time = START
    gaps = streams.HOLES_MAX + 2
    for number in range(gaps):
        reassembler.receive(segment(100, 10 * number + 5, b"56789", time=time))
        time += 11 * SECOND
        reassembler.advance(time)
        check_bounds(reassembler)
    late = [joined(reassembler.receive(segment(100, 10 * number, b"01234", time=time))) for number in range(gaps)]
    assert late == [b""] * 2 + [b"01234"] * streams.HOLES_MAX
    assert (reassembler.counts.late, reassembler.counts.repeated) == (5 * streams.HOLES_MAX, 10)


def test_holes_that_late_data_splits_are_bounded() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    for number in range(streams.HOLES_MAX):
        reassembler.receive(segment(100, 10 * number + 5, b"56789"))
    time = START + 11 * SECOND
    reassembler.advance(time)
    for number in range(streams.HOLES_MAX):
        reassembler.receive(segment(100, 10 * number + 2, b"2", time=time))
        check_bounds(reassembler)
    assert reassembler.counts.late >= streams.HOLES_MAX // 2


def test_one_late_segment_over_several_holes() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    for place in (2, 6):
        reassembler.receive(segment(100, place, content(place, 2)))
    reassembler.advance(START + 11 * SECOND)
    reassembler.advance(START + 22 * SECOND)
    time = START + 23 * SECOND
    events = reassembler.receive(segment(100, 1, content(1, 9, copy=1), time=time))
    assert events == [
        Data(2, FLOW, time, content(1, 1, copy=1)),
        End(2),
        Data(3, FLOW, time, content(4, 2, copy=1)),
        End(3),
        Data(1, FLOW, time, content(8, 2, copy=1)),
    ]
    assert reassembler.receive(segment(100, 0, content(0, 1), time=time)) == [
        Data(4, FLOW, time, content(0, 1)),
        End(4),
    ]


# --- segments of which the capture kept only the beginning ----------------------------------------------------------


def test_cut_segment_leaves_a_gap_that_nothing_will_fill() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    assert reassembler.receive(segment(100, 0, b"012", cut=7)) == [Data(1, FLOW, START, b"012"), Gap(1)]
    assert reassembler.deadline is None
    assert reassembler.receive(segment(100, 10, b"next")) == [Data(1, FLOW, START, b"next")]
    # The same segment again brings nothing; a copy that has more does, as a stream of its own.
    assert reassembler.receive(segment(100, 0, b"012", cut=7)) == []
    assert reassembler.receive(segment(100, 0, b"01234", cut=5)) == [Data(2, FLOW, START, b"34"), End(2)]


def test_cut_segment_of_which_nothing_was_kept() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    assert reassembler.receive(segment(100, 0, b"", cut=10)) == []
    assert reassembler.receive(segment(100, 10, b"next")) == [Data(1, FLOW, START, b"next")]


def test_cut_segment_whose_kept_bytes_are_known() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    reassembler.receive(segment(100, 0, b"012"))
    assert reassembler.receive(segment(100, 0, b"012", cut=7)) == [Gap(1)]
    assert reassembler.receive(segment(100, 10, b"next")) == [Data(1, FLOW, START, b"next")]


def test_cut_segment_and_a_whole_copy_of_its_end() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    reassembler.receive(segment(100, 6, b"6789"))
    events = reassembler.receive(segment(100, 0, b"012", cut=9))
    assert events == [Data(1, FLOW, START, b"012"), Gap(1), Data(1, FLOW, START, b"6789")]
    assert reassembler.counts.skipped == 3
    assert reassembler.counts.repeated == 0


def test_cut_segment_behind_a_gap() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    assert reassembler.receive(segment(100, 3, b"345", cut=4)) == []
    assert joined(reassembler.receive(segment(100, 0, b"012"))) == b"012345"
    assert reassembler.receive(segment(100, 10, b"next")) == []
    assert reassembler.advance(START + 11 * SECOND) == [Gap(1), Data(1, FLOW, START, b"next")]


def test_cut_segment_with_fin() -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100))
    events = reassembler.receive(segment(100, 0, b"012", cut=7, flags=FIN))
    assert events == [Data(1, FLOW, START, b"012"), Gap(1), End(1)]


# --- forgetting -----------------------------------------------------------------------------------------------------


def with_data(reassembler: Reassembler, flow: Flow) -> list[StreamEvent]:
    """A flow that begins with one byte."""
    return reassembler.receive(syn(100, flow=flow)) + reassembler.receive(segment(100, 0, b"x", flow=flow))


def test_flows_are_bounded_and_the_longest_quiet_goes_first() -> None:
    reassembler = Reassembler()
    flows = [FLOW._replace(source_port=number) for number in range(streams.FLOWS_MAX + 1)]
    for flow in flows[:-1]:
        with_data(reassembler, flow)
    reassembler.receive(segment(100, 1, b"y", flow=flows[0]))
    assert reassembler.counts.flows_dropped == 0
    events = with_data(reassembler, flows[-1])
    assert events == [End(2), Data(streams.FLOWS_MAX + 1, flows[-1], START, b"x")]
    assert reassembler.counts.flows_dropped == 1
    check_bounds(reassembler)


def test_flows_that_have_carried_nothing_go_first() -> None:
    reassembler = Reassembler()
    with_data(reassembler, FLOW)
    for number in range(2 * streams.FLOWS_MAX):
        assert reassembler.receive(syn(100, flow=FLOW._replace(source_port=number))) == []
        check_bounds(reassembler)
    assert reassembler.receive(segment(100, 1, b"y")) == [Data(1, FLOW, START, b"y")]


def test_flows_that_are_proven_go_last() -> None:
    reassembler = Reassembler()
    with_data(reassembler, FLOW)
    reassembler.prove(FLOW)
    for number in range(2 * streams.FLOWS_MAX):
        with_data(reassembler, FLOW._replace(source_port=number))
        check_bounds(reassembler)
    assert reassembler.receive(segment(100, 1, b"y")) == [Data(1, FLOW, START, b"y")]
    # Where all are, the one that has been quiet the longest goes.
    for number in range(streams.FLOWS_MAX):
        flow = FLOW._replace(source_port=number)
        with_data(reassembler, flow)
        reassembler.prove(flow)
    assert FLOW not in reassembler._flows


def test_what_a_dropped_flow_held_is_delivered() -> None:
    reassembler = with_gap()
    events: list[StreamEvent] = []
    with tight(FLOWS_MAX=1):
        events += reassembler.receive(syn(100, flow=FLOWS[1], time=START + SECOND))
        check_bounds(reassembler)
    assert events == [Gap(1), Data(1, FLOW, START + SECOND, b"89"), End(1)]


@pytest.mark.parametrize("sign", [1, -1])
def test_quiet_flows_are_forgotten(sign: int) -> None:
    reassembler = Reassembler()
    reassembler.receive(syn(100, payload=b"one"))
    reassembler.receive(syn(100, payload=b"one", flow=FLOWS[1], time=START + sign * SECOND))
    quiet = sign * streams.FLOW_QUIET_SECONDS_MAX * SECOND
    assert reassembler.advance(START + quiet) == []
    assert reassembler.advance(START + quiet + sign) == [End(1)]
    assert reassembler.advance(START + quiet + 2 * sign * SECOND) == [End(2)]
    assert not reassembler._flows


def test_a_flow_that_sends_now_and_then_is_not_forgotten() -> None:
    reassembler = Reassembler()
    events = reassembler.receive(syn(100))
    for number in range(5):
        time = START + number * (streams.FLOW_QUIET_SECONDS_MAX - 1) * SECOND
        events += reassembler.receive(segment(100, number, b"x", time=time))
    assert kinds(events) == [Data] * 5


def test_close_delivers_what_waits_and_ends_everything() -> None:
    reassembler = with_gap()
    reassembler.receive(segment(100, 20, b"20", time=START + 2 * SECOND))
    reassembler.receive(segment(7, 0, b"other", flow=FLOWS[1], time=START + 2 * SECOND))
    assert reassembler.close() == [
        Gap(1),
        Data(1, FLOW, START + SECOND, b"89"),
        Gap(1),
        Data(1, FLOW, START + 2 * SECOND, b"20"),
        End(1),
        Data(2, FLOWS[1], START + 2 * SECOND, b"other"),
        End(2),
    ]
    check_bounds(reassembler)
    assert reassembler.close() == []
    assert reassembler.deadline is None
