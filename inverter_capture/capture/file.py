"""Packets from a capture file, through libpcap.

pypcap has two traps: `pcap.pcap(name)` opens a file or a device, and the end of a truncated file raises no exception.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from typing import Any, Self

import pcap

from inverter_capture.capture.dongle_search import DongleSearch
from inverter_capture.capture.libpcap import CaptureError, link_type_of, set_filter, text_of
from inverter_capture.capture.tcp_fields import tcp_program
from inverter_capture.protocol.packets import Packet

BATCH_PACKETS = 64  # Packets read at a time; one from a pipe, where the next one may come much later

CAPTURE_FILE_MAGICS = {
    b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1",  # pcap, microseconds
    b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1",  # pcap, nanoseconds
    b"\xa1\xb2\xcd\x34", b"\x34\xcd\xb2\xa1",  # pcap as some old Linux tools wrote it
    b"\x0a\x0d\x0d\x0a",  # pcapng
}  # fmt: skip
_COMPRESSED_MAGICS = {b"\x1f\x8b": "gunzip", b"\x28\xb5": "unzstd", b"\xfd7": "unxz"}


class FileCapture:
    """A capture file, read as a stream; a context manager. `-` is standard input.

    To search for dongles, a regular file is read several times. In a pipe, a dongle's packets are read from its first
    message on, as in a live capture.
    """

    live = False
    capturing = True
    problem = ""
    dropped = 0

    def __init__(self, path: str, filter: str | DongleSearch) -> None:
        """`filter`: a filter of libpcap, or a search for the dongles.

        Raises CaptureError for a file that is missing, unreadable or no capture file, and FilterError.
        """
        self.path = path
        self.ended = False
        search = filter if isinstance(filter, DongleSearch) else None
        self.dongles = search.dongles if search else None
        """The filter that learns from decoded reports (`learn`); `refilter` applies what it has learnt."""
        self._filter = filter
        length = _check_file(path)
        self._search = self._search_passes(search) if search and length and not search.is_over else None
        passes = 1 + (len(search.passes) if search and self._search else 0)
        self.size = passes * length  # Bytes to read in all passes; 0 when unknown
        self._length = length
        self._passed = 0
        self._batch = BATCH_PACKETS if length else 1
        self._error: str | None = None
        self._closing = threading.Lock()
        """Held while the handle is closed, and while its position is read: pypcap crashes when a closed one is read."""
        self._handle: Any = _open_file(path)
        try:
            self.link_type: int = link_type_of(self._handle, path)
            self.refilter()
        except CaptureError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def refilter(self) -> None:
        """Apply the changed filter."""
        text = self._filter if isinstance(self._filter, str) else self._filter.dongles.text(self.link_type, live=False)
        set_filter(self._handle, text)

    def search(self) -> None:
        """Search for dongles now. Otherwise `wait` does that before it returns the first packet."""
        while self._search is not None:
            self.wait()

    def wait(self, _seconds: float | None = None) -> list[Packet]:
        """Some packets that pass the filter; none during the search for dongles, and at the end (`ended` is then True).

        Waits without limit for data from a pipe. Raises CaptureError after the last whole packet of a truncated file.
        """
        if self._search is not None:
            try:
                next(self._search)
            except StopIteration:
                self._search = None
                self.refilter()
            return []
        packets: list[Packet] = []
        if self._error is None:
            self._error = _read(self._handle, self.link_type, self._batch, packets)
        if packets:
            return packets
        self.ended = True
        if self._error:
            raise CaptureError(self.path, f"the capture file is damaged or was cut off: {self._error}")
        return []

    @property
    def position(self) -> int:
        """Bytes read of `size`. May be called from any thread. Raises OSError for a pipe."""
        with self._closing:
            return self._passed + (os.lseek(self._handle.fileno(), 0, os.SEEK_CUR) if self._handle is not None else 0)

    def close(self) -> None:
        """Close the file."""
        with self._closing:
            if self._handle is not None:
                self._handle.close()
                self._handle = None

    def _search_passes(self, search: DongleSearch) -> Iterator[None]:
        """Search the whole file, some packets at each step. A truncated file is searched up to its end."""
        for condition, examine in search.passes:
            set_filter(self._handle, tcp_program(self.link_type, condition))
            error: str | None = None
            while error is None and not search.is_over:
                packets: list[Packet] = []
                error = _read(self._handle, self.link_type, BATCH_PACKETS, packets)
                for packet in packets:
                    examine(packet)
                yield
            self.close()
            self._handle = _open_file(self.path)
            self._passed += self._length


def _read(handle: Any, link_type: int, count: int, packets: list[Packet]) -> str | None:
    """Read at most `count` packets. Returns the problem at the end of the file, empty if none; None before the end."""
    # Not iter(handle): that would take SIGINT over.
    try:
        for _ in range(count):
            when, data = next(handle)
            packets.append(Packet(when, link_type, data))
    except StopIteration:
        return text_of(handle.geterr())
    return None


def _check_file(path: str) -> int:
    """The size of a capture file; 0 for a pipe. Checks the first bytes. Raises CaptureError."""
    if path == "-":
        return 0
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            # Its first bytes could not be read again.
            return 0
        with open(path, "rb") as file:
            magic = file.read(4)
    except OSError as error:
        reason = f"cannot be read ({error.strerror}): check the path, and who may read the file"
        raise CaptureError(path, reason) from error
    if not magic:
        raise CaptureError(path, "the file is empty; a capture file is what `tcpdump -w FILE` writes")
    if magic not in CAPTURE_FILE_MAGICS:
        unpack = _COMPRESSED_MAGICS.get(magic[:2])
        remedy = f"unpack it first with {unpack}" if unpack else "a capture file is what `tcpdump -w FILE` writes"
        raise CaptureError(path, f"is no capture file (pcap or pcapng); {remedy}")
    return status.st_size


def _open_file(path: str) -> Any:
    # With a slash, since no device name contains one.
    name = path if path == "-" or "/" in path else f"./{path}"
    try:
        return pcap.pcap(name, timestamp_in_ns=True)
    except OSError as error:
        # pypcap's own message is that there is no device of that name.
        reason = "is no capture file (pcap or pcapng), or damaged or cut off in its first bytes"
        raise CaptureError(path, reason) from error
    except UnicodeEncodeError as error:
        raise CaptureError(ascii(path), "the name of a capture file must be UTF-8; rename it") from error
