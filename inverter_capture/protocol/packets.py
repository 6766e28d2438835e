"""Packets to TCP segments: link-layer headers, IPv4 with options and fragments, IPv6.

IPv4 and TCP headers are dpkt's work. The link layer and IPv6 are not: dpkt would decode every protocol that it finds
behind them, to any depth, which on hostile traffic is work and endless recursion for nothing.
"""

from __future__ import annotations

import socket
from struct import error as StructError
from typing import NamedTuple

import dpkt

from inverter_capture.protocol import link_layers
from inverter_capture.protocol.counts import Counts
from inverter_capture.protocol.times import SECOND

FRAGMENTED_DATAGRAMS_MAX = 16
"""Fragmented datagrams held at a time; the oldest goes first."""
FRAGMENTS_PER_DATAGRAM_MAX = 64
"""Fragments held of one datagram, and of bytes no more than a datagram can have. Beyond it the datagram is dropped."""
FRAGMENT_SECONDS_MAX = 30
"""How long a datagram may take to become complete (RFC 791 suggests 15 s, Linux takes 30 s)."""
DATAGRAM_LENGTH_MAX = 65535

FIN, SYN, RST = 0x01, 0x02, 0x04

_MORE_FRAGMENTS = 0x2000
_OFFSET_MASK = 0x1FFF
_IPV6_HEADER_LENGTH = 40
_IPV6_FRAGMENT_HEADER = 44
_IPV6_EXTENSION_HEADERS = (0, 43, 60)
"""Hop-by-hop options, routing, destination options: all begin with the next header's type and their own length."""


class Packet(NamedTuple):
    """A packet as it was captured."""

    time: int
    """Nanoseconds since the epoch, UTC."""
    link_type: int
    """libpcap's data link type."""
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
    """A TCP segment that carries data, or begins or ends a connection."""

    time: int
    """Nanoseconds since the epoch, UTC."""
    flow: Flow
    sequence: int
    flags: int
    """FIN, SYN, RST as in the TCP header."""
    payload: bytes
    cut: int = 0
    """Bytes of the payload that the capture did not keep."""


class PacketCounts(Counts):
    """What became of the packets."""

    __slots__ = ("cut", "fragments", "fragments_dropped", "malformed", "other", "packets", "segments")

    packets: int
    segments: int
    other: int
    """Not TCP, or TCP without data."""
    malformed: int
    cut: int
    """Segments of which the capture kept only the beginning."""
    fragments: int
    fragments_dropped: int


def address_text(address: bytes) -> str:
    """The usual text of an IPv4 or IPv6 address of 4 or 16 bytes."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


class PacketParser:
    """Takes packets, gives segments. Never raises on any bytes; holds at most a few unfinished datagrams."""

    def __init__(self) -> None:
        self.counts = PacketCounts()
        self._datagrams: dict[tuple[bytes, bytes, int], _Datagram] = {}

    def parse(self, packet: Packet) -> Segment | None:
        """The segment in this packet, or the one it completes; None when there is none of interest."""
        self.counts.packets += 1
        try:
            segment = self._parse(packet)
        except (dpkt.Error, StructError, IndexError):
            self.counts.malformed += 1
            return None
        if segment is None or not (segment.payload or segment.cut or segment.flags & (SYN | FIN | RST)):
            self.counts.other += 1
            return None
        self.counts.segments += 1
        if segment.cut:
            self.counts.cut += 1
        return segment

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
        ip = dpkt.ip.IP(data)
        if ip._flags_offset & (_MORE_FRAGMENTS | _OFFSET_MASK):
            payload = self._defragment(time, ip, data)
            return None if payload is None else _segment(time, ip.src, ip.dst, dpkt.tcp.TCP(payload), 0)
        return _segment(time, ip.src, ip.dst, ip.data, ip.len - len(data))

    def _parse_ipv6(self, time: int, data: bytes) -> Segment | None:
        protocol, start = data[6], _IPV6_HEADER_LENGTH
        while protocol != link_layers.TCP:
            if protocol in _IPV6_EXTENSION_HEADERS:
                length = 8 * (data[start + 1] + 1)
            elif protocol == _IPV6_FRAGMENT_HEADER:
                # All zero but for two reserved bits: a fragment that is the whole.
                if data[start + 2] or data[start + 3] & 0xF9:
                    self.counts.fragments += 1
                    self.counts.fragments_dropped += 1
                    return None
                length = 8
            else:
                return None
            protocol, start = data[start], start + length
        # A length of 0 is the network card's doing (TCP segmentation offload), as in IPv4.
        length = data[4] << 8 | data[5]
        end = _IPV6_HEADER_LENGTH + length if length else len(data)
        return _segment(time, data[8:24], data[24:40], dpkt.tcp.TCP(data[start:end]), end - len(data))

    def _defragment(self, time: int, ip: dpkt.ip.IP, data: bytes) -> bytes | None:
        self.counts.fragments += 1
        key = (ip.src, ip.dst, ip.id)
        datagram = self._datagrams.pop(key, None)
        if datagram is not None and abs(time - datagram.began) > FRAGMENT_SECONDS_MAX * SECOND:
            self.counts.fragments_dropped += len(datagram.parts)
            datagram = None
        if datagram is None:
            datagram = _Datagram(time)
        offset = (ip._flags_offset & _OFFSET_MASK) * 8
        payload = data[ip.__hdr_len__ + len(ip.opts) : ip.len]
        if ip.len > len(data) or offset + len(payload) > DATAGRAM_LENGTH_MAX:
            # A fragment that is cut or reaches too far cannot become part of anything that is to be believed.
            self.counts.fragments_dropped += 1 + len(datagram.parts)
            return None
        datagram.add(offset, payload, last=not ip._flags_offset & _MORE_FRAGMENTS)
        whole = datagram.whole()
        if whole is not None:
            return whole
        if len(datagram.parts) >= FRAGMENTS_PER_DATAGRAM_MAX or datagram.held_bytes > DATAGRAM_LENGTH_MAX:
            self.counts.fragments_dropped += len(datagram.parts)
            return None
        self._datagrams[key] = datagram
        if len(self._datagrams) > FRAGMENTED_DATAGRAMS_MAX:
            oldest = self._datagrams.pop(next(iter(self._datagrams)))
            self.counts.fragments_dropped += len(oldest.parts)
        return None


class _Datagram:
    """The fragments of one IPv4 datagram. Where they overlap, the first copy wins."""

    def __init__(self, began: int) -> None:
        self.began = began
        self.parts: list[tuple[int, bytes]] = []
        self.held_bytes = 0
        self.length: int | None = None

    def add(self, offset: int, payload: bytes, *, last: bool) -> None:
        if not any(known == offset and len(part) >= len(payload) for known, part in self.parts):
            self.parts.append((offset, payload))
            self.held_bytes += len(payload)
        if last and self.length is None:
            self.length = offset + len(payload)

    def whole(self) -> bytes | None:
        if self.length is None:
            return None
        reach = 0
        for offset, payload in sorted(self.parts):
            if offset > reach:
                break
            reach = max(reach, offset + len(payload))
        if reach < self.length:
            return None
        joined = bytearray(self.length)
        for offset, payload in reversed(self.parts):
            joined[offset : offset + len(payload)] = payload
        return bytes(joined[: self.length])


def _network_layer(link_type: int, data: bytes) -> tuple[int, int]:
    """The EtherType of what the link-layer headers carry, and where it begins. Raises IndexError when cut short."""
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


def _segment(time: int, source: bytes, destination: bytes, tcp: dpkt.tcp.TCP | bytes, missing: int) -> Segment:
    if not isinstance(tcp, dpkt.tcp.TCP):
        raise dpkt.UnpackError("no TCP header")
    if missing > 0:
        # What the capture did not keep of the options is not missing from the payload.
        missing -= (tcp.off << 2) - tcp.__hdr_len__ - len(tcp.opts)
    flow = Flow(source, tcp.sport, destination, tcp.dport)
    return Segment(time, flow, tcp.seq, tcp._off_flags & 0xFF, tcp.data, max(missing, 0))
