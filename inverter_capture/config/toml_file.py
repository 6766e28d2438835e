"""Reads the configuration from TOML, with the file and line of each mistake, and writes settings as TOML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from inverter_capture.config.problems import (
    HIDDEN,
    NOTHING,
    ConfigError,
    Problem,
    owning_sections,
    read_config,
    read_file,
    suggest,
)
from inverter_capture.config.schema import SECTIONS, Config, Section
from inverter_capture.config.values import ValueType, nearest
from inverter_capture.text import shorten

SYNTAX_REMEDIES = {
    "Cannot declare": "write each [section] once; sections that can be repeated are written [[section]] each time",
    "Cannot overwrite": "it stands there twice: keep one",
    "Duplicate": "it stands there twice: keep one",
    "Expected newline": "write text in quotes, and one setting per line",
    "Illegal character": "end text on its line, with the quote that began it",
    "Invalid value": "write text in quotes; true, false and numbers without",
    "Unclosed": "close the bracket",
    "Unescaped": "write a backslash twice, or the text in single quotes",
}
"""By the beginning of tomllib's message."""

Lines = dict[tuple[str, int, str], int]
"""The line of each section's header (empty setting) and setting, by the section's name, number and setting."""

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"{3,5}|\Z)|\'\'\'.*?(?:\'{3,5}|\Z)|"(?:\\.|[^"\\\n])*"?|\'[^\'\n]*\'?'
    r"|\#[^\n]*|[\[\]{}\n]|[^\"'#\[\]{}\n]+",
    re.DOTALL,
)
"""A token: a string, also without its end; a comment; a bracket; the end of a line; or the text in between."""
_KEY = r"""\s*(?:[\w-]+|"[^"\\\n]*"|'[^'\n]*')\s*"""
_STATEMENT = re.compile(rf"(\[\[?)?({_KEY}(?:\.{_KEY})*)(?:\]|=)", re.ASCII)
_NAME = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""", re.ASCII)


def load(path: str) -> Config:
    """Read the configuration from a file. Raises ConfigError, also when the file cannot be read."""
    data = read_file(path, path, "the path of a TOML file")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: not UTF-8 text: save the file as UTF-8"]) from None
    return parse(text, path)


def parse(text: str, name: str) -> Config:
    """Read the configuration from a text. `name` is the file's name in messages. Raises ConfigError."""
    import tomllib

    text = (
        text.removeprefix("\ufeff") + "\n"
    )  # Windows editors write a byte order mark; tomllib requires the line break
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError([explain_syntax(error, text, name)]) from None
    problems: list[Problem] = []
    tables: dict[str, list[dict[str, Any]]] = {}
    for key, value in data.items():
        known = SECTIONS.get(key)
        if known is None or not is_section(value):
            problems.append(Problem(key, 0, reason=explain_stray(key, value)))
            continue
        tables[key] = value if isinstance(value, list) else [value]
        if known.repeated != isinstance(value, list):
            often = "several times" if known.repeated else "once only"
            problems.append(Problem(key, 0, reason=f"this section can stand {often}: write {header(known)}"))
    config = read_config(tables, problems, strays=len(tables) < len(data))
    if config is None:
        raise ConfigError(locate(problems, data, text, name))
    return config


def is_section(value: object) -> bool:
    """Whether a TOML value is a table or a list of tables."""
    return isinstance(value, dict) or (isinstance(value, list) and all(isinstance(item, dict) for item in value))


def header(known: Section) -> str:
    """The header of a section."""
    return f"[[{known.name}]]" if known.repeated else f"[{known.name}]"


def explain_stray(key: str, value: object) -> str:
    """The error for a top-level key that is not a known section. Its value is not shown: it may be a secret."""
    if key in SECTIONS:
        return f"a section, not a setting: write {header(SECTIONS[key])} on a line of its own and its settings below"
    if is_section(value):
        return f"unknown section: {suggest(key, SECTIONS)}"
    settings = [name for known in SECTIONS.values() for name in known.settings]
    near = key if key in settings else nearest(key, settings)
    if near is None:
        return f"unknown setting outside any section: known sections are {', '.join(map(header, SECTIONS.values()))}"
    place = f"below {' or '.join(map(header, owning_sections(near)))}"
    if near == key:
        return f"a setting outside any section: move it {place}"
    return f"unknown setting outside any section: did you mean {near}, {place}?"


def locate(problems: list[Problem], data: dict[str, Any], text: str, name: str) -> list[str]:
    """The problems' messages in the order of the file, without a line number where the line is unknown."""
    lines = find_lines(text)
    placed: list[tuple[int, str]] = []
    for problem in problems:
        section, number, setting = problem.section, problem.number, problem.setting
        line = lines.get((section, number, setting)) or lines.get((section, number, ""), 0)
        placed.append((line, f"{name}:{line or ''}{':' if line else ''} {describe(problem, data)}"))
    return [message for _, message in sorted(placed, key=lambda item: item[0])]


def describe(problem: Problem, data: dict[str, Any]) -> str:
    """The problem in TOML's notation: section, setting, value, mistake and remedy."""
    if not problem.section and not problem.reason:
        headers = " or ".join(header(known) for known in SECTIONS.values() if known.repeated)
        return f"no backend: add a {headers} section for the readings to go to"
    place = _place(problem.section, data)
    if not problem.setting:
        return f"{place}: {problem.reason}"
    value, hint = "", ""
    if problem.value is HIDDEN:
        value = " = (hidden)"
    elif problem.value is not NOTHING:
        value = f" = {show(problem.value)}"
        hint = quotes_hint(problem.value, SECTIONS[problem.section].settings[problem.setting].type)
    return f"{place} {shorten(problem.setting)}{value}: {problem.explain(write, assign, 'add it', hint)}"


def _place(section: str, data: dict[str, Any]) -> str:
    """The header of a section, or the name of a setting outside any section."""
    if section not in data:
        return header(SECTIONS[section])
    name = shorten(section)
    if not is_section(data[section]):
        return name
    return f"[[{name}]]" if isinstance(data[section], list) else f"[{name}]"


def quotes_hint(value: object, type: ValueType) -> str:
    """The hint to remove or add quotes; empty when they are right."""
    if isinstance(value, str) and (str not in type.types or (bool in type.types and value in ("true", "false"))):
        return ", without quotes"
    return "" if isinstance(value, str) or type.types != (str,) else ", in quotes"


def explain_syntax(error: Exception, text: str, name: str) -> str:
    """The error for text that is not valid TOML."""
    message, _, place = str(error).rpartition(" (at ")
    if not message:  # an error of Python's own, from inside the parser
        what = "brackets within brackets" if isinstance(error, RecursionError) else "digits in a number"
        return f"{name}: not TOML: too many {what}: correct or remove that setting"
    remedies = (remedy for start, remedy in SYNTAX_REMEDIES.items() if message.startswith(start))
    remedy = next(remedies, 'write settings as name = "text", sections as [name]')
    line = place.removeprefix("line ").partition(",")[0]
    if not line.isdecimal():  # "end of document": it is the last statement that does not end
        line = str([line for line, _ in statements(text)][-1])
        message, remedy = "no end", "close its quotes or brackets"
    return f"{name}:{line}: not TOML: {message}: {remedy}"


def find_lines(text: str) -> Lines:
    """The lines of the sections and settings in a valid TOML text."""
    lines: Lines = {}
    last: dict[str, int] = {}
    section: list[str] = []
    """The header's names that settings belong to."""
    for line, statement in statements(text):
        match = _STATEMENT.match(statement)
        if match is None:
            if statement.startswith("["):
                return {}  # a name with escapes: sections cannot be counted
            continue
        path = [name[1:-1] if name[0] in "\"'" else name for name in _NAME.findall(match[2])]
        if match[1] is None:
            path = section + path
        else:
            section = path
            if match[1] == "[[" and len(path) == 1:
                last[path[0]] = last.get(path[0], -1) + 1
        name, *rest = path
        number = last.get(name, 0)
        if match[1] and not rest:
            lines[name, number, ""] = line  # also after a [name.setting] above it
        lines.setdefault((name, number, ""), line)
        if rest:
            lines.setdefault((name, number, rest[0]), line)
    return lines


def statements(text: str) -> Iterator[tuple[int, str]]:
    """The statements of a TOML text with their first lines. Only the last one may be incomplete."""
    line, first, depth, start = 1, 0, 0, 0
    for token in _TOKEN.finditer(text):
        word = token[0]
        if not first and not word.isspace() and not word.startswith("#"):
            first, start = line, token.start()
        if word in ("[", "{"):
            depth += 1
        elif word in ("]", "}"):
            depth -= 1
        elif word == "\n" and first and depth <= 0:
            yield first, text[start : token.start()].strip()
            first, depth = 0, 0
        line += word.count("\n")
    if first:
        yield first, text[start:].strip()


def show(value: object) -> str:
    """An invalid value, shortened."""
    if isinstance(value, str):
        return write(shorten(value))
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return shorten(hex(value))  # Python refuses to write thousands of digits
    if isinstance(value, list):
        return "[...]"
    return "{...}" if isinstance(value, dict) else write(value)


def write(value: Any) -> str:
    """A value in TOML's notation."""
    if isinstance(value, str):
        return f'"{"".join(map(escape, value))}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(write, value))}]"
    if value == {}:
        return "{}"
    if isinstance(value, dict):
        return f"{{ {', '.join(assign(name, item) for name, item in value.items())} }}"
    return str(value)


def assign(name: str, value: object) -> str:
    """A setting in TOML's notation."""
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return f"{name if bare else write(name)} = {write(value)}"


def escape(letter: str) -> str:
    """A character of a string in double quotes, escaped if necessary."""
    if letter in '"\\':
        return "\\" + letter
    if letter.isprintable():
        return letter
    return code(letter)


def code(letter: str) -> str:
    """The escape sequence of a character."""
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"
