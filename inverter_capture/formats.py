"""A reading as text: a table for people, and JSON, CSV or line protocol for programs.

Nothing here reads or writes anything: the time zone, the width and whether to colour are arguments. The values of a
reading are finite: they come from whole numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import TYPE_CHECKING, Protocol

from inverter_capture.codes import STATES, describe
from inverter_capture.registers import FIELDS, FIELDS_BY_ID, Field

if TYPE_CHECKING:
    from inverter_capture.readings import Reading

FORMATS = ("table", "json", "csv", "line-protocol")

MEASUREMENT = "inverter"
"""What the readings are called in InfluxDB."""

COLUMN_WIDTH = 38
COLUMN_GAP = 3
"""In characters: two of the table's columns fill the usual 80, and three fill 120."""

UNIT_WIDTH = 3

GROUPS = ("Inverter", "PV", "Battery", "BMS", "Grid", "Load", "Generator", "Aux")
"""The table's groups from first to last: the one that may hold a fault first, then along the way of the energy."""

UNITS = ("", "%", "W", "V", "A", "Hz", "°C", "Ah", "h", "kWh")
"""Rows of a group in this order: how it is, what happens now, and what has been counted."""

PERIODS = ("today", "month", "year", "total")

LABELS = {"aux_power": "Generator, micro-inverter", "grid_power_l1": "Power L1 (grid port)"}
"""Names whose own are too long for a row."""

DIRECTIONS = {
    "grid_power": ("importing", "exporting"),
    "battery_power": ("discharging", "charging"),
    "battery_current": ("discharging", "charging"),
    "bms_current": ("charging", "discharging"),
}
"""What a positive and a negative value of these mean, which nobody can be expected to remember."""

SEVERITIES = {"inverter_warnings": "yellow", "inverter_faults": "red"}

STATE_SEVERITIES = {3: "yellow", 4: "red"}
"""Alarm and fault, of inverter_state."""

CODES = frozenset((*STATES, *SEVERITIES, "generator_relay"))
"""Fields whose numbers stand for words."""

STYLES = {"bold": "1", "dim": "2", "red": "1;31", "yellow": "33"}


class Formatter(Protocol):
    """Turns readings into the text of one format."""

    def header(self) -> str:
        """The text before the first reading, with its line break; mostly there is none."""

    def format(self, reading: Reading) -> str:
        """The text of a reading, with a line break at its end."""


def formatter(name: str, *, zone: tzinfo | None = None, colour: bool = False, width: int = 80) -> Formatter:
    """The formatter with a name out of FORMATS.

    `zone` is the zone of the table's local times, None the system's. `width` is in characters; the table has as many
    columns as fit into it, at least one. Raises ValueError for an unknown name.
    """
    if name == "table":
        return Table(zone, colour, width)
    if name == "json":
        return Json()
    if name == "csv":
        return Csv()
    if name == "line-protocol":
        return LineProtocol()
    raise ValueError(f"unknown format {name!r}: use one of {', '.join(FORMATS)}")


def printable(text: str) -> str:
    """The text with a question mark for everything that could steer a terminal or break a line."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)


def utc_text(time: int) -> str:
    """Nanoseconds since the epoch as ISO 8601 in UTC; a fraction of 3, 6 or 9 digits only where there is one."""
    seconds, nanoseconds = divmod(time, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    if nanoseconds:
        text += f".{nanoseconds:09d}"
        while text.endswith("000"):
            text = text[:-3]
    return text + "+00:00"


class Json:
    """One object a line."""

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
    """A header and one row a reading, quoted by RFC 4180, with the line breaks of the other formats.

    The columns are timestamp (nanoseconds), time (UTC), serial, then every field in the order of the register table; an
    absent value is empty.
    """

    def header(self) -> str:
        return ",".join(("timestamp", "time", "serial", *(field.id for field in FIELDS))) + "\n"

    def format(self, reading: Reading) -> str:
        values = reading.values
        numbers = (repr(values[field.id]) if field.id in values else "" for field in FIELDS)
        return ",".join((str(reading.time), utc_text(reading.time), csv_text(reading.serial), *numbers)) + "\n"


def csv_text(text: str) -> str:
    """A CSV cell, in quotes where it needs them."""
    text = printable(text)
    return '"' + text.replace('"', '""') + '"' if '"' in text or "," in text else text


class LineProtocol:
    """InfluxDB's line protocol, one line a reading."""

    def header(self) -> str:
        return ""

    def format(self, reading: Reading) -> str:
        line = line_protocol(reading)
        return line + "\n" if line else ""


def line_protocol(reading: Reading, measurement: str = MEASUREMENT, tags: Mapping[str, str] | None = None) -> str:
    """A reading as one line of line protocol without its line break; empty when the reading has no values.

    The tags stand sorted: `serial`, which is always the reading's, and those of `tags` that have a value. The fields
    are in the reading's order, all of them numbers without a suffix, which InfluxDB stores as floats; the time is in
    nanoseconds.
    Raises ValueError for a measurement that is empty or starts with "#", which servers take for a comment.
    """
    if not measurement or measurement.startswith("#"):
        raise ValueError(f"the measurement {measurement!r} cannot be written: use a name that does not start with '#'")
    fields = ",".join(f"{_field_key(name)}={value!r}" for name, value in reading.values.items())
    if not fields:
        return ""
    names = {writable(name): writable(value) for name, value in (tags or {}).items() if name and value}
    names["serial"] = writable(reading.serial)
    head = escape(measurement, special=", ")
    for name in sorted(names):
        if names[name]:
            head += f",{escape(name)}={escape(names[name])}"
    return f"{head} {fields} {reading.time}"


@cache
def _field_key(name: str) -> str:
    """Worked out once for each field of the table."""
    return escape(name)


def narrow_line_protocol(
    reading: Reading, measurement: str = MEASUREMENT, tags: Mapping[str, str] | None = None
) -> str:
    """A reading as one line a value, for those who come from a tool that wrote so; otherwise as `line_protocol`.

    The tags `group`, `name` and `unit` say what the field `value` is, in the words of the register table.
    """
    lines: list[str] = []
    for field_id, value in reading.values.items():
        field = FIELDS_BY_ID[field_id]
        own = {"group": field.group, "name": field.name, "unit": field.unit}
        lines.append(line_protocol(reading._replace(values={"value": value}), measurement, {**(tags or {}), **own}))
    return "\n".join(lines)


def writable(text: str) -> str:
    """The text without what line protocol has no way to write.

    What is not printable becomes a question mark. A backslash becomes a slash, since servers disagree on what one
    before a special character or at the end means.
    """
    return printable(text).replace("\\", "/")


def escape(text: str, special: str = ",= ") -> str:
    """A name or tag value for line protocol."""
    if text.isascii() and text.isidentifier():
        return text  # As every field's name is, and there are many.
    text = writable(text)
    for letter in special:
        text = text.replace(letter, "\\" + letter)
    return text


class Table:
    """A reading for people: a heading, then the groups of values in columns side by side."""

    def __init__(self, zone: tzinfo | None, colour: bool, width: int) -> None:
        self._zone = zone
        self._colour = colour
        self._columns = max(1, (width + COLUMN_GAP) // (COLUMN_WIDTH + COLUMN_GAP))
        self._groups = [(group, sorted((f for f in FIELDS if f.group == group), key=row_order)) for group in GROUPS]

    def header(self) -> str:
        return ""

    def format(self, reading: Reading) -> str:
        """The reading, and an empty line after it."""
        values = reading.values
        groups = [self._group(group, fields, values) for group, fields in self._groups]
        columns = balance([lines for lines in groups if lines], self._columns)
        height = max((len(column) for column in columns), default=0)
        blank = " " * COLUMN_WIDTH
        padded = [column + [blank] * (height - len(column)) for column in columns]
        rows = ((" " * COLUMN_GAP).join(cells).rstrip() for cells in zip(*padded, strict=True))
        return "\n".join((self._heading(reading), *rows)) + "\n\n"

    def _heading(self, reading: Reading) -> str:
        utc = datetime.fromtimestamp(reading.time // 1_000_000_000, UTC)
        serial = self._style(f"Inverter {printable(reading.serial)}", "bold")
        local = utc.astimezone(self._zone).isoformat(" ")
        return f"{serial}   {local[:19]} {local[19:]}   ({utc:%Y-%m-%d %H:%M:%S} UTC)"

    def _group(self, group: str, fields: list[Field], values: dict[str, int | float]) -> list[str]:
        """The lines of a group, each COLUMN_WIDTH characters wide; none when it has no values."""
        lines: list[str] = []
        for field in fields:
            if field.id in values:
                lines += self._row(field, values[field.id])
        if lines:
            rule = "-" * (COLUMN_WIDTH - 1 - len(group))
            lines.insert(0, f"{self._style(group, 'bold')} {self._style(rule, 'dim')}")
        return lines

    def _row(self, field: Field, value: float) -> list[str]:
        if field.id in CODES:
            return self._words(field, value)
        name = label(field, value)
        number = f"{value:.{len(str(field.divisor)) - 1}f}".rjust(COLUMN_WIDTH - UNIT_WIDTH - 2 - len(name))
        unit = self._style(field.unit, "dim") + " " * (UNIT_WIDTH - len(field.unit))
        return [f"{name} {number} {unit}"]

    def _words(self, field: Field, value: float) -> list[str]:
        """A row whose value is one or more words: beside the name where they fit, else below it, one a line."""
        words = describe(field.id, value).split(", ")
        style = severity(field.id, value)
        name = label(field, value)
        if len(name) + 1 + max(map(len, words)) <= COLUMN_WIDTH:
            names = [name] + [""] * (len(words) - 1)
            return [
                beside + " " * (COLUMN_WIDTH - len(beside) - len(text)) + self._style(text, style)
                for beside, text in zip(names, words, strict=True)
            ]
        lines = [name.ljust(COLUMN_WIDTH)]
        for text in words:
            indent = "  "
            for line in wrap(text, COLUMN_WIDTH - 4):
                lines.append(indent + self._style(line, style) + " " * (COLUMN_WIDTH - len(indent) - len(line)))
                indent = "    "
        return lines

    def _style(self, text: str, style: str) -> str:
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if self._colour and style and text else text


def severity(name: str, value: float) -> str:
    """The style of a code: none while all is well."""
    if name == "inverter_state":
        return STATE_SEVERITIES.get(int(value), "")
    return SEVERITIES.get(name, "") if value else ""


def row_order(field: Field) -> tuple[int, int, int]:
    """By unit, then by period; then short names first, which puts the whole before its parts."""
    period = field.id.rpartition("_")[2]
    return (
        UNITS.index(field.unit),
        PERIODS.index(period) if period in PERIODS else -1,
        len(field.id) if field.unit else 0,
    )


def label(field: Field, value: float) -> str:
    """The name of a row, which need not repeat the group's, and the direction where the sign means one."""
    name = LABELS.get(field.id) or field.name.removeprefix(field.group + " ")
    if field.id in DIRECTIONS and value:
        name += f" ({DIRECTIONS[field.id][value < 0]})"
    return name[0].upper() + name[1:]


def wrap(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` characters, broken between words."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word[:width])
    return lines


def balance(groups: list[list[str]], columns: int) -> list[list[str]]:
    """The groups in their order, in at most as many columns, the longest of which is as short as can be."""
    height = max((len(lines) for lines in groups), default=0)
    while True:
        filled: list[list[str]] = []
        for lines in groups:
            if filled and len(filled[-1]) + len(lines) <= height:
                filled[-1] += lines
            else:
                filled.append(list(lines))
        if len(filled) <= columns:
            return filled
        height += 1
