"""Stands in for OpenWrt's `uci`: get, set and export; what is set waits in /tmp/.uci for a commit, as there.

It knows of libuci's grammar what the tests write, and imports nothing of what they test.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CONFIG = Path("/etc/config")
CHANGES = Path("/tmp/.uci")

WORD = re.compile(r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\#])+""", re.DOTALL)
SPACE = re.compile(r"[ \t\r]*(?:#[^\n]*)?")
PIECE = re.compile(r"""'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)|([^'"\\]+)""", re.DOTALL)

Options = dict[str, str | list[str]]


class Section:
    """A section; its name is empty when it has none."""

    def __init__(self, type: str, name: str) -> None:
        self.type = type
        self.name = name
        self.options: Options = {}


class UciError(Exception):
    """What `uci` refuses, as it says it."""


def main(arguments: list[str]) -> int:
    """-q: no messages."""
    flags = [word for word in arguments if word.startswith("-")]
    command, what = [word for word in arguments if not word.startswith("-")]
    package, _, rest = what.partition(".")
    if command == "set":
        CHANGES.mkdir(exist_ok=True)
        with open(CHANGES / package, "a") as file:
            file.write(rest + "\n")
        return 0
    try:
        sections = load(package)
        found = get(sections, rest) if command == "get" else export(package, sections)
    except (UciError, LookupError, FileNotFoundError) as error:
        if "-q" not in flags:
            print(f"uci: {error if isinstance(error, UciError) else 'Entry not found'}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(found.encode(errors="surrogateescape") + b"\n")
    return 0


def load(package: str) -> list[Section]:
    """The sections, with changes that wait for a commit. Raises UciError and LookupError."""
    sections = parse((CONFIG / package).read_bytes().decode(errors="surrogateescape"))
    if (CHANGES / package).exists():
        for change in (CHANGES / package).read_text().splitlines():
            where, _, value = change.partition("=")
            section, _, option = where.partition(".")
            find(sections, section).options[option] = value
    return sections


def parse(text: str) -> list[Section]:
    """The sections in the text of a file. Raises UciError."""
    sections: list[Section] = []
    for number, words in commands(text):
        try:
            command, name, value = [*words, "", ""][:3]
            if command in ("config", "c"):
                known = [section for section in sections if value and section.name == value]
                sections.append(known[0] if known else Section(name, value))
            elif command in ("option", "o"):
                if value:
                    sections[-1].options[name] = value
            elif command in ("list", "l"):
                items = sections[-1].options.get(name, [])
                sections[-1].options[name] = [*([items] if isinstance(items, str) else items), value]
            elif command not in ("package", "p"):
                raise IndexError
        except IndexError:
            raise UciError(f"Parse error (invalid command) at line {number}, byte 0") from None
    return list(dict.fromkeys(sections))


def commands(text: str) -> list[tuple[int, list[str]]]:
    """The words of each line that has any, and its number. Raises UciError."""
    found: list[tuple[int, list[str]]] = []
    words: list[str] = []
    position = 0
    while True:
        space = SPACE.match(text, position)
        position = space.end() if space else position
        line = text.count("\n", 0, position) + 1
        if position == len(text) or text[position] == "\n":
            found += [(line, words)] if words else []
            words = []
            if position == len(text):
                return found
            position += 1
        elif word := WORD.match(text, position):
            words.append(unquote(word[0]))
            position = word.end()
        else:
            quote = text[position]
            raise UciError(f"Parse error (EOF with unterminated {quote}) at line {line}, byte 0")


def unquote(word: str) -> str:
    return "".join(
        single or re.sub(r"\\(.)", r"\1", double, flags=re.DOTALL) or escaped or plain
        for single, double, escaped, plain in PIECE.findall(word)
    )


def find(sections: list[Section], name: str) -> Section:
    if name.startswith("@"):
        kind, _, index = name[1:-1].partition("[")
        return [section for section in sections if section.type == kind][int(index)]
    return {section.name: section for section in sections}[name]


def get(sections: list[Section], what: str) -> str:
    section, _, option = what.partition(".")
    value = find(sections, section).options[option]
    return value if isinstance(value, str) else " ".join(value)


def export(package: str, sections: list[Section]) -> str:
    """As `uci export` prints it, without the empty line at the end."""
    lines = [f"package {package}"]
    for section in sections:
        lines += ["", f"config {section.type}{section.name and ' ' + quote(section.name)}"]
        for option, value in section.options.items():
            word = "option" if isinstance(value, str) else "list"
            lines += [f"\t{word} {option} {quote(item)}" for item in ([value] if isinstance(value, str) else value)]
    return "\n".join(lines) + "\n"


def quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
