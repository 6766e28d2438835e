"""Reads the configuration from TOML, with the file and line of each mistake, and writes settings as TOML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from inverter_capture.config.problems import (
    HIDDEN,
    NOTHING,
    ConfigError,
    Mistake,
    Problem,
    is_uci,
    owning_sections,
    read_config,
    read_file,
    suggest,
)
from inverter_capture.config.schema import SECTIONS, Config, Section
from inverter_capture.config.values import SettingError, ValueType, nearest
from inverter_capture.text import shorten

SYNTAX_REMEDIES = {
    "Cannot declare": "write each [section] once; sections that can be repeated are written [[section]] each time",
    "Cannot overwrite": "it stands there twice: keep one",
    "Duplicate": "it stands there twice: keep one",
    "Expected newline": "write text in quotes, and one setting per line",
    "Invalid hex value": "write a backslash twice, or the text in single quotes",
    "Illegal character": "end text on its line, with the quote that began it",
    "Invalid value": "write text in quotes; true, false and numbers without",
    "Unclosed": "close the bracket",
    "Unescaped": "write a backslash twice, or the text in single quotes",
}
"""By the beginning of tomllib's message."""

NO_END = "not TOML: no end"
SYNTAX_MISTAKES_MAX = 8
BOOLEAN_WORDS = ("true", "false", "yes", "no", "on", "off")

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
_ASSIGNMENT = re.compile(r"""\s*([\w-]+)\s*=\s*(.*?)\s*(?:\s#[^"']*)?$""", re.ASCII)
"""A setting in one line: its name and its value."""
_NAME = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""", re.ASCII)


def load(path: str, timezone: str = "") -> Config:
    """Read the configuration from a file, - for standard input. Raises ConfigError, also for an unreadable file.

    `timezone`: takes the place of the setting in the file, unless empty.
    """
    name, data = read_file(path, "the path of a TOML file")
    if is_uci(data):
        remedy = "inverter-capture uci writes the TOML for OpenWrt's settings"
        raise ConfigError([Mistake(name, "in UCI's format, not TOML", remedy)])
    return TomlFile(decode(data, name), name).config(timezone)


def decode(data: bytes, name: str) -> str:
    """The text in a file of this name. Raises ConfigError."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Mistake(name, "not UTF-8 text", "save the file as UTF-8", line)]) from None


class TomlFile:
    """A TOML text, and the places of the mistakes in it."""

    def __init__(self, text: str, name: str) -> None:
        """`name` is the file's name in messages."""
        # Windows editors write a byte order mark; tomllib requires the line break.
        self._text = text.removeprefix("\ufeff") + "\n"
        self._name = name
        self._data: dict[str, Any] = {}

    def config(self, timezone: str = "") -> Config:
        """The configuration, with this time zone unless empty. Raises ConfigError."""
        mistakes, whole = self._parse()
        if timezone and isinstance(self._data.get("pcap"), dict):
            self._data["pcap"]["timezone"] = timezone
        problems: list[Problem] = []
        tables: dict[str, list[dict[str, Any]]] = {}
        for key, value in self._data.items():
            known = SECTIONS.get(key)
            if known is None or not is_section(value):
                problems.append(Problem(key, 0, error=explain_stray(key, value)))
                continue
            tables[key] = value if isinstance(value, list) else [value]
            if known.repeated != isinstance(value, list):
                often = "several times" if known.repeated else "once only"
                error = SettingError(f"this section can stand {often}", f"write {header(known)}")
                problems.append(Problem(key, 0, error=error))
        config = read_config(tables, problems, strays=not whole or len(tables) < len(self._data))
        if config is None or mistakes:
            lines = {mistake.line for mistake in mistakes}
            problems = [problem for problem in problems if whole or not problem.error.missing]
            mistakes += [mistake for mistake in self.describe(problems) if mistake.line not in lines]
            raise ConfigError(sorted(mistakes, key=lambda mistake: mistake.line))
        return config

    def _parse(self) -> tuple[list[Mistake], bool]:
        """Parse the text, without the lines that are not TOML. Returns the mistakes, and whether all settings stay."""
        import tomllib

        text, whole = self._text, True
        mistakes: dict[int, Mistake] = {}
        while len(mistakes) < SYNTAX_MISTAKES_MAX:
            try:
                self._data = tomllib.loads(text)
                return list(mistakes.values()), whole
            except (ValueError, RecursionError) as error:
                mistake = explain_syntax(error, text, self._name)
            mistakes.setdefault(mistake.line, mistake)
            remedied = without_line(text, mistake.line) if mistake.message != NO_END else None
            if remedied is None:
                break
            text, kept = remedied
            whole &= kept
        raise ConfigError(mistakes.values())

    def excerpt(self, mistake: Mistake) -> tuple[str, int, int]:
        """The line of a mistake, and from where to where in it to point. Empty where it may contain a secret."""
        line = self._text.split("\n")[mistake.line - 1].rstrip().replace("\t", " ") if mistake.line else ""
        match = _ASSIGNMENT.match(line)
        if match is None:
            return (line, 0, len(line)) if line.startswith("[") and "=" not in line else ("", 0, 0)
        if not is_public(match[1]) or "=" in match[2] or "@" in match[2]:
            return f"{line[: match.end(1)]} = ...", *match.span(1)
        return line, *match.span(2 if mistake.value or not mistake.setting else 1)

    def describe(self, problems: Iterable[Problem]) -> list[Mistake]:
        """The problems in TOML's notation, in the order of the file, with their lines where those are known."""
        lines = find_lines(self._text)
        mistakes = []
        for problem in problems:
            section, number, setting = problem.section, problem.number, problem.setting
            line = lines.get((section, number, setting)) or lines.get((section, number, ""), 0)
            mistakes.append(self._describe(problem)._replace(line=line))
        return sorted(mistakes, key=lambda mistake: mistake.line)

    def _describe(self, problem: Problem) -> Mistake:
        if not problem.section and not problem.error.reason:
            headers = " or ".join(header(known) for known in SECTIONS.values() if known.repeated)
            return Mistake(self._name, "no backend", f"add a {headers} section for the readings to go to")
        label, value, shown, hint = self._header(problem.section), "", "", ""
        if problem.setting:
            label += f" {shorten(problem.setting)}"
        if problem.value is HIDDEN:
            shown = " = (hidden)"
        elif problem.value is not NOTHING:
            value = show(problem.value)
            shown = f" = {value}"
            hint = quotes_hint(problem.value, SECTIONS[problem.section].settings[problem.setting].type)
        message, remedy = problem.explain(write, assign, "add it", hint)
        return Mistake(
            self._name,
            message,
            remedy,
            section=problem.section,
            setting=problem.setting,
            value=value,
            label=label + shown,
            warning=problem.warning,
        )

    def _header(self, section: str) -> str:
        """The header of a section, or the name of a setting outside any section."""
        if section not in self._data:
            return header(SECTIONS[section])
        name, value = shorten(section), self._data[section]
        if not is_section(value):
            return name
        return f"[[{name}]]" if isinstance(value, list) else f"[{name}]"


def is_section(value: object) -> bool:
    """Whether a TOML value is a table or a list of tables."""
    return isinstance(value, dict) or (isinstance(value, list) and all(isinstance(item, dict) for item in value))


def header(known: Section) -> str:
    """The header of a section."""
    return f"[[{known.name}]]" if known.repeated else f"[{known.name}]"


def explain_stray(key: str, value: object) -> SettingError:
    """What is wrong with a top-level key that is not a known section. Its value may be a secret."""
    if key in SECTIONS:
        remedy = f"write {header(SECTIONS[key])} on a line of its own and its settings below"
        return SettingError("a section, not a setting", remedy)
    if is_section(value):
        return SettingError("unknown section", suggest(key, SECTIONS))
    settings = [name for known in SECTIONS.values() for name in known.settings]
    near = key if key in settings else nearest(key, settings)
    if near is None:
        remedy = f"known sections are {', '.join(map(header, SECTIONS.values()))}"
        return SettingError("unknown setting outside any section", remedy)
    place = f"below {' or '.join(map(header, owning_sections(near)))}"
    if near == key:
        return SettingError("a setting outside any section", f"move it {place}")
    return SettingError("unknown setting outside any section", f"did you mean {near}, {place}?")


def quotes_hint(value: object, type: ValueType) -> str:
    """The hint to remove or add quotes; empty when they are right."""
    if isinstance(value, str) and (str not in type.types or (bool in type.types and value in ("true", "false"))):
        return ", without quotes"
    return "" if isinstance(value, str) or type.types != (str,) else ", in quotes"


def explain_syntax(error: Exception, text: str, name: str) -> Mistake:
    """The mistake in text that is not valid TOML."""
    message, _, place = str(error).rpartition(" (at ")
    if not message:  # an error of Python's own, from inside the parser
        what = "brackets within brackets" if isinstance(error, RecursionError) else "digits in a number"
        return Mistake(name, f"not TOML: too many {what}", "correct or remove that setting")
    remedies = (remedy for start, remedy in SYNTAX_REMEDIES.items() if message.startswith(start))
    remedy = next(remedies, 'write settings as name = "text", sections as [name]')
    number = place.removeprefix("line ").partition(",")[0]
    if not number.isdecimal():  # "end of document": it is the last statement that does not end
        line = [line for line, _ in statements(text)][-1]
        return Mistake(name, NO_END, "close its quotes or brackets", line)
    line = int(number)
    bare = _ASSIGNMENT.match(text.split("\n")[line - 1])
    if bare and bare[2].startswith(tuple("\u201c\u201d\u201e\u2018\u2019")):
        remedy = "write straight quotes"
    twice = re.match(r"Cannot declare \('(\w+)',\) twice", message)
    if message == "Invalid value" and bare and is_public(bare[1]) and re.match(r"[^\W\d][^@]*$", bare[2]):
        message, remedy = "text without quotes", f"write {assign(bare[1], _meant(bare[1], bare[2]))}"
    elif twice and twice[1] in SECTIONS:
        before = "\n".join(text.split("\n")[: line - 1])
        first = find_lines(before).get((twice[1], 0, ""), 0)
        message = f"[{twice[1]}] stands on line {first} already"
        known = SECTIONS[twice[1]]
        remedy = f"write {header(known)} both times" if known.repeated else "join the two sections"
    return Mistake(name, f"not TOML: {message}", remedy, line)


def _meant(name: str, word: str) -> object:
    """The value that is meant by text without quotes."""
    is_boolean = any(bool in known.settings[name].type.types for known in owning_sections(name))
    return word.lower() in ("true", "yes", "on") if is_boolean and word.lower() in BOOLEAN_WORDS else word


def is_public(name: str) -> bool:
    """Whether this is the name of settings that are not secret."""
    owners = owning_sections(name)
    return bool(owners) and not any(known.settings[name].secret for known in owners)


def without_line(text: str, line: int) -> tuple[str, bool] | None:
    """The text without the statement on this line, and whether its setting stays. None if it cannot be left out.

    A setting stays, with an empty text as its value, so that it is not missing.
    """
    lines = text.split("\n")
    statement = dict(statements(text)).get(line, "")
    if not statement or "\n" in statement:
        return None
    match = _ASSIGNMENT.match(statement)
    if statement.startswith("["):
        after = next((first for first, other in statements(text) if first > line and other.startswith("[")), len(lines))
        lines[line - 1 : after - 1] = [""] * (after - line)
        return "\n".join(lines), False
    empty = f'{match[1]} = ""' if match else ""
    lines[line - 1] = "" if lines[line - 1] == empty else empty
    return "\n".join(lines), match is not None


def find_lines(text: str) -> Lines:
    """The lines of the sections and settings in a valid TOML text."""
    lines: Lines = {}
    last: dict[str, int] = {}
    section: list[str] = []  # The header's names that settings belong to
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
    return letter if letter.isprintable() else code(letter)


def code(letter: str) -> str:
    """The escape sequence of a character."""
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"
