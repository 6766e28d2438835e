"""Link-layer headers: where the IP packet begins. For the packet parser and for the filter that finds dongles.

Sources: the LINKTYPE_ registry of the Tcpdump Group, and the EtherType and PPP registries of IEEE and IANA.
"""

from __future__ import annotations

from typing import NamedTuple

ETHERNET = 1
RAW = 12
LINUX_COOKED = 113
LINUX_COOKED_V2 = 276


class Link(NamedTuple):
    """A link-layer header: the offset of its EtherType, and its length, in bytes."""

    name: str
    type_offset: int | None
    length: int


LINKS: dict[int, Link] = {
    ETHERNET: Link("Ethernet", 12, 14),
    RAW: Link("raw IP", None, 0),
    LINUX_COOKED: Link("Linux cooked", 14, 16),
    LINUX_COOKED_V2: Link("Linux cooked v2", 0, 20),
}
"""By libpcap's data link type. libpcap itself maps the raw IP types of capture files to RAW."""

IPV4 = 0x0800
IPV6 = 0x86DD
VLAN_TAGS = (0x8100, 0x88A8, 0x9100)  # 802.1Q, 802.1ad (QinQ) and its predecessor
VLAN_TAG_LENGTH = 4
VLAN_TAGS_MAX = 2
PPPOE_SESSION = 0x8864
PPPOE_HEADER_LENGTH = 8  # Six bytes of PPPoE, two of PPP
PPP_PROTOCOLS = {0x0021: IPV4, 0x0057: IPV6}

TCP = 6
