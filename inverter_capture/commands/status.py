"""The text that `status` prints: the status file of a running service, for people."""

from __future__ import annotations

import json
import time
from typing import Any

from inverter_capture.output.table import Table
from inverter_capture.protocol.inverter_kinds import KINDS
from inverter_capture.protocol.readings import Reading
from inverter_capture.service.status_file import read_status_file
from inverter_capture.text import counted, local_time_text, printable

HEAD_WIDTH = 10

_SPANS = ((24 * 3600, "d"), (3600, "h"), (60, "min"))


class StatusError(Exception):
    """There is no status to show. The text gives the reason and the remedy."""


def read_status(path: str) -> str:
    """Read a status file. Raises StatusError."""
    try:
        text = read_status_file(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StatusError(f"{path}: cannot be read ({reason}): check the path, and who may read it") from None
    if text is None:
        raise StatusError(
            f"no service is running that writes {path}: start it with /etc/init.d/inverter-capture start (OpenWrt), "
            f"or inverter-capture run CONFIG.toml --status {path}"
        )
    if not text:
        raise StatusError(f"{path}: the service runs, but has not written it: if that lasts, its log says why")
    return text


def status_text(text: str, *, colour: bool, width: int) -> str:
    """The content of a status file for people. Raises StatusError."""
    try:
        return _status_text(json.loads(text), Table(None, colour, width), time.time())
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise StatusError(
            f"the status file has an unexpected format ({type(error).__name__}): "
            "restart the service if it is of another version, or use --json"
        ) from None


def _status_text(status: dict[str, Any], table: Table, now: float) -> str:
    lines = [
        _line("service", f"version {status['version']}, running for {_span(now - status['started'])}"),
        _line("capture", f"{status['device']}: {'capturing' if status['capturing'] else 'not capturing'}"),
    ]
    if status["problem"]:
        lines.append(_line("", status["problem"]))
    counts = [counted(status[name], name[:-1]) for name in ("packets", "reports", "readings")]
    counts.append(f"{counted(status['held_back'], 'value')} held back")
    if status["dropped_packets"]:
        counts.insert(1, f"{counted(status['dropped_packets'], 'packet')} dropped by the kernel")
    if status["unknown"]:
        counts.append(f"{counted(status['unknown'], 'report')} of unknown length")
    lines.append(_line("", ", ".join(counts)))
    for backend in status["backends"]:
        state = "connected" if backend["connected"] else "not connected"
        if backend["failing_since"] is not None:
            state += f", failing since {local_time_text(backend['failing_since'])}"
        numbers = ", ".join(f"{name} {backend[name]}" for name in ("delivered", "waiting", "dropped"))
        lines.append(_line("backend", f"{backend['name']}: {state}; {numbers}"))
        if backend["problem"]:
            lines.append(_line("", backend["problem"]))
    for inverter in status["inverters"]:
        heard = f"last report {_span(now - inverter['received'])} ago"
        if inverter["due"] is not None:
            late = now - inverter["due"]
            heard += f", next {'overdue by' if late > 0 else 'in'} {_span(abs(late))}"
        lines.append(_line("inverter", f"{inverter['serial']} ({inverter['kind']}): {heard}"))
    if not status["inverters"]:
        lines.append(_line("inverter", "no reading yet"))
    tables = [
        table.format(Reading.of(each["serial"], each["timestamp"], each["values"], KINDS[each["kind"]]))
        for each in status["inverters"]
    ]
    return "\n".join(lines) + "\n\n" * bool(tables) + "".join(tables).rstrip("\n") + "\n"


def _line(head: str, text: str) -> str:
    return f"{head:{HEAD_WIDTH}}{printable(text)}"


def _span(seconds: float) -> str:
    """A duration in whole units, of the largest of which there are at least two."""
    seconds = max(0, round(seconds))
    for length, unit in _SPANS:
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
