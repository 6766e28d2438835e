"""What else passes a home's router: other machines, none of which sends a report, though some bytes look a little
like one."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.dongle.chance import Dice
from tests.wire import (
    MILLISECOND,
    PROTOCOL_UDP,
    SECOND,
    Connection,
    Endpoint,
    Record,
    arp,
    ethernet,
    ipv4,
    udp,
)

ROUTER_MAC = bytes.fromhex("020000000801")
LAPTOP_MAC = bytes.fromhex("020000000832")
LOGGER_MAC = bytes.fromhex("02000000084d")
CAMERA_MAC = bytes.fromhex("020000000851")

ROUTER, LAPTOP, LOGGER, CAMERA = "192.168.8.1", "192.168.8.50", "192.168.8.77", "192.168.8.81"

HOUR = 3600 * SECOND

REQUEST = b"GET /status.json HTTP/1.1\r\nHost: example.net\r\nUser-Agent: made-up\r\nAccept: */*\r\n\r\n"
RESPONSE = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{"status": "up"}\n'


def other_traffic(start: int, seed: int) -> list[Record]:
    """A day of it, from `start` on, in no order."""
    dice = Dice(seed, 30)
    records: list[Record] = []
    for hour in range(24):
        begins = start + hour * HOUR
        records += neighbours(begins, dice)
        records += names(begins, dice)
        if hour % 2 == 0:
            records += web(begins + dice.whole(0, 50) * 60 * SECOND, dice, 40000 + hour)
            records += logger(begins + dice.whole(0, 3500) * SECOND, dice, 52000 + hour, hour)
        if hour % 5 == 0:
            records += secure(begins + dice.whole(0, 3000) * SECOND, dice, 44000 + hour, six=hour % 2 == 0)
        if hour % 4 == 1:
            records += camera(begins + dice.whole(0, 3000) * SECOND, dice, 47000 + hour)
    return records


def neighbours(start: int, dice: Dice) -> Iterator[Record]:
    """ARP."""
    for mac, address in ((LAPTOP_MAC, LAPTOP), (LOGGER_MAC, LOGGER)):
        time = start + dice.whole(0, 3599) * SECOND + dice.whole(0, 999) * MILLISECOND
        yield Record(time, arp(mac, address, ROUTER))
        yield Record(time + MILLISECOND, arp(ROUTER_MAC, ROUTER, address, mac))


def names(start: int, dice: Dice) -> Iterator[Record]:
    """DNS."""
    for _ in range(2):
        time = start + dice.whole(0, 3599) * SECOND + dice.whole(0, 999) * MILLISECOND
        number, port = dice.whole(1, 65535), dice.whole(32768, 60999)
        question = b"\x07example\x03net\x00\x00\x01\x00\x01"
        asked = struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + question
        answer = b"\xc0\x0c\x00\x01\x00\x01" + struct.pack(">IH", 300, 4) + bytes((203, 0, 113, 80))
        answered = struct.pack(">HHHHHH", number, 0x8180, 1, 1, 0, 0) + question + answer
        packet = ipv4(LAPTOP, ROUTER, udp(LAPTOP, port, ROUTER, 53, asked), protocol=PROTOCOL_UDP)
        yield Record(time, ethernet(packet, source=LAPTOP_MAC, destination=ROUTER_MAC))
        packet = ipv4(ROUTER, LAPTOP, udp(ROUTER, 53, LAPTOP, port, answered), protocol=PROTOCOL_UDP)
        yield Record(time + 20 * MILLISECOND, ethernet(packet, source=ROUTER_MAC, destination=LAPTOP_MAC))


def connect(dice: Dice, client: Endpoint, server: Endpoint) -> Connection:
    """A connection with numbers by chance."""
    return Connection(
        client,
        server,
        sequence=dice.whole(0, 2**32 - 1),
        server_sequence=dice.whole(0, 2**32 - 1),
        delay=dice.whole(8, 60) * MILLISECOND,
        identification=dice.whole(0, 65535),
    )


def web(start: int, dice: Dice, port: int) -> list[Record]:
    """HTTP without encryption."""
    line = connect(dice, Endpoint(LAPTOP, port, LAPTOP_MAC), Endpoint("203.0.113.80", 80, ROUTER_MAC, 57))
    time = line.send(line.open(start) + MILLISECOND, REQUEST)
    line.close(line.reply(time + 30 * MILLISECOND, RESPONSE) + MILLISECOND)
    return line.records


def secure(start: int, dice: Dice, port: int, *, six: bool) -> list[Record]:
    """What looks like TLS: records of bytes without meaning."""
    client, server = ("fd00:8::50", "2001:db8::443") if six else (LAPTOP, "203.0.113.44")
    line = connect(dice, Endpoint(client, port, LAPTOP_MAC), Endpoint(server, 443, ROUTER_MAC, 57))
    time = line.send(line.open(start) + MILLISECOND, tls(22, dice.bytes(240)))
    time = line.reply(time + 20 * MILLISECOND, tls(22, dice.bytes(1100)))
    for _ in range(3):
        time = line.send(time + dice.whole(1, 900) * MILLISECOND, tls(23, dice.bytes(dice.whole(60, 700))))
        for _ in range(2):
            time = line.reply(time + 20 * MILLISECOND, tls(23, dice.bytes(1300)))
    line.close(time + 5 * SECOND)
    return line.records


def tls(kind: int, content: bytes) -> bytes:
    """The outline of a TLS record."""
    return struct.pack(">BHH", kind, 0x0303, len(content)) + content


def logger(start: int, dice: Dice, port: int, number: int) -> list[Record]:
    """Another maker's data logger, which speaks Solarman V5; some of its messages are as long as reports."""
    line = connect(dice, Endpoint(LOGGER, port, LOGGER_MAC, 128), Endpoint("198.51.100.7", 10000, ROUTER_MAC, 48))
    time = line.open(start) + MILLISECOND
    for position, length in enumerate((99, 292, 302)):
        time = line.send(time + 2 * SECOND, solarman(0x4210, number * 3 + position, dice.bytes(length - 13)))
        time = line.reply(time + 40 * MILLISECOND, solarman(0x1210, number * 3 + position, dice.bytes(10)))
    line.close(time + SECOND)
    return line.records


def solarman(control: int, number: int, payload: bytes) -> bytes:
    """A Solarman V5 message: little-endian length, control code, number, logger's serial number; checksum and 0x15
    last."""
    inner = struct.pack("<HHHI", len(payload), control, number, 2_712_345_678) + payload
    return b"\xa5" + inner + bytes((sum(inner) & 0xFF, 0x15))


def camera(start: int, dice: Dice, port: int) -> list[Record]:
    """A stream in which 0xA5 stands at the beginning of segments; one even has a report's header and length, but no
    serial."""
    line = connect(dice, Endpoint(CAMERA, port, CAMERA_MAC), Endpoint("198.51.100.99", 554, ROUTER_MAC, 60))
    time = line.open(start) + MILLISECOND
    time = line.send(time, b"\xa5")
    time = line.send(time + SECOND, b"\xa5" + dice.bytes(400))
    header = b"\xa5" + bytes.fromhex("06010902ce0000fa") + struct.pack(">H", 281)
    time = line.send(time + SECOND, header + b"\x00\xff-not a serial-" + dice.bytes(266))
    line.reset(time + SECOND)
    return line.records
