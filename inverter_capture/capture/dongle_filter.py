"""The filter that finds dongles by itself, in both directions of their connections.

It lets through the dongles' usual TCP port, the connections of dongles that have reported on another port, and every
packet that begins as a message of the dongle's protocol. Pure text and bookkeeping; libpcap compiles the program and
the kernel runs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from inverter_capture.capture.tcp_fields import TcpFields, all_of, any_of, tcp_program
from inverter_capture.protocol import link_layers
from inverter_capture.protocol.messages import (
    DIRECTION_OFFSET,
    FROM_DONGLE,
    FROM_SERVER,
    HEADER_LENGTH,
    LENGTH_OFFSET,
    MESSAGE_LENGTH_MAX,
    START,
    TYPE_NAMES,
    TYPE_OFFSET,
)
from inverter_capture.protocol.packets import address_text
from inverter_capture.protocol.packets_to_readings import Decoded, Event, Unknown

SERVER_PORT = 51100
"""Where the servers on record listen."""
ENDPOINTS_MAX = 8
"""Dongles on other ports let through at a time. The one whose latest report is the oldest goes first."""


class Endpoint(NamedTuple):
    """A dongle's address of 4 or 16 bytes, and the port of the server that it sends to."""

    host: bytes
    server_port: int

    @property
    def filter(self) -> str:
        """The filter that lets through both directions of its connections."""
        return f"host {address_text(self.host)} and tcp port {self.server_port}"


class DongleFilter:
    """Knows which dongles have reported on other ports than the usual one, and the program that follows from it."""

    def __init__(self) -> None:
        self.all_tcp = False
        """Whether all TCP packets are let through, as in a file with more dongles than are told apart."""
        self._endpoints: dict[Endpoint, None] = {}

    @property
    def endpoints(self) -> list[Endpoint]:
        """Dongles on other ports than the usual one; the one whose latest report is the oldest comes first."""
        return list(self._endpoints)

    def add(self, endpoint: Endpoint) -> None:
        """Let a dongle through that has just reported."""
        if endpoint.server_port == SERVER_PORT:
            return
        self._endpoints.pop(endpoint, None)
        self._endpoints[endpoint] = None
        if len(self._endpoints) > ENDPOINTS_MAX:
            del self._endpoints[next(iter(self._endpoints))]

    def heed(self, events: Iterable[Event]) -> bool:
        """Let through who has reported. True when that changes the program."""
        before = set(self._endpoints)
        for event in events:
            if isinstance(event, Decoded | Unknown):
                self.add(Endpoint(event.flow.source, event.flow.destination_port))
        return self._endpoints.keys() != before

    def text(self, link_type: int, *, live: bool, small: bool = False) -> str:
        """The program, in libpcap's filter language.

        `live`: the kernel runs it, which strips VLAN tags before, and on cooked devices cannot look behind a tag.
        `small`: for a kernel that takes no more than 10 KB. It then does not look behind second tags and PPPoE.
        """
        plain = small or (live and link_type != link_layers.ETHERNET)
        return tcp_program(link_type, self._condition, plain=plain)

    def _condition(self, fields: TcpFields) -> str:
        if self.all_tcp:
            return fields.is_of_interest
        connections = [fields.port([SERVER_PORT])]
        known = [endpoint for endpoint in self._endpoints if len(endpoint.host) == fields.address_length]
        if known:
            # Of several dongles each may use the other's port: that keeps the program small.
            hosts = fields.host({endpoint.host: None for endpoint in known})
            connections.append(all_of([hosts, fields.port({endpoint.server_port: None for endpoint in known})]))
        # The payload comes last: a packet without any is rejected as soon as its first byte is looked for.
        return any_of([all_of([any_of(connections), fields.is_of_interest]), _begins_message(fields)])


def _begins_message(fields: TcpFields) -> str:
    """Whether a payload begins as a message: the bytes of the header that are there and that are known."""
    first, second = START
    length = f"{fields.payload(LENGTH_OFFSET, 2)} <= {MESSAGE_LENGTH_MAX - HEADER_LENGTH}"
    tests = [
        (1, f"{fields.payload(1)} = {second}"),
        (DIRECTION_OFFSET, fields.payload_in(DIRECTION_OFFSET, (FROM_DONGLE, FROM_SERVER))),
        (TYPE_OFFSET, fields.payload_in(TYPE_OFFSET, TYPE_NAMES)),
        (LENGTH_OFFSET + 1, length),
    ]
    condition = ""
    for missing_from, test in reversed(tests):
        rest = f"{test} and {condition}" if condition else test
        condition = f"({fields.payload_length} <= {missing_from} or ({rest}))"
    return f"({fields.payload(0)} = {first} and {condition})"
