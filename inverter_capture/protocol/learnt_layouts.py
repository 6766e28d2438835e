"""Which layout a report has: the one that the server told its dongle, or else one that is known.

A poll map counts first of all for the connection in which it passed. Once a report of exactly its length has come, the
layout is proven, and is remembered for the dongle's address and the inverter's serial number: it then also counts
in later connections, whose poll map the capture may have missed. Of two that fit the newer one counts.

Forged maps cannot take much: so many are remembered, and the oldest of those that no report has proven goes first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from inverter_capture.protocol.layouts import LAYOUTS, Layout
from inverter_capture.protocol.packets import Flow

LAYOUTS_MAX = 64
"""Layouts remembered for connections, and as many for addresses and for serial numbers."""


class _Learnt(NamedTuple):
    layout: Layout
    order: int
    """Counts poll maps: a higher number is newer."""
    proven: bool = False


class LearntLayouts:
    """Takes poll maps as they pass, and tells the layout of each report."""

    def __init__(self) -> None:
        self._order = 0
        self._by_connection: dict[Flow, _Learnt] = {}
        """By the flow from the dongle to its server."""
        self._by_address: dict[bytes, _Learnt] = {}
        self._by_serial: dict[str, _Learnt] = {}

    def learn(self, flow: Flow, layout: Layout, *, asked: bool) -> None:
        """The server has told a layout. `flow` goes from the dongle to the server.

        `asked`: the dongle has spoken in this connection. Else the layout counts for no other until a report proves it.
        """
        self._order += 1
        learnt = _Learnt(layout, self._order)
        _remember(self._by_connection, flow, learnt)
        if asked:
            _remember(self._by_address, flow.source, learnt)

    def find(self, flow: Flow, serial: str, length: int) -> tuple[Layout | None, bool]:
        """The layout of a report of this length, and whether it was learnt from a poll map. None when it is unknown."""
        own = self._by_connection.get(flow)
        if own is not None:
            candidates = [own]
        else:
            candidates = [known for known in (self._by_address.get(flow.source), self._by_serial.get(serial)) if known]
        fitting = [learnt for learnt in candidates if learnt.layout.length == length]
        if not fitting:
            return LAYOUTS.get(length), False
        newest = max(fitting, key=lambda learnt: learnt.order)
        proven = newest._replace(proven=True)
        if own is not None:
            _remember(self._by_connection, flow, proven)
        _remember(self._by_address, flow.source, proven)
        _remember(self._by_serial, serial, proven)
        return newest.layout, True


def _remember(known: dict[Any, _Learnt], key: Any, learnt: _Learnt) -> None:
    """As the latest. When there are too many, the oldest that is not proven goes, or else the oldest."""
    known.pop(key, None)
    if len(known) >= LAYOUTS_MAX:
        unproven = (other for other, candidate in known.items() if not candidate.proven)
        del known[next(unproven, next(iter(known)))]
    known[key] = learnt
