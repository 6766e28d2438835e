"""Converts the tables of a configuration to a Config, or to a Problem for each mistake.

A problem has a section, a setting and a value. TOML and UCI make it a Mistake, which adds the place and the notation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from inverter_capture.config.schema import REQUIRED, SECTIONS, Config, Section
from inverter_capture.config.values import BROKER, PATH, URL, SettingError, nearest
from inverter_capture.text import printable

ADDRESS_WORDS = ("address", "broker", "host", "hostname", "ip", "port", "server", "url")
"""What elsewhere names an address or a part of it."""
FILE_BYTES_MAX = 256 * 1024  # Maximum size of a configuration file in bytes

NOTHING = object()  # The value of a problem without a value, or with an unknown setting, whose value may be a secret
HIDDEN = object()  # The value of a problem with a secret


class Mistake(NamedTuple):
    """A mistake in a configuration, in the notation of its format. No field contains a secret.

    `check --json` prints a list of these, each as an object with these names.
    """

    file: str
    message: str
    remedy: str = ""  # Empty when the message says what is expected
    line: int = 0  # The line in the file, counted from 1; 0 when it is unknown, as always with UCI
    section: str = ""  # The section's name in the schema, such as mqtt; empty when the mistake concerns no section
    name: str = ""  # The section as in `uci set`: its name, or its type and number. Empty with TOML.
    setting: str = ""  # Empty when the mistake concerns the whole section
    value: str = ""  # The invalid value as it is written; empty when there is none, and when it is secret
    label: str = ""  # Section, setting and value, as messages name them
    commands: tuple[str, ...] = ()  # Commands to paste that are the remedy
    warning: bool = False  # Whether the service runs nevertheless

    def __str__(self) -> str:
        """The mistake in one line, without the commands."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return printable(": ".join(filter(None, (place, self.label, self.message, self.remedy))))


class ConfigError(Exception):
    """The configuration is invalid."""

    def __init__(self, mistakes: Iterable[Mistake], *, unset: bool = False) -> None:
        """`unset`: nothing is wrong, but the device or a backend is not configured yet."""
        self.mistakes = tuple(mistakes)
        self.unset = unset
        super().__init__("\n".join(self.messages))

    @property
    def messages(self) -> tuple[str, ...]:
        """One line for each mistake."""
        return tuple(map(str, self.mistakes))


class Problem(NamedTuple):
    """A mistake in the configuration, in no notation yet."""

    section: str  # The section's name; empty when the configuration has no backend
    number: int  # Counts the sections of that name from 0
    setting: str = ""  # The setting's name; empty when the mistake concerns the whole section
    error: SettingError = SettingError()
    value: object = NOTHING  # The invalid value, NOTHING or HIDDEN
    warning: bool = False  # Whether the service runs nevertheless

    def explain(
        self, write: Callable[[object], str], assign: Callable[[str, object], str], add: str, hint: str = ""
    ) -> tuple[str, str]:
        """The mistake and its remedy. `write` and `assign` write a value and a setting in the format's notation.

        `add`: how to add a missing setting. `hint`: text after the expected value.
        """
        reason, remedy, instead = self.error.reason, self.error.remedy, self.error.instead
        if self.error.missing:
            reason, remedy = "missing", f"{add} ({reason or SECTIONS[self.section].settings[self.setting].help})"
        elif not reason:
            spec = SECTIONS[self.section].settings[self.setting]
            such = f" such as {write(spec.type.example)}" if spec.type.example else ""
            reason = f"expected {spec.type.expected}{such}{hint} ({spec.help})"
        return reason, f"{remedy}, or set {assign(*instead)}" if instead else remedy


Table = Mapping[str, Any]
"""The settings of a section, with values of TOML's types, or a SettingError for an unreadable value."""


def read_config(tables: Mapping[str, Sequence[Table]], problems: list[Problem], *, strays: bool) -> Config | None:
    """Convert sections, by their names in SECTIONS. Returns None and adds to `problems` when there are mistakes.

    `strays`: whether there are sections with unknown names. Then no missing section is reported: most likely it is one
    of those, misspelt.
    """
    found = {
        name: [_read_section(SECTIONS[name], number, table, problems) for number, table in enumerate(sections)]
        for name, sections in tables.items()
    }
    if not strays:
        for known in SECTIONS.values():
            if not known.repeated and not found.get(known.name):
                found[known.name] = [_read_section(known, 0, {}, problems)]
        if not any(found.get(known.name) for known in SECTIONS.values() if known.repeated):
            problems.append(Problem("", 0))
    if problems or strays:
        return None
    values: dict[str, Any] = {
        known.name: tuple(found.get(known.name, ())) if known.repeated else found[known.name][0]
        for known in SECTIONS.values()
    }
    return Config(**values)


def _read_section(known: Section, number: int, table: Table, problems: list[Problem]) -> Any:
    """Convert a section. Returns None and adds to `problems` when there are mistakes."""
    values: dict[str, Any] = {}
    refused: set[str] = set()  # Settings, each of which has one problem at most
    before = len(problems)

    def refuse(name: str, error: SettingError) -> None:
        value, spec = table.get(name, NOTHING), known.settings[name]
        if isinstance(value, SettingError):
            value = NOTHING
        elif value is not NOTHING and (
            spec.secret or (spec.type in (URL, BROKER, PATH) and set("@?") & set(str(value)))
        ):
            value = HIDDEN
        if name not in refused:
            refused.add(name)
            values[name] = None
            problems.append(Problem(known.name, number, name, error, value))

    for name, value in table.items():
        if name not in known.settings:
            if near := nearest(name, known.settings):
                # It is not missing.
                values.setdefault(near, None)
            problems.append(Problem(known.name, number, name, _explain_unknown(name, known)))
            continue
        try:
            values[name] = known.settings[name].type.read(value)
        except SettingError as wrong:
            refuse(name, wrong)
    for name, spec in known.settings.items():
        if spec.default is REQUIRED and name not in values:
            refuse(name, SettingError(missing=True))
    section = known.type(**values)
    for error in section.check():
        refuse(error.setting, error)
    return section if len(problems) == before else None


def _explain_unknown(name: str, known: Section) -> SettingError:
    address = next((key for key, spec in known.settings.items() if spec.type in (URL, BROKER)), "")
    if address and name in ADDRESS_WORDS:
        example = known.settings[address].type.example
        return SettingError("unknown setting", f"write address and port in {address}, such as {example}")
    if name == "enabled":
        return SettingError("only backends in UCI have this option", "remove it")
    if owners := owning_sections(name):
        return SettingError(f"a setting of {' or '.join(owner.name for owner in owners)}", "move it there")
    return SettingError("unknown setting", suggest(name, known.settings))


def suggest(name: str, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the most similar known name, or all of them."""
    near = nearest(name, known)
    return f"did you mean {near}?" if near else f"known are {', '.join(known)}"


def owning_sections(setting: str) -> list[Section]:
    """The sections that have a setting of this name."""
    return [known for known in SECTIONS.values() if setting in known.settings]


def is_uci(data: bytes) -> bool:
    """Whether this is of UCI's format, and not TOML."""
    lines = (line.strip() for line in data.splitlines())
    first = next((line for line in lines if line and not line.startswith(b"#")), b"")
    return first.split(b" ")[0] in (b"package", b"config") and b"=" not in first


def read_file(path: str, wanted: str) -> tuple[str, bytes]:
    """Read a file, - for standard input. Returns its name in messages, and its content. Raises ConfigError.

    `wanted`: what to give, for messages.
    """
    name = "standard input" if path == "-" else path
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        remedy = "check the path, and who may read the file"
        raise ConfigError([Mistake(name, f"cannot be read ({reason})", remedy)]) from None
    if b"\0" in data[:24]:
        from inverter_capture.capture.file import CAPTURE_FILE_MAGICS

        if data[:4] in CAPTURE_FILE_MAGICS:
            remedy = "see what is in it with inverter-capture decode"
            raise ConfigError([Mistake(name, "a capture file, not a configuration", remedy)])
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError([Mistake(name, f"longer than {FILE_BYTES_MAX} bytes", f"give {wanted}")])
    return name, data
