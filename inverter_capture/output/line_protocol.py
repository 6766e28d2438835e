"""A reading as InfluxDB's line protocol: one line a reading, or one line a value."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from inverter_capture.protocol.readings import Reading
from inverter_capture.text import printable

MEASUREMENT = "inverter"
"""What the readings are called in InfluxDB."""


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
    head = escape_name(measurement, special=", ")
    for name in sorted(names):
        if names[name]:
            head += f",{escape_name(name)}={escape_name(names[name])}"
    return f"{head} {fields} {reading.time}"


@cache
def _field_key(name: str) -> str:
    """Worked out once for each field of the table."""
    return escape_name(name)


def narrow_line_protocol(
    reading: Reading, measurement: str = MEASUREMENT, tags: Mapping[str, str] | None = None
) -> str:
    """A reading as one line a value, for those who come from a tool that wrote so; otherwise as `line_protocol`.

    The tags `group`, `name` and `unit` say what the field `value` is, in the words of the register table.
    """
    lines: list[str] = []
    for field_id, value in reading.values.items():
        field = reading.kind.fields_by_id[field_id]
        own = {"group": field.group, "name": field.name, "unit": field.unit}
        lines.append(line_protocol(reading._replace(values={"value": value}), measurement, {**(tags or {}), **own}))
    return "\n".join(lines)


def writable(text: str) -> str:
    """The text without what line protocol has no way to write.

    What is not printable becomes its code. A backslash becomes a slash, since servers disagree on what one before a
    special character or at the end means.
    """
    return printable(text).replace("\\", "/")


def escape_name(text: str, special: str = ",= ") -> str:
    """A name or tag value, with backslashes where line protocol needs them."""
    if text.isascii() and text.isidentifier():
        return text  # As every field's name is, and there are many.
    text = writable(text)
    for letter in special:
        text = text.replace(letter, "\\" + letter)
    return text
