"""Builds packets and capture files for tests, byte by byte and with right checksums.

An IP packet is made from the inside out: `tcp` or `udp`, then `ipv4` or `ipv6`, then a link layer: `ethernet` (with
any VLAN tags), `ethernet(pppoe(...), ethertype=ETHERTYPE_PPPOE)`, `sll`, `sll2`, or nothing for raw IP. `Connection`
makes the packets of a whole TCP connection. `write_pcap` and `write_pcapng` write them, from any iterable.

Addresses are text; times are nanoseconds since the epoch; sequence numbers may be any integer and are taken modulo
2**32.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32

PROTOCOL_TCP, PROTOCOL_UDP = 6, 17
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS = 0, 43, 44, 60

ETHERTYPE_IPV4, ETHERTYPE_ARP, ETHERTYPE_IPV6 = 0x0800, 0x0806, 0x86DD
ETHERTYPE_VLAN, ETHERTYPE_QINQ, ETHERTYPE_PPPOE = 0x8100, 0x88A8, 0x8864

LINK_ETHERNET, LINK_RAW, LINK_SLL, LINK_SLL2 = 1, 101, 113, 276
"""Link types as capture files name them."""

ETHERNET_MINIMUM = 60
"""A frame on a real wire is padded to this length (its checksum of four bytes not counted)."""

MILLISECOND = 1_000_000
SECOND = 1_000_000_000

MAC_A = bytes.fromhex("020000000001")
MAC_B = bytes.fromhex("020000000002")


class Record(NamedTuple):
    """One packet of a capture file."""

    time: int
    data: bytes


# --- transport ----------------------------------------------------------------------------------------------------


def checksum(data: bytes) -> int:
    """The Internet checksum of RFC 1071."""
    total: int = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packed_address(address: str) -> bytes:
    """Four bytes for IPv4, sixteen for IPv6."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def pseudo_header(source: str, destination: str, protocol: int, length: int) -> bytes:
    """What TCP and UDP checksums cover beside the segment itself."""
    addresses = packed_address(source) + packed_address(destination)
    if len(addresses) == 8:
        return addresses + struct.pack(">BBH", 0, protocol, length)
    return addresses + struct.pack(">IxxxB", length, protocol)


def tcp(
    source: str,
    source_port: int,
    destination: str,
    destination_port: int,
    sequence: int,
    payload: bytes = b"",
    *,
    acknowledgement: int = 0,
    flags: int = ACK,
    window: int = 5840,
    options: bytes = b"",
) -> bytes:
    """A TCP segment. `options` are padded to whole words."""
    options += bytes(-len(options) % 4)
    words = 5 + len(options) // 4
    header = struct.pack(
        ">HHIIBBH", source_port, destination_port, sequence % 2**32, acknowledgement % 2**32, words << 4, flags, window
    )
    length = 4 * words + len(payload)
    covered = pseudo_header(source, destination, PROTOCOL_TCP, length) + header + bytes(4) + options + payload
    return header + struct.pack(">HH", checksum(covered), 0) + options + payload


def udp(source: str, source_port: int, destination: str, destination_port: int, payload: bytes) -> bytes:
    """A UDP datagram."""
    length = 8 + len(payload)
    header = struct.pack(">HHH", source_port, destination_port, length)
    value = checksum(pseudo_header(source, destination, PROTOCOL_UDP, length) + header + bytes(2) + payload)
    return header + struct.pack(">H", value or 0xFFFF) + payload


# --- IP -----------------------------------------------------------------------------------------------------------


def ipv4(
    source: str,
    destination: str,
    payload: bytes,
    *,
    protocol: int = PROTOCOL_TCP,
    identification: int = 1,
    ttl: int = 64,
    options: bytes = b"",
    offset: int = 0,
    more: bool = False,
    dont_fragment: bool = False,
) -> bytes:
    """An IPv4 packet, or one fragment of it: `offset` in bytes, a multiple of 8. `options` are padded to whole
    words."""
    if offset % 8:
        raise ValueError(f"a fragment starts at a multiple of 8 bytes, not {offset}")
    options += bytes(-len(options) % 4)
    words = 5 + len(options) // 4
    fragment = dont_fragment << 14 | more << 13 | offset // 8
    length = 4 * words + len(payload)
    start = struct.pack(">BBHHHBB", 4 << 4 | words, 0, length, identification % 2**16, fragment, ttl, protocol)
    end = packed_address(source) + packed_address(destination) + options
    return start + struct.pack(">H", checksum(start + bytes(2) + end)) + end + payload


def ipv4_fragments(
    source: str,
    destination: str,
    payload: bytes,
    sizes: Iterable[int],
    *,
    protocol: int = PROTOCOL_TCP,
    identification: int = 1,
) -> list[bytes]:
    """An IPv4 packet cut into fragments of these sizes in bytes (multiples of 8); what is left is the last one."""
    offset = 0
    packets = []
    for size in sizes:
        piece = payload[offset : offset + size]
        packets.append(
            ipv4(source, destination, piece, protocol=protocol, identification=identification, offset=offset, more=True)
        )
        offset += size
    rest = payload[offset:]
    packets.append(ipv4(source, destination, rest, protocol=protocol, identification=identification, offset=offset))
    return packets


def ipv6(
    source: str,
    destination: str,
    payload: bytes,
    *,
    next_header: int = PROTOCOL_TCP,
    hop_limit: int = 64,
    extensions: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """An IPv6 packet. `extensions` are pairs of type and body without the two bytes that every such header begins with,
    in order; bodies are padded to whole headers. A body for FRAGMENT comes from `fragment_body`."""
    headers = b""
    types = [kind for kind, _ in extensions] + [next_header]
    for (kind, body), following in zip(extensions, types[1:], strict=True):
        body += bytes(-(len(body) + 2) % 8)
        # The fragment header has a reserved byte where the others say how long they are.
        size = 0 if kind == FRAGMENT else (len(body) + 2) // 8 - 1
        headers += bytes((following, size)) + body
    length = len(headers) + len(payload)
    start = struct.pack(">IHBB", 6 << 28, length, types[0], hop_limit)
    return start + packed_address(source) + packed_address(destination) + headers + payload


def fragment_body(offset: int = 0, *, more: bool = False, identification: int = 1) -> bytes:
    """The body of an IPv6 fragment header. `offset` in bytes, a multiple of 8."""
    if offset % 8:
        raise ValueError(f"a fragment starts at a multiple of 8 bytes, not {offset}")
    return struct.pack(">HI", offset | more, identification)


def options_body(length: int = 6) -> bytes:
    """The body of a hop-by-hop or destination options header: one PadN option that fills `length` bytes (2 or more)."""
    return bytes((1, length - 2)) + bytes(length - 2)


# --- link layers --------------------------------------------------------------------------------------------------


def ethertype_of(packet: bytes) -> int:
    """The Ethernet type of an IP packet, from its version."""
    return ETHERTYPE_IPV6 if packet[0] >> 4 == 6 else ETHERTYPE_IPV4


def ethernet(
    packet: bytes,
    *,
    source: bytes = MAC_A,
    destination: bytes = MAC_B,
    tags: Sequence[tuple[int, int]] = (),
    ethertype: int | None = None,
    minimum: int = ETHERNET_MINIMUM,
    trailer: bytes = b"",
) -> bytes:
    """An Ethernet frame. `tags` are pairs of type and VLAN number, outermost first: ((ETHERTYPE_VLAN, 5),) or, for
    QinQ, ((ETHERTYPE_QINQ, 100), (ETHERTYPE_VLAN, 5)). Short frames are padded with zeros to `minimum`; then comes
    `trailer`."""
    head = destination + source
    for kind, number in tags:
        head += struct.pack(">HH", kind, number)
    head += struct.pack(">H", ethertype_of(packet) if ethertype is None else ethertype)
    return (head + packet).ljust(minimum, b"\0") + trailer


def pppoe(packet: bytes, session: int = 1) -> bytes:
    """An IP packet in a PPPoE session: the payload of an Ethernet frame of type ETHERTYPE_PPPOE."""
    protocol = 0x0057 if packet[0] >> 4 == 6 else 0x0021
    return struct.pack(">BBHHH", 0x11, 0, session, len(packet) + 2, protocol) + packet


def sll(packet: bytes, *, ethertype: int | None = None, kind: int = 0, source: bytes = MAC_A) -> bytes:
    """A packet as Linux "cooked" captures of the device "any" hold it. `kind` 0 came to us, 4 was sent by us."""
    number = ethertype_of(packet) if ethertype is None else ethertype
    return struct.pack(">HHH8sH", kind, 1, len(source), source, number) + packet


def sll2(
    packet: bytes, *, ethertype: int | None = None, kind: int = 0, source: bytes = MAC_A, interface: int = 3
) -> bytes:
    """The same in the second version, which newer tools write."""
    number = ethertype_of(packet) if ethertype is None else ethertype
    return struct.pack(">HHIHBB8s", number, 0, interface, 1, kind, len(source), source) + packet


def arp(source_mac: bytes, source: str, target: str, target_mac: bytes | None = None) -> bytes:
    """A whole ARP frame: a broadcast question, or, with `target_mac`, the answer."""
    operation = 1 if target_mac is None else 2
    body = struct.pack(">HHBBH", 1, ETHERTYPE_IPV4, 6, 4, operation) + source_mac + packed_address(source)
    body += (target_mac or bytes(6)) + packed_address(target)
    return ethernet(body, source=source_mac, destination=target_mac or b"\xff" * 6, ethertype=ETHERTYPE_ARP)


# --- a whole connection -------------------------------------------------------------------------------------------


class Endpoint(NamedTuple):
    """One end of a connection."""

    address: str
    port: int
    mac: bytes = MAC_A
    ttl: int = 64


class Connection:
    """The packets of one TCP connection between a client and a server, in `records`.

    Every method appends packets with times from `time` on. The other end acknowledges each segment `delay` later.
    `wrap` makes a link layer frame of an IP packet, given also the two ends; the default is Ethernet.
    `limit` is the largest payload of a segment, unless `sizes` says otherwise.
    """

    def __init__(
        self,
        client: Endpoint,
        server: Endpoint,
        *,
        sequence: int = 1_000_000,
        server_sequence: int = 7_000_000,
        delay: int = 40 * MILLISECOND,
        limit: int = 1436,
        wrap: Callable[[bytes, Endpoint, Endpoint], bytes] | None = None,
        identification: int = 1,
    ) -> None:
        self.client = client
        self.server = server
        self.records: list[Record] = []
        self.sequence = sequence
        """The client's next sequence number; it does not wrap around here, but does in the packets."""
        self.server_sequence = server_sequence
        self.delay = delay
        self.limit = limit
        self._wrap = wrap or wrap_in_ethernet
        self._identifications = {client: identification, server: identification}

    def packet(self, time: int, sender: Endpoint, sequence: int, payload: bytes = b"", flags: int = ACK) -> None:
        """One segment with any sequence number, for what the other methods do not do. Nothing else changes."""
        receiver = self.server if sender is self.client else self.client
        acknowledgement = self.server_sequence if sender is self.client else self.sequence
        options = struct.pack(">BBH", 2, 4, self.limit) if flags & SYN else b""
        segment = tcp(
            sender.address,
            sender.port,
            receiver.address,
            receiver.port,
            sequence,
            payload,
            acknowledgement=acknowledgement if flags & ACK else 0,
            flags=flags,
            options=options,
        )
        if ":" in sender.address:
            whole = ipv6(sender.address, receiver.address, segment, hop_limit=sender.ttl)
        else:
            number = self._identifications[sender]
            self._identifications[sender] = number + 1
            whole = ipv4(sender.address, receiver.address, segment, identification=number, ttl=sender.ttl)
        self.records.append(Record(time, self._wrap(whole, sender, receiver)))

    def open(self, time: int) -> int:
        """The handshake. Returns its end."""
        self.packet(time, self.client, self.sequence, flags=SYN)
        self.sequence += 1
        self.packet(time + self.delay, self.server, self.server_sequence, flags=SYN | ACK)
        self.server_sequence += 1
        self.packet(time + self.delay + MILLISECOND, self.client, self.sequence)
        return time + self.delay + MILLISECOND

    def send(self, time: int, data: bytes, sizes: Iterable[int] = ()) -> int:
        """The client sends, in segments of `sizes` and what is left in full ones. Returns the time of the last ACK."""
        for piece in cut(data, sizes, self.limit):
            self.packet(time, self.client, self.sequence, piece, PSH | ACK)
            self.sequence += len(piece)
            time += self.delay
            self.packet(time, self.server, self.server_sequence)
            time += MILLISECOND
        return time

    def send_out_of_order(self, time: int, data: bytes, first: int) -> int:
        """The client sends two segments, `first` bytes and the rest, and the rest is seen first. Returns the time
        of the ACK."""
        self.packet(time, self.client, self.sequence + first, data[first:], PSH | ACK)
        self.packet(time + MILLISECOND, self.client, self.sequence, data[:first], PSH | ACK)
        self.sequence += len(data)
        self.packet(time + self.delay, self.server, self.server_sequence)
        return time + self.delay

    def reply(self, time: int, data: bytes, sizes: Iterable[int] = ()) -> int:
        """The server sends, in segments of `sizes` and what is left in full ones. Returns the time of the last ACK."""
        for piece in cut(data, sizes, self.limit):
            self.packet(time, self.server, self.server_sequence, piece, PSH | ACK)
            self.server_sequence += len(piece)
            time += MILLISECOND
            self.packet(time, self.client, self.sequence)
        return time

    def repeat(self, time: int, data: bytes, back: int | None = None) -> None:
        """The client sends `data` again, which began `back` bytes before the present end of the stream."""
        start = self.sequence - (len(data) if back is None else back)
        self.packet(time, self.client, start, data, PSH | ACK)
        self.packet(time + self.delay, self.server, self.server_sequence)

    def lose(self, data: bytes) -> None:
        """The client sends, and the capture sees nothing of it. Later packets count it."""
        self.sequence += len(data)

    def keep_alive(self, time: int) -> None:
        """A probe with one byte that the server has long had, and the server's answer."""
        self.packet(time, self.client, self.sequence - 1, b"\0")
        self.packet(time + self.delay, self.server, self.server_sequence)

    def close(self, time: int) -> int:
        """Both ends say FIN. Returns the time of the last ACK."""
        self.packet(time, self.client, self.sequence, flags=FIN | ACK)
        self.sequence += 1
        self.packet(time + self.delay, self.server, self.server_sequence, flags=FIN | ACK)
        self.server_sequence += 1
        self.packet(time + self.delay + MILLISECOND, self.client, self.sequence)
        return time + self.delay + MILLISECOND

    def reset(self, time: int) -> None:
        """The client says RST."""
        self.packet(time, self.client, self.sequence, flags=RST | ACK)


def wrap_in_ethernet(packet: bytes, sender: Endpoint, receiver: Endpoint) -> bytes:
    """The plain link layer, with the ends' own addresses."""
    return ethernet(packet, source=sender.mac, destination=receiver.mac)


def cut(data: bytes, sizes: Iterable[int], limit: int) -> Iterator[bytes]:
    """Pieces of `sizes`, and what is left in pieces of at most `limit`. Nothing is empty."""
    position = 0
    for size in sizes:
        piece = data[position : position + size]
        if piece:
            yield piece
        position += size
    for start in range(position, len(data), limit):
        yield data[start : start + limit]


# --- capture files ------------------------------------------------------------------------------------------------


def write_pcap(
    file: BinaryIO,
    records: Iterable[Record],
    *,
    link_type: int = LINK_ETHERNET,
    nanoseconds: bool = False,
    byte_order: str = "<",
    snap_length: int = 262_144,
) -> None:
    """A classic capture file. Packets beyond `snap_length` are cut, with their whole length kept on record.

    `byte_order` is "<" or ">". Without `nanoseconds` times are cut to whole microseconds.
    """
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    file.write(struct.pack(byte_order + "IHHiIII", magic, 2, 4, 0, 0, snap_length, link_type))
    record_header = struct.Struct(byte_order + "IIII")
    for time, data in records:
        seconds, rest = divmod(time, SECOND)
        fraction = rest if nanoseconds else rest // 1000
        kept = data[:snap_length]
        file.write(record_header.pack(seconds, fraction, len(kept), len(data)) + kept)


def write_pcapng(
    file: BinaryIO,
    records: Iterable[Record],
    *,
    link_type: int = LINK_ETHERNET,
    nanoseconds: bool = True,
    byte_order: str = "<",
    snap_length: int = 262_144,
) -> None:
    """A pcapng file of one section and one interface; otherwise as `write_pcap`."""

    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        length = struct.pack(byte_order + "I", len(body) + 12)
        return struct.pack(byte_order + "I", kind) + length + body + length

    file.write(block(0x0A0D0D0A, struct.pack(byte_order + "IHHq", 0x1A2B3C4D, 1, 0, -1)))
    # if_tsresol: times count in 10 to the minus 9th or 6th of a second; then the end of the options.
    resolution = struct.pack(byte_order + "HHBxxxHH", 9, 1, 9 if nanoseconds else 6, 0, 0)
    file.write(block(1, struct.pack(byte_order + "HHI", link_type, 0, snap_length) + resolution))
    for time, data in records:
        units = time if nanoseconds else time // 1000
        kept = data[:snap_length]
        head = struct.pack(byte_order + "IIIII", 0, units >> 32, units & 0xFFFFFFFF, len(kept), len(data))
        file.write(block(6, head + kept))
