"""A reading in InfluxDB's line protocol: one line per reading, or one line per value."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from inverter_capture.protocol.inverter_kinds import Kind
from inverter_capture.protocol.readings import Reading
from inverter_capture.text import PATTERNS_MAX, number_pattern, printable

MEASUREMENT = "inverter"  # Default InfluxDB measurement name


def line_protocol(reading: Reading, measurement: str = MEASUREMENT, tags: Mapping[str, str] | None = None) -> bytes:
    """A reading as one line of line protocol without its line break; empty when the reading has no values.

    The tags are sorted: `serial`, always the reading's, and those of `tags` that have a value. The fields are in the
    reading's order, all of them numbers without a suffix, which InfluxDB stores as floats; the time is in nanoseconds.
    A value has the decimals of its field's scale.
    Raises ValueError for a measurement that is empty or starts with "#", the start of a comment in line protocol.
    """
    if not reading.ids:
        return b""
    pattern = _line(measurement, tuple((tags or {}).items()), reading.serial, reading.kind, reading.ids)
    return pattern % (*reading.numbers, reading.time)


def narrow_line_protocol(
    reading: Reading, measurement: str = MEASUREMENT, tags: Mapping[str, str] | None = None
) -> bytes:
    """A reading as one line per value, separated by line breaks; for the rest as `line_protocol`.

    The field of each line is `value`. Its additional tags `group`, `name` and `unit` are those of the register table,
    and replace any of the same name in `tags`. Other programs for these inverters write such lines.
    """
    if not reading.ids:
        return b""
    pattern = _narrow_lines(measurement, tuple((tags or {}).items()), reading.serial, reading.kind, reading.ids)
    time = b" %d" % reading.time
    return (pattern % reading.numbers).replace(b"\n", time + b"\n") + time


_Tags = tuple[tuple[str, str], ...]  # Names and values


@lru_cache(PATTERNS_MAX)
def _line(measurement: str, tags: _Tags, serial: str, kind: Kind, ids: tuple[str, ...]) -> bytes:
    """A pattern for the values of these fields and the time: the same for many readings."""
    fields = ",".join(f"{field_id}={number_pattern(kind.fields_by_id[field_id].decimals)}" for field_id in ids)
    return f"{_head(measurement, tags, serial)} {fields} %d".encode()


@lru_cache(PATTERNS_MAX)
def _narrow_lines(measurement: str, tags: _Tags, serial: str, kind: Kind, ids: tuple[str, ...]) -> bytes:
    """A pattern for the values of these fields, one on each line, to which the time is added."""
    lines = []
    for field in map(kind.fields_by_id.__getitem__, ids):
        own = ("group", field.group), ("name", field.name), ("unit", field.unit)
        lines.append(f"{_head(measurement, (*tags, *own), serial)} value={number_pattern(field.decimals)}")
    return "\n".join(lines).encode()


def _head(measurement: str, tags: _Tags, serial: str) -> str:
    """The measurement and the tags, as part of a pattern."""
    if not measurement or measurement.startswith("#"):
        raise ValueError(f"the measurement {measurement!r} cannot be written: use a name that does not start with '#'")
    names = {writable(name): writable(value) for name, value in tags if name and value}
    names["serial"] = writable(serial)
    written = [f"{escape_name(name)}={escape_name(value)}" for name, value in sorted(names.items()) if value]
    return ",".join([escape_name(measurement, special=", "), *written]).replace("%", "%%")


def writable(text: str) -> str:
    """The text without characters that line protocol cannot represent.

    Characters that are not printable are replaced by escape sequences. A backslash is replaced by a slash, since
    servers interpret one before a special character or at the end differently.
    """
    return printable(text).replace("\\", "/")


def escape_name(text: str, special: str = ",= ") -> str:
    """A name or tag value, with the `special` characters escaped by backslashes."""
    if text.isascii() and text.isidentifier():
        return text
    text = writable(text)
    for letter in special:
        text = text.replace(letter, "\\" + letter)
    return text
