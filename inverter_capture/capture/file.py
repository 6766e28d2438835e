"""Packets from a capture file, through libpcap.

How pypcap really behaves is behind much of this: `pcap.pcap(name)` takes a file of that name for a device; a truncated
file ends without a word.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any

import pcap

from inverter_capture.capture.libpcap import CaptureError, FilterFor, link_type_of, set_filter, text_of
from inverter_capture.protocol.packets import Packet

_CAPTURE_FILE_MAGICS = {
    b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1",  # pcap, microseconds
    b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1",  # pcap, nanoseconds
    b"\xa1\xb2\xcd\x34", b"\x34\xcd\xb2\xa1",  # pcap as some old Linux tools wrote it
    b"\x0a\x0d\x0d\x0a",  # pcapng
}  # fmt: skip
_COMPRESSED_MAGICS = {b"\x1f\x8b": "gunzip", b"\x28\xb5": "unzstd", b"\xfd7": "unxz"}


class FileCapture:
    """A capture file, read as a stream. `-` is standard input."""

    def __init__(self, path: str, filter_for: FilterFor) -> None:
        """Raises CaptureError for a file that is missing, unreadable or no capture file, and FilterError."""
        self.path = path
        self._filter_for = filter_for
        self.size = _check_file(path)
        """Bytes; 0 when that is not known."""
        self._handle: Any = _open_file(path)
        self.link_type: int = link_type_of(self._handle, path)
        self.refilter()

    def refilter(self) -> None:
        """Apply the filter anew: it now lets more through."""
        set_filter(self._handle, self._filter_for(self.link_type))

    def __iter__(self) -> Iterator[Packet]:
        """All packets that pass the filter. Raises CaptureError behind the last whole one of a truncated file."""
        handle, link_type = self._handle, self.link_type
        # Not iter(handle): that would take SIGINT over.
        while True:
            try:
                when, data = next(handle)
            except StopIteration:
                break
            yield Packet(when, link_type, data)
        error = text_of(handle.geterr())
        if error:
            raise CaptureError(f'"{self.path}": the capture file is damaged or was cut off: {error}')

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return os.lseek(self._handle.fileno(), 0, os.SEEK_CUR)

    def close(self) -> None:
        """Release the file."""
        self._handle.close()


def _check_file(path: str) -> int:
    """The size of a file that begins as a capture file does, 0 for a pipe. Raises CaptureError."""
    if path == "-":
        return 0
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            # What is read from a pipe is gone.
            return 0
        with open(path, "rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise CaptureError(
            f'"{path}": cannot be read ({error.strerror}): check the path, and who may read the file'
        ) from error
    if not magic:
        raise CaptureError(f'"{path}": the file is empty; a capture file is what `tcpdump -w FILE` writes')
    if magic not in _CAPTURE_FILE_MAGICS:
        unpack = _COMPRESSED_MAGICS.get(magic[:2])
        remedy = f"unpack it first with {unpack}" if unpack else "a capture file is what `tcpdump -w FILE` writes"
        raise CaptureError(f'"{path}": is no capture file (pcap or pcapng); {remedy}')
    return status.st_size


def _open_file(path: str) -> Any:
    # No device has a name with a slash, so none can be taken for the file.
    name = path if path == "-" or "/" in path else f"./{path}"
    try:
        return pcap.pcap(name, timestamp_in_ns=True)
    except OSError as error:
        # pypcap tells only that there is no device of that name.
        raise CaptureError(
            f'"{path}": is no capture file (pcap or pcapng), or damaged or cut off in its first bytes'
        ) from error
    except UnicodeEncodeError as error:
        raise CaptureError(f'"{path!a}": the name of a capture file must be UTF-8; rename it') from error
