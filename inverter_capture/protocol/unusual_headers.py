"""Reads unusual IPv4 and TCP headers with dpkt: those with IP options, and those of packets that the capture has cut.

Imported with the first such packet, since dpkt takes 4 MB of memory.
"""

from __future__ import annotations

from typing import NamedTuple

import dpkt


class Tcp(NamedTuple):
    """A TCP header and its payload."""

    source_port: int
    destination_port: int
    sequence: int
    flags: int
    payload: bytes
    cut: int  # Bytes missing at the end of the payload


def read_ipv4(data: bytes) -> tuple[bytes, bytes, Tcp]:
    """Source, destination and TCP of a packet from its IPv4 header on. Raises ValueError, struct.error, IndexError."""
    try:
        ip = dpkt.ip.IP(data)
    except dpkt.Error as error:
        raise ValueError("no IPv4 header") from error
    if not isinstance(ip.data, dpkt.tcp.TCP):
        raise ValueError("no TCP header")
    return ip.src, ip.dst, _tcp(ip.data, ip.len - len(data))


def read_tcp(data: bytes, missing: int) -> Tcp:
    """TCP of a packet from its TCP header on, of whose end `missing` bytes were not captured.

    Raises ValueError, struct.error, IndexError.
    """
    try:
        return _tcp(dpkt.tcp.TCP(data), missing)
    except dpkt.Error as error:
        raise ValueError("no TCP header") from error


def _tcp(tcp: dpkt.tcp.TCP, missing: int) -> Tcp:
    if missing > 0:
        # Missing bytes of the options are not part of the payload.
        missing -= (tcp.off << 2) - tcp.__hdr_len__ - len(tcp.opts)
    return Tcp(tcp.sport, tcp.dport, tcp.seq, tcp.flags & 0xFF, tcp.data, max(missing, 0))
