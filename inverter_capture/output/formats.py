"""A reading as text: a table for people, and JSON, CSV or line protocol for programs.

No I/O: the time zone, the width and whether to use colour are arguments. The values of a reading are always finite.
Each format imports what it needs when it is used: `uci` and `check` need only the names.
"""

from __future__ import annotations

from datetime import tzinfo
from typing import TYPE_CHECKING, Protocol

from inverter_capture.text import printable, utc_text

if TYPE_CHECKING:
    from inverter_capture.protocol.readings import Reading

FORMATS = ("table", "json", "csv", "line-protocol")


class Formatter(Protocol):
    """Turns readings into the text of one format."""

    def header(self) -> str:
        """The text before the first reading, with its line break; often empty."""

    def format(self, reading: Reading) -> str:
        """The text of a reading, with a line break at its end."""


def formatter(name: str, *, zone: tzinfo | None = None, colour: bool = False, width: int = 80) -> Formatter:
    """The formatter of a format in FORMATS.

    `zone` is the zone of the table's local times, None the system's. `width` is in characters; the table has as many
    columns as fit into it, at least one. Raises ValueError for an unknown name.
    """
    if name == "table":
        from inverter_capture.output.table import Table

        return Table(zone, colour, width)
    if name == "json":
        return Json()
    if name == "csv":
        return Csv()
    if name == "line-protocol":
        return LineProtocol()
    raise ValueError(f"unknown format {name!r}: use one of {', '.join(FORMATS)}")


class Json:
    """JSON, one object per line."""

    def __init__(self) -> None:
        from json import JSONEncoder  # Late, since the service often has no use for it.

        self._encode = JSONEncoder(allow_nan=False).encode

    def header(self) -> str:
        return ""

    def format(self, reading: Reading) -> str:
        row = {
            "timestamp": reading.time,
            "time": utc_text(reading.time),
            "serial": reading.serial,
            "values": reading.values,
        }
        return self._encode(row) + "\n"


class Csv:
    """CSV with a header and one row per reading, quoted as in RFC 4180, with line feeds.

    The columns are timestamp (nanoseconds), time (UTC), serial, then every field of any kind of inverter, those of
    single-phase ones first, in the order of the register tables; an absent value is empty.
    """

    def __init__(self) -> None:
        from inverter_capture.protocol.inverter_kinds import HIGH_VOLTAGE, SINGLE_PHASE

        # High-voltage inverters have all fields that low-voltage ones have.
        fields = (*SINGLE_PHASE.fields, *HIGH_VOLTAGE.fields)
        self._names = tuple(dict.fromkeys(field.id for field in fields))

    def header(self) -> str:
        return ",".join(("timestamp", "time", "serial", *self._names)) + "\n"

    def format(self, reading: Reading) -> str:
        values = reading.values
        numbers = (repr(values[name]) if name in values else "" for name in self._names)
        return ",".join((str(reading.time), utc_text(reading.time), csv_text(reading.serial), *numbers)) + "\n"


def csv_text(text: str) -> str:
    """A CSV cell, in quotes if necessary."""
    text = printable(text)
    return '"' + text.replace('"', '""') + '"' if '"' in text or "," in text else text


class LineProtocol:
    """InfluxDB's line protocol, one line per reading."""

    def __init__(self) -> None:
        from inverter_capture.output.line_protocol import line_protocol

        self._write = line_protocol

    def header(self) -> str:
        return ""

    def format(self, reading: Reading) -> str:
        line = self._write(reading)
        return line + "\n" if line else ""
