"""Packets from a network device or a capture file, through libpcap.

How pypcap and Linux really behave is behind much of this: `pcap.pcap(name)` takes a file of that name for a device;
a truncated file ends without a word; a handle whose interface went away says nothing for ever.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pcap

from inverter_capture import links
from inverter_capture.packets import Packet

SNAPSHOT_LENGTH = 8000
"""Bytes kept of a packet: more than a dongle has on its way at a time, if network cards merge all of it."""
BUFFER_LENGTH = 512 * 1024
"""Bytes of kernel memory for packets that wait to be read: 64 slots, each for a packet of any length."""
READ_PACKETS = 32
"""Packets read with one call."""
READ_BYTES_MAX = 256 * 1024
"""Bytes read before they are worked on: all that waits, but a flood cannot fill our memory."""
LARGE_FILTER_BYTES = 64 * 1024
"""More kernel memory than any filter needs."""
RETRY_SECONDS = 5
"""How often opening is tried again while the device is there but cannot be opened."""
ANY = "any"

FilterFor = Callable[[int], str]
"""Gives the filter for a data link type, which is known only once the device or file is open."""

_CAPTURE_FILE_MAGICS = {
    b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1",  # pcap, microseconds
    b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1",  # pcap, nanoseconds
    b"\xa1\xb2\xcd\x34", b"\x34\xcd\xb2\xa1",  # pcap as some old Linux tools wrote it
    b"\x0a\x0d\x0d\x0a",  # pcapng
}  # fmt: skip
_COMPRESSED_MAGICS = {b"\x1f\x8b": "gunzip", b"\x28\xb5": "unzstd", b"\xfd7": "unxz"}
_EMPTY_CAPTURE_FILE = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, links.ETHERNET)

_SIOCGIFFLAGS = 0x8913
_IFF_UP = 0x1
_RTMGRP_LINK = 1
_POLL_MILLISECONDS_MAX = 2**31 - 1

_log = logging.getLogger(__name__)


class CaptureError(Exception):
    """Capturing cannot be done as it was asked for.

    The text begins with the value that is at fault, in quotes; whoever knows the setting's name puts it before.
    """


class FilterError(CaptureError):
    """A filter that libpcap does not understand.

    `passing`: perhaps only now, for there is a name in it that no name server explains. At boot there may be none yet.
    """

    def __init__(self, text: str, *, passing: bool = False) -> None:
        super().__init__(text)
        self.passing = passing


def check_filter(text: str) -> None:
    """Raises FilterError, with the part that is wrong, for what is no filter. Needs no device and no rights."""
    _set_filter(_memory_capture(), text)


def takes_large_filters() -> bool:
    """Whether the kernel does: before version 6.8 its limit was 20 KB, on 32 bits 10 KB.

    A filter that is too large for it would be run by libpcap, in this process, on every packet there is.
    """
    try:
        with open("/proc/sys/net/core/optmem_max", encoding="ascii") as file:
            return int(file.read()) >= LARGE_FILTER_BYTES
    except OSError:
        return False


def device_problem(device: str) -> str | None:
    """Why a network device cannot be captured from at the moment; None when it can, rights apart."""
    return _device_state(device)[1]


class FileCapture:
    """A capture file, read as a stream. `-` is standard input."""

    def __init__(self, path: str, filter_for: FilterFor) -> None:
        """Raises CaptureError for a file that is missing, unreadable or no capture file, and FilterError."""
        self.path = path
        self._filter_for = filter_for
        self.size = _check_file(path)
        """Bytes; 0 when that is not known."""
        self._handle: Any = _open_file(path)
        self.link_type: int = _link_type(self._handle, path)
        self.refilter()

    def refilter(self) -> None:
        """Apply the filter anew: it now lets more through."""
        _set_filter(self._handle, self._filter_for(self.link_type))

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
        error = _text(handle.geterr())
        if error:
            raise CaptureError(f'"{self.path}": the capture file is damaged or was cut off: {error}')

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return os.lseek(self._handle.fileno(), 0, os.SEEK_CUR)

    def close(self) -> None:
        """Release the file."""
        self._handle.close()


class LiveCapture:
    """A network device. It may come and go: packets are captured whenever it is there and up.

    Blocks in the kernel while there is nothing to do; the kernel tells when the device changes.
    """

    def __init__(self, device: str, filter_for: FilterFor) -> None:
        """Raises CaptureError when the device is there but cannot be opened, and FilterError unless it is passing."""
        self.device = device
        self._filter_for = filter_for
        self._handle: Any = None
        self._index: int | None = None
        self._dropped_before = 0
        self._problem: str | None = None
        """What has been said about why there is nothing to capture from."""
        self._retry_at: float | None = None
        self.link_type: int | None = None
        """libpcap's, of the device when it was last open."""
        self._changes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._changes.bind((0, _RTMGRP_LINK))
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._changes, select.POLLIN)
        self._poll.register(self._wake_reader, select.POLLIN)
        try:
            self._follow_device(starting=True)
        except CaptureError:
            self.close()
            raise

    @property
    def capturing(self) -> bool:
        """Whether the device is there and open."""
        return self._handle is not None

    def wait(self, seconds: float | None) -> list[Packet]:
        """Packets as soon as there are some; none after this time (None: no limit), or when woken or busy otherwise."""
        if self._retry_at is not None:
            until_retry = max(0.0, self._retry_at - time.monotonic())
            seconds = until_retry if seconds is None else min(seconds, until_retry)
        milliseconds = None if seconds is None else min(seconds * 1000 + 1, _POLL_MILLISECONDS_MAX)
        events = dict(self._poll.poll(milliseconds))
        packets: list[Packet] = []
        broken = False
        if self._handle is not None and (happened := events.get(self._handle.fileno())):
            # First of all: what has been captured before the device went away counts.
            packets, broken = self._read()
            broken = broken or bool(happened & ~select.POLLIN)
        if self._wake_reader in events:
            os.read(self._wake_reader, 4096)
        if self._changes.fileno() in events:
            self._drain_changes()
        elif not broken and (self._retry_at is None or time.monotonic() < self._retry_at):
            return packets
        self._follow_device(broken=broken)
        return packets

    def wake(self) -> None:
        """Make `wait` return now. May be called from any thread."""
        os.write(self._wake_writer, b"\0")

    def refilter(self) -> None:
        """Apply the filter anew: it now lets more through."""
        if self._handle is not None and self.link_type is not None:
            try:
                self._handle.setfilter(self._filter_for(self.link_type))
            except OSError as error:
                # The filter is right, so the device is gone or down.
                _log.debug("%s: %s", self.device, _text(error.args[0]))
                self._release()
                self._retry_at = time.monotonic()

    @property
    def dropped(self) -> int:
        """Packets that the kernel dropped because they were not read in time."""
        return self._dropped_before + (self._handle.stats()[1] if self._handle is not None else 0)

    def close(self) -> None:
        """Release the device."""
        self._release()
        self._changes.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def _read(self) -> tuple[list[Packet], bool]:
        """Packets that are there, and whether the handle is of no use any more."""
        packets: list[Packet] = []
        link_type = self.link_type
        assert link_type is not None

        size = 0

        def keep(when: int, data: bytes) -> None:
            nonlocal size
            packets.append(Packet(when, link_type, data))
            size += len(data)

        # None may come of it: libpcap itself filters what was captured before the filter was set.
        count = READ_PACKETS
        while count == READ_PACKETS and size < READ_BYTES_MAX:
            count = self._handle.dispatch(READ_PACKETS, keep)
        if count < 0:
            _log.debug("%s: %s", self.device, _text(self._handle.geterr()))
        return packets, count < 0

    def _drain_changes(self) -> None:
        try:
            while self._changes.recv(65536):
                pass
        except BlockingIOError:
            pass
        except OSError as error:
            # ENOBUFS: so much changed that some was lost. We look at the device itself in any case.
            _log.debug("network changes: %s", error)

    def _follow_device(self, *, starting: bool = False, broken: bool = False) -> None:
        """Open the device when it is there, close it when it is gone or another of the same name has come."""
        index, problem = _device_state(self.device)
        if self._handle is not None and (problem or index != self._index or broken):
            self._release()
        self._retry_at = None
        if problem:
            self._say(f"device = {problem}; waiting for it")
        elif self._handle is None:
            try:
                self._acquire(index)
            except CaptureError as error:
                passing = isinstance(error, FilterError) and error.passing
                if _device_state(self.device)[1] is None:
                    if starting and not passing:
                        raise
                    setting = "filter" if isinstance(error, FilterError) else "device"
                    self._say(f"{setting} = {error}; trying again", fault=True)
                self._retry_at = time.monotonic() + RETRY_SECONDS

    def _acquire(self, index: int) -> None:
        if os.path.exists(self.device):
            # libpcap would open that.
            raise CaptureError(
                f'"{self.device}": a file of that name is in the working directory; '
                "set file = true to read it, or start elsewhere to capture from the device"
            )
        handle = _open(
            self.device,
            snaplen=SNAPSHOT_LENGTH,
            promisc=self.device != ANY,
            immediate=True,
            buffer_size=BUFFER_LENGTH,
        )
        try:
            handle.setnonblock(True)
            link_type = _link_type(handle, self.device)
            _set_filter(handle, self._filter_for(link_type))
        except CaptureError:
            handle.close()
            raise
        self._poll.register(handle.fileno(), select.POLLIN)
        _log.info("capturing %son %s", "" if self._index is None else "again ", self.device)
        self._handle, self._index, self.link_type = handle, index, link_type
        self._problem = None

    def _release(self) -> None:
        if self._handle is not None:
            self._dropped_before = self.dropped
            self._poll.unregister(self._handle.fileno())
            self._handle.close()
            self._handle = None

    def _say(self, problem: str, *, fault: bool = False) -> None:
        """Why nothing is captured: said once, since a device may be down and gone in turns; but each fault of ours."""
        if self._problem is None or (fault and problem != self._problem):
            _log.warning("[pcap] %s", problem)
            self._problem = problem


def _device_state(device: str) -> tuple[int, str | None]:
    """The device's index, and what is wrong with it, if anything."""
    if device == ANY:
        return 0, None
    try:
        index = socket.if_nametoindex(device)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
            answer = fcntl.ioctl(query, _SIOCGIFFLAGS, struct.pack("16sH22x", device.encode(), 0))
    except OSError:
        names = ", ".join(name for _, name in socket.if_nameindex())
        return 0, f'"{device}": there is no such device (there are: {names})'
    if not struct.unpack_from("16xH", answer)[0] & _IFF_UP:
        return index, f'"{device}": the device is down'
    return index, None


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


def _open(device: str, **options: Any) -> Any:
    try:
        return pcap.pcap(device, timestamp_in_ns=True, **options)
    except OSError as error:
        reason = _text(error.args[0])
        reason = reason.partition("packet capture library was ")[2].removeprefix("b").strip("'\"") or reason
        if "permi" in reason.lower() or "CAP_NET_RAW" in reason:
            reason = f"no permission to capture ({reason}); run as root, or with the capability CAP_NET_RAW"
        raise CaptureError(f'"{device}": cannot be opened: {reason}') from error


def _link_type(handle: Any, name: str) -> int:
    link_type: int = handle.datalink()
    if link_type not in links.LINKS:
        known = ", ".join(link.name for link in links.LINKS.values())
        raise CaptureError(f'"{name}": has the data link type {link_type}, which is not supported; supported: {known}')
    return link_type


def _set_filter(handle: Any, text: str) -> None:
    try:
        handle.setfilter(text)
    except OSError as error:
        reason = _text(error.args[0]).removeprefix("can't parse filter expression: ")
        part = _wrong_part(text) if reason.startswith("syntax error") else ""
        passing = reason.startswith("unknown host")
        raise FilterError(f'"{text}": {reason}{part}; see `man pcap-filter`', passing=passing) from error
    except ValueError as error:
        raise FilterError(f'"{text!a}": {error}') from error


def _wrong_part(text: str) -> str:
    """What follows the longest beginning that is a filter by itself; or else the first of several conditions."""
    words = text.split()
    for count in range(len(words) - 1, 0, -1):
        begin, rest = " ".join(words[:count]), " ".join(words[count:])
        try:
            _memory_capture().setfilter(begin)
        except OSError:
            continue
        return f', at "{rest}" behind "{begin}"'
    ends = [number for number, word in enumerate(words) if word in ("and", "or", "&&", "||")]
    return f', at "{" ".join(words[: ends[0]])}"' if ends else ""


def _memory_capture() -> Any:
    """An empty Ethernet capture file that needs no disk, to compile filters for."""
    descriptor = os.memfd_create("empty.pcap")
    try:
        os.write(descriptor, _EMPTY_CAPTURE_FILE)
        return pcap.pcap(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _text(message: object) -> str:
    return message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
