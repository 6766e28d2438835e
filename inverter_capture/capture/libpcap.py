"""Filters, data link types and errors of libpcap, for devices and files."""

from __future__ import annotations

import os
import struct
from typing import Any

import pcap

from inverter_capture.protocol import link_layers

_EMPTY_CAPTURE_FILE = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_layers.ETHERNET)

FILTER_REMEDY = (
    "write it as in host 192.168.1.50 and tcp port 51100, see https://www.tcpdump.org/manpages/pcap-filter.7.html"
)


class CaptureError(Exception):
    """A device or file cannot be captured from."""

    setting = "device"
    passing = False  # Whether the failure is perhaps temporary

    def __init__(self, value: str, reason: str) -> None:
        """`value`: the wrong value of `setting`."""
        super().__init__(f'"{value}": {reason}')
        self.reason = reason


class FilterError(CaptureError):
    """A filter that libpcap rejects."""

    setting = "filter"

    def __init__(self, filter: str, reason: str, *, passing: bool = False) -> None:
        """`passing`: perhaps temporary, since a host name cannot be resolved. At boot there may be no network yet."""
        super().__init__(filter, f"{reason}: {FILTER_REMEDY}")
        self.reason = reason
        self.passing = passing


def check_filter(text: str) -> None:
    """Raises FilterError, with the wrong part, for an invalid filter. Needs no device and no permissions."""
    set_filter(_memory_capture(), text)


def link_type_of(handle: Any, name: str) -> int:
    """The data link type of a device or file. Raises CaptureError for one that is not supported."""
    link_type: int = handle.datalink()
    if link_type not in link_layers.LINKS:
        known = ", ".join(link.name for link in link_layers.LINKS.values())
        raise CaptureError(name, f"has the data link type {link_type}, which is not supported; supported: {known}")
    return link_type


def set_filter(handle: Any, text: str) -> None:
    """Raises FilterError."""
    try:
        handle.setfilter(text)
    except OSError as error:
        reason = text_of(error.args[0]).removeprefix("can't parse filter expression: ")
        part = _wrong_part(text) if reason.startswith("syntax error") else ""
        passing = reason.startswith("unknown host")
        raise FilterError(text, reason + part, passing=passing) from error
    except ValueError as error:
        raise FilterError(ascii(text), str(error)) from error


def _wrong_part(text: str) -> str:
    """What follows the longest part from the start that is a valid filter; without one, the first condition."""
    words = text.split()
    for count in range(len(words) - 1, 0, -1):
        begin, rest = " ".join(words[:count]), " ".join(words[count:])
        try:
            _memory_capture().setfilter(begin)
        except OSError:
            continue
        return f', at "{rest}" after "{begin}"'
    ends = [number for number, word in enumerate(words) if word in ("and", "or", "&&", "||")]
    return f', at "{" ".join(words[: ends[0]])}"' if ends else ""


def _memory_capture() -> Any:
    """An empty Ethernet capture file in memory, to compile filters for."""
    descriptor = os.memfd_create("empty.pcap")
    try:
        os.write(descriptor, _EMPTY_CAPTURE_FILE)
        return pcap.pcap(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def text_of(message: object) -> str:
    """A message of libpcap, which pypcap gives as bytes or as text."""
    return message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
