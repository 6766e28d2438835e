"""Layouts: where each register of a report stands."""

from __future__ import annotations

import pytest

from inverter_capture.protocol.layouts import LAYOUTS, Layout

DESCRIBED = {
    292: [(59, 124, 44), (150, 199, 176), (312, 319, 276)],
    302: [(13, 13, 44), (16, 17, 46), (54, 54, 50), (59, 124, 52), (150, 199, 184), (204, 204, 284), (312, 319, 286)],
    306: [
        (13, 13, 44), (16, 17, 46), (54, 54, 50), (59, 124, 52), (150, 199, 184), (204, 204, 284), (244, 244, 286),
        (312, 319, 288), (491, 491, 304),
    ],
}  # fmt: skip
"""First register, last register, offset of the first: as in reports on record, and as earlier decoders found them."""


def test_layouts_are_those_of_the_description() -> None:
    assert {length: list(map(tuple, layout.blocks)) for length, layout in LAYOUTS.items()} == DESCRIBED
    assert all(layout.length == length == layout.blocks[-1].end for length, layout in LAYOUTS.items())


@pytest.mark.parametrize("length", LAYOUTS)
def test_each_register_has_its_place(length: int) -> None:
    layout = LAYOUTS[length]
    offsets = [
        layout.register_offset(register)
        for first, last, _ in DESCRIBED[length]
        for register in range(first, last + 1)
        if register in layout
    ]
    assert offsets == list(range(44, length, 2))


@pytest.mark.parametrize("register", [0, 58, 125, 149, 200, 311, 320, 65535])
def test_a_register_that_is_not_there(register: int) -> None:
    layout = LAYOUTS[292]
    assert register not in layout
    with pytest.raises(KeyError):
        layout.register_offset(register)


def test_a_register_that_is_sent_twice_counts_where_it_comes_first() -> None:
    layout = Layout([(300, 315), (312, 319)])
    assert layout.length == 44 + 2 * 24
    assert [layout.register_offset(register) for register in (312, 315, 316)] == [44 + 24, 44 + 30, 44 + 32 + 8]


def test_layouts_with_the_same_registers_are_equal() -> None:
    assert Layout([(13, 13), (59, 124)]) == Layout([(13, 13), (59, 124)])
    assert len({Layout([(13, 13), (59, 124)]), Layout([(13, 13), (59, 124)]), Layout([(59, 124), (13, 13)])}) == 2
    assert Layout([(1, 2)]) != (1, 2)
    assert str(Layout([(13, 13), (59, 124)])) == "13, 59-124"
