"""The log: lines on standard error, which nothing ever waits for."""

from __future__ import annotations

import logging
import select
import sys


def start_log() -> None:
    """Let everything at level info or above go to standard error, a line each."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO, handlers=[_Handler(sys.stderr)])
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.addLevelName(level, logging.getLevelName(level).lower())


def set_level(level: str) -> None:
    """Log this and what is worse: error, warning, info or debug."""
    logging.getLogger().setLevel(level.upper())


class _Handler(logging.StreamHandler):  # type: ignore[type-arg] # it takes a type only where types are checked
    """Leaves out what standard error does not take at once: a stopped terminal must not stop the capture."""

    def emit(self, record: logging.LogRecord) -> None:
        writable = select.poll()
        writable.register(2, select.POLLOUT)
        if writable.poll(0):
            super().emit(record)
