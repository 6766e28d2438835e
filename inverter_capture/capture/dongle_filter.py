"""The filter that finds dongles by itself, in both directions of their connections.

It passes the dongles' usual TCP port, the connections of dongles that have sent reports on another port, and every
packet that begins like a message of the dongle's protocol. This module only writes the filter's text: libpcap compiles
it, and the kernel runs the program.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from inverter_capture.capture.tcp_fields import TcpFields, all_of, any_of, tcp_program
from inverter_capture.protocol import link_layers, messages
from inverter_capture.protocol.packets import address_text
from inverter_capture.protocol.packets_to_readings import Decoded, Event, Unknown

SERVER_PORT = 51100  # The TCP port of all known servers
ENDPOINTS_MAX = 8  # Maximum number of dongles on other ports. The longest silent one is removed first.


class Endpoint(NamedTuple):
    """A dongle's address of 4 or 16 bytes, and the port of the server that it sends to."""

    host: bytes
    server_port: int

    @property
    def filter(self) -> str:
        """The filter that lets through both directions of its connections."""
        return f"host {address_text(self.host)} and tcp port {self.server_port}"


class DongleFilter:
    """The dongles that have sent reports on another port than the usual one, and the filter for them."""

    def __init__(self) -> None:
        self.all_tcp = False  # Whether all TCP packets pass: for a file with more than `ENDPOINTS_MAX` dongles
        self.endpoints: dict[Endpoint, None] = {}  # The longest silent one first

    def add(self, endpoint: Endpoint) -> None:
        """Let a dongle's connections pass. It has just sent a report."""
        if endpoint.server_port == SERVER_PORT:
            return
        self.endpoints.pop(endpoint, None)
        self.endpoints[endpoint] = None
        if len(self.endpoints) > ENDPOINTS_MAX:
            del self.endpoints[next(iter(self.endpoints))]

    def learn(self, events: Iterable[Event]) -> bool:
        """Let the dongles pass that have sent reports. Returns whether that changes the filter."""
        before = set(self.endpoints)
        for event in events:
            if isinstance(event, Decoded | Unknown):
                self.add(Endpoint(event.flow.source, event.flow.destination_port))
        return self.endpoints.keys() != before

    def text(self, link_type: int, *, live: bool, small: bool = False) -> str:
        """The filter, in libpcap's filter language.

        `live`: for a device. The kernel removes VLAN tags before it runs the filter, and cannot look behind a tag on
        cooked devices. `small`: for a kernel that accepts at most 10 KB. The filter then does not look behind VLAN tags
        and PPPoE headers.
        """
        plain = small or (live and link_type != link_layers.ETHERNET)
        return tcp_program(link_type, self._condition, plain=plain)

    def _condition(self, fields: TcpFields) -> str:
        if self.all_tcp:
            return fields.is_of_interest
        connections = [fields.port([SERVER_PORT])]
        known = [endpoint for endpoint in self.endpoints if len(endpoint.host) == fields.address_length]
        if known:
            # Any of these hosts on any of these ports: that keeps the program small.
            hosts = fields.host({endpoint.host: None for endpoint in known})
            connections.append(all_of([hosts, fields.port({endpoint.server_port: None for endpoint in known})]))
        # The payload comes last: a packet without payload is rejected by the first access to it.
        return any_of([all_of([any_of(connections), fields.is_of_interest]), _begins_message(fields)])


def _begins_message(fields: TcpFields) -> str:
    """Whether a payload begins like a message, as far as the packet holds the header bytes whose values are known."""
    first, second = messages.START
    direction, kind, length = messages.DIRECTION_OFFSET, messages.TYPE_OFFSET, messages.LENGTH_OFFSET
    tests = [
        (1, f"{fields.payload(1)} = {second}"),
        (direction, fields.payload_in(direction, (messages.FROM_DONGLE, messages.FROM_SERVER))),
        (kind, fields.payload_in(kind, messages.TYPE_NAMES)),
        (length + 1, f"{fields.payload(length, 2)} <= {messages.MESSAGE_LENGTH_MAX - messages.HEADER_LENGTH}"),
    ]
    condition = ""
    for missing_from, test in reversed(tests):
        rest = f"{test} and {condition}" if condition else test
        condition = f"({fields.payload_length} <= {missing_from} or ({rest}))"
    return f"({fields.payload(0)} = {first} and {condition})"
