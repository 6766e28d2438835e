"""Finds the dongle by itself: BPF programs that let through what can begin a frame, and all of who has sent one.

Pure text and bookkeeping; libpcap compiles the program and the kernel runs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from inverter_capture.protocol import link_layers
from inverter_capture.protocol.messages import CLOCK_LENGTH, CLOCK_OFFSET, SERIAL_OFFSET, START
from inverter_capture.protocol.packets import Flow, address_text
from inverter_capture.protocol.packets_to_readings import Decoded, Event, Unknown

ENDPOINTS_MAX = 8
"""Endpoints let through at a time. Those that have not sent a whole frame go first, then the oldest."""


class Endpoint(NamedTuple):
    """A host, and the port of the server that it sends to."""

    host: bytes
    server_port: int

    @property
    def filter(self) -> str:
        """The filter that lets through what this endpoint sends."""
        return f"src host {address_text(self.host)} and tcp dst port {self.server_port}"


class _Layer:
    """Reads fields of an IP header, wherever it begins, in libpcap's filter language."""

    def __init__(self, accessor: str, offset: int) -> None:
        self._accessor = accessor
        self._offset = offset

    def field(self, offset: int | str, size: int = 1) -> str:
        """The number at an offset, which may itself be an expression, from the start of the IP header."""
        place = f"{self._offset} + {offset}" if self._offset else f"{offset}"
        return f"{self._accessor}[{place}:{size}]"


class Finder:
    """Knows who sends frames, and the BPF program that follows from it."""

    def __init__(self) -> None:
        self._endpoints: dict[Endpoint, bool] = {}

    @property
    def endpoints(self) -> list[Endpoint]:
        """All that are let through, the oldest first."""
        return list(self._endpoints)

    def add(self, flow: Flow, *, proven: bool) -> bool:
        """Let through what this flow's sender sends. `proven`: it has sent a whole frame. True when that is new."""
        endpoint = Endpoint(flow.source, flow.destination_port)
        known = endpoint in self._endpoints
        if known:
            self._endpoints[endpoint] |= proven
            return False
        if len(self._endpoints) >= ENDPOINTS_MAX:
            unproven = (candidate for candidate, is_proven in self._endpoints.items() if not is_proven)
            oldest = next(unproven, None)
            if oldest is None:
                if not proven:
                    return False
                oldest = next(iter(self._endpoints))
            del self._endpoints[oldest]
        self._endpoints[endpoint] = proven
        return True

    def heed(self, events: Iterable[Event]) -> bool:
        """Let through who begins or sends frames, as a decoder finds them. True when that changes the program."""
        before = set(self._endpoints)
        for event in events:
            if isinstance(event, Decoded | Unknown):
                self.add(event.flow, proven=True)
        return self._endpoints.keys() != before

    def filter(self, link_type: int, *, live: bool, small: bool = False) -> str:
        """The program, in libpcap's filter language.

        `live`: the kernel runs it, which strips VLAN tags before, and on cooked devices cannot look behind a tag.
        `small`: for a kernel that takes no more than 10 KB. It then does not look behind second tags and PPPoE.
        """
        # Endpoints come first: a program rejects a packet as soon as it looks for what is not there, such as the first
        # byte of data in a segment without any.
        return " or ".join(
            f"({guard} and {_any_of([*self._endpoints_v4(layer), _frame_start_v4(layer)])})"
            if version == link_layers.IPV4
            else f"({guard} and {_any_of([*self._endpoints_v6(layer), _frame_start_v6(layer)])})"
            for guard, layer, version in _layers(link_type, plain=small or (live and link_type != link_layers.ETHERNET))
        )

    def _endpoints_v4(self, layer: _Layer) -> list[str]:
        port = layer.field(f"{_ipv4_header_length(layer)} + 2", 2)
        fragment = f"{layer.field(6, 2)} & 0x1fff != 0"
        return [
            f"({layer.field(9)} = {link_layers.TCP} and {layer.field(12, 4)} = {_number(endpoint.host)}"
            f" and ({fragment} or {port} = {endpoint.server_port}))"
            for endpoint in self._endpoints
            if len(endpoint.host) == 4
        ]

    def _endpoints_v6(self, layer: _Layer) -> list[str]:
        return [
            f"({layer.field(6)} = {link_layers.TCP}"
            + "".join(
                f" and {layer.field(8 + at, 4)} = {_number(endpoint.host[at : at + 4])}" for at in range(0, 16, 4)
            )
            + f" and {layer.field(40 + 2, 2)} = {endpoint.server_port})"
            for endpoint in self._endpoints
            if len(endpoint.host) == 16
        ]


def _layers(link_type: int, *, plain: bool) -> list[tuple[str, _Layer, int]]:
    """Where IP headers may begin: the condition for it, how to read there, and the protocol."""
    places = [("ip", _Layer("ip", 0), link_layers.IPV4), ("ip6", _Layer("ip6", 0), link_layers.IPV6)]
    link = link_layers.LINKS[link_type]
    if link.type_offset is None or plain:
        return places
    # `vlan` and `pppoes` of the filter language shift all that follows them, also behind `or`: so by hand.
    starts = [("", link.type_offset, link.length)]
    for _ in range(link_layers.VLAN_TAGS_MAX):
        condition, type_offset, offset = starts[-1]
        tags = " or ".join(f"ether[{type_offset}:2] = {tag:#x}" for tag in link_layers.VLAN_TAGS)
        starts.append((f"{condition}({tags}) and ", offset + 2, offset + link_layers.VLAN_TAG_LENGTH))
    for condition, type_offset, offset in starts:
        if condition:
            for version in (link_layers.IPV4, link_layers.IPV6):
                places.append((f"{condition}ether[{type_offset}:2] = {version:#x}", _Layer("ether", offset), version))
        for protocol, version in link_layers.PPP_PROTOCOLS.items():
            session = (
                f"ether[{type_offset}:2] = {link_layers.PPPOE_SESSION:#x} and ether[{offset + 6}:2] = {protocol:#x}"
            )
            places.append((condition + session, _Layer("ether", offset + link_layers.PPPOE_HEADER_LENGTH), version))
    return places


def _frame_start_v4(layer: _Layer) -> str:
    header = _ipv4_header_length(layer)
    payload = f"({header} + {_tcp_header_length(layer, header)})"
    whole = f"{layer.field(9)} = {link_layers.TCP} and {layer.field(6, 2)} & 0x1fff = 0"
    return f"({whole} and {_frame_start(layer, payload, f'{layer.field(2, 2)} - {payload}')})"


def _frame_start_v6(layer: _Layer) -> str:
    # Behind extension headers a frame is found only once its sender is known otherwise: nobody has seen that.
    payload = f"(40 + {_tcp_header_length(layer, '40')})"
    length = f"{layer.field(4, 2)} + 40 - {payload}"
    return f"({layer.field(6)} = {link_layers.TCP} and {_frame_start(layer, payload, length)})"


def _frame_start(layer: _Layer, payload: str, length: str) -> str:
    """A payload that begins a frame: the first byte, and where more of the header is there, ASCII and a month."""
    serial = SERIAL_OFFSET
    ascii_only = " and ".join(
        f"{layer.field(f'{payload} + {offset}', 4)} & 0x80808080 = 0" for offset in (serial, serial + 4)
    )
    month = layer.field(f"{payload} + {CLOCK_OFFSET + 1}")
    return (
        f"{layer.field(payload)} = {START[0]:#x} and "
        f"({length} < {CLOCK_OFFSET + CLOCK_LENGTH} or ({ascii_only} and {month} >= 1 and {month} <= 12))"
    )


def _ipv4_header_length(layer: _Layer) -> str:
    return f"(({layer.field(0)} & 0xf) << 2)"


def _tcp_header_length(layer: _Layer, ip_header_length: str) -> str:
    return f"(({layer.field(f'{ip_header_length} + 12')} & 0xf0) >> 2)"


def _number(address: bytes) -> str:
    return f"{int.from_bytes(address, 'big'):#x}"


def _any_of(conditions: list[str]) -> str:
    return f"({' or '.join(conditions)})"
