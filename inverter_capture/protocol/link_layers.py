"""Where the IP packet begins behind each kind of link-layer header.

Shared by the packet parser and by the BPF program that finds the dongle, so that both know the same wire.
Numbers are IANA's and the tcpdump group's (LINKTYPE_ and EtherType registries).
"""

from __future__ import annotations

from typing import NamedTuple

ETHERNET = 1
RAW = 12
LINUX_COOKED = 113
LINUX_COOKED_V2 = 276


class Link(NamedTuple):
    """One link-layer header: where its EtherType stands, and how long it is, in bytes."""

    name: str
    type_offset: int | None
    length: int


LINKS: dict[int, Link] = {
    ETHERNET: Link("Ethernet", 12, 14),
    RAW: Link("raw IP", None, 0),
    LINUX_COOKED: Link("Linux cooked", 14, 16),
    LINUX_COOKED_V2: Link("Linux cooked v2", 0, 20),
}
"""By libpcap's data link type. libpcap itself turns the raw IP types of capture files into its RAW."""

IPV4 = 0x0800
IPV6 = 0x86DD
VLAN_TAGS = (0x8100, 0x88A8, 0x9100)
"""802.1Q, 802.1ad (QinQ) and its forerunner."""
VLAN_TAG_LENGTH = 4
VLAN_TAGS_MAX = 2
PPPOE_SESSION = 0x8864
PPPOE_HEADER_LENGTH = 8
"""Six bytes of PPPoE, two of PPP."""
PPP_PROTOCOLS = {0x0021: IPV4, 0x0057: IPV6}

TCP = 6
