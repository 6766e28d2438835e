"""Streams to messages: cuts the bytes of one stream into messages of the dongle's protocol.

Every message begins with a header of eleven bytes, which says who speaks, what the message is and how long it is. The
bytes may begin anywhere, end anywhere and have other bytes between messages; after those the next message is found.

No I/O, no clock: bytes in, events out. Source of the header: messages of 2022 and 2026 on record, see layouts.py.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from inverter_capture.protocol.counts import Counts
from inverter_capture.protocol.layouts import LAYOUTS

START = b"\xa5\x06"
"""How every message begins."""
DIRECTION_OFFSET = 2
FROM_DONGLE, FROM_SERVER = 0x01, 0xA1
TYPE_OFFSET = 3
LOGIN, DEVICE_INFORMATION, CONTROL, REDIRECT, REPORT, POLL_MAP = 0x01, 0x02, 0x05, 0x07, 0x09, 0x0B
TYPE_NAMES = {
    LOGIN: "login",
    DEVICE_INFORMATION: "device information",
    0x04: "unknown type 04",
    CONTROL: "control",
    REDIRECT: "redirect",
    REPORT: "report",
    0x0A: "unknown type 0a",
    POLL_MAP: "poll map",
}
"""What is known of the types; a message of another type is skipped by its length."""
STATUS_OFFSET = 4
NUMBER_OFFSET = 8
"""One byte; the answer to a message repeats it."""
LENGTH_OFFSET = 9
"""Where the length of what follows the header stands, 16 bits, big-endian."""
HEADER_LENGTH = 11

DONGLE_SERIAL_OFFSET = 11
DONGLE_SERIAL_LENGTH = 12
"""In a login, the dongle's own serial number. The dongle's key stands behind it, which is a secret."""
SERIAL_OFFSET = 11
SERIAL_LENGTH = 10
"""In a report, the inverter's serial number: ASCII digits, letters are possible."""
CLOCK_OFFSET = 37
CLOCK_LENGTH = 6
"""In a report, year - 2000, month, day, hour, minute, second of the inverter's local wall clock."""

MESSAGE_LENGTH_MAX = 2048
"""Maximum length of a message in bytes; a header that claims more is not believed. 255 poll map entries fit."""

_TYPES = re.escape(bytes(TYPE_NAMES))
_DIRECTIONS = bytes((FROM_DONGLE, FROM_SERVER))
_HEADER = re.compile(
    b"%b%c%c.{7}[0-9A-Za-z]{%d}|%b[%b][%b]..\\0\\0..."
    % (START, FROM_DONGLE, REPORT, SERIAL_LENGTH, START, re.escape(_DIRECTIONS), _TYPES),
    re.DOTALL,
)
"""What begins a message beyond doubt: a report with a serial number, or a known type and the two bytes before the
number that are zero in every message on record."""


class Message(NamedTuple):
    """A whole message. Nothing of its body but a report's and a poll map's may be shown: a login holds a secret."""

    data: bytes
    """With the header; at least HEADER_LENGTH bytes."""

    @property
    def from_dongle(self) -> bool:
        """Whether the dongle sent it; else the server did."""
        return self.data[DIRECTION_OFFSET] == FROM_DONGLE

    @property
    def type(self) -> int:
        """One of TYPE_NAMES, or another number."""
        return self.data[TYPE_OFFSET]

    @property
    def status(self) -> int:
        """2 in reports, 1 in most answers."""
        return self.data[STATUS_OFFSET]

    @property
    def number(self) -> int:
        """Counts the dongle's messages, up to 255; an answer has the number of what it answers."""
        return self.data[NUMBER_OFFSET]


def dongle_serial(message: Message) -> str:
    """The dongle's serial number, if the message is a login; otherwise empty. The register key is never extracted."""
    serial = message.data[DONGLE_SERIAL_OFFSET : DONGLE_SERIAL_OFFSET + DONGLE_SERIAL_LENGTH]
    is_login = message.from_dongle and message.type == LOGIN and len(serial) == DONGLE_SERIAL_LENGTH
    return serial.decode() if is_login and serial.isalnum() else ""


class MessageCounts(Counts):
    """What became of the bytes."""

    __slots__ = ("cut", "messages", "skipped")

    messages: int
    cut: int
    """Messages that began and have no end."""
    skipped: int
    """Bytes that are part of no message."""


class MessageParser:
    """Takes the bytes of one stream in order, gives the messages in them. Never raises; holds at most two messages."""

    def __init__(self, counts: MessageCounts) -> None:
        self._counts = counts
        self._buffer = b""

    def receive(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete."""
        if not self._buffer and _is_one_message(data):
            self._counts.messages += 1
            return [Message(data)]
        return self._parse(self._buffer + data, ended=False)

    def gap(self) -> None:
        """Bytes of the stream are missing here: a message that has begun cannot be completed."""
        if self._buffer:
            self._counts.cut += 1
            self._counts.skipped += len(self._buffer)
            self._buffer = b""

    def close(self) -> list[Message]:
        """The stream is over: the messages in what is left."""
        messages = self._parse(self._buffer, ended=True) if self._buffer else []
        self.gap()
        return messages

    def _parse(self, buffer: bytes, *, ended: bool) -> list[Message]:
        messages: list[Message] = []
        at = 0
        while True:
            start = buffer.find(START, at)
            if start < 0:
                start = len(buffer) - buffer.endswith(START[:1], at)
            self._counts.skipped += start - at
            at = start
            length = self._length(buffer[at : at + 2 * MESSAGE_LENGTH_MAX], ended=ended) if at < len(buffer) else 0
            if length == 0:
                self._buffer = buffer[at:]
                return messages
            if length > 0:
                self._counts.messages += 1
                messages.append(Message(buffer[at : at + length]))
                at += length
            else:
                self._counts.skipped -= length
                at -= length

    def _length(self, data: bytes, *, ended: bool) -> int:
        """The length of the message that begins here; 0 when more bytes must tell; -n when n bytes are no message."""
        if not _may_begin(data):
            return -1
        size = len(data)
        if size < HEADER_LENGTH:
            return -size if ended else 0
        claimed = _claimed(data)
        if claimed > MESSAGE_LENGTH_MAX:
            return -1
        inner = _header_within(data, claimed)
        if size >= claimed and not (inner and _is_whole(data, inner)):
            if _fits(data, claimed) or claimed in LAYOUTS:
                return claimed
            # Something other than a message follows. A length field that is too small may still belong to a report.
            if _is_report(data):
                for length in LAYOUTS:
                    if claimed < length <= size and _fits(data, length) and not _header_within(data, length):
                        return length
                if size < max(LAYOUTS) and not ended:
                    return 0
        if size >= claimed and not inner:
            return claimed
        if not ended and not (inner and (size >= claimed or _is_report(data[inner:]) or _is_whole(data, inner))):
            return 0
        self._counts.cut += 1
        return -(inner or 1)


def _is_one_message(data: bytes) -> bool:
    """The usual case: the bytes are one whole message, in which no other can begin."""
    return (
        HEADER_LENGTH <= len(data) <= MESSAGE_LENGTH_MAX
        and data.rfind(START) == 0
        and data[DIRECTION_OFFSET] in _DIRECTIONS
        and _claimed(data) == len(data)
    )


def _claimed(data: bytes, start: int = 0) -> int:
    """The length of the message that begins at `start`, as its header claims."""
    return HEADER_LENGTH + int.from_bytes(data[start + LENGTH_OFFSET : start + HEADER_LENGTH], "big")


def _header_within(data: bytes, claimed: int) -> int:
    """Where before its claimed end another message begins beyond doubt; 0 when none does."""
    # What shows that it is one may lie behind that end.
    found = _HEADER.search(data, 1, claimed - 1 + SERIAL_OFFSET + SERIAL_LENGTH)
    return found.start() if found and found.start() < claimed else 0


def _fits(data: bytes, end: int) -> bool:
    """Whether a message can end here: nothing follows, or what can begin the next one."""
    return _may_begin(data[end : end + HEADER_LENGTH])


def _is_whole(data: bytes, start: int) -> bool:
    """Whether the message that begins at `start`, by its header beyond doubt, has all of its bytes."""
    end = start + _claimed(data, start)
    return end <= len(data) and _fits(data, end)


def _may_begin(data: bytes) -> bool:
    """Whether these bytes, of which some may not have come yet, can begin a message; so can nothing."""
    return START.startswith(data[: len(START)]) and (
        len(data) <= DIRECTION_OFFSET or data[DIRECTION_OFFSET] in _DIRECTIONS
    )


def _is_report(data: bytes) -> bool:
    """Whether these bytes begin a report with a serial number, as far as they have come."""
    serial = data[SERIAL_OFFSET : SERIAL_OFFSET + SERIAL_LENGTH]
    return (
        data[DIRECTION_OFFSET : TYPE_OFFSET + 1] == bytes((FROM_DONGLE, REPORT))
        and len(data) > HEADER_LENGTH
        and serial.isalnum()
        and serial.isascii()
    )
