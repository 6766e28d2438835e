"""Text for people: one line, safe for a terminal and a log. Times as the log and the outputs tell them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from inverter_capture.protocol.times import SECOND


def printable(text: str) -> str:
    """The text on one line, with escapes such as \\x1b for everything that could steer a terminal or break a line."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def shorten(text: str, length: int = 80) -> str:
    """The text's beginning, with dots behind it where something is left out."""
    return text if len(text) <= length else text[:length] + "..."


def utc_text(nanoseconds: int) -> str:
    """Nanoseconds since the epoch as ISO 8601 in UTC; a fraction of 3, 6 or 9 digits only where there is one."""
    seconds, fraction = divmod(nanoseconds, SECOND)
    text = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    if fraction:
        text += f".{fraction:09d}"
        while text.endswith("000"):
            text = text[:-3]
    return text + "+00:00"


def local_time_text(seconds: float) -> str:
    """Seconds since the epoch to the minute, in the system's time zone, as the log tells times."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def counted(count: int, noun: str) -> str:
    """A number and its noun, in the plural where that is right: 1 reading, 2 readings."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
