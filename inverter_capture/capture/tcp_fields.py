"""Filters in libpcap's language that read IP and TCP headers, also behind VLAN tags and PPPoE headers.

libpcap's own `vlan` and `pppoes` shift the offsets of all that follows them, also after `or`. Therefore the offsets of
the headers are computed here, and each possible offset has a condition of its own. libpcap compiles the text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

from inverter_capture.protocol import link_layers
from inverter_capture.protocol.packets import FIN, RST, SYN

_IPV6_HEADER_LENGTH = 40


class TcpFields:
    """Expressions for the fields of a TCP packet whose IP header begins at one place."""

    def __init__(self, guard: str, accessor: str, offset: int, version: int) -> None:
        """`guard`: the condition that an IP header of this version (an EtherType) begins at `accessor`[`offset`]."""
        self._accessor = accessor
        self._offset = offset
        if version == link_layers.IPV4:
            self.address_length = 4
            self._header_length = f"(({self._ip(0)} & 0xf) << 2)"
            self._end = self._ip(2, 2)
            self._addresses = (12, 16)
            # Of a fragmented packet only the first fragment has a TCP header.
            self.is_tcp = f"{guard} and {self._ip(9)} = {link_layers.TCP} and {self._ip(6, 2)} & 0x1fff = 0"
        else:
            self.address_length = 16
            self._header_length = f"{_IPV6_HEADER_LENGTH}"
            self._end = f"{self._ip(4, 2)} + {_IPV6_HEADER_LENGTH}"
            self._addresses = (8, 24)
            # Without extension headers, as libpcap's `tcp`.
            self.is_tcp = f"{guard} and {self._ip(6)} = {link_layers.TCP}"
        self._payload = f"(({self._tcp(12)} & 0xf0) >> 2)"
        self.payload_length = f"{self._end} - {self._header_length} - {self._payload}"
        """In bytes; above 2^31 for a packet whose length field the network card is to fill in."""

    @property
    def is_of_interest(self) -> str:
        """Whether the packet has a payload, or begins or ends a connection; others only acknowledge."""
        return f"({self._tcp(13)} & {FIN | SYN | RST} != 0 or {self.payload_length} != 0)"

    def port(self, numbers: Iterable[int]) -> str:
        """Whether one of the ports is one of these."""
        numbers = list(numbers)
        return any_of(f"{port} = {number}" for port in (self._tcp(0, 2), self._tcp(2, 2)) for number in numbers)

    def host(self, addresses: Iterable[bytes]) -> str:
        """Whether one of the addresses is one of these, which must be `address_length` bytes long."""
        words = [struct.unpack(f">{len(address) // 4}I", address) for address in addresses]
        return any_of(
            all_of(f"{self._ip(start + 4 * at, 4)} = {word:#x}" for at, word in enumerate(address))
            for start in self._addresses
            for address in words
        )

    def payload(self, offset: int, size: int = 1) -> str:
        """The number in `size` (1, 2, 4) bytes of the payload. A packet without these bytes is rejected."""
        return self._tcp(f"{self._payload} + {offset}" if offset else self._payload, size)

    def payload_in(self, offset: int, numbers: Iterable[int]) -> str:
        """Whether a byte of the payload is one of these numbers."""
        return any_of(f"{self.payload(offset)} = {number}" for number in numbers)

    def last(self, size: int) -> str:
        """The number in the last `size` (1, 2, 4) bytes of the IP packet, without padding of the link layer."""
        return self._ip(f"{self._end} - {size}", size)

    def _tcp(self, offset: int | str, size: int = 1) -> str:
        if self._accessor == "ip":
            # The same, in fewer instructions.
            return f"tcp[{offset}:{size}]"
        return self._ip(f"{self._header_length} + {offset}" if offset else self._header_length, size)

    def _ip(self, offset: int | str, size: int = 1) -> str:
        place = f"{self._offset} + {offset}" if self._offset else f"{offset}"
        return f"{self._accessor}[{place}:{size}]"


def tcp_program(link_type: int, condition: Callable[[TcpFields], str], *, plain: bool = False) -> str:
    """A filter for the TCP packets that meet a condition, which may be empty.

    `plain`: do not look behind VLAN tags and PPPoE headers.
    """
    return " or ".join(
        all_of(filter(None, (fields.is_tcp, condition(fields)))) for fields in _places(link_type, plain=plain)
    )


def any_of(conditions: Iterable[str]) -> str:
    """Whether one of the conditions is met. They are tested in this order."""
    return f"({' or '.join(conditions)})"


def all_of(conditions: Iterable[str]) -> str:
    """Whether all conditions are met. They are tested in this order."""
    return f"({' and '.join(conditions)})"


def _places(link_type: int, *, plain: bool) -> list[TcpFields]:
    """The fields for each offset at which an IP header may begin."""
    places = [TcpFields("ip", "ip", 0, link_layers.IPV4), TcpFields("ip6", "ip6", 0, link_layers.IPV6)]
    link = link_layers.LINKS[link_type]
    if link.type_offset is None or plain:
        return places
    starts = [("", link.type_offset, link.length)]
    for _ in range(link_layers.VLAN_TAGS_MAX):
        guard, type_offset, offset = starts[-1]
        tags = any_of(f"ether[{type_offset}:2] = {tag:#x}" for tag in link_layers.VLAN_TAGS)
        starts.append((f"{guard}{tags} and ", offset + 2, offset + link_layers.VLAN_TAG_LENGTH))
    for guard, type_offset, offset in starts:
        if guard:
            for version in (link_layers.IPV4, link_layers.IPV6):
                places.append(TcpFields(f"{guard}ether[{type_offset}:2] = {version:#x}", "ether", offset, version))
        for protocol, version in link_layers.PPP_PROTOCOLS.items():
            session = (
                f"ether[{type_offset}:2] = {link_layers.PPPOE_SESSION:#x} and ether[{offset + 6}:2] = {protocol:#x}"
            )
            places.append(TcpFields(guard + session, "ether", offset + link_layers.PPPOE_HEADER_LENGTH, version))
    return places
