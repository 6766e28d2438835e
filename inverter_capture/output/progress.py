"""A status line and a progress bar on a terminal. Without effect when the stream is not a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from os.path import basename
from typing import Self, TextIO

from inverter_capture.output.terminal import is_terminal, width
from inverter_capture.text import printable

INTERVAL_SECONDS = 0.5  # Seconds between updates, before the first update, and after `clear` until the next one
BAR_WIDTH, MEGABYTE = 30, 1_000_000

# Turns off line wrapping, since wide characters can make a line longer than the terminal.
_LINE = "\r\x1b[?7l{}\x1b[K\x1b[?7h"


class StatusLine:
    """A line that is overwritten with each update, on stderr or another stream. Thread-safe."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self.active = is_terminal(self._stream)
        self._lock = threading.Lock()
        self._shown, self._away_until = False, 0.0

    def show(self, text: str) -> None:
        """Overwrite the line, cut to the terminal's width. Without effect soon after `clear`."""
        with self._lock:
            if self.active and time.monotonic() >= self._away_until:
                self._shown = True
                self._write(_LINE.format(printable(text)[: width(self._stream) - 1]))

    def clear(self) -> None:
        """Empty the line, so that other output can be printed."""
        with self._lock:
            self._away_until = time.monotonic() + INTERVAL_SECONDS
            if self._shown:
                self._shown = False
                self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self.active = False  # The terminal is closed.


class ProgressBar(StatusLine):
    """Shows how many of `total` bytes are read, in a thread of its own. It calls `position` until OSError."""

    def __init__(self, position: Callable[[], int], total: int, path: str, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._position, self._total, self._name = position, total, basename(path)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        if self.active and self._total > 0:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.clear()

    def _run(self) -> None:
        began = time.monotonic()
        with suppress(OSError):
            while self.active and not self._stopped.wait(INTERVAL_SECONDS):
                self.show(progress_text(self._name, self._position(), self._total, time.monotonic() - began))


def progress_text(name: str, position: int, total: int, seconds: float) -> str:
    """The bar's line. `position` and `total` are in bytes, `total` above 0; `seconds` is the time spent so far."""
    part = min(max(position / total, 0), 1)
    full = int(BAR_WIDTH * part)
    left = f", {seconds / part - seconds:.0f} s left" if part else ""
    return (
        f"{part:4.0%} [{'=' * full:{BAR_WIDTH}}] {position / MEGABYTE:.0f} of {total / MEGABYTE:.0f} MB{left}: {name}"
    )
