"""Generates the LuCI app's JavaScript tables from the program: python -m openwrt.tools.luci_tables

schema.js: the sections and settings of the schema, with help texts and defaults. fields.js: the names, groups and units
of the fields.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from inverter_capture.config.schema import REQUIRED, SECTIONS, Setting
from inverter_capture.config.uci import BACKEND_ENABLED, SERVICE, SERVICE_ENABLED
from inverter_capture.config.values import BYTES
from inverter_capture.output.table import GROUPS, label, row_order
from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.inverter_kinds import KINDS

RESOURCES = Path(__file__).parents[1] / "luci-app-inverter-capture/htdocs/luci-static/resources/inverter-capture"
HEAD = """'use strict';
'require baseclass';

// Written by openwrt/tools/luci_tables.py ({source}). After a change there: make luci

"""

SECTION_TITLES = {
    SERVICE: "Service",
    "pcap": "Capture",
    "influxdb2": "InfluxDB",
    "mqtt": "MQTT",
    "console": "Console",
    "metrics": "Metrics",
    "log": "Log",
}
TITLES = {
    "bucket": "Bucket",
    "client_id": "Client ID",
    "db": "Database",
    "discovery_prefix": "Discovery prefix",
    "org": "Organisation",
    "timezone": "Time zone",
    "token": "API token",
    "url": "Broker",
    "host": "Server",
    "username": "User name",
}
"""Titles of settings whose titles do not follow from their names."""


def main() -> None:
    for name, text in tables().items():
        (RESOURCES / name).write_text(text)


def tables() -> dict[str, str]:
    """The files' contents by name."""
    return {"schema.js": schema_table(), "fields.js": fields_table()}


def schema_table() -> str:
    """The sections and settings, as in UCI."""
    sections = [_section(SERVICE, False, {"enabled": SERVICE_ENABLED})]
    for section in SECTIONS.values():
        enabled = {"enabled": BACKEND_ENABLED} if section.repeated else {}
        sections.append(_section(section.name, section.repeated, enabled | section.settings))
    listed = ",\n".join(sections)
    return f"{HEAD.format(source='from the schema')}return baseclass.extend({{\n\tsections: [\n{listed}\n\t]\n}});\n"


def _section(name: str, repeated: bool, settings: dict[str, Setting]) -> str:
    rows = ",\n".join(f"\t\t\t{_setting(key, spec)}" for key, spec in settings.items())
    head = f"name: {_text(name)}, title: _({_text(SECTION_TITLES[name])})" + ", repeated: true" * repeated
    return f"\t\t{{ {head}, settings: [\n{rows}\n\t\t] }}"


def _setting(name: str, spec: Setting) -> str:
    title = TITLES.get(name) or name.replace("_", " ").capitalize()
    parts = [f"name: {_text(name)}", f"title: _({_text(title)})"]
    if kind(spec) != "text":
        parts.append(f"type: {_text(kind(spec))}")
    if kind(spec) == "choice":
        parts.append(f"choices: [{', '.join(map(_text, choices(spec)))}]")
    if limits := re.fullmatch(r"a (?:whole )?number of seconds from ([\d.]+) to (\d+)", spec.type.expected):
        parts.append(f"datatype: {_text(f'range({limits[1]},{limits[2]})')}")
    if spec.default is REQUIRED:
        parts.append("required: true")
    elif default(spec):
        parts.append(f"default: {_text(default(spec))}")
    if spec.secret:
        parts.append("secret: true")
    if spec.type.example:
        parts.append(f"example: {_text(_written(spec.type.example))}")
    return f"{{ {', '.join(parts)},\n\t\t\t\thelp: _({_text(spec.help)}) }}"


def kind(spec: Setting) -> str:
    """The kind of form field."""
    if spec.type.types == (bool,):
        return "flag"
    if {dict, list} & set(spec.type.types):
        return "list"
    if choices(spec):
        return "choice"
    return "switch" if bool in spec.type.types else "text"


def choices(spec: Setting) -> list[str]:
    """The possible values; empty unless there is a fixed list."""
    head, found, words = spec.type.expected.partition("one of ")
    return words.split(", ") if found and not head else []


def default(spec: Setting) -> str:
    """The default as written in UCI; empty for none."""
    value = spec.default
    if spec.type is BYTES and value % 2**20 == 0:
        return f"{value // 2**20} MiB"
    return _written(value)


def _written(value: object) -> str:
    if isinstance(value, list):
        return value[0] if value else ""
    if isinstance(value, dict):
        return " ".join(f"{name}={text}" for name, text in value.items())
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def fields_table() -> str:
    """The fields of all kinds of inverters by group, unit and decimals, in the order of `decode`.

    An id with # stands for a series: its name contains %d, followed by the first and the last number.
    """
    found: dict[str, Field] = {}
    decimals: dict[str, int] = {}
    for inverter_kind in KINDS.values():
        for field in inverter_kind.fields:
            found.setdefault(field.id, field)
            decimals[field.id] = max(field.decimals, decimals.get(field.id, 0))
    groups = []
    for group in GROUPS:
        fields = sorted((field for field in found.values() if field.group == group), key=row_order)
        units: dict[tuple[str, int], list[Field]] = {}
        for field in fields:
            units.setdefault((field.unit, decimals[field.id]), []).append(field)
        rows = ",\n".join(
            f"\t\t[{_text(unit)}, {places}, {{\n{_names(members)}\n\t\t}}]" for (unit, places), members in units.items()
        )
        groups.append(f"\t[_({_text(group)}), [\n{rows}\n\t]]")
    listed = ",\n".join(groups)
    return f"{HEAD.format(source='from the register tables')}return baseclass.extend({{ groups: [\n{listed}\n] }});\n"


def _names(fields: list[Field]) -> str:
    """Ids and names of fields."""
    series: dict[tuple[str, str], list[int]] = {}
    lines: list[str] = []
    for field in fields:
        name = label(field, 0)
        ids, names = re.findall(r"\d+", field.id), re.findall(r"\d+", name)
        if len(ids) == 1 and ids == names:
            series.setdefault((field.id.replace(ids[0], "#"), name.replace(ids[0], "%d")), []).append(int(ids[0]))
        else:
            series[field.id, name] = []
    used: set[str] = set()
    for (pattern, name), numbers in series.items():
        if not numbers:
            lines.append(f"\t\t\t{pattern}: _({_text(name)})")
        elif pattern not in used and sorted(numbers) == list(range(min(numbers), max(numbers) + 1)):
            used.add(pattern)
            lines.append(f"\t\t\t'{pattern}': [_({_text(name)}), {min(numbers)}, {max(numbers)}]")
        else:
            # The pattern is used for another name already.
            lines += [
                f"\t\t\t{pattern.replace('#', str(number))}: _({_text(name.replace('%d', str(number)))})"
                for number in numbers
            ]
    return ",\n".join(lines)


def _text(text: str) -> str:
    """A JavaScript string literal."""
    escaped = json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("'", "\\'")
    return f"'{escaped}'"


if __name__ == "__main__":
    main()
