"""Streams to frames: finds the dongle's telemetry frames in the bytes of one stream, and believes nothing else.

A frame begins with 0xA5, holds a serial number and a valid time, and is of a known length. Its length field is used but
not relied on alone: where the next message shows another end, that counts.

No I/O, no clock: bytes in, events out.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from inverter_capture.protocol import registers
from inverter_capture.protocol.counts import Counts

FRAME_LENGTH_MAX = 1024
"""Bytes. A frame that claims to be longer is not one; a parser holds no more than this."""

OTHER_HEAD_LENGTH = 32
"""As much of other messages as is shown."""

_START = bytes([registers.START])
_SERIAL_END = registers.SERIAL_OFFSET + registers.SERIAL_LENGTH
_CENTURY = 2000
# The outline that frames and the dongle's other messages share: a serial number where a frame has its own.
_HEADER = re.compile(
    b"%b.{%d}[0-9A-Za-z]{%d}" % (re.escape(_START), registers.SERIAL_OFFSET - 1, registers.SERIAL_LENGTH), re.DOTALL
)


class Frame(NamedTuple):
    """A whole telemetry frame of a known length."""

    serial: str
    clock: datetime
    """The inverter's local wall clock, without a time zone."""
    data: bytes


class UnknownFrame(NamedTuple):
    """A frame with a serial number and a valid time, of a length that no register blocks are known for."""

    serial: str
    data: bytes


class Other(NamedTuple):
    """The beginning of bytes that are no frame."""

    head: bytes


FrameEvent = Frame | UnknownFrame | Other


class FrameCounts(Counts):
    """What became of the bytes."""

    __slots__ = ("cut", "frames", "skipped", "unknown")

    frames: int
    unknown: int
    cut: int
    """Frames that began but have no end."""
    skipped: int
    """Bytes that are part of no frame."""


class FrameParser:
    """Takes the bytes of one stream in order, gives the frames in them. Never raises on any bytes."""

    def __init__(self, counts: FrameCounts) -> None:
        self._counts = counts
        self._buffer = b""

    @property
    def within_frame(self) -> bool:
        """Whether what came last can be the beginning of a frame."""
        return bool(self._buffer)

    def receive(self, data: bytes) -> list[FrameEvent]:
        """The frames that these bytes complete."""
        return self._parse(self._buffer + data if self._buffer else data, ended=False)

    def gap(self) -> None:
        """Bytes are missing here: a frame that has begun cannot be completed."""
        if self._buffer:
            self._counts.cut += 1
            self._counts.skipped += len(self._buffer)
            self._buffer = b""

    def close(self) -> list[FrameEvent]:
        """The stream is over: the frames in what is left."""
        events = self._parse(self._buffer, ended=True) if self._buffer else []
        self.gap()
        return events

    def _parse(self, buffer: bytes, *, ended: bool) -> list[FrameEvent]:
        events: list[FrameEvent] = []
        at = 0
        skipped_from = 0
        while True:
            start = buffer.find(_START, at)
            if start < 0:
                at = start = len(buffer)
                outcome: FrameEvent | int | None = None
            else:
                at = start
                outcome = self._examine(buffer[at : at + 2 * FRAME_LENGTH_MAX], ended=ended)
            if isinstance(outcome, int):
                at += outcome
                continue
            if skipped_from < start:
                self._counts.skipped += start - skipped_from
                events.append(Other(buffer[skipped_from : min(start, skipped_from + OTHER_HEAD_LENGTH)]))
            if outcome is None:
                self._buffer = buffer[at:]
                return events
            assert not isinstance(outcome, Other)
            events.append(outcome)
            if isinstance(outcome, Frame):
                self._counts.frames += 1
            else:
                self._counts.unknown += 1
            at += len(outcome.data)
            skipped_from = at

    def _examine(self, data: bytes, *, ended: bool) -> Frame | UnknownFrame | int | None:
        """What begins at these bytes: a frame; or how many bytes to pass over; or None when more bytes must tell."""
        if not _may_be_serial(data[registers.SERIAL_OFFSET : _SERIAL_END]):
            return 1
        if len(data) < registers.HEADER_LENGTH:
            return None
        clock = _clock(data)
        if clock is None:
            return 1
        length = self._length(data, ended=ended)
        if length is None or length < 0:
            return None if length is None else -length
        serial = data[registers.SERIAL_OFFSET : _SERIAL_END].decode("ascii")
        if length in registers.LAYOUTS:
            return Frame(serial, clock, data[:length])
        return UnknownFrame(serial, data[:length])

    def _length(self, data: bytes, *, ended: bool) -> int | None:
        """How long the frame is; None when more bytes must tell; negative: no frame, that many bytes to pass over.

        Three things tell: the length field, where the next message begins, and where the data ends.
        """
        field = data[registers.LENGTH_OFFSET : registers.LENGTH_OFFSET + 2]
        claimed = registers.LENGTH_BIAS + int.from_bytes(field, "big")
        sane = registers.HEADER_LENGTH < claimed <= FRAME_LENGTH_MAX
        header = _HEADER.search(data, _SERIAL_END)
        if header is not None:
            following = header.start()
            if sane and (claimed == following or (claimed < following and data[claimed] == registers.START)):
                return claimed
            # A frame can end with 0xA5, and the next message make that look like a header.
            if sane and following < claimed < following + _SERIAL_END and _HEADER.match(data, claimed):
                return claimed
            # Two known lengths that differ, the claimed one longer: the frame lost its tail.
            if following in registers.LAYOUTS and not (claimed in registers.LAYOUTS and claimed > following):
                return following
            if sane and claimed < following:
                return claimed
            self._counts.cut += 1
            return -following
        if sane and (len(data) == claimed or (len(data) > claimed and data[claimed] == registers.START)):
            return claimed
        # A known length that ends with the data speaks against a length field that points elsewhere. Not so when the
        # field points to a known length beyond: then the frame is cut. Within a stream, more may come.
        known = claimed in registers.LAYOUTS
        if len(data) in registers.LAYOUTS and ((sane and len(data) > claimed) or (ended and not known)):
            return len(data)
        if sane and len(data) > claimed and (known or ended or len(data) > FRAME_LENGTH_MAX):
            return claimed
        if ended or len(data) > FRAME_LENGTH_MAX:
            return -1
        return None


def _may_be_serial(text: bytes) -> bool:
    """Whether these bytes, of which some may not have come yet, can be a serial number."""
    return not text or text.isalnum()


def _clock(data: bytes) -> datetime | None:
    year, month, day, hour, minute, second = data[
        registers.CLOCK_OFFSET : registers.CLOCK_OFFSET + registers.CLOCK_LENGTH
    ]
    try:
        return datetime(_CENTURY + year, month, day, hour, minute, second)
    except ValueError:
        return None
