"""The configuration: TOML text to frozen objects, with every mistake told in a line of its own.

Nothing else knows TOML. The sections are the schema: each setting carries its kind, default and help, and one loader
reads them all. A new backend is a class and a line each in `Config` and `SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from inverter_capture.config.kinds import (
    BOOLEAN,
    BROKER,
    BYTES,
    CLIENT_ID,
    DURATION,
    KEEPALIVE,
    MEASUREMENT,
    NAME,
    PATH,
    REQUIRED,
    SECONDS,
    TAGS,
    TEXT,
    TOPIC,
    TOPIC_OR_NONE,
    URL,
    VERIFY,
    Section,
    SectionConfig,
    SettingError,
    choice,
    nearest,
    setting,
)
from inverter_capture.config.timezone import TIMEZONE
from inverter_capture.config.toml_lines import explain_syntax, find_lines
from inverter_capture.output.formats import FORMATS

MAX_FILE_SIZE = 256 * 1024
"""Bytes. A longer file is no configuration (a capture file given by mistake, perhaps)."""

SHOWN = 80
"""Characters of a value or name that a message shows."""


_INFLUXDB2_PATH = "/api/v2/write"


class ConfigError(Exception):
    """The configuration cannot be used. `messages` holds a line for each thing that is wrong; none shows a secret.

    `problems` holds the same things in parts, for who has to name them otherwise, when the text was TOML at least.
    """

    def __init__(self, messages: Iterable[str], problems: Iterable[Problem] = ()) -> None:
        self.messages = tuple(printable(message) for message in messages)
        self.problems = tuple(problems)
        super().__init__("\n".join(self.messages))


class PcapConfig(SectionConfig):
    """Where packets come from."""

    device: str = setting(NAME, help='a network device, "any", or with file = true the path of a capture file')
    filter: str = setting(TEXT, "", help="the packets to read, as for tcpdump; when empty, the dongle's are found")
    file: bool = setting(BOOLEAN, False, help="whether device is the path of a capture file")
    timezone: str = setting(TIMEZONE, "local", help="the zone of the inverter's clock")
    guard: bool = setting(BOOLEAN, True, help="whether unlikely values wait until later ones confirm them")

    def check(self) -> None:
        # The service would wait for such a device for ever.
        if "/" in self.device and not self.file:
            raise SettingError('no network device has "/" in its name: for a capture file add file = true', "device")


class InfluxDb2Config(SectionConfig):
    """A database that takes InfluxDB's line protocol over HTTP."""

    host: str = setting(URL, help="the server's address, with http:// or https://, and its port")
    org: str = setting(TEXT, "", help="the organisation that the bucket belongs to")
    bucket: str = setting(TEXT, "", help="where the readings go")
    token: str = setting(TEXT, "", secret=True, help="what lets us write")
    db: str = setting(TEXT, "", help="where the readings go, on servers that know databases instead of buckets")
    path: str = setting(PATH, _INFLUXDB2_PATH, help="where the server takes line protocol")
    authentication: str = setting(
        choice("token", "bearer", "basic", "none"), "token", help="how the token is sent; basic: it is user:password"
    )
    measurement: str = setting(MEASUREMENT, "inverter", help="what the readings are called")
    tags: dict[str, str] = setting(TAGS, {}, help="tags that each line has beside the serial number")
    schema: str = setting(choice("wide", "narrow"), "wide", help="one line a reading, or one a value")
    timeout: float = setting(SECONDS, 10.0, help="how long to wait for the server")
    verify: bool | str = setting(
        VERIFY, True, help="whether to check the server's certificate, or the file of its authority"
    )
    buffer: int = setting(BYTES, 4 * 1024 * 1024, help="how much memory readings may take that cannot be delivered")

    def check(self) -> None:
        if self.path == _INFLUXDB2_PATH and self.authentication == "token" and not self.db:
            for name in ("org", "bucket"):
                if not getattr(self, name):
                    raise SettingError(f"missing: add it ({self.settings[name].help})", name)
        for name in ("group", "name", "unit"):
            if self.schema == "narrow" and name in self.tags:
                raise SettingError(f'with schema = "narrow" {name} is a tag of each value: choose another name', "tags")
        if self.authentication == "none":
            return
        if not self.token:
            raise SettingError('missing: add it, or authentication = "none"', "token")
        if self.authentication == "basic":
            if ":" not in self.token:
                raise SettingError('with authentication = "basic" it must be user:password', "token")
        elif not all("!" <= letter <= "~" for letter in self.token):
            raise SettingError("has a character that HTTP cannot carry: copy it again, without spaces", "token")


class MqttConfig(SectionConfig):
    """An MQTT broker, and Home Assistant behind it."""

    url: str = setting(BROKER, help="the broker's address, with mqtt://, mqtts://, ws://, wss:// or unix://")
    username: str = setting(TEXT, "", help="the user that the broker knows us as")
    password: str = setting(TEXT, "", secret=True, help="that user's password")
    verify: bool | str = setting(
        VERIFY, True, help="whether to check the broker's certificate, or the file of its authority"
    )
    certificate: str = setting(TEXT, "", help="the file of our own certificate, where the broker wants one")
    key: str = setting(TEXT, "", help="the file of its key, if that is in another file")
    base_topic: str = setting(TOPIC, "inverter-capture", help="what our topics begin with")
    discovery_prefix: str = setting(
        TOPIC_OR_NONE, "homeassistant", help='what the topics of Home Assistant\'s discovery begin with; "" for none'
    )
    client_id: str = setting(CLIENT_ID, "", help="what we call ourselves; when empty, a name of this system's own")
    keepalive: int = setting(KEEPALIVE, 30, help="seconds without a message after which the connection is tried")
    stale_after: float = setting(
        DURATION, 900.0, help="how long after its last reading an inverter counts as not available"
    )
    field_topics: bool = setting(BOOLEAN, False, help="whether each value goes to a topic of its own, too")

    def check(self) -> None:
        if self.password and not self.username:
            raise SettingError("missing: add it (a password alone cannot be sent)", "username")
        if self.key and not self.certificate:
            raise SettingError("missing: add it (the certificate that the key is for)", "certificate")
        if self.certificate and not self.url.startswith(("mqtts://", "wss://")):
            raise SettingError("a certificate goes with mqtts:// and wss:// only", "url")


class ConsoleConfig(SectionConfig):
    """Readings on standard output."""

    format: str = setting(choice(*FORMATS), "table", help="how a reading is printed")


class LogConfig(SectionConfig):
    """What the log tells."""

    level: str = setting(choice("error", "warning", "info", "debug"), "info", help="the least that is logged")


class Config(NamedTuple):
    """The whole configuration."""

    pcap: PcapConfig
    influxdb2: tuple[InfluxDb2Config, ...]
    mqtt: tuple[MqttConfig, ...]
    console: tuple[ConsoleConfig, ...]
    log: LogConfig


SECTIONS: dict[str, Section] = {
    section.name: section
    for section in (
        Section("pcap", PcapConfig),
        Section("influxdb2", InfluxDb2Config, repeated=True),
        Section("mqtt", MqttConfig, repeated=True),
        Section("console", ConsoleConfig, repeated=True),
        Section("log", LogConfig),
    )
}
"""The schema, by the sections' names in the file, which are those of Config's attributes."""


class Problem(NamedTuple):
    """Something wrong, and where: number counts sections of one name from 0, key is empty for a section as a whole."""

    section: str
    number: int
    key: str
    text: str
    reason: str = ""
    """Why this setting is refused: the text without section, setting and value."""
    hidden: bool = False
    """Whether the setting's value must not be shown."""


def load(path: str) -> Config:
    """The configuration in this file. Raises ConfigError, also when the file cannot be read."""
    data = read_file(path, "TOML")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: not UTF-8 text: save the file as UTF-8"]) from None
    return parse(text, path)


def read_file(path: str, kind: str) -> bytes:
    """What this file of such a kind holds. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_SIZE + 1)
    except (OSError, ValueError) as error:  # ValueError: no path can be like that
        reason = getattr(error, "strerror", None) or error
        raise ConfigError([f"{path}: cannot be read ({reason}): check the path, and who may read the file"]) from None
    if len(data) > MAX_FILE_SIZE:
        raise ConfigError([f"{path}: longer than {MAX_FILE_SIZE} bytes: give the path of a {kind} file"])
    return data


def parse(text: str, name: str) -> Config:
    """The configuration in this text; messages call it by the name. Raises ConfigError."""
    import tomllib

    text = text.removeprefix("\ufeff") + "\n"  # Windows begins with the one, tomllib needs the other
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError([explain_syntax(error, text, name)]) from None
    problems: list[Problem] = []
    found: dict[str, list[Any]] = {}
    for key, value in data.items():
        many = isinstance(value, list)
        tables = value if many else [value]
        known = SECTIONS.get(key)
        if known is None or not all(isinstance(table, dict) for table in tables):
            problems.append(Problem(key, 0, "", explain_stray(key, value)))
            continue
        if many != known.repeated:
            written, rule = (f"[[{key}]]", "can stand once only") if many else (f"[{key}]", "can stand several times")
            problems.append(Problem(key, 0, "", f"{written}: this section {rule}: write {known.header}"))
        found[key] = [read_section(known, number, table, problems) for number, table in enumerate(tables)]
    if data.keys() == found.keys():  # else what is missing most likely stands under the wrong name
        for known in SECTIONS.values():
            if not known.repeated and not found.get(known.name):
                found[known.name] = [read_section(known, 0, {}, problems)]
        backends = [known.name for known in SECTIONS.values() if known.repeated]
        if not any(found.get(backend) for backend in backends):
            headers = " or ".join(SECTIONS[backend].header for backend in backends)
            problems.append(Problem("", 0, "", f"no backend: add a {headers} section for the readings to go to"))
    if problems:
        raise ConfigError(locate(problems, text, name), problems)
    values: dict[str, Any] = {
        known.name: tuple(found.get(known.name, ())) if known.repeated else found[known.name][0]
        for known in SECTIONS.values()
    }
    return Config(**values)


def read_section(known: Section, number: int, table: dict[str, Any], problems: list[Problem]) -> Any:
    """The section's settings; or None, and what is wrong is added to the problems."""
    values: dict[str, Any] = {}
    handled = set()
    before = len(problems)

    def complain(key: str, reason: str, value: str = "", hidden: bool = True) -> None:
        text = f"{known.header} {shorten(key)}{value}: {reason}"
        problems.append(Problem(known.name, number, key, text, reason, hidden))

    def refuse(key: str, wrong: SettingError) -> None:
        spec = known.settings[key]
        hidden = spec.secret or wrong.hide
        value = "" if key not in table else " = (hidden)" if hidden else f" = {show(table[key])}"
        complain(key, str(wrong) or f"expected {spec.kind.expected} ({spec.help})", value, hidden)

    for key, value in table.items():
        handled.add(key)
        if key not in known.settings:
            near = nearest(key, known.settings)
            handled.add(near or key)
            # Without the value: it may be a secret under a mistyped name.
            complain(key, explain_unknown(key, near, known))
            continue
        try:
            values[key] = known.settings[key].kind.read(value)
        except SettingError as wrong:
            refuse(key, wrong)
    for key, spec in known.settings.items():
        if spec.default is REQUIRED and key not in handled:
            complain(key, f"missing: add it ({spec.help})")
    if len(problems) == before:
        try:
            return known.type(**values)
        except SettingError as wrong:
            refuse(wrong.setting, wrong)
    return None


def owners(key: str) -> str:
    """The sections that have such a setting, as text."""
    return " or ".join(known.header for known in SECTIONS.values() if key in known.settings)


def explain_unknown(key: str, near: str | None, known: Section) -> str:
    if owners(key):
        return f"a setting of {owners(key)}: move it there"
    remedy = f'did you mean "{near}"?' if near else f"known are {', '.join(known.settings)}"
    return f"unknown setting: {remedy}"


def explain_stray(key: str, value: object) -> str:
    """What is wrong with something at the top that is no known section. Without the value: it may be a secret."""
    name = shorten(key)
    headers = ", ".join(known.header for known in SECTIONS.values())
    if key in SECTIONS:
        return f"{name}: a section, no setting: write {SECTIONS[key].header} on a line of its own, its settings below"
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value)):
        near = nearest(key, SECTIONS)
        remedy = f"did you mean {SECTIONS[near].header}?" if near else f"known are {headers}"
        return f"{f'[[{name}]]' if isinstance(value, list) else f'[{name}]'}: unknown section: {remedy}"
    if owners(key):
        return f"{name}: a setting outside any section: move it below {owners(key)}"
    near = nearest(key, [name for known in SECTIONS.values() for name in known.settings])
    remedy = f'did you mean "{near}", below {owners(near)}?' if near else f"known sections are {headers}"
    return f"{name}: unknown setting outside any section: {remedy}"


def locate(problems: list[Problem], text: str, name: str) -> list[str]:
    """The problems' messages, in the order of the file; without a line number where the line is not sure."""
    lines = find_lines(text)
    placed = []
    for problem in problems:
        section, number = problem.section, problem.number
        line = lines.get((section, number, problem.key)) or lines.get((section, number, ""), 0)
        placed.append((line, f"{name}:{line}: {problem.text}" if line else f"{name}: {problem.text}"))
    return [message for _, message in sorted(placed, key=lambda item: item[0])]


def show(value: object) -> str:
    """A value as TOML writes it, shortened."""
    if isinstance(value, str):
        escaped = shorten(value).replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return shorten(
            str(value) if abs(value) < 1 << 64 else hex(value)
        )  # Python refuses to write thousands of digits
    if isinstance(value, list):
        return "[...]"
    return "{...}" if isinstance(value, dict) else str(value)


def shorten(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def printable(text: str) -> str:
    """The text on one line, with escapes for whatever would break or hide it."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
