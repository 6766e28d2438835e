"""One line on a terminal that says how far the work is. Where stderr is no terminal, all of this does nothing."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from inverter_capture.output.terminal import is_terminal
from inverter_capture.output.terminal import width as terminal_width
from inverter_capture.text import printable

FIRST_DRAWN = 0.5
"""Seconds of work before a bar appears: short work shows none."""

INTERVAL = 0.2
"""Seconds between two drawings, and for how long at least a cleared bar stays away."""

SHORTEST_BAR = 10
"""A bar with fewer columns tells less than the percentage beside it, and is left out."""

MEGABYTE = 1_000_000

# One write for a whole line, so that nothing of another thread gets in between. Without automatic wrapping a line that
# is wider than it seems (a file's name may have wide letters) stays one line.
ERASE = "\r\x1b[K"
LINE = "\r\x1b[?7l{}\x1b[K\x1b[?7h"

log = logging.getLogger(__name__)


class StatusLine:
    """A line of a terminal that is written again and again. Any thread may call it.

    `stream` is where it stands, stderr unless told otherwise; when that is not a terminal, nothing happens.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._lock = threading.Lock()
        self._shown = False
        self.active = is_terminal(self._stream)
        """Whether there is a terminal to write to."""

    def show(self, text: str) -> None:
        """Puts the text in place of what the line holds, cut at the terminal's edge, without control characters."""
        if not self.active:
            return
        with self._lock:
            self._shown = self._write(LINE.format(printable(text)[: self.width()]))

    def clear(self) -> None:
        """Empties the line, so that something else can be printed there."""
        with self._lock:
            if self._shown:
                self._write(ERASE)
                self._shown = False

    def width(self) -> int:
        """The columns that can be written now: one less than there are, since a full line makes some terminals wrap."""
        return terminal_width(self._stream) - 1

    def _write(self, text: str) -> bool:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self.active = False  # The terminal has gone, and with it whoever was looking.
        return self.active


class ProgressBar:
    """Shows how much of something has been read, while the `with` block runs, from a thread of its own.

    `position` is asked about five times a second, in that thread, for the bytes read out of `total`. When it raises
    OSError or ValueError, as a closed file does, the bar goes and does not return. Nothing is drawn in the first half
    second. Where stderr is not a terminal or `total` is not positive, there is no thread either.
    """

    def __init__(self, position: Callable[[], int], total: int, label: str, stream: TextIO | None = None) -> None:
        self._position = position
        self._total = total
        self._label = label
        self._line = StatusLine(stream)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._started = 0.0
        self._away_until = 0.0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._line.active and self._total > 0:
            self._started = time.monotonic()
            self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._line.clear()

    def clear(self) -> None:
        """Takes the bar away for long enough to print something on the same terminal; call it just before."""
        with self._lock:
            self._away_until = time.monotonic() + INTERVAL
            self._line.clear()

    def _run(self) -> None:
        try:
            wait = FIRST_DRAWN
            while not self._ended.wait(wait) and self._line.active:
                self._draw()
                wait = INTERVAL
        except Exception as error:  # noqa: BLE001 (nothing may end a thread unseen)
            # A bar is never worth ending the work for, nor a traceback across its output.
            self._line.clear()
            log.warning("the progress bar has stopped: %s: %s", type(error).__name__, error)

    def _draw(self) -> None:
        try:
            position = self._position()
        except (OSError, ValueError):
            self._ended.set()
            self._line.clear()
            return
        with self._lock:
            now = time.monotonic()
            if now >= self._away_until:
                text = progress_text(self._label, position, self._total, now - self._started, self._line.width())
                self._line.show(text)


def progress_text(label: str, position: int, total: int, seconds: float, width: int) -> str:
    """The bar's line in at most `width` characters, the less important parts left out where they do not fit.

    `position` and `total` are in bytes, `total` above 0; `seconds` is the time spent so far.
    """
    position = min(max(position, 0), total)
    if len(label) > width // 3:
        # The end of a path says more than its beginning.
        label = label[len(label) - width // 3 :]
    parts = [
        label,
        f"{100 * position // total:3d}%",
        f"{position / MEGABYTE:.1f} of {total / MEGABYTE:.1f} MB",
    ]
    if position and seconds > 0:
        parts.append(f"{duration_text((total - position) * seconds / position)} left")
        parts.append(f"{position / seconds / MEGABYTE:.1f} MB/s")
    while len(parts) > 2 and len("  ".join(parts)) + len("  []") + SHORTEST_BAR > width:
        parts.pop()
    room = width - len("  ".join(parts)) - len("  []")
    if room >= SHORTEST_BAR:
        full = room * position // total
        parts.insert(2, f"[{'=' * full}{' ' * (room - full)}]")
    return "  ".join(parts)[:width]


def duration_text(seconds: float) -> str:
    """A time as minutes and seconds, with hours where there are any."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
