"""One line on a terminal that shows how far the work is. Where stderr is no terminal, nothing here has an effect."""

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

INTERVAL_SECONDS = 0.5
"""Between two drawings, before the first one, and for how long a cleared line stays away at least."""
BAR_WIDTH, MEGABYTE = 30, 1_000_000

# Without automatic wrapping, a line that is wider than it seems (a name may have wide letters) stays one line.
_LINE = "\r\x1b[?7l{}\x1b[K\x1b[?7h"


class StatusLine:
    """A line of stderr, or another stream, that is written again and again. Any thread may call it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self.active = is_terminal(self._stream)
        self._lock = threading.Lock()
        self._shown, self._away_until = False, 0.0

    def show(self, text: str) -> None:
        """Replace the line, cut at the terminal's edge; not soon after `clear`."""
        with self._lock:
            if self.active and time.monotonic() >= self._away_until:
                self._shown = True
                self._write(_LINE.format(printable(text)[: width(self._stream) - 1]))

    def clear(self) -> None:
        """Empty the line for long enough to print something else there."""
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
            self.active = False  # The terminal is gone, and with it whoever was looking.


class ProgressBar(StatusLine):
    """Shows how much of `total` bytes has been read, from a thread of its own, which asks `position` until OSError."""

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
