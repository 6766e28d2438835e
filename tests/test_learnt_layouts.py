"""Which layout a report has: the server's word counts, for its own dongle alone, and nobody can fill the memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inverter_capture.protocol import learnt_layouts
from inverter_capture.protocol.layouts import Layout
from inverter_capture.protocol.learnt_layouts import LAYOUTS_MAX, LearntLayouts
from inverter_capture.protocol.packets import Flow

FLOW = Flow(bytes([192, 168, 0, 202]), 50586, bytes([47, 242, 67, 221]), 51100)
AGAIN = FLOW._replace(source_port=50587)
ELSEWHERE = FLOW._replace(source=bytes([192, 168, 0, 203]))
SERIAL, OTHER_SERIAL = "1235687108", "2211229876"
SMALL, LARGE = Layout([(59, 100)]), Layout([(59, 124), (150, 199), (500, 520)])
LIKE_292 = Layout([(500, 623)])


def test_lengths_that_need_no_map() -> None:
    learnt = LearntLayouts()
    assert learnt.find(FLOW, SERIAL, 306) is None
    assert learnt.find(FLOW, SERIAL, 310) is None


def test_a_map_counts_for_reports_of_exactly_its_length() -> None:
    learnt = LearntLayouts()
    learnt.learn(FLOW, LARGE, asked=True)
    assert learnt.find(FLOW, SERIAL, LARGE.length) == LARGE
    for length in (LARGE.length - 2, LARGE.length + 2, SMALL.length):
        assert learnt.find(FLOW, SERIAL, length) is None
    assert learnt.find(FLOW, SERIAL, 292) is None


def test_a_map_outlasts_its_connection() -> None:
    learnt = LearntLayouts()
    learnt.learn(FLOW, LARGE, asked=True)
    assert learnt.find(AGAIN, SERIAL, LARGE.length) == LARGE
    # Once it is proven, also when the dongle has got another address.
    assert learnt.find(ELSEWHERE, SERIAL, LARGE.length) == LARGE
    assert learnt.find(ELSEWHERE._replace(source=b"\1\2\3\4"), OTHER_SERIAL, LARGE.length) is None


def test_a_map_of_a_connection_in_which_no_dongle_spoke_counts_there_alone() -> None:
    learnt = LearntLayouts()
    learnt.learn(FLOW, LARGE, asked=False)
    assert learnt.find(AGAIN, SERIAL, LARGE.length) is None
    assert learnt.find(FLOW, SERIAL, LARGE.length) == LARGE
    assert learnt.find(AGAIN, SERIAL, LARGE.length) == LARGE


def test_a_newer_map_replaces_the_one_before() -> None:
    learnt = LearntLayouts()
    learnt.learn(FLOW, LARGE, asked=True)
    assert learnt.find(FLOW, SERIAL, LARGE.length) == LARGE
    learnt.learn(FLOW, SMALL, asked=True)
    assert learnt.find(FLOW, SERIAL, SMALL.length) == SMALL
    assert learnt.find(FLOW, SERIAL, LARGE.length) is None
    # The newest of a length counts, wherever it was heard.
    same = Layout([*LARGE.ranges[:2], (600, 620)])
    learnt.learn(AGAIN, same, asked=True)
    assert learnt.find(AGAIN._replace(source_port=1), SERIAL, LARGE.length) == same


def test_a_map_wins_over_a_known_layout_of_its_length() -> None:
    learnt = LearntLayouts()
    learnt.learn(FLOW, LIKE_292, asked=True)
    assert learnt.find(FLOW, SERIAL, 292) == LIKE_292
    assert learnt.find(ELSEWHERE, OTHER_SERIAL, 292) is None


def test_two_dongles_behind_one_address() -> None:
    learnt = LearntLayouts()
    learnt.learn(FLOW, LARGE, asked=True)
    learnt.learn(AGAIN, SMALL, asked=True)
    for _ in range(3):
        assert learnt.find(FLOW, SERIAL, LARGE.length) == LARGE
        assert learnt.find(AGAIN, OTHER_SERIAL, SMALL.length) == SMALL
    # Both connect again, and their maps are not seen.
    assert learnt.find(FLOW._replace(source_port=1), SERIAL, LARGE.length) == LARGE
    assert learnt.find(FLOW._replace(source_port=2), OTHER_SERIAL, SMALL.length) == SMALL


def test_forged_maps_do_not_displace_what_is_proven() -> None:
    learnt = LearntLayouts()
    learnt.learn(FLOW, LARGE, asked=True)
    learnt.find(FLOW, SERIAL, LARGE.length)
    for number in range(3 * LAYOUTS_MAX):
        forged = Flow(number.to_bytes(4, "big"), 1, b"\1\1\1\1", 2)
        learnt.learn(forged, Layout([(number, number + 1)]), asked=bool(number % 2))
    assert learnt.find(FLOW, SERIAL, LARGE.length) == LARGE


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200), st.booleans(), st.booleans()), max_size=300))
def test_memory_is_bounded(steps: list[tuple[int, int, bool, bool]]) -> None:
    learnt = LearntLayouts()
    for source, register, asked, proves in steps:
        flow = FLOW._replace(source=source.to_bytes(4, "big"), source_port=register)
        learnt.learn(flow, Layout([(register, register)]), asked=asked)
        if proves:
            assert learnt.find(flow, str(source), 46) == Layout([(register, register)])
        for known in (learnt._by_connection, learnt._by_address, learnt._by_serial):
            assert len(known) <= learnt_layouts.LAYOUTS_MAX
