"""Packets from a network device, through libpcap.

libpcap does not report that a device was removed: its handle stays silent. Therefore the kernel's notifications of
changed devices (netlink) are read, too.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import socket
import struct
import time
from operator import attrgetter
from typing import Any, Self

import pcap

from inverter_capture.capture.dongle_filter import DongleFilter
from inverter_capture.capture.libpcap import CaptureError, link_type_of, set_filter, text_of
from inverter_capture.protocol.packets import Packet
from inverter_capture.text import counted

SNAPSHOT_LENGTH = 8000
"""Bytes captured of each packet. Network cards merge packets; a dongle never has more than this unacknowledged."""
BUFFER_LENGTH = 1024 * 1024
"""Bytes of the kernel's buffer for captured packets: 128 slots, each for a packet of any length."""
READ_PACKETS = 32  # Packets read by one call of libpcap
READ_BYTES_MAX = 256 * 1024  # Bytes read before they are decoded: usually all that is there, but bounded
LARGE_FILTER_BYTES = 96 * 1024  # More kernel memory than any filter takes
RETRY_SECONDS = 5  # Seconds between attempts to open a device that exists but cannot be opened
REOPEN_SECONDS = 1  # A device that fails within this time after it was opened is opened again after the same time
EXCHANGE_SECONDS = 1  # Minimum time between two exchanges of the filter: each takes the kernel some milliseconds
COUNT_SECONDS = 1  # Minimum time between two questions how many packets the kernel dropped, which follow packets
LOG_DROPPED_SECONDS = 3600  # Minimum time between two log messages about dropped packets
ANY = "any"

_SIOCGIFFLAGS = 0x8913
_IFF_UP = 0x1
_RTMGRP_LINK = 1
_POLL_MILLISECONDS_MAX = 2**31 - 1

_log = logging.getLogger(__name__)


def device_problem(device: str) -> str | None:
    """Why a network device cannot be captured from at present; None when it can. Permissions are not checked."""
    return _device_state(device)[1]


def takes_large_filters() -> bool:
    """Whether the kernel accepts filters above 10 KB. Before version 6.8 its limit was 20 KB, on 32 bits 10 KB.

    A filter that the kernel does not accept is run by libpcap in this process, on every packet of the device.
    """
    try:
        with open("/proc/sys/net/core/optmem_max", encoding="ascii") as file:
            return int(file.read()) >= LARGE_FILTER_BYTES
    except OSError:
        return False


class LiveCapture:
    """A network device; a context manager. Packets are captured whenever the device exists and is up.

    Blocks in the kernel while there is nothing to do; the kernel notifies of changes of the device.
    """

    live = True
    ended = False

    def __init__(self, device: str, filter: str | DongleFilter) -> None:
        """`filter`: a filter of libpcap, or one that finds the dongles.

        Raises CaptureError when the device exists but cannot be opened, and FilterError unless it is temporary.
        """
        self.device = device
        self.dongles = filter if isinstance(filter, DongleFilter) else None
        """The filter that learns from decoded reports (`learn`); `refilter` applies what it has learnt."""
        self._filter = filter
        self._handle: Any = None
        self._index: int | None = None
        self.dropped = 0
        """Packets that the kernel dropped because they were not read in time, at the last count; all after `close`."""
        self._dropped_by_handle = 0  # Those of the open handle that are counted already, or do not count
        self._count_at = 0.0  # Earliest monotonic time of the next count
        self._dropped_logged = 0  # Dropped packets that were logged
        self._log_dropped_at = 0.0  # Earliest monotonic time of the next log message about dropped packets
        self.problem = ""  # The logged reason why nothing can be captured. Empty when no problem is known.
        self._retry_at: float | None = None
        self._opened_at = 0.0
        self._fails_at_once = False  # Whether the device failed soon after it was opened, the last time
        self._exchange_at = 0.0  # Earliest monotonic time of the next exchange of the filter
        self._exchange_due = False
        self._closed = False
        self.link_type: int | None = None  # libpcap's data link type of the device that was opened last
        self._changes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._changes.bind((0, _RTMGRP_LINK))
        self._woken = os.eventfd(0)
        self._poll = select.poll()
        self._poll.register(self._changes, select.POLLIN)
        self._poll.register(self._woken, select.POLLIN)
        try:
            self._follow_device(starting=True)
        except CaptureError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def capturing(self) -> bool:
        """Whether the device is open."""
        return self._handle is not None

    def wait(self, seconds: float | None) -> list[Packet]:
        """Wait for packets, at most this time (None: no limit). May return none before: after `wake`, or a change."""
        times = [] if self._retry_at is None else [self._retry_at]
        if self._handle is not None:
            if self._exchange_due:
                times.append(self._exchange_at)
                if time.monotonic() >= self._exchange_at:
                    return self._exchange()
            lasts_at = self._opened_at + REOPEN_SECONDS
            if self._fails_at_once and time.monotonic() >= lasts_at:
                self._fails_at_once = False
                self._log_capturing()
            elif self._fails_at_once:
                times.append(lasts_at)
        if times:
            left = max(0.0, min(times) - time.monotonic())
            seconds = left if seconds is None else min(seconds, left)
        milliseconds = None if seconds is None else min(seconds * 1000 + 1, _POLL_MILLISECONDS_MAX)
        events = dict(self._poll.poll(milliseconds))
        packets: list[Packet] = []
        broken = False
        if self._handle is not None and (happened := events.get(self._handle.fileno())):
            # Read first what was captured before the device was removed.
            packets, broken = self._read(self._handle, self.link_type)
            broken = broken or bool(happened & ~select.POLLIN)
            if time.monotonic() >= self._count_at:
                self._count_dropped()
        if self._woken in events:
            os.eventfd_read(self._woken)
        changed = self._changes.fileno() in events
        if changed:
            self._drain_changes()
        elif not broken and (self._retry_at is None or time.monotonic() < self._retry_at):
            return packets
        return packets + self._follow_device(broken=broken, changed=changed)

    def wake(self) -> None:
        """Make `wait` return. May be called from any thread, but not while another one calls `close`."""
        if not self._closed:
            os.eventfd_write(self._woken, 1)

    def replace(self, before: LiveCapture) -> list[Packet]:
        """Close another capture. Returns the packets that the two have captured and not read yet, by time.

        Those that both have captured are returned twice. The packets dropped before count here from now on.
        """
        packets = before.drain(self._handle, self.link_type)
        before.close()
        self.dropped += before.dropped
        self._dropped_logged += before._dropped_logged
        self._log_dropped_at = max(self._log_dropped_at, before._log_dropped_at)
        return packets

    def refilter(self) -> None:
        """Apply the changed filter soon."""
        self._exchange_due = True

    def close(self) -> None:
        """Close the device. Packets that were not read are lost."""
        if self._closed:
            return
        self._closed = True
        self._release()
        self._changes.close()
        os.close(self._woken)

    def drain(self, newer: Any = None, link_type: int | None = None) -> list[Packet]:
        """All packets that this capture, and a newer handle if given, have captured and not read yet, by time."""
        # Until its filter was set, the newer one captured all packets, and may be full: it is read first.
        packets: list[Packet] = []
        for handle, type_ in ((newer, link_type), (self._handle, self.link_type)):
            if handle is not None:
                packets += self._read(handle, type_, BUFFER_LENGTH)[0]
        return sorted(packets, key=attrgetter("time"))

    def _read(self, handle: Any, link_type: int | None, bytes_max: int = READ_BYTES_MAX) -> tuple[list[Packet], bool]:
        """The captured packets, and whether the handle can no longer be used."""
        packets: list[Packet] = []
        assert link_type is not None
        size = 0

        def keep(when: int, data: bytes) -> None:
            nonlocal size
            packets.append(Packet(when, link_type, data))
            size += len(data)

        # A call may give no packet: libpcap itself filters packets that were captured before the filter was set.
        count = READ_PACKETS
        while count == READ_PACKETS and size < bytes_max:
            count = handle.dispatch(READ_PACKETS, keep)
        if count < 0:
            _log.debug("%s: %s", self.device, text_of(handle.geterr()))
        return packets, count < 0

    def _exchange(self) -> list[Packet]:
        """Replace the filter by the current one. Returns the packets captured before that.

        libpcap's `setfilter` lets no packet through until the new filter is in place. Therefore a second handle is
        opened, and then the first one is read to its end and closed. No packet is lost; those that both have captured
        are returned twice.
        """
        self._exchange_at = time.monotonic() + EXCHANGE_SECONDS
        # Makes room for the packets that arrive until the second handle is ready.
        packets = self.drain()
        try:
            handle, link_type = self._open()
        except CaptureError as error:
            # The filter is valid, so the device was removed or is down: the kernel notifies of that.
            _log.debug("%s", error)
            return packets
        if link_type != self.link_type:
            # Another device of the same name was added. The kernel notifies of that, too.
            handle.close()
            return packets
        self._exchange_due = False
        # From here on: once the first handle has been read to its end, what the second one drops is lost.
        dropped = handle.stats()[1]
        packets += self.drain(handle, link_type)
        self._release()
        self._use(handle, dropped)
        return packets

    def _drain_changes(self) -> None:
        try:
            while self._changes.recv(65536):
                pass
        except BlockingIOError:
            pass
        except OSError as error:
            # ENOBUFS: notifications were lost. The state of the device is queried in any case.
            _log.debug("network changes: %s", error)

    def _follow_device(self, *, starting: bool = False, broken: bool = False, changed: bool = False) -> list[Packet]:
        """Open the device when it exists; close it when it was removed or replaced by another of the same name.

        `broken`: the handle can no longer be used. `changed`: the kernel has notified of changed devices. Returns the
        packets that a device which is closed had captured last.
        """
        packets: list[Packet] = []
        index, problem = _device_state(self.device)
        if self._handle is not None and (problem or index != self._index or broken):
            packets = self.drain()
            self._release()
        self._retry_at = None
        if problem:
            self._log_problem(f'device = "{self.device}": {problem}; waiting for it')
        elif broken and not changed and time.monotonic() < self._opened_at + REOPEN_SECONDS:
            self._fails_at_once = True
            self._retry_at = time.monotonic() + REOPEN_SECONDS
            self._log_problem(f'device = "{self.device}": fails as soon as it is opened; trying again', fault=True)
        elif self._handle is None:
            try:
                self._acquire(index)
            except CaptureError as error:
                if _device_state(self.device)[1] is None:
                    if starting and not error.passing:
                        raise
                    self._log_problem(f"{error.setting} = {error}; trying again", fault=True)
                self._retry_at = time.monotonic() + RETRY_SECONDS
        return packets

    def _acquire(self, index: int) -> None:
        handle, self.link_type = self._open()
        # Packets dropped before the filter was set do not count.
        self._use(handle, handle.stats()[1])
        self._opened_at = time.monotonic()
        self._exchange_due = False
        if not self._fails_at_once:
            self._log_capturing()
        self._index = index

    def _open(self) -> tuple[Any, int]:
        """A handle with the current filter, and its data link type. Raises CaptureError."""
        if os.path.exists(self.device):
            # libpcap would open the file.
            reason = "a file of that name is in the working directory; set file = true to read it, or start elsewhere"
            raise CaptureError(self.device, f"{reason} to capture from the device")
        handle = _open(
            self.device, snaplen=SNAPSHOT_LENGTH, promisc=self.device != ANY, immediate=True, buffer_size=BUFFER_LENGTH
        )
        try:
            handle.setnonblock(True)
            link_type = link_type_of(handle, self.device)
            text = self._filter
            if isinstance(text, DongleFilter):
                text = text.text(link_type, live=True, small=not takes_large_filters())
            set_filter(handle, text)
        except CaptureError:
            handle.close()
            raise
        return handle, link_type

    def _use(self, handle: Any, dropped: int) -> None:
        """`dropped`: packets that this handle has dropped and that do not count."""
        self._dropped_by_handle = dropped
        self._handle = handle
        self._poll.register(handle.fileno(), select.POLLIN)

    def _release(self) -> None:
        if self._handle is not None:
            self._count_dropped()
            self._poll.unregister(self._handle.fileno())
            self._handle.close()
            self._handle = None

    def _count_dropped(self) -> None:
        """Add the packets that the kernel has dropped since the last count; log them if there was no message lately."""
        now = time.monotonic()
        self._count_at = now + COUNT_SECONDS
        dropped = self._handle.stats()[1]
        self.dropped += dropped - self._dropped_by_handle
        self._dropped_by_handle = dropped
        if self.dropped > self._dropped_logged and now >= self._log_dropped_at:
            self._log_dropped_at = now + LOG_DROPPED_SECONDS
            count = counted(self.dropped - self._dropped_logged, "packet")
            self._dropped_logged = self.dropped
            _log.warning(
                "%s: the kernel dropped %s before they could be read, perhaps with readings: the processor is too busy",
                self.device,
                count,
            )

    def _log_capturing(self) -> None:
        _log.info("capturing %son %s", "" if self._index is None else "again ", self.device)
        self.problem = ""

    def _log_problem(self, problem: str, *, fault: bool = False) -> None:
        """Log why nothing is captured: once until packets are captured again, and each `fault` that differs."""
        if not self.problem or (fault and problem != self.problem):
            _log.warning("[pcap] %s", problem)
            self.problem = problem


def _device_state(device: str) -> tuple[int, str | None]:
    """The device's index, and the problem with it, if there is one."""
    if device == ANY:
        return 0, None
    try:
        index = socket.if_nametoindex(device)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
            answer = fcntl.ioctl(query, _SIOCGIFFLAGS, struct.pack("16sH22x", device.encode(), 0))
    except OSError:
        names = ", ".join(name for _, name in socket.if_nameindex())
        return 0, f"there is no such device (there are: {names})"
    if not struct.unpack_from("16xH", answer)[0] & _IFF_UP:
        return index, "the device is down"
    return index, None


def _open(device: str, **options: Any) -> Any:
    try:
        return pcap.pcap(device, timestamp_in_ns=True, **options)
    except OSError as error:
        reason = text_of(error.args[0])
        reason = reason.partition("packet capture library was ")[2].removeprefix("b").strip("'\"") or reason
        if "permi" in reason.lower() or "CAP_NET_RAW" in reason:
            reason = f"no permission to capture ({reason}); run as root, or with the capability CAP_NET_RAW"
        raise CaptureError(device, f"cannot be opened: {reason}") from error
