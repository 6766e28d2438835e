"""A VLAN device without the kernel's own, which not every kernel has.

    python -m tests.vlan eth0 eth0.5 5

makes a TAP device eth0.5 in its network namespace and carries packets between it and eth0: with the tag of VLAN 5
on eth0, without on eth0.5. It prints "ready" and then works until it is killed, which also removes the device.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
TAP_WITHOUT_HEADER = 0x0002 | 0x1000
SOL_PACKET = 263
PACKET_AUXDATA = 8
PACKET_OUTGOING = 4
ALL_PROTOCOLS = 0x0003
TAG_TYPE = 0x8100
TAG_IS_VALID = 0x10
AUXILIARY = struct.Struct("IIIHHHH")
"""tpacket_auxdata: status, length, captured, offsets of two headers, tag, tag's type."""


def open_tap(name: str) -> int:
    """A new TAP device. Returns its file descriptor."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), TAP_WITHOUT_HEADER))
    return descriptor


def open_device(name: str) -> socket.socket:
    """All packets of a device. The kernel takes tags off, and reports them beside the packet."""
    device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
    device.bind((name, ALL_PROTOCOLS))
    device.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    return device


def receive_tagged(device: socket.socket, number: int) -> bytes | None:
    """The next packet that came in, if it has this VLAN's tag, without it."""
    try:
        data, auxiliary, _, address = device.recvmsg(65536, 256)
    except OSError as error:
        if error.errno == errno.ENETDOWN:
            # Said once when the device goes down; it may come up again.
            return None
        raise
    if address[2] == PACKET_OUTGOING:
        return None
    for level, kind, content in auxiliary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tag, _ = AUXILIARY.unpack(content[: AUXILIARY.size])
            if status & TAG_IS_VALID and tag & 0x0FFF == number:
                return data
    return None


def send_tagged(device: socket.socket, packet: bytes, number: int) -> None:
    """Sends a packet with the tag; while the device is down it is lost, as on a wire."""
    try:
        device.send(packet[:12] + struct.pack(">HH", TAG_TYPE, number) + packet[12:])
    except OSError as error:
        if error.errno != errno.ENETDOWN:
            raise


def carry(device: socket.socket, tap: int, number: int) -> None:
    """For ever."""
    poll = select.poll()
    poll.register(device, select.POLLIN)
    poll.register(tap, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == tap:
                packet = os.read(tap, 65536)
                send_tagged(device, packet, number)
            else:
                received = receive_tagged(device, number)
                if received is not None:
                    os.write(tap, received)


def main() -> None:
    """The command."""
    parent, name, number = sys.argv[1:]
    device = open_device(parent)
    tap = open_tap(name)
    print("ready", flush=True)
    try:
        carry(device, tap, int(number))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
