"""Streams to messages: cuts the bytes of one stream into messages of the dongle's protocol.

Every message begins with a header of eleven bytes: direction, type, number and length. A stream may begin and end
within a message, and may have other bytes between messages; the parser finds the next message after them.

No I/O and no clock. Source of the header: captures of 2022 and 2026, see layouts.py.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from inverter_capture.protocol.counts import Counts
from inverter_capture.protocol.layouts import LAYOUTS

START = b"\xa5\x06"  # The first bytes of every message
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
"""Names of the known types. A message of another type is skipped by its length."""
STATUS_OFFSET = 4
NUMBER_OFFSET = 8  # One byte, which the answer to a message repeats
LENGTH_OFFSET = 9  # The length of the message without its header: 16 bits, big-endian
HEADER_LENGTH = 11

DONGLE_SERIAL_OFFSET = 11
DONGLE_SERIAL_LENGTH = 12  # In a login: the dongle's own serial number. The dongle's key follows, which is a secret.
SERIAL_OFFSET = 11
SERIAL_LENGTH = 10  # In a report: the inverter's serial number, ASCII digits or letters
CLOCK_OFFSET = 37
CLOCK_LENGTH = 6  # In a report: year - 2000, month, day, hour, minute, second of the inverter's local time

MESSAGE_LENGTH_MAX = 2048
"""Maximum length of a message in bytes; a header with a larger length is not a header. 255 poll map entries fit."""

_TYPES = re.escape(bytes(TYPE_NAMES))
_DIRECTIONS = bytes((FROM_DONGLE, FROM_SERVER))
_HEADER = re.compile(
    b"%b%c%c.{7}[0-9A-Za-z]{%d}|%b[%b][%b]..\\0\\0..."
    % (START, FROM_DONGLE, REPORT, SERIAL_LENGTH, START, re.escape(_DIRECTIONS), _TYPES),
    re.DOTALL,
)
"""A certain beginning of a message: a report with a serial number, or a known type with the two zero bytes before the
number, as in all captures."""


class Message(NamedTuple):
    """A complete message. Only the body of a report or a poll map may be shown: a login contains a secret."""

    data: bytes  # Header and body; at least HEADER_LENGTH bytes

    @property
    def from_dongle(self) -> bool:
        """Whether the dongle sent it; otherwise the server did."""
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
        """Number of the dongle's message, 0 to 255. An answer repeats it."""
        return self.data[NUMBER_OFFSET]


def dongle_serial(message: Message) -> str:
    """The dongle's serial number, if the message is a login; otherwise empty. The register key is never extracted."""
    serial = message.data[DONGLE_SERIAL_OFFSET : DONGLE_SERIAL_OFFSET + DONGLE_SERIAL_LENGTH]
    is_login = message.from_dongle and message.type == LOGIN and len(serial) == DONGLE_SERIAL_LENGTH
    return serial.decode() if is_login and serial.isalnum() else ""


class MessageCounts(Counts):
    """Counters of a message parser."""

    __slots__ = ("cut", "messages", "skipped")

    messages: int
    cut: int  # Incomplete messages
    skipped: int  # Bytes outside messages


class MessageParser:
    """Finds the messages in the bytes of one stream. Never raises; buffers at most two messages."""

    def __init__(self, counts: MessageCounts) -> None:
        self._counts = counts
        self._buffer = b""

    def receive(self, data: bytes) -> list[Message]:
        """The messages that end in these bytes."""
        if (
            not self._buffer
            and HEADER_LENGTH <= len(data) <= MESSAGE_LENGTH_MAX
            and data.rfind(START) == 0
            and data[DIRECTION_OFFSET] in _DIRECTIONS
            and _claimed(data) == len(data)
        ):
            # The usual case: the bytes are one whole message, in which no other can begin.
            self._counts.messages += 1
            return [Message(data)]
        return self._parse(self._buffer + data, ended=False)

    def gap(self) -> None:
        """Bytes of the stream are missing here: discard an incomplete message."""
        if self._buffer:
            self._counts.cut += 1
            self._counts.skipped += len(self._buffer)
            self._buffer = b""

    def close(self) -> list[Message]:
        """The stream has ended: the messages in the buffered bytes."""
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
        """The length of the message that begins here; 0: more bytes are needed; -n: n bytes are no message."""
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


def _claimed(data: bytes, start: int = 0) -> int:
    """The length of the message at `start`, from its header."""
    return HEADER_LENGTH + int.from_bytes(data[start + LENGTH_OFFSET : start + HEADER_LENGTH], "big")


def _header_within(data: bytes, claimed: int) -> int:
    """The offset of a certain beginning of another message before the claimed end; 0: there is none."""
    # The bytes that make it certain may lie after that end.
    found = _HEADER.search(data, 1, claimed - 1 + SERIAL_OFFSET + SERIAL_LENGTH)
    return found.start() if found and found.start() < claimed else 0


def _fits(data: bytes, end: int) -> bool:
    """Whether a message can end here: nothing follows, or a possible beginning of the next one."""
    return _may_begin(data[end : end + HEADER_LENGTH])


def _is_whole(data: bytes, start: int) -> bool:
    """Whether the message that certainly begins at `start` is complete."""
    end = start + _claimed(data, start)
    return end <= len(data) and _fits(data, end)


def _may_begin(data: bytes) -> bool:
    """Whether these bytes, possibly incomplete or empty, can begin a message."""
    return START.startswith(data[: len(START)]) and (
        len(data) <= DIRECTION_OFFSET or data[DIRECTION_OFFSET] in _DIRECTIONS
    )


def _is_report(data: bytes) -> bool:
    """Whether these bytes, possibly incomplete, begin a report with a serial number."""
    serial = data[SERIAL_OFFSET : SERIAL_OFFSET + SERIAL_LENGTH]
    return (
        data[DIRECTION_OFFSET : TYPE_OFFSET + 1] == bytes((FROM_DONGLE, REPORT))
        and len(data) > HEADER_LENGTH
        and serial.isalnum()
    )
