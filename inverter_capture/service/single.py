"""Only one service at a time: two would deliver each reading twice, and the broker would disconnect them in turn.

Under procd, the service is a child of ujail. When ujail is killed, procd starts another service, although the first one
still runs.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from inverter_capture.service.signals import without_signals
from inverter_capture.text import printable

TAKE_OVER_SECONDS = 6.0  # Maximum time for another service to end, in which it delivers waiting readings
JAIL = "ujail"

_log = logging.getLogger(__name__)


class AnotherServiceError(Exception):
    """Another service runs, and does not end."""


@contextmanager
def only_service(status_path: str) -> Iterator[None]:
    """Within the context, no other service keeps this status file. Stops one that does. Without effect if empty.

    Raises AnotherServiceError.
    """
    file = _acquire(status_path) if status_path else None
    try:
        yield
    finally:
        if file is not None:
            path = _lock_path(status_path)
            with suppress(OSError):  # the directory may have been removed
                if _is_at(file, path):
                    os.unlink(path)
            os.close(file)


def is_kept(status_path: str, *, without_lock: bool) -> bool:
    """Whether a running service keeps this status file; one that was killed leaves it. Raises OSError.

    `without_lock`: the result when there is no lock file.
    """
    try:
        with open(_lock_path(status_path), "rb") as file:
            return not _lock(file.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return without_lock


def _lock_path(status_path: str) -> str:
    return f"{status_path}.lock"


def _acquire(status_path: str) -> int | None:
    """The descriptor that holds the lock until it is closed; None when the lock file cannot be created."""
    path = _lock_path(status_path)
    deadline = time.monotonic() + TAKE_OVER_SECONDS
    other: int | None = None
    stopped = False
    while True:
        try:
            file = _open(path)
        except OSError as error:
            # The status file cannot be written there either, which is logged.
            _log.debug("%s: cannot be locked (%s)", printable(path), error.strerror)
            return None
        if _lock(file, fcntl.LOCK_EX):
            if _is_at(file, path):
                with suppress(OSError):  # another user's file
                    os.ftruncate(file, 0)
                    os.pwrite(file, str(os.getpid()).encode(), 0)
                return file
        else:
            # Another one that waits may have taken over meanwhile.
            other = _holder(file, status_path)
            if other is not None and not stopped:
                stopped = True
                _stop(other)
        os.close(file)
        if time.monotonic() > deadline:
            remedy = "find it (ps w | grep inverter-capture) and end it" if other is None else f"kill -9 {other}"
            raise AnotherServiceError(f"another inverter-capture holds {path} and does not end: {remedy}")
        time.sleep(0.05)


def _open(path: str) -> int:
    """Open the lock file, and create it if necessary; only for reading if it is another user's. Raises OSError."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o644)
    except PermissionError:
        return os.open(path, os.O_RDONLY | flags)


def _stop(process: int) -> None:
    """Ask another service to end."""
    try:
        os.kill(process, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        _log.warning("another inverter-capture is running (process %d) as another user: end it", process)
        return
    _log.warning("another inverter-capture is running (process %d): it is stopped", process)


def _is_at(file: int, path: str) -> bool:
    """Whether an open file is still the one at this path. The service that held the lock removes the file."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def end_with_jail(stop: Callable[[], None]) -> None:
    """Call `stop`, in another thread, when the ujail process above this one ends. Without effect without ujail."""
    parent = os.getppid()
    try:
        with open(f"/proc/{parent}/comm", encoding="ascii", errors="replace") as name:
            if name.read().strip() != JAIL:
                return
        file = os.pidfd_open(parent)
    except OSError as error:
        _log.debug("process %d: %s", parent, error)
        return
    with without_signals():
        threading.Thread(target=_wait, args=(file, stop), name="jail", daemon=True).start()


def _wait(file: int, stop: Callable[[], None]) -> None:
    ended = select.poll()
    ended.register(file, select.POLLIN)
    ended.poll()
    _log.warning("%s has ended, so the service ends too", JAIL)
    stop()


def _lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: int, status_path: str) -> int | None:
    """The process that holds the lock, if it is a service with a status file of this name."""
    name = os.fsencode(os.path.basename(status_path))
    try:
        process = int(os.pread(file, 20, 0))
        with open(f"/proc/{process}/cmdline", "rb") as arguments:
            # The other one may have been given the path in another form.
            return process if any(word.endswith(name) for word in arguments.read().split(b"\0")) else None
    except (OSError, ValueError):
        return None
