"""Text for the log, messages and outputs: safe to print, with times and numbers in one notation."""

from __future__ import annotations

import time

from inverter_capture.protocol.times import SECOND

# Parts of messages.
OWN_ERROR = "an error in inverter-capture itself, please report it"
REPORT_IT = "please report what `inverter-capture decode --raw --anonymise CAPTURE` prints"

PATTERNS_MAX = 32
"""Maximum number of patterns of readings that a format caches. There is one for each inverter and set of fields."""


def printable(text: str) -> str:
    """The text with escapes such as \\x1b for characters that are not printable: control characters and line breaks."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def shorten(text: str, length: int = 80) -> str:
    """The first `length` characters of the text, followed by dots if it is longer."""
    return text if len(text) <= length else text[:length] + "..."


def utc_text(nanoseconds: int) -> str:
    """Nanoseconds since the epoch as ISO 8601 in UTC, with 3, 6 or 9 decimals unless the fraction is 0."""
    seconds, fraction = divmod(nanoseconds, SECOND)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    if fraction:
        text += f".{fraction:09d}"
        while text.endswith("000"):
            text = text[:-3]
    return text + "+00:00"


def number_pattern(decimals: int) -> str:
    """A printf-style pattern for a number with so many decimals. `%r` would take twice as long."""
    return f"%.{decimals}f" if decimals else "%d"


def local_time_text(seconds: float) -> str:
    """Seconds since the epoch as date, hour and minute in the system's time zone, for the log."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def counted(count: int, noun: str) -> str:
    """A number and its noun in the singular or plural: 1 reading, 2 readings."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
