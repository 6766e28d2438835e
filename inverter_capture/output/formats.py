"""A reading as text: a table for people, and JSON, CSV or line protocol for programs.

No I/O: the time zone, the width and whether to use colour are arguments. The values of a reading are always finite.
Each format imports what it needs when it is used: `uci` and `check` need only the names.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from inverter_capture.text import PATTERNS_MAX, number_pattern, printable, utc_text

if TYPE_CHECKING:
    from inverter_capture.protocol.inverter_kinds import Kind
    from inverter_capture.protocol.readings import Reading

FORMATS = ("table", "json", "csv", "line-protocol")


class Formatter(NamedTuple):
    """Turns readings into the text of one format."""

    format: Callable[[Reading], str]  # The text of a reading, with a line break at its end
    header: str = ""  # The text before the first reading, with its line break


def formatter(name: str, *, zone: tzinfo | None = None, colour: bool = False, width: int = 80) -> Formatter:
    """The formatter of a format in FORMATS.

    `zone` is the zone of the table's local times, None the system's. `width` is in characters; the table has as many
    columns as fit into it, at least one. Raises ValueError for an unknown name.
    """
    if name == "table":
        from inverter_capture.output.table import Table

        return Formatter(Table(zone, colour, width).format)
    if name == "json":
        return _json()
    if name == "csv":
        return _csv()
    if name == "line-protocol":
        return _line_protocol()
    raise ValueError(f"unknown format {name!r}: use one of {', '.join(FORMATS)}")


def _json() -> Formatter:
    """JSON, one object per line. A value has the decimals of its field's scale."""
    from json import dumps  # Late, since the service often has no use for it.

    @lru_cache(PATTERNS_MAX)
    def pattern(serial: str, kind: Kind, ids: tuple[str, ...]) -> bytes:
        """For the times and the values of these fields: the same for many readings."""
        fields = map(kind.fields_by_id.__getitem__, ids)
        values = ", ".join(f'"{field.id}": {number_pattern(field.decimals)}' for field in fields)
        named = dumps(serial).replace("%", "%%")
        return f'{{"timestamp": %d, "time": "%b", "serial": {named}, "values": {{{values}}}}}\n'.encode()

    def row(reading: Reading) -> str:
        serial, time, ids, numbers, kind, _ = reading
        return (pattern(serial, kind, ids) % (time, utc_text(time).encode(), *numbers)).decode()

    return Formatter(row)


def _csv() -> Formatter:
    """CSV with a header and one row per reading, quoted as in RFC 4180, with line feeds.

    The columns are timestamp (nanoseconds), time (UTC), serial, then every field of any kind of inverter, those of
    single-phase ones first, in the order of the register tables; an absent value is empty. A value has the decimals of
    its field's scale.
    """
    from inverter_capture.protocol.inverter_kinds import HIGH_VOLTAGE, SINGLE_PHASE

    # High-voltage inverters have all fields that low-voltage ones have.
    names = tuple(dict.fromkeys(field.id for field in (*SINGLE_PHASE.fields, *HIGH_VOLTAGE.fields)))

    def row(reading: Reading) -> str:
        fields = reading.kind.fields_by_id
        texts = {name: number_pattern(fields[name].decimals) % number for name, number in reading.values.items()}
        cells = (texts.get(name, "") for name in names)
        return ",".join((str(reading.time), utc_text(reading.time), _csv_text(reading.serial), *cells)) + "\n"

    return Formatter(row, ",".join(("timestamp", "time", "serial", *names)) + "\n")


def _csv_text(text: str) -> str:
    """A CSV cell, in quotes if necessary."""
    text = printable(text)
    return '"' + text.replace('"', '""') + '"' if '"' in text or "," in text else text


def _line_protocol() -> Formatter:
    """InfluxDB's line protocol, one line per reading."""
    from inverter_capture.output.line_protocol import line_protocol

    def row(reading: Reading) -> str:
        line = line_protocol(reading).decode()
        return line + "\n" if line else ""

    return Formatter(row)
