"""A reading in InfluxDB's line protocol: one line per reading, or one line per value."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.inverter_kinds import Kind
from inverter_capture.protocol.readings import Reading
from inverter_capture.text import printable

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
    head = _head(measurement, tuple((tags or {}).items()), reading.serial)
    return head + _fields(reading.kind, reading.ids) % (*reading.numbers, reading.time)


@lru_cache(256)
def _head(measurement: str, tags: tuple[tuple[str, str], ...], serial: str) -> bytes:
    """What comes before the fields: the same for many readings."""
    if not measurement or measurement.startswith("#"):
        raise ValueError(f"the measurement {measurement!r} cannot be written: use a name that does not start with '#'")
    names = {writable(name): writable(value) for name, value in tags if name and value}
    names["serial"] = writable(serial)
    written = [f"{escape_name(name)}={escape_name(value)}" for name, value in sorted(names.items()) if value]
    return (",".join([escape_name(measurement, special=", "), *written]) + " ").encode()


@lru_cache(16)
def _fields(kind: Kind, ids: tuple[str, ...]) -> bytes:
    """A pattern for the values of these fields and the time: the same for many readings."""
    fields = (f"{field_id}={_number(kind.fields_by_id[field_id])}" for field_id in ids)
    return (",".join(fields) + " %d").encode()


def _number(field: Field) -> str:
    """A pattern for the field's value, with all decimals that its scale allows. `%r` would take twice as long."""
    return f"%.{field.decimals}f" if field.decimals else "%d"


def narrow_line_protocol(
    reading: Reading, measurement: str = MEASUREMENT, tags: Mapping[str, str] | None = None
) -> bytes:
    """A reading as one line per value, as some other tools write it; otherwise as `line_protocol`.

    Each line has the field `value`, and the tags `group`, `name` and `unit` from the register table.
    """
    lines = []
    for field_id, value in reading.values.items():
        field = reading.kind.fields_by_id[field_id]
        own = {"group": field.group, "name": field.name, "unit": field.unit}
        head = _head(measurement, tuple({**(tags or {}), **own}.items()), reading.serial)
        lines.append(head + f"value={_number(field) % value} {reading.time}".encode())
    return b"\n".join(lines)


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
