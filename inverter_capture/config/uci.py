"""OpenWrt's UCI file -> the TOML that `run` reads.

UCI's section types and options have the names of the TOML sections and settings; the schema in config.py tells what
each holds, and its checks judge the result. Only UCI's own words are added here: what is wrong names the UCI section.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

from inverter_capture.config.kinds import REQUIRED, Setting, SettingError, nearest
from inverter_capture.config.schema import SECTIONS, ConfigError, Problem, parse, read_file, shorten

PACKAGE = "inverter-capture"
"""As `uci` calls the file."""

SERVICE = "service"
"""The type of the section that is for the init script alone."""
ENABLED = "enabled"
"""The option that switches a repeated section, or in `service` the service, off."""

ON = ("1", "on", "true", "yes", "enabled")
OFF = ("0", "off", "false", "no", "disabled")
BOOLEANS = dict.fromkeys(ON, True) | dict.fromkeys(OFF, False)
"""As OpenWrt's config_get_bool takes them."""

REWORDED = (
    (r"\"\"", r"0"),
    (r"(\w+) = \{ (\w+) = \"([^\"]*)\" \}", r"list \1 '\2=\3'"),
    (r"\{ (\w+) = \"([^\"]*)\" \}", r"'\1=\2'"),
    (r"(\w+) = \"([^\"]*)\"", r"option \1 '\2'"),
    (r"(\w+) = true", r"option \1 '1'"),
    (r"(\w+) = false", r"option \1 '0'"),
    (r"\[?\[(\w+)\]\]?", r"\1"),
    (r"true or false, without quotes", r"1 or 0"),
    (r" in quotes", r""),
    (r"\ba setting of\b", r"an option of"),
    (r"\bunknown setting\b", r"unknown option"),
)
"""What reasons say in TOML's words, and the same in UCI's."""

Value = str | list[str]
"""Of an option, or of a list."""


def to_toml(path: str) -> str:
    """The TOML that this UCI file asks for, right as far as can be told without trying it; in ASCII.

    Raises ConfigError, with every mistake in UCI's words; with a single message when all that is wrong is that the
    device or a backend has not been configured yet.
    """
    text = read_file(path, "UCI").decode(errors="surrogateescape")
    return Translation(UciFile(text, path).read(), path).toml()


class UciSection:
    """A section as UCI has it."""

    def __init__(self, type: str, name: str, reference: str) -> None:
        self.type = type
        self.name = name
        self.reference = reference
        """As `uci set` takes it: its name, or @type[index]."""
        self.options: dict[str, Value] = {}

    def __str__(self) -> str:
        return self.reference if self.reference != self.name else f"{self.type} '{self.name}'"

    def set(self, option: str, value: str) -> None:
        """`option`. An empty value is none."""
        if value:
            self.options[option] = value

    def add(self, option: str, value: str) -> None:
        """`list`. It goes on where an option of the same name began."""
        items = self.options.get(option, [])
        self.options[option] = [*([items] if isinstance(items, str) else items), value]


class UciFile:
    """The text of a UCI file, read as libuci reads it (file.c in OpenWrt's uci, strict as `uci` is).

    That is letter by letter, for its rules are its own: several commands can stand on a line; `;` ends a word, and when
    it touches a word without quotes, all that follows on the line is ignored; `#` begins a comment anywhere in a word
    outside quotes. Only a NUL is refused here where libuci forgets the rest of the line.
    """

    def __init__(self, text: str, name: str) -> None:
        """The text's bytes that are not UTF-8 are surrogates; messages call it by the name."""
        self._text = text
        self._name = name
        self._line = 0
        self._position = 0
        self._next = 0
        """Where the next line begins."""
        self._end = 0
        """Where the line ends for its readers: before a comment, or where the next line begins."""
        self._sections: list[UciSection] = []
        self._open: UciSection | None = None
        self._by_name: dict[str, UciSection] = {}
        self._counts: dict[str, int] = {}

    def read(self) -> list[UciSection]:
        """The sections. Raises ConfigError for what `uci` refuses."""
        commands = {"package": self._package, "config": self._config, "option": self._option, "list": self._list}
        commands |= {word[0]: command for word, command in commands.items()}
        while self._next < len(self._text):
            self._next_line()
            self._skip(" \t\n\v\f\r")
            while word := self._command():
                if word not in commands:
                    self._refuse('expected "config", "option" or "list"')
                if self._position == self._end:
                    self._refuse(f'nothing behind "{word}"')
                self._position += 1
                commands[word]()
        return self._sections

    def _package(self) -> None:
        self._argument(r"[-\w]+", "a package's name", "letters, digits, _ and -")
        self._end_of_command()

    def _config(self) -> None:
        kind = self._argument(r"[!-~]+", "a section's type", "letters, digits and _")
        name = self._argument(r"\w*", "a section's name", "letters, digits and _", required=False)
        self._end_of_command()
        section = self._by_name.get(name)
        if section is None:
            index = self._counts.get(kind, 0)
            self._counts[kind] = index + 1
            reference = name or f"@{kind}[{index}]"
            section = UciSection(kind, name or self._generated_name(kind), reference)
            self._sections.append(section)
            self._by_name.setdefault(section.name, section)
        elif section.type != kind:
            self._refuse(f"a section of type {section.type} has this name already: choose another")
        self._open = section

    def _generated_name(self, type: str) -> str:
        """What libuci calls a section without a name. A later section of that name goes on with it."""
        number = 5381
        for letter in type:
            number = number * 33 + ord(letter) & 0xFFFF
        return f"cfg{len(self._sections) + 1:02x}{number:04x}"

    def _option(self) -> None:
        section, name, value = self._assignment()
        section.set(name, value)

    def _list(self) -> None:
        section, name, value = self._assignment()
        section.add(name, value)

    def _assignment(self) -> tuple[UciSection, str, str]:
        if self._open is None:
            self._refuse('an option outside any section: write "config" and the section\'s type above it')
        name = self._argument(r"\w+", "an option's name", "letters, digits and _")
        value = self._word()
        self._end_of_command()
        return self._open, name, value

    def _argument(self, pattern: str, what: str, letters: str, *, required: bool = True) -> str:
        word = self._word()
        if required and not word:
            self._refuse(f"{what} is missing")
        if not re.fullmatch(pattern, word, re.ASCII):
            self._refuse(f"{what} can have {letters} only")
        return word

    def _end_of_command(self) -> None:
        if self._word():
            self._refuse("more words than belong here: put quotes around a value of several words")

    def _command(self) -> str:
        """The next command's word, empty when there is none."""
        self._skip(" \t")
        start = self._position
        while self._current not in ("", " ", "\t"):
            self._position += 1
        word = self._text[start : self._position]
        return "" if word.startswith("#") else word

    def _word(self) -> str:
        """The next argument, empty when there is none."""
        self._skip(" \t\n\v\f\r")
        start = self._position
        letters: list[str] = []
        if self._current == ";":
            self._position += 1
            return ""
        while letter := self._current:
            if letter == "#":
                self._end = self._position
            elif letter == ";":
                if self._position - start == len(letters):
                    self._end = self._position  # libuci writes the end of the word over it
                break
            elif letter in "'\"":
                self._quoted(letters, letter)
            elif letter != "\\" or self._escape():
                self._take(letters)
            if self._current and self._current in " \t\n\v\f\r":
                self._position += 1
                break
        return "".join(letters)

    def _quoted(self, letters: list[str], quote: str) -> None:
        """Read up to the quote that ends this text, on a later line perhaps."""
        first = self._line
        self._position += 1
        while self._current != quote:
            if not self._current:
                self._next_line()
                if not self._current:
                    self._refuse(f"text that begins with {quote} has no end: write {quote} behind it", first)
            elif quote == "'" or self._current != "\\" or self._escape():
                self._take(letters)
        self._position += 1

    def _escape(self) -> bool:
        """Skip a backslash. Returns whether it stood before a letter, not at the end of a line that goes on below."""
        self._position += 1
        if self._text[self._position : self._end] in ("", "\n", "\r\n"):
            self._next_line()
            return False
        return True

    @property
    def _current(self) -> str:
        """The letter that comes next; empty at the end of the line."""
        return self._text[self._position] if self._position < self._end else ""

    def _take(self, letters: list[str]) -> None:
        letters.append(self._current)
        self._position += 1

    def _skip(self, letters: str) -> None:
        while self._current and self._current in letters:
            self._position += 1

    def _next_line(self) -> None:
        self._position = self._next
        self._next = self._text.find("\n", self._position) + 1 or len(self._text)
        self._end = self._next
        self._line += self._position < self._end
        if "\0" in self._text[self._position : self._end]:
            self._refuse("a NUL character, as a damaged file has: write the file anew")

    def _refuse(self, message: str, line: int = 0) -> NoReturn:
        raise ConfigError([f"{self._name}:{line or self._line}: {message}"])


class Translation:
    """UCI sections as TOML."""

    def __init__(self, sections: list[UciSection], path: str) -> None:
        self._path = path
        self._used: dict[str, list[UciSection]] = {}
        """By type, in the order of the TOML, those whose options become settings."""
        self._disabled: list[UciSection] = []
        self._strays: list[str] = []
        self._problems: list[str] = []
        self._reasons: dict[tuple[str, int, str], str] = {}
        """Why no setting can be made of an option: its section's type and number, and its name."""
        for section in sections:
            self._sort(section)

    def toml(self) -> str:
        """The text. Raises ConfigError."""
        text = "".join(
            f"{SECTIONS[name].header}\n{''.join(self._settings(section, number))}\n"
            for name, sections in self._used.items()
            for number, section in enumerate(sections)
        )
        problems = self._strays + self._problems
        unset: list[Problem] = []
        try:
            self._check_filter(parse(text, self._path).pcap.filter)
        except ConfigError as error:
            if not error.problems:
                raise
            unset = [problem for problem in error.problems if self._is_unset(problem)]
            problems += [self._describe(problem) for problem in error.problems if problem not in unset]
        if unset and not problems:
            raise ConfigError([f"{self._path}: not configured yet: {', and '.join(map(self._command, unset))}"])
        if not self._strays:  # else what is missing most likely stands under the wrong name
            problems += map(self._describe, unset)
        if problems:
            raise ConfigError(f"{self._path}: {problem}" for problem in problems)
        return text

    def _check_filter(self, text: str) -> None:
        """Raises ConfigError for a filter with which the service would end, and be started again, for ever."""
        if not text:
            return
        from inverter_capture.capture.libpcap import FilterError, check_filter

        try:
            check_filter(text)
        except FilterError as error:
            if not error.passing:
                raise ConfigError([f"{self._path}: {self._used['pcap'][0]} option filter {error}"]) from None

    def _sort(self, section: UciSection) -> None:
        """Find out what the section is for."""
        known = SECTIONS.get(section.type)
        if section.type == SERVICE:
            self._is_enabled(section)
            for option in section.options:
                if option != ENABLED:
                    self._problems.append(f"{section} option {shorten(option)}: unknown option: known is {ENABLED}")
        elif known is None:
            near = nearest(section.type, [*SECTIONS, SERVICE])
            remedy = f"did you mean {near}?" if near else f"known are {', '.join([SERVICE, *SECTIONS])}"
            self._strays.append(f"{shorten(str(section))}: unknown section type: {remedy}")
        elif known.repeated and not self._is_enabled(section):
            self._disabled.append(section)
        elif not known.repeated and section.type in self._used:
            remedy = f"keep one: uci delete {PACKAGE}.{section.reference}"
            self._problems.append(f"{section}: {self._used[section.type][0]} is there already: {remedy}")
        else:
            self._used.setdefault(section.type, []).append(section)

    def _is_enabled(self, section: UciSection) -> bool:
        value = section.options.get(ENABLED, "1")
        if isinstance(value, str) and value in BOOLEANS:
            return BOOLEANS[value]
        self._problems.append(f"{section} option {ENABLED}{show(value)}: expected 1 or 0")
        return True

    def _settings(self, section: UciSection, number: int) -> Iterator[str]:
        """A line of TOML for each option. For what cannot be told in TOML, one that `parse` will refuse."""
        known = SECTIONS[section.type]
        for option, value in section.options.items():
            items = [item for item in ([value] if isinstance(value, str) else value) if item]
            if not items or (option == ENABLED and known.repeated):
                continue
            spec = known.settings.get(option)
            setting: Any = {}
            if spec is not None:
                try:
                    setting = convert(items, spec)
                except SettingError as wrong:
                    self._reasons[section.type, number, option] = str(wrong)
                    setting = [] if dict in spec.kind.types else {}
            yield f"{option} = {write(setting)}\n"

    def _is_unset(self, problem: Problem) -> bool:
        """Whether this is what remains to be done on a router where nothing has been configured yet."""
        if not problem.section:
            return not problem.key
        known = SECTIONS[problem.section]
        spec = known.settings.get(problem.key)
        sections = self._used.get(problem.section, [])
        given = any(problem.key in section.options for section in sections)
        return not known.repeated and spec is not None and spec.default is REQUIRED and not given

    def _describe(self, problem: Problem) -> str:
        """The problem in UCI's words, on one line."""
        if not problem.section:
            return f"no backend is enabled: {self._command(problem)}" if not problem.key else reword(problem.text)
        section = self._section(problem)
        if not problem.key:
            return f"{section}: {reword(problem.text)}"
        reason = self._reasons.get(problem[:3])
        shown = "" if problem.hidden or reason else show(section.options.get(problem.key, ""))
        reason = reason or reword(problem.reason)
        reason = reason.replace("missing: add it", f"missing: {self._command(problem)}", 1)
        return f"{section} option {shorten(problem.key)}{shown}: {reason}"

    def _section(self, problem: Problem) -> UciSection:
        if problem.section in self._used:
            return self._used[problem.section][problem.number]
        return UciSection(problem.section, problem.section, problem.section)  # the one that is missing

    def _command(self, problem: Problem) -> str:
        """What adds what is missing: a setting, or a backend."""
        name = problem.section
        if name:
            start = "" if name in self._used else f"uci set {PACKAGE}.{name}={name}, and "
            return f"{start}uci set {PACKAGE}.{self._section(problem).reference}.{problem.key}=..."
        if self._disabled:
            return f"uci set {PACKAGE}.{self._disabled[0].reference}.{ENABLED}=1"
        backends = [known.name for known in SECTIONS.values() if known.repeated]
        return f"uci set {PACKAGE}.home={backends[0]} (or {', '.join(backends[1:])}) and its options"


def convert(items: list[str], spec: Setting) -> Any:
    """What the items of a list, or the one text of an option, are in TOML for this setting.

    That is the text itself when it cannot be what the setting needs. Raises SettingError for what TOML has no form for;
    without the value, which may be a secret.
    """
    kind = spec.kind
    try:
        "".join(items).encode()
    except UnicodeEncodeError:
        raise SettingError("not UTF-8 text: write it as UTF-8") from None
    if list in kind.types:
        return items
    if dict in kind.types:
        return pairs(items)
    if len(items) > 1:
        raise SettingError("a list of several values: keep one")
    (text,) = items
    if bool in kind.types and text in BOOLEANS:
        return BOOLEANS[text]
    if text in OFF and can_be_empty(spec):
        return ""
    number = re.fullmatch(r"[+-]?\d{1,15}(\.\d{1,15})?", text.strip(), re.ASCII)
    if number and int in kind.types and not number[1]:
        return int(text)
    if number and float in kind.types:
        return float(text)
    return text


def can_be_empty(spec: Setting) -> bool:
    """Whether the setting can be empty, and that says something else than leaving it out. UCI knows no empty option."""
    if spec.kind.types != (str,) or not isinstance(spec.default, str) or not spec.default:
        return False
    try:
        return bool(spec.kind.read("") == "")
    except SettingError:
        return False


def pairs(items: list[str]) -> dict[str, str]:
    """The names and texts of a list of name=text. Raises SettingError."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals:
            raise SettingError("expected items such as 'site=farm'")
        if name in found:
            raise SettingError(f"{shorten(name)} stands there twice: keep one")
        found[name] = text
    return found


def write(value: Any) -> str:
    """A value as TOML has it, in ASCII: so it does not matter how the terminal's text is encoded."""
    if isinstance(value, str):
        return f'"{"".join(map(escape, value))}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(write, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{write(name)} = {write(item)}' for name, item in value.items())}}}"
    return repr(value)


def escape(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    return letter if " " <= letter <= "~" else f"\\U{ord(letter):08x}"


def show(value: Value) -> str:
    """A value behind an option's name in a message."""
    return f" '{shorten(value)}'" if isinstance(value, str) and value else ""


def reword(reason: str) -> str:
    """What the configuration loader says, in UCI's words."""
    for pattern, replacement in REWORDED:
        reason = re.sub(pattern, replacement, reason)
    return reason
