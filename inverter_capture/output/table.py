"""A reading as a table for people, in as many columns as the terminal is wide."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from textwrap import wrap

from inverter_capture.output.terminal import styled
from inverter_capture.protocol.codes import Codes, describe
from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.inverter_kinds import Kind
from inverter_capture.protocol.readings import Reading
from inverter_capture.protocol.times import SECOND
from inverter_capture.text import printable

COLUMN_WIDTH = 38
COLUMN_GAP = 3  # In characters: two of the table's columns fill the usual 80, and three fill 120

UNIT_WIDTH = 3

GROUPS = (
    *("Inverter", "PV", "Battery", "Battery 2", "BMS", "BMS 2", "Grid", "Load", "Generator", "Aux"),
    *("Info", "Settings", "Program"),
)
"""The order of the groups: the inverter with its faults, the energy flow, then what seldom changes."""

UNITS = ("", "%", "W", "VA", "V", "A", "Hz", "°C", "mΩ", "kΩ", "mV/°C", "Ah", "s", "min", "h", "d", "kWh", "kvarh")
"""The order of the rows in a group, by unit: states, present values, then counters."""

PERIODS = ("today", "month", "year", "total")

LABELS = {"aux_power": "Generator, micro-inverter"}  # Shorter names for fields whose names are too long for a row

DIRECTIONS = {
    "grid_power": ("importing", "exporting"),
    "battery_power": ("discharging", "charging"),
    "battery_current": ("discharging", "charging"),
    "bms_current": ("charging", "discharging"),
}
"""The meaning of positive and of negative values of these fields."""

SEVERITIES = {"inverter_warnings": "yellow", "inverter_faults": "red"}

STATE_SEVERITIES = {3: "yellow", 4: "red"}  # Alarm and fault, of inverter_state


class Table:
    """A reading as a table for people: a heading, and the groups of values in columns."""

    def __init__(self, zone: tzinfo | None, colour: bool, width: int) -> None:
        self._zone = zone
        self._colour = colour
        self._columns = max(1, (width + COLUMN_GAP) // (COLUMN_WIDTH + COLUMN_GAP))
        self._groups: dict[Kind, list[tuple[str, list[Field]]]] = {}

    def format(self, reading: Reading) -> str:
        """The reading, followed by an empty line."""
        kind = reading.kind
        if kind not in self._groups:
            self._groups[kind] = [
                (group, sorted((field for field in kind.fields if field.group == group), key=row_order))
                for group in GROUPS
            ]
        values = reading.values
        groups = [self._group(group, fields, values, kind.codes) for group, fields in self._groups[kind]]
        columns = balance([lines for lines in groups if lines], self._columns)
        height = max((len(column) for column in columns), default=0)
        blank = " " * COLUMN_WIDTH
        padded = [column + [blank] * (height - len(column)) for column in columns]
        rows = ((" " * COLUMN_GAP).join(cells).rstrip() for cells in zip(*padded, strict=True))
        return "\n".join((self._heading(reading), *rows)) + "\n\n"

    def _heading(self, reading: Reading) -> str:
        utc = datetime.fromtimestamp(reading.time // SECOND, UTC)
        serial = self._style(f"Inverter {printable(reading.serial)}", "bold")
        local = utc.astimezone(self._zone).isoformat(" ")
        return f"{serial}   {local[:19]} {local[19:]}   ({utc:%Y-%m-%d %H:%M:%S} UTC)"

    def _group(self, group: str, fields: list[Field], values: dict[str, int | float], codes: Codes) -> list[str]:
        """The lines of a group, each COLUMN_WIDTH characters wide; none when it has no values."""
        lines: list[str] = []
        for field in fields:
            if field.id in values:
                lines += self._row(field, values[field.id], codes)
        if lines:
            rule = "-" * (COLUMN_WIDTH - 1 - len(group))
            lines.insert(0, f"{self._style(group, 'bold')} {self._style(rule, 'dim')}")
        return lines

    def _row(self, field: Field, value: float, codes: Codes) -> list[str]:
        if field.id in codes.fields:
            return self._words(field, value, codes)
        name = label(field, value)
        number = f"{value:.{field.decimals}f}"
        unit = self._style(field.unit, "dim") + " " * (UNIT_WIDTH - len(field.unit))
        room = COLUMN_WIDTH - 1 - max(UNIT_WIDTH, len(field.unit))
        if len(name) + 1 + len(number) <= room:
            return [f"{name}{number.rjust(room - len(name))} {unit}"]
        return [name.ljust(COLUMN_WIDTH), f"{number.rjust(room)} {unit}"]

    def _words(self, field: Field, value: float, codes: Codes) -> list[str]:
        """A row whose value is text: next to the name if it fits, otherwise below it, one code per line."""
        words = describe(field.id, value, codes).split(", ")
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
        return styled(text, style, colour=self._colour)


def severity(name: str, value: float) -> str:
    """The style of a code's value; empty for normal states."""
    if name == "inverter_state":
        return STATE_SEVERITIES.get(int(value), "")
    return SEVERITIES.get(name, "") if value else ""


def row_order(field: Field) -> tuple[int, int, int]:
    """The sort key of a row: unit, period, then the name's length, so that a total precedes its parts."""
    period = field.id.rpartition("_")[2]
    return (
        UNITS.index(field.unit),
        PERIODS.index(period) if period in PERIODS else -1,
        len(field.id) if field.unit else 0,
    )


def label(field: Field, value: float) -> str:
    """The name of a row without the group's name, with the direction that the sign means."""
    name = LABELS.get(field.id) or field.name.removeprefix(field.group + " ").replace("(inverter grid", "(grid")
    if field.id in DIRECTIONS and value:
        name += f" ({DIRECTIONS[field.id][value < 0]})"
    return name[0].upper() + name[1:]


def balance(groups: list[list[str]], columns: int) -> list[list[str]]:
    """Distribute the groups in their order to at most `columns` columns, with a minimal height."""
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
