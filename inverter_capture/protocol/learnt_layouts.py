"""The layouts that servers tell dongles in poll maps. They apply before the known ones.

A poll map applies to its connection first. When a report of exactly its length arrives, the layout is proven, and is
remembered for the dongle's address and the inverter's serial number. It then also applies to later connections, whose
poll map the capture may have missed. If two fit, the newer one applies.

Forged poll maps cannot displace proven layouts: the number remembered is bounded, and the oldest unproven one is
forgotten first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from inverter_capture.protocol.layouts import Layout
from inverter_capture.protocol.packets import Flow

LAYOUTS_MAX = 64  # Maximum number remembered by connection, by address and by serial number, each


class _Learnt(NamedTuple):
    layout: Layout
    order: int  # Number of the poll map: a newer one has a higher number
    proven: bool = False


class LearntLayouts:
    """Learns layouts from poll maps, and finds the layout of each report."""

    def __init__(self) -> None:
        self._order = 0
        self._by_connection: dict[Flow, _Learnt] = {}  # By the flow from the dongle to its server
        self._by_address: dict[bytes, _Learnt] = {}
        self._by_serial: dict[str, _Learnt] = {}

    def learn(self, flow: Flow, layout: Layout, *, asked: bool) -> None:
        """Learn the layout of a poll map. `flow`: from the dongle to the server.

        `asked`: the dongle has sent a message in this connection before. Otherwise the layout applies to no other
        connection until a report has proven it.
        """
        self._order += 1
        learnt = _Learnt(layout, self._order)
        _remember(self._by_connection, flow, learnt)
        if asked:
            _remember(self._by_address, flow.source, learnt)

    def find(self, flow: Flow, serial: str, length: int) -> Layout | None:
        """The learnt layout of a report of this length; None: there is none."""
        if not self._order:
            return None
        own = self._by_connection.get(flow)
        candidates = [own] if own else [self._by_address.get(flow.source), self._by_serial.get(serial)]
        fitting = [learnt for learnt in candidates if learnt and learnt.layout.length == length]
        if not fitting:
            return None
        newest = max(fitting, key=lambda learnt: learnt.order)
        proven = newest._replace(proven=True)
        if own is not None:
            _remember(self._by_connection, flow, proven)
        _remember(self._by_address, flow.source, proven)
        _remember(self._by_serial, serial, proven)
        return newest.layout


def _remember(known: dict[Any, _Learnt], key: Any, learnt: _Learnt) -> None:
    """Store as the newest. If there are too many, forget the oldest unproven one, or else the oldest."""
    known.pop(key, None)
    if len(known) >= LAYOUTS_MAX:
        unproven = (other for other, candidate in known.items() if not candidate.proven)
        del known[next(unproven, next(iter(known)))]
    known[key] = learnt
