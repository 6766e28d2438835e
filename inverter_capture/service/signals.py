"""Handlers for SIGTERM, SIGINT and SIGHUP."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def without_signals() -> Iterator[None]:
    """Block the signals in threads started within the context: only the main thread is to receive them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hold_reload() -> None:
    """Block SIGHUP until `on_signals`, since its default action ends the program."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


@contextmanager
def on_signals(stop: Callable[[], None], reload: Callable[[], None] | None = None) -> Iterator[None]:
    """Call `stop` on SIGTERM and SIGINT, and `reload`, if given, on SIGHUP, within the context.

    The functions are called in the main thread, between any two bytecode instructions.
    """
    functions = {signal.SIGTERM: stop, signal.SIGINT: stop}
    if reload is not None:
        functions[signal.SIGHUP] = reload

    def handle(number: int, _frame: FrameType | None) -> None:
        functions[signal.Signals(number)]()

    before = {number: signal.signal(number, handle) for number in functions}
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, functions)
    try:
        yield
    finally:
        # Blocks SIGHUP again if it was blocked before, so that a late one does not end the program.
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in before.items():
            signal.signal(number, handler)
