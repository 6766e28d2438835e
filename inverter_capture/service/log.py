"""The log, on standard error or in the system log. Logging never blocks."""

from __future__ import annotations

import logging
import os
import select
import socket
import sys

SYSLOG_SOCKET = "/dev/log"
IDENT = "inverter-capture"

_DAEMON = 3
_SEVERITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))  # Minimum level of each severity (RFC 3164)
_DEBUG = 7


def start_log(*, syslog: bool = False) -> None:
    """Log records of level info and above to standard error, one line each.

    With `syslog`, log to the system log with severities instead, unless standard error is a terminal.
    """
    handler: logging.Handler = _StandardError(sys.stderr)
    form = "%(levelname)s: %(message)s"
    if syslog and not os.isatty(2):
        handler.setFormatter(logging.Formatter(form))
        handler, form = _SystemLog(handler), "%(message)s"
    logging.basicConfig(format=form, level=logging.INFO, handlers=[handler])
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.addLevelName(level, logging.getLevelName(level).lower())


def set_level(level: str) -> None:
    """Set the lowest level that is logged: error, warning, info or debug."""
    logging.getLogger().setLevel(level.upper())


class _StandardError(logging.StreamHandler):  # type: ignore[type-arg] # it takes a type only where types are checked
    """Drops records when standard error would block: a stopped terminal must not stop the capture."""

    def emit(self, record: logging.LogRecord) -> None:
        writable = select.poll()
        writable.register(2, select.POLLOUT)
        if writable.poll(0):
            super().emit(record)


class _SystemLog(logging.Handler):
    """Drops records when the system log would block. Passes records to another handler when they cannot be sent.

    The standard library's SysLogHandler can block, and needs 0.5 MB of modules.
    """

    def __init__(self, other: logging.Handler) -> None:
        super().__init__()
        self._other = other

    def emit(self, record: logging.LogRecord) -> None:
        severity = next((severity for level, severity in _SEVERITIES if record.levelno >= level), _DEBUG)
        head = f"<{_DAEMON << 3 | severity}>{IDENT}[{os.getpid()}]: "
        try:
            # A socket for each record, since the system log may be restarted at any time.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                for line in self.format(record).splitlines():
                    sender.sendto((head + line).encode(errors="backslashreplace"), SYSLOG_SOCKET)
        except BlockingIOError:
            pass
        except OSError:
            self._other.emit(record)
