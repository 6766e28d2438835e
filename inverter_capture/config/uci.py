"""Converts OpenWrt's UCI settings to the TOML that `run` reads.

The parser is OpenWrt's own program `uci export`; this module reads its output. UCI's section types and options have the
names of the schema's sections and settings. Only UCI has `enabled`, for the service and each backend.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from inverter_capture.config.problems import (
    HIDDEN,
    NOTHING,
    ConfigError,
    Mistake,
    Problem,
    read_config,
    read_file,
    suggest,
)
from inverter_capture.config.schema import SECTIONS, Config, Setting
from inverter_capture.config.toml_file import assign, code, header
from inverter_capture.config.values import BOOLEAN, SettingError
from inverter_capture.text import shorten

PACKAGE = "inverter-capture"  # The name of the UCI file
CONFIG_FILE = f"/etc/config/{PACKAGE}"
APPLY = (f"uci commit {PACKAGE}", f"/etc/init.d/{PACKAGE} reload")
"""The commands that let the service use changed settings, and start it. A restart would lose waiting readings."""

SERVICE = "service"  # The type of the section that only the init script reads
SERVICE_ENABLED = Setting(BOOLEAN, False, False, "Whether the service runs")  # Its only option
BACKEND_ENABLED = Setting(BOOLEAN, True, False, "Whether this backend is used")
"""An option of each repeated section, in addition to its settings."""
ENABLED = "enabled"

WAYS = {"mqtt": ("url", "username", "password"), "influxdb2": ("host", "org", "bucket", "token")}
"""The settings that most people need, for those who have no backend yet."""
EXAMPLES = {"org": "home", "bucket": "inverter", "token": "...", "username": "inverter", "password": "..."}
"""Values to propose for settings whose type has no example."""

ON = ("1", "on", "true", "yes", "enabled")
OFF = ("0", "off", "false", "no", "disabled")
BOOLEANS = dict.fromkeys(ON, True) | dict.fromkeys(OFF, False)  # The booleans that OpenWrt's config_get_bool accepts

_STATEMENT = re.compile(r"(package|config|option|list) ([^\s']+)(?: '([^']*(?:'\\''[^']*)*)')?(?:\n\s*|\Z)", re.ASCII)


class UciSection(NamedTuple):
    """A section of UCI."""

    type: str
    name: str  # The section's name; empty for an anonymous section
    number: int  # Counts the sections of that type from 0
    options: dict[str, list[str]]  # The value of each option or the items of each list, without empty ones

    @property
    def reference(self) -> str:
        """The section as in `uci set`: its name, or its type and number."""
        return self.name or f"@{self.type}[{self.number}]"

    def __str__(self) -> str:
        return f"{self.type} '{self.name}'" if self.name else self.reference


def to_toml(path: str) -> str:
    """Convert the settings to TOML, in ASCII, so that the terminal's encoding does not matter.

    `path`: a file with the output of `uci export`, - for standard input; if empty, `uci export` is called. Raises
    ConfigError with all mistakes in UCI's notation, `unset` when only the device or a backend is not configured yet.
    """
    name, data = read_file(path, f"what `uci export {PACKAGE}` prints") if path else (CONFIG_FILE, export())
    return UciExport(data, name).toml()


def export() -> bytes:
    """The output of `uci export`, including uncommitted changes. Raises ConfigError."""
    import subprocess

    try:
        done = subprocess.run(["uci", "export", PACKAGE], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        remedy = "on OpenWrt, check the installation; elsewhere, name a TOML file"
        raise ConfigError([Mistake("uci", f"cannot be run ({error.strerror})", remedy)]) from None
    if done.returncode == 0:
        return done.stdout
    if not os.path.exists(CONFIG_FILE):
        raise ConfigError([Mistake(CONFIG_FILE, "no such file", "install the package again, which brings it")])
    reason = " ".join(done.stderr.decode(errors="replace").split()) or f"`uci export` fails with {done.returncode}"
    raise ConfigError([Mistake(CONFIG_FILE, reason.removeprefix("uci: "), "correct the file there")])


def read_export(text: str, name: str) -> list[UciSection]:
    """Parse the output of `uci export`. `name` is the file's name in messages. Raises ConfigError."""
    sections: list[UciSection] = []
    counts: dict[str, int] = {}
    position = len(text) - len(text.lstrip())
    while position < len(text):
        statement = _STATEMENT.match(text, position)
        word, key, quoted = statement.groups() if statement else ("", "", None)
        if statement is None or (word in ("option", "list") and (quoted is None or not sections)):
            line = text.count("\n", 0, position) + 1
            remedy = f"give what `uci export {PACKAGE}` prints"
            raise ConfigError([Mistake(name, "not as `uci export` prints it", remedy, line)])
        value = (quoted or "").replace("'\\''", "'")
        if word == "config":
            counts[key] = counts.get(key, -1) + 1
            sections.append(UciSection(key, value, counts[key], {}))
        elif word != "package":
            items = sections[-1].options.setdefault(key, [])
            items += [value] if value else []
        position = statement.end()
    return sections


class UciExport:
    """The output of `uci export`, and the mistakes in it."""

    def __init__(self, data: bytes, name: str) -> None:
        """`name` is the file's name in messages. Raises ConfigError."""
        self._name = name
        self._used: dict[str, list[UciSection]] = {}  # The sections to convert, by type
        self._all = read_export(data.decode(errors="surrogateescape"), name)
        self._mistakes: list[Mistake] = []
        self._strays = False  # Whether there are sections of unknown types
        for section in self._all:
            self._add(section)
        self._tables = {name: list(map(to_table, sections)) for name, sections in self._used.items()}

    def config(self) -> Config:
        """The settings, checked. Raises ConfigError."""
        problems: list[Problem] = []
        config = read_config(self._tables, problems, strays=self._strays)
        mistakes = [*self._mistakes, *self.describe(problems)]
        if config is None or mistakes:
            raise ConfigError(mistakes, unset=not self._mistakes and all(map(is_unset, problems)))
        return config

    def toml(self) -> str:
        """The settings as TOML, in ASCII. Raises ConfigError."""
        self.config()
        lines: list[str] = []
        for name, tables in self._tables.items():
            for table in tables:
                lines += [header(SECTIONS[name]), *map(assign, table, table.values()), ""]
        return "".join(letter if letter.isascii() else code(letter) for letter in "\n".join([*lines, ""]))

    def _add(self, section: UciSection) -> None:
        """Sort a section in by its type."""
        known = SECTIONS.get(section.type)
        if section.type == SERVICE:
            self._is_enabled(section)
            for option in [name for name in section.options if name != ENABLED]:
                self._refuse(section, "unknown setting", f"known is {ENABLED}", option)
        elif known is None:
            self._strays = True
            self._refuse(section, "unknown section type", suggest(section.type, [SERVICE, *SECTIONS]))
        elif known.repeated and not self._is_enabled(section):
            return
        elif not known.repeated and section.type in self._used:
            first, remedy = self._used[section.type][0], f"keep one: uci delete {PACKAGE}.{section.reference}"
            self._refuse(section, f"{first} is there already", remedy)
        else:
            self._used.setdefault(section.type, []).append(section)

    def _is_enabled(self, section: UciSection) -> bool:
        items = section.options.get(ENABLED) or ["1"]
        if len(items) == 1 and items[0] in BOOLEANS:
            return BOOLEANS[items[0]]
        self._refuse(section, "expected 1 or 0", "", ENABLED, show(items))
        return True

    def _refuse(self, section: UciSection, message: str, remedy: str, option: str = "", value: str = "") -> None:
        self._mistakes.append(self._mistake(section, message, remedy, option, value))

    def _mistake(
        self, section: UciSection, message: str, remedy: str, option: str, value: str, shown: str = ""
    ) -> Mistake:
        label = shorten(str(section))
        if option:
            shown = shown or (f"'{value}'" if value else "")
            label += f" option {shorten(option)} {shown}".rstrip()
        return Mistake(self._name, message, remedy, 0, section.type, section.reference, option, value, label)

    def _ways(self) -> Iterator[str]:
        """The commands that configure a backend, for each way, with examples to be changed."""
        for name, settings in WAYS.items():
            yield f"# {SECTIONS[name].type.__doc__ or ''}".partition("\n")[0]
            yield from self._examples(name, settings)
        yield "# Then"
        yield from self._examples(SERVICE)
        yield from APPLY

    def _examples(self, name: str, settings: tuple[str, ...] = ()) -> Iterator[str]:
        """The commands that make these settings in a section of this type, and enable it."""
        new = UciSection(name, name, 0, {})
        section = next((section for section in self._all if section.type == name), new)
        place = f"uci set {PACKAGE}.{section.reference}"
        if section is new:
            yield f"{place}={name}"
        for setting in settings:
            spec = SECTIONS[name].settings[setting]
            given = "" if spec.secret else "".join(section.options.get(setting, []))
            yield f"{place}.{setting}={shlex.quote(given or str(spec.type.example or EXAMPLES[setting]))}"
        yield f"{place}.{ENABLED}=1"

    def describe(self, problems: Iterable[Problem]) -> list[Mistake]:
        """The problems in UCI's notation."""
        return list(map(self._describe, problems))

    def _describe(self, problem: Problem) -> Mistake:
        if not problem.section:
            remedy = "paste the lines of one of these ways, with your values"
            return Mistake(self._name, "no backend is enabled", remedy, commands=tuple(self._ways()))
        known = SECTIONS[problem.section]
        used = self._used.get(known.name)
        section = used[problem.number] if used else UciSection(known.name, known.name, 0, {})
        hidden = problem.value is HIDDEN
        value = "" if hidden or problem.value is NOTHING else show(section.options[problem.setting])
        add = "" if used else f"uci set {PACKAGE}.{known.name}={known.name}; "
        add += f"uci set {PACKAGE}.{section.reference}.{problem.setting}=..."
        message, remedy = problem.explain(write, lambda name, value: f"option {name} {write(value)}", add)
        if known.repeated and remedy == suggest(problem.setting, known.settings):
            remedy = suggest(problem.setting, [ENABLED, *known.settings])
        found = self._mistake(section, message, remedy, problem.setting, value, "(hidden)" if hidden else "")
        return found._replace(warning=problem.warning)


def is_unset(problem: Problem) -> bool:
    """Whether the problem is a missing backend or a missing setting of a section that is always there."""
    return not problem.section or (problem.error.missing and not SECTIONS[problem.section].repeated)


def to_table(section: UciSection) -> dict[str, Any]:
    """The section's settings, with values of TOML's types."""
    known = SECTIONS[section.type]
    table: dict[str, Any] = {}
    for option, items in section.options.items():
        if items and not (option == ENABLED and known.repeated):
            try:
                table[option] = convert(items, known.settings[option].type.types) if option in known.settings else items
            except SettingError as error:
                table[option] = error
    return table


def convert(items: list[str], types: tuple[type, ...]) -> Any:
    """Convert the items of a list or the text of an option to one of these types. Returns the text if none fits.

    Raises SettingError for text that is not UTF-8, and for a list where there must be one value.
    """
    try:
        "".join(items).encode()
    except UnicodeEncodeError:
        raise SettingError("not UTF-8 text", "write it as UTF-8") from None
    if list in types:
        return items
    if dict in types:
        return pairs(items)
    if len(items) > 1:
        raise SettingError("a list of several values", "keep one")
    (text,) = items
    if bool in types and text in BOOLEANS:
        return BOOLEANS[text]
    number = re.fullmatch(r"[+-]?\d{1,15}(\.\d{1,15})?", text.strip(), re.ASCII)
    if number and int in types and not number[1]:
        return int(text)
    return float(text) if number and float in types else text


def pairs(items: list[str]) -> dict[str, str]:
    """Convert a list of name=text to a table. Raises SettingError."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals:
            raise SettingError
        if name in found:
            raise SettingError(f"{shorten(name)} stands there twice", "keep one")
        found[name] = text
    return found


def write(value: object) -> str:
    """A value in UCI's notation, for messages."""
    if isinstance(value, dict):
        return ", ".join(f"'{name}={text}'" for name, text in value.items())
    if isinstance(value, list):
        return ", ".join(f"'{item}'" for item in value)
    return f"'{int(value) if isinstance(value, bool) else value}'"


def show(items: list[str]) -> str:
    """An invalid value."""
    return shorten(" ".join(items))


def set_commands(settings: Mapping[str, Any]) -> list[str]:
    """The commands that set these settings of the section pcap in UCI, and let the service use them."""
    commands = [
        f"uci set {PACKAGE}.@pcap[0].{name}={shlex.quote(str(int(value) if isinstance(value, bool) else value))}"
        for name, value in settings.items()
    ]
    return [*commands, *APPLY]
