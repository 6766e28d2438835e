"""A reading in InfluxDB's line protocol: one line per reading, or one line per value."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from inverter_capture.protocol.readings import Reading
from inverter_capture.text import printable

MEASUREMENT = "inverter"  # Default InfluxDB measurement name


def line_protocol(reading: Reading, measurement: str = MEASUREMENT, tags: Mapping[str, str] | None = None) -> str:
    """A reading as one line of line protocol without its line break; empty when the reading has no values.

    The tags are sorted: `serial`, always the reading's, and those of `tags` that have a value. The fields are in the
    reading's order, all of them numbers without a suffix, which InfluxDB stores as floats; the time is in nanoseconds.
    Raises ValueError for a measurement that is empty or starts with "#", the start of a comment in line protocol.
    """
    if not measurement or measurement.startswith("#"):
        raise ValueError(f"the measurement {measurement!r} cannot be written: use a name that does not start with '#'")
    fields = ",".join(f"{_field_key(name)}={value!r}" for name, value in reading.values.items())
    if not fields:
        return ""
    names = {writable(name): writable(value) for name, value in (tags or {}).items() if name and value}
    names["serial"] = writable(reading.serial)
    head = escape_name(measurement, special=", ")
    for name in sorted(names):
        if names[name]:
            head += f",{escape_name(name)}={escape_name(names[name])}"
    return f"{head} {fields} {reading.time}"


@cache
def _field_key(name: str) -> str:
    """The escaped field key, cached."""
    return escape_name(name)


def narrow_line_protocol(
    reading: Reading, measurement: str = MEASUREMENT, tags: Mapping[str, str] | None = None
) -> str:
    """A reading as one line per value, as some other tools write it; otherwise as `line_protocol`.

    Each line has the field `value`, and the tags `group`, `name` and `unit` from the register table.
    """
    lines: list[str] = []
    for field_id, value in reading.values.items():
        field = reading.kind.fields_by_id[field_id]
        own = {"group": field.group, "name": field.name, "unit": field.unit}
        lines.append(line_protocol(reading._replace(values={"value": value}), measurement, {**(tags or {}), **own}))
    return "\n".join(lines)


def writable(text: str) -> str:
    """The text without characters that line protocol cannot represent.

    Characters that are not printable are replaced by escape sequences. A backslash is replaced by a slash, since
    servers interpret one before a special character or at the end differently.
    """
    return printable(text).replace("\\", "/")


def escape_name(text: str, special: str = ",= ") -> str:
    """A name or tag value, with the `special` characters escaped by backslashes."""
    if text.isascii() and text.isidentifier():
        return text  # As every field's name is, and there are many.
    text = writable(text)
    for letter in special:
        text = text.replace(letter, "\\" + letter)
    return text
