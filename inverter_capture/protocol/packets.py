"""Packets to TCP segments: link-layer headers, IPv4 with options, IPv6.

One `struct` reads the headers of nearly all packets: Ethernet, IPv4 without options, TCP. dpkt parses other IPv4 and
TCP headers (unusual_headers.py). It does not parse link layers and IPv6: it would decode every protocol that follows
them, to any depth, which costs time and endless recursion on hostile traffic.
"""

from __future__ import annotations

import socket
from struct import Struct
from struct import error as StructError
from typing import TYPE_CHECKING, NamedTuple

from inverter_capture.protocol import link_layers
from inverter_capture.protocol.counts import Counts

if TYPE_CHECKING:
    from inverter_capture.protocol.unusual_headers import Tcp

FIN, SYN, RST = 0x01, 0x02, 0x04

_PLAIN = Struct(">12xHBxH2xHxB2x12sI4xBB6x")
"""Ethernet, IPv4 without options, and TCP: EtherType, IP version and header length, total length, fragmentation,
protocol, addresses and ports, sequence number, TCP header length, flags."""
_ENDS = Struct(">4s4sHH")  # Addresses and ports
_PLAIN_IP_OFFSET = 14
_PLAIN_TCP_OFFSET = 34
_PLAIN_VERSION_AND_LENGTH = 0x45
_MORE_FRAGMENTS = 0x2000
_OFFSET_MASK = 0x1FFF
_IPV6_HEADER_LENGTH = 40
_IPV6_FRAGMENT_HEADER = 44
_FLOWS_MAX = 64  # Maximum number of flows remembered
_IPV6_EXTENSION_HEADERS = (0, 43, 60)
"""Hop-by-hop options, routing and destination options. All begin with the next header's type and their own length."""


class Packet(NamedTuple):
    """A captured packet."""

    time: int  # Nanoseconds since the epoch, UTC
    link_type: int  # libpcap's data link type
    data: bytes


class Flow(NamedTuple):
    """One direction of a TCP connection. Addresses are 4 or 16 bytes."""

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int

    def reversed(self) -> Flow:
        """The other direction of the same connection."""
        return Flow(self.destination, self.destination_port, self.source, self.source_port)

    def __str__(self) -> str:
        source, destination = address_text(self.source), address_text(self.destination)
        return f"{source} port {self.source_port} to {destination} port {self.destination_port}"


class Segment(NamedTuple):
    """A TCP segment that has data, or begins or ends a connection."""

    time: int  # Nanoseconds since the epoch, UTC
    flow: Flow
    sequence: int
    flags: int  # FIN, SYN and RST, as in the TCP header
    payload: bytes
    cut: int = 0  # Bytes missing at the end of the payload, since the capture has cut the packet


class PacketCounts(Counts):
    """Counters of packets."""

    __slots__ = ("cut", "fragments", "malformed", "other", "packets", "segments")

    packets: int
    segments: int
    other: int  # Not TCP, or TCP without data
    malformed: int
    cut: int  # Segments that the capture has cut
    fragments: int  # IP fragments of TCP segments. They are ignored: a report fits into one packet.


def address_text(address: bytes) -> str:
    """The usual text of an IPv4 or IPv6 address of 4 or 16 bytes."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


class PacketParser:
    """Turns packets into segments. Never raises."""

    def __init__(self) -> None:
        self.counts = PacketCounts()
        self._flows: dict[bytes, Flow] = {}
        """By addresses and ports: one object for all packets of a flow, since the following stages find it faster."""

    def parse(self, packet: Packet) -> Segment | None:
        """The TCP segment in this packet. None for other packets, and for segments without data, SYN, FIN or RST."""
        self.counts.packets += 1
        try:
            segment = self._parse_plain(packet) or self._parse(packet)
        except (ValueError, StructError, IndexError):
            self.counts.malformed += 1
            return None
        if segment is None or not (segment.payload or segment.cut or segment.flags & (SYN | FIN | RST)):
            self.counts.other += 1
            return None
        self.counts.segments += 1
        if segment.cut:
            self.counts.cut += 1
        return segment

    def _parse_plain(self, packet: Packet) -> Segment | None:
        """The segment of a complete packet of the usual kind. None for all other packets."""
        time, link_type, data = packet
        if link_type != link_layers.ETHERNET or len(data) < _PLAIN.size:
            return None
        ethertype, version, length, fragment, protocol, ends, sequence, tcp, flags = _PLAIN.unpack_from(data)
        start, end = _PLAIN_TCP_OFFSET + (tcp >> 4 << 2), _PLAIN_IP_OFFSET + length
        if (
            ethertype == link_layers.IPV4
            and version == _PLAIN_VERSION_AND_LENGTH
            and protocol == link_layers.TCP
            and not fragment & (_MORE_FRAGMENTS | _OFFSET_MASK)
            and _PLAIN.size <= start <= end <= len(data)
        ):
            return Segment(time, self._flows.get(ends) or self._flow(ends), sequence, flags, data[start:end])
        return None

    def _flow(self, ends: bytes) -> Flow:
        """A new flow."""
        source, destination, source_port, destination_port = _ENDS.unpack(ends)
        flow = self._flows[ends] = Flow(source, source_port, destination, destination_port)
        if len(self._flows) > _FLOWS_MAX:
            del self._flows[next(iter(self._flows))]
        return flow

    def _parse(self, packet: Packet) -> Segment | None:
        protocol, offset = _network_layer(packet.link_type, packet.data)
        if protocol == link_layers.IPV4:
            return self._parse_ipv4(packet.time, packet.data[offset:])
        if protocol == link_layers.IPV6:
            return self._parse_ipv6(packet.time, packet.data[offset:])
        return None

    def _parse_ipv4(self, time: int, data: bytes) -> Segment | None:
        if data[9] != link_layers.TCP:
            return None
        if int.from_bytes(data[6:8], "big") & (_MORE_FRAGMENTS | _OFFSET_MASK):
            self.counts.fragments += 1
            return None
        from inverter_capture.protocol.unusual_headers import read_ipv4

        source, destination, tcp = read_ipv4(data)
        return _segment(time, source, destination, tcp)

    def _parse_ipv6(self, time: int, data: bytes) -> Segment | None:
        protocol, start = data[6], _IPV6_HEADER_LENGTH
        while protocol != link_layers.TCP:
            if protocol in _IPV6_EXTENSION_HEADERS:
                length = 8 * (data[start + 1] + 1)
            elif protocol == _IPV6_FRAGMENT_HEADER:
                # Offset 0 and no more fragments, besides two reserved bits: the packet is complete.
                if data[start + 2] or data[start + 3] & 0xF9:
                    self.counts.fragments += 1
                    return None
                length = 8
            else:
                return None
            protocol, start = data[start], start + length
        # With TCP segmentation offload, the length is 0, as in IPv4.
        length = data[4] << 8 | data[5]
        end = _IPV6_HEADER_LENGTH + length if length else len(data)
        from inverter_capture.protocol.unusual_headers import read_tcp

        return _segment(time, data[8:24], data[24:40], read_tcp(data[start:end], end - len(data)))


def _network_layer(link_type: int, data: bytes) -> tuple[int, int]:
    """The EtherType behind the link-layer headers, and its offset. Raises IndexError when the packet is too short."""
    link = link_layers.LINKS.get(link_type)
    if link is None:
        return 0, 0
    offset = link.length
    if link.type_offset is None:
        return (link_layers.IPV6 if data[0] >> 4 == 6 else link_layers.IPV4), offset
    protocol = data[link.type_offset] << 8 | data[link.type_offset + 1]
    for _ in range(link_layers.VLAN_TAGS_MAX):
        if protocol not in link_layers.VLAN_TAGS:
            break
        protocol = data[offset + 2] << 8 | data[offset + 3]
        offset += link_layers.VLAN_TAG_LENGTH
    if protocol == link_layers.PPPOE_SESSION:
        protocol = link_layers.PPP_PROTOCOLS.get(data[offset + 6] << 8 | data[offset + 7], 0)
        offset += link_layers.PPPOE_HEADER_LENGTH
    return protocol, offset


def _segment(time: int, source: bytes, destination: bytes, tcp: Tcp) -> Segment:
    flow = Flow(source, tcp.source_port, destination, tcp.destination_port)
    return Segment(time, flow, tcp.sequence, tcp.flags, tcp.payload, tcp.cut)
