"""Properties of a terminal: whether a stream is one, its colours, its width. Closed and missing streams are not."""

from __future__ import annotations

import os
from typing import TextIO

STYLES = {"bold": "1", "dim": "2", "red": "1;31", "yellow": "33", "cyan": "1;36"}

DEFAULT_WIDTH = 80  # Width in characters without a terminal, and of a terminal of unknown size, such as a serial line


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal that understands control sequences."""
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:
        return False


def has_colour(stream: TextIO | None) -> bool:
    """Whether to use colour: on a terminal, unless NO_COLOR is set (see no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def width(stream: TextIO | None) -> int:
    """The width in characters."""
    try:
        return (os.get_terminal_size(stream.fileno()).columns if stream is not None else 0) or DEFAULT_WIDTH
    except (OSError, ValueError):
        return DEFAULT_WIDTH


def styled(text: str, style: str, *, colour: bool) -> str:
    """The text in one of the `STYLES`, or as it is: without `colour`, without a style, or empty."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if colour and style and text else text
