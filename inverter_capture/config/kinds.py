"""What settings are: what each can hold, its default, whether it is secret, and a section as a frozen object.

The sections themselves stand in config.py. Not dataclasses: importing those costs a router 1.5 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

RESERVED_TAGS = ("time", "_field", "_measurement")
"""With such a tag one version of InfluxDB or another refuses every line."""

BROKER_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
"""The usual port for each way to a broker over a network."""

UNIX_PATH_BYTES_MAX = 107
"""Linux takes no longer path for a socket."""
TOPIC_BYTES_MAX = 200
"""Far below what MQTT allows: more comes behind it."""
CLIENT_ID_BYTES_MAX = 128
"""Brokers must take 23 characters, and most take more."""

REQUIRED = object()
"""In place of a default: the setting must be given."""


class SettingError(Exception):
    """A value that a check refuses, and why; without a reason, the message says what the kind expects.

    `setting` is the name of the setting to blame when a section's own `check` raises it. `hide` the value: it holds a
    secret though the setting is none.
    """

    def __init__(self, problem: str = "", setting: str = "", *, hide: bool = False) -> None:
        super().__init__(problem)
        self.setting = setting
        self.hide = hide


class Kind(NamedTuple):
    """What a setting can hold."""

    types: tuple[type, ...]
    """What TOML must have made of it."""
    expected: str
    check: Callable[[Any], Any]
    """From a value of these types to the one to keep. Raises SettingError; of a secret, without the value in it."""

    def read(self, value: object) -> Any:
        """The value to keep. Raises SettingError."""
        if type(value) not in self.types:  # not isinstance: true is no number
            raise SettingError
        return self.check(value)


class Setting(NamedTuple):
    """One setting of a section."""

    kind: Kind
    default: Any
    """As kept, after the check; or REQUIRED."""
    secret: bool
    """Never shown, neither in messages nor in the section's repr."""
    help: str


def setting(kind: Kind, default: Any = REQUIRED, *, secret: bool = False, help: str) -> Any:
    """Declares an attribute of a SectionConfig."""
    return Setting(kind, default, secret, help)


class SectionConfig:
    """The settings of one section, as attributes that cannot be changed. Subclasses declare them with `setting`."""

    settings: ClassVar[dict[str, Setting]] = {}

    def __init_subclass__(cls) -> None:
        cls.settings = {name: value for name, value in vars(cls).items() if isinstance(value, Setting)}

    def __init__(self, **values: Any) -> None:
        """Raises SettingError for values that do not go together, TypeError for missing and unknown ones."""
        missing = [name for name, spec in self.settings.items() if spec.default is REQUIRED and name not in values]
        if missing or not values.keys() <= self.settings.keys():
            raise TypeError(f"{type(self).__name__} takes {', '.join(self.settings)}, not {', '.join(values)}")
        vars(self).update({name: values.get(name, spec.default) for name, spec in self.settings.items()})
        self.check()

    def check(self) -> None:
        """Raises SettingError, with the setting to blame, for values that do not go together."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in vars(self).items() if not self.settings[name].secret)
        return f"{type(self).__name__}({', '.join(shown)})"


class Section(NamedTuple):
    """A section of the file."""

    name: str
    type: type[SectionConfig]
    repeated: bool = False
    """A backend, written [[name]], any number of times."""

    @property
    def header(self) -> str:
        """As it is written in the file."""
        return f"[[{self.name}]]" if self.repeated else f"[{self.name}]"

    @property
    def settings(self) -> dict[str, Setting]:
        """What can stand in it."""
        return self.type.settings


def check_text(value: str) -> str:
    if any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in value):
        raise SettingError("has a line break or another control character in it: leave that out")
    return value


def check_name(value: str) -> str:
    if not value.strip():
        raise SettingError
    return check_text(value)


def check_url(value: str) -> str:
    """A server's URL, without a slash at its end; http:// when it has no scheme."""
    url = check_name(value).strip().rstrip("/")
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "http", url
    if scheme not in ("http", "https"):
        raise SettingError("begin with http:// or https://")
    _check_server(rest)
    return f"{scheme}://{rest}"


def check_broker(value: str) -> str:
    """A broker's URL; mqtt:// when it has no scheme. unix:// is followed by the path of a socket."""
    url = check_name(value).strip()
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "mqtt", url
    if scheme == "unix":
        if not rest.startswith("/") or len(rest.encode()) > UNIX_PATH_BYTES_MAX:
            raise SettingError("after unix:// comes the path of the broker's socket, as in unix:///run/mosquitto.sock")
        return url
    if scheme not in BROKER_PORTS:
        raise SettingError(f"begin with {', '.join(f'{name}://' for name in BROKER_PORTS)} or unix://")
    if scheme in ("mqtt", "mqtts"):
        rest = rest.rstrip("/")
    _check_server(rest)
    if scheme in ("mqtt", "mqtts") and "/" in rest:
        raise SettingError("no path can follow: topics have settings of their own, WebSockets begin with ws://")
    return f"{scheme}://{rest}"


def _check_server(rest: str) -> None:
    """What follows the :// of a URL. Raises SettingError."""
    authority = rest.partition("/")[0]
    if "@" in authority:
        raise SettingError("leave user name and password out: they go into their own settings", hide=True)
    if any(letter in rest for letter in "?# "):
        raise SettingError("give the server's address alone, without spaces, ? and #")
    name, port = split_port(authority)
    labels = name.split(".")
    bracketed = name.startswith("[") and name.endswith("]")
    if not bracketed and (":" in name or not all(0 < len(label) < 64 for label in labels) or not authority.isascii()):
        raise SettingError("no host name or address, with a port where it is not the usual one")
    if port and not 0 < int(port) < 65536:
        raise SettingError("a port is a number from 1 to 65535")


def split_port(authority: str) -> tuple[str, str]:
    """A name or bracketed IPv6 address, and the port behind it, if there is one."""
    name, _, port = authority.rpartition(":")
    return (name, port) if port.isdecimal() else (authority, "")


def check_topic(value: str) -> str:
    """The beginning of topics."""
    if any(letter in value for letter in "+#") or value.startswith("$"):
        raise SettingError("a topic cannot have + or # in it, nor begin with $")
    if value.startswith("/") or value.endswith("/"):
        raise SettingError("leave out the / at its ends")
    if len(value.encode()) > TOPIC_BYTES_MAX:
        raise SettingError(f"longer than {TOPIC_BYTES_MAX} bytes")
    return check_name(value)


def check_topic_or_none(value: str) -> str:
    return check_topic(value) if value else value


def check_client_id(value: str) -> str:
    if len(value.encode()) > CLIENT_ID_BYTES_MAX:
        raise SettingError(f"longer than {CLIENT_ID_BYTES_MAX} bytes")
    return check_text(value)


def check_keepalive(value: int) -> int:
    if not 5 <= value <= 3600:
        raise SettingError
    return value


def check_duration(value: float | str) -> float:
    """Seconds, also of text such as "15 min"."""
    number, unit = (value, "") if isinstance(value, int | float) else _split_number(value)
    units = {"": 1, "s": 1, "min": 60, "h": 3600}
    factor = units.get(unit.lower())
    if factor is None or not 1 <= number * factor <= 24 * 3600:
        raise SettingError
    return float(number * factor)


def check_path(value: str) -> str:
    if not value.startswith("/") or any(letter in value for letter in "?# "):
        raise SettingError
    return check_text(value)


def check_measurement(value: str) -> str:
    if value.startswith("#"):
        raise SettingError("servers take what begins with # for a comment: choose another name")
    return check_name(value)


def check_seconds(value: float) -> float:
    if not 0 < value <= 300:
        raise SettingError
    return float(value)


def check_bytes(value: int | str) -> int:
    """A number of bytes, also as text such as "4 MiB"."""
    number, unit = (value, "") if isinstance(value, int) else _split_number(value)
    units = {"": 1, "b": 1, "k": 1024, "kib": 1024, "m": 1024**2, "mib": 1024**2, "g": 1024**3, "gib": 1024**3}
    factor = units.get(unit.lower())
    if factor is None or not 16 * 1024 <= number * factor <= 1024**3:
        raise SettingError
    return number * factor


def _split_number(text: str) -> tuple[int, str]:
    digits = text.strip()
    unit = digits.lstrip("0123456789")
    number = digits[: len(digits) - len(unit)]
    if not number.isascii() or not number or len(number) > 12:
        raise SettingError
    return int(number), unit.strip()


def check_verify(value: bool | str) -> bool | str:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        raise SettingError("write it without quotes")
    return check_name(value)


def check_tags(value: dict[str, object]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for name, text in value.items():
        if name == "serial":
            raise SettingError("serial is the inverter's own tag: choose another name")
        if name in RESERVED_TAGS:
            raise SettingError(f"servers keep the name {name} for themselves: choose another name")
        if not isinstance(text, str) or not text or not name:
            raise SettingError('a tag is a name and a text, as in tags = { site = "farm" }')
        tags[check_name(name)] = check_name(text)
    return tags


def choice(*words: str) -> Kind:
    """One of these words."""
    listed = ", ".join(f'"{word}"' for word in words)

    def check(value: str) -> str:
        if value not in words:
            near = nearest(value, words)
            raise SettingError(f'did you mean "{near}"? Possible are {listed}' if near else f"expected one of {listed}")
        return value

    return Kind((str,), f"one of {listed}", check)


BOOLEAN = Kind((bool,), "true or false, without quotes", bool)
TEXT = Kind((str,), "text in quotes", check_text)
NAME = Kind((str,), "text in quotes that is not empty", check_name)
URL = Kind((str,), 'a server\'s address such as "http://192.168.1.10:8086"', check_url)
BROKER = Kind((str,), 'a broker\'s address such as "mqtt://192.168.1.10:1883"', check_broker)
TOPIC = Kind((str,), "a topic's beginning in quotes", check_topic)
TOPIC_OR_NONE = Kind((str,), 'a topic\'s beginning in quotes, or ""', check_topic_or_none)
CLIENT_ID = Kind((str,), "text in quotes", check_client_id)
KEEPALIVE = Kind((int,), "a whole number of seconds from 5 to 3600", check_keepalive)
DURATION = Kind((int, float, str), 'a number of seconds or text such as "15 min", up to a day', check_duration)
PATH = Kind((str,), 'a path such as "/api/v2/write"', check_path)
MEASUREMENT = Kind((str,), "text in quotes that is not empty", check_measurement)
SECONDS = Kind((int, float), "a number of seconds above 0, up to 300", check_seconds)
BYTES = Kind((int, str), 'a number of bytes or text such as "4 MiB", from 16 KiB to 1 GiB', check_bytes)
VERIFY = Kind((bool, str), "true, false, or the path of a file with certificates", check_verify)
TAGS = Kind((dict,), 'names and texts, as in { site = "farm" }', check_tags)


def nearest(word: str, known: Iterable[str], least: float = 0.6) -> str | None:
    """The known word that is most like this one, if any is like it at all."""
    import difflib

    folded = {item.casefold(): item for item in known}
    found = difflib.get_close_matches(word.casefold(), folded, 1, least)
    return folded[found[0]] if found else None
