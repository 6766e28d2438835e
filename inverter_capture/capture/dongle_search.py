"""Finds the dongles in capture files before the files are decoded.

A dongle on another port than the usual one is recognised by the beginning of a message, anywhere in a segment or cut by
the segment's end. Two passes through a file find all of them: the first one reads the segments that may hold a cut
beginning, the second one searches all TCP segments for a whole beginning.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from inverter_capture.capture.dongle_filter import ENDPOINTS_MAX, SERVER_PORT, DongleFilter, Endpoint
from inverter_capture.capture.tcp_fields import TcpFields, all_of, any_of
from inverter_capture.protocol.messages import (
    FROM_DONGLE,
    HEADER_LENGTH,
    LENGTH_OFFSET,
    MESSAGE_LENGTH_MAX,
    START,
    TYPE_NAMES,
    TYPE_OFFSET,
)
from inverter_capture.protocol.packets import Flow, Packet, PacketParser, Segment

CUTS_MAX = 4096  # Maximum number of cut beginnings that wait for the segment with the other part

_BEGINNING = START + bytes([FROM_DONGLE])
_find_beginning = re.compile(re.escape(_BEGINNING)).search  # Several times faster than `in`
_SEQUENCES = 1 << 32

Examine = Callable[[Packet], None]


class DongleSearch:
    """Searches all packets of one or more files. The dongles found are in `dongles`."""

    def __init__(self) -> None:
        self.dongles = DongleFilter()
        self.is_over = False  # Whether no further search is needed: all TCP packets pass
        self.passes: tuple[tuple[Callable[[TcpFields], str], Examine], ...] = (
            (_may_be_cut, self._examine_ends),
            (_may_hold_beginning, self._examine_all),
        )
        """For each pass the condition for packets to read, and the function that examines them."""
        self._packets = PacketParser()
        self._found: set[Endpoint] = set()
        self._cuts: dict[tuple[Flow, int, int, bool], None] = {}
        """Flow, sequence number of the cut, bytes of the beginning before the cut, and whether this is that part."""

    def _examine_all(self, packet: Packet) -> None:
        if _find_beginning(packet.data) is None:
            return
        segment = self._packets.parse(packet)
        if segment is not None and any(
            _begins_message(segment.payload[found.start() :])
            for found in re.finditer(re.escape(_BEGINNING), segment.payload)
        ):
            self._add(segment.flow)

    def _examine_ends(self, packet: Packet) -> None:
        segment = self._packets.parse(packet)
        if segment is None or not segment.payload:
            return
        for length in range(1, len(_BEGINNING)):
            head = _BEGINNING[:length]
            if segment.payload.endswith(head):
                self._remember(segment, segment.sequence + len(segment.payload), length, is_head=True)
            if _begins_message(head + segment.payload):
                self._remember(segment, segment.sequence, length, is_head=False)

    def _remember(self, segment: Segment, sequence: int, length: int, *, is_head: bool) -> None:
        cut = (segment.flow, sequence % _SEQUENCES, length)
        if (*cut, not is_head) in self._cuts:
            self._add(segment.flow)
        self._cuts[(*cut, is_head)] = None
        if len(self._cuts) > CUTS_MAX:
            del self._cuts[next(iter(self._cuts))]

    def _add(self, flow: Flow) -> None:
        endpoint = Endpoint(flow.source, flow.destination_port)
        self._found.add(endpoint)
        self.dongles.add(endpoint)
        if len(self._found) > ENDPOINTS_MAX:
            self.dongles.all_tcp = True
            self.is_over = True


def _begins_message(data: bytes) -> bool:
    """Whether a dongle's message begins here, as far as the data holds its header."""
    length = int.from_bytes(data[LENGTH_OFFSET:HEADER_LENGTH].ljust(2, b"\0"), "big")
    return (
        _BEGINNING.startswith(data[: len(_BEGINNING)])
        and (len(data) <= TYPE_OFFSET or data[TYPE_OFFSET] in TYPE_NAMES)
        and length <= MESSAGE_LENGTH_MAX - HEADER_LENGTH
    )


def _is_elsewhere(fields: TcpFields) -> str:
    """Whether the ports differ from the usual one, whose packets pass in any case."""
    return f"not {fields.port([SERVER_PORT])}"


def _may_hold_beginning(fields: TcpFields) -> str:
    return all_of([_is_elsewhere(fields), f"{fields.payload_length} >= {len(_BEGINNING)}"])


def _may_be_cut(fields: TcpFields) -> str:
    """Whether the packet ends with the first one or two bytes of a message, or begins behind them."""
    one, two = START[0], int.from_bytes(START, "big")
    alone = f"{fields.payload_length} = 1"
    return all_of(
        [
            _is_elsewhere(fields),
            any_of(
                [
                    f"{fields.last(1)} = {one}",
                    f"{fields.last(2)} = {two}",
                    f"({fields.payload(0)} = {START[1]} and ({alone} or {fields.payload(1)} = {FROM_DONGLE}))",
                    f"({fields.payload(0)} = {FROM_DONGLE} and ({alone} or {fields.payload_in(1, TYPE_NAMES)}))",
                ]
            ),
        ]
    )
