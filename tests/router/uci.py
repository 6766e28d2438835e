"""Stands in for OpenWrt's `uci`: get, set and export; what is set waits in /tmp/.uci for a commit, as there.

It reads files as inverter_capture.config.uci does, which is tested by itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

from inverter_capture.config.schema import ConfigError
from inverter_capture.config.uci import UciFile, UciSection

CONFIG = Path("/etc/config")
CHANGES = Path("/tmp/.uci")


def main(arguments: list[str]) -> int:
    """-q: no messages; -S: what a damaged file holds before the damage."""
    flags = [word for word in arguments if word.startswith("-")]
    command, what = [word for word in arguments if not word.startswith("-")]
    package, _, rest = what.partition(".")
    if command == "set":
        CHANGES.mkdir(exist_ok=True)
        with open(CHANGES / package, "a") as file:
            file.write(rest + "\n")
        return 0
    try:
        sections = load(package, strict="-S" not in flags)
        found = get(sections, rest) if command == "get" else export(package, sections)
    except (ConfigError, LookupError, OSError) as error:
        if "-q" not in flags:
            print(f"uci: {error}", file=sys.stderr)
        return 1
    print(found)
    return 0


def load(package: str, *, strict: bool) -> list[UciSection]:
    lines = (CONFIG / package).read_text().splitlines(keepends=True)
    while True:
        try:
            sections = UciFile("".join(lines), package).read()
            break
        except ConfigError:
            if strict:
                raise
            lines.pop()
    if (CHANGES / package).exists():
        for change in (CHANGES / package).read_text().splitlines():
            where, _, value = change.partition("=")
            section, _, option = where.partition(".")
            find(sections, section).options[option] = value
    return sections


def find(sections: list[UciSection], name: str) -> UciSection:
    if name.startswith("@"):
        kind, _, index = name[1:-1].partition("[")
        return [section for section in sections if section.type == kind][int(index)]
    return {section.name: section for section in sections}[name]


def get(sections: list[UciSection], what: str) -> str:
    section, _, option = what.partition(".")
    value = find(sections, section).options[option]
    return value if isinstance(value, str) else " ".join(value)


def export(package: str, sections: list[UciSection]) -> str:
    lines = [f"package {package}"]
    for section in sections:
        # What has no name keeps none: then it is called by its type and number.
        name = "" if section.reference.startswith("@") else f" {quote(section.name)}"
        lines += ["", f"config {section.type}{name}"]
        for option, value in section.options.items():
            if isinstance(value, str):
                lines.append(f"\toption {option} {quote(value)}")
            else:
                lines += [f"\tlist {option} {quote(item)}" for item in value]
    return "\n".join(lines) + "\n"


def quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
