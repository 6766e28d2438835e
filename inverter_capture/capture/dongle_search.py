"""Finds the dongles in capture files before the files are decoded.

A dongle on another port than the usual one is known by the beginning of a message, anywhere in a segment or cut by the
segment's end. Two passes through a file find all of them: libpcap passes what may hold a cut beginning, and then all
TCP packets are searched for a whole one.
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

CUTS_MAX = 4096
"""Cut beginnings remembered, until the segment that holds the other part comes."""

_BEGINNING = START + bytes([FROM_DONGLE])
_find_beginning = re.compile(re.escape(_BEGINNING)).search
"""Several times faster than `in`."""
_SEQUENCES = 1 << 32

Examine = Callable[[Packet], None]


class DongleSearch:
    """Looks through all packets of one or more files; what it finds is in `dongles`."""

    def __init__(self) -> None:
        self.dongles = DongleFilter()
        self.is_over = False
        """Whether all files have been looked through."""
        self.passes: tuple[tuple[Callable[[TcpFields], str], Examine], ...] = (
            (_may_be_cut, self._examine_ends),
            (_may_hold_beginning, self._examine_all),
        )
        """For each pass through a file the condition on a packet, and what takes the packets that meet it."""
        self._packets = PacketParser()
        self._found: set[Endpoint] = set()
        self._cuts: dict[tuple[Flow, int, int, bool], None] = {}
        """Flow, sequence number of the cut, bytes of the beginning before it, and whether those are what has come."""

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
    """Whether a message of a dongle begins here, as far as the bytes of its header are there."""
    length = int.from_bytes(data[LENGTH_OFFSET:HEADER_LENGTH].ljust(2, b"\0"), "big")
    return (
        _BEGINNING.startswith(data[: len(_BEGINNING)])
        and (len(data) <= TYPE_OFFSET or data[TYPE_OFFSET] in TYPE_NAMES)
        and length <= MESSAGE_LENGTH_MAX - HEADER_LENGTH
    )


def _is_elsewhere(fields: TcpFields) -> str:
    """On the usual port everything is let through in any case."""
    return f"not {fields.port([SERVER_PORT])}"


def _may_hold_beginning(fields: TcpFields) -> str:
    return all_of([_is_elsewhere(fields), f"{fields.payload_length} >= {len(_BEGINNING)}"])


def _may_be_cut(fields: TcpFields) -> str:
    """Whether the first one or two bytes of a message end the packet, or are missing at its beginning."""
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
