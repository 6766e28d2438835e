"""The types of settings: which values they accept, and how they check them."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from inverter_capture.protocol.messages import SERIAL_LENGTH

RESERVED_TAGS = ("time", "_field", "_measurement")  # Tags with which some version of InfluxDB refuses every line

BROKER_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}  # Default ports by URL scheme

UNIX_PATH_BYTES_MAX = 107  # Maximum length of a socket's path on Linux, in bytes
TOPIC_BYTES_MAX = 200  # Maximum length of a topic prefix in bytes, far below MQTT's limit for a topic
CLIENT_ID_BYTES_MAX = 128  # Maximum length in bytes. Brokers must accept 23 characters; most accept more.


class SettingError(Exception):
    """An invalid value: what is wrong with it, and the remedy, in words that are correct for every format.

    Neither contains a secret. Both are empty when `ValueType.expected` says enough.
    """

    def __init__(
        self,
        reason: str = "",
        remedy: str = "",
        *,
        setting: str = "",
        missing: bool = False,
        instead: tuple[str, object] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.setting = setting  # The setting to change, when a section's `check` raises this
        self.missing = missing  # Whether that setting has to be added
        self.instead = instead  # An alternative remedy: another setting and its value


class ValueType(NamedTuple):
    """The type of a setting."""

    types: tuple[type, ...]  # The accepted types of TOML
    expected: str  # The expected values in words that are correct for every format
    check: Callable[[Any], Any]  # Checks a value of these types and returns it, normalised. Raises SettingError.
    example: object = None  # An example value for messages, or None

    def read(self, value: object) -> Any:
        """Check a value and return it, normalised. Raises SettingError."""
        if isinstance(value, SettingError):
            raise value
        if type(value) not in self.types:  # not isinstance: true is no number
            raise SettingError
        return self.check(value)


def check_text(value: str) -> str:
    if any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in value):
        raise SettingError("contains a line break or another control character", "remove it")
    return value


def check_name(value: str) -> str:
    if not value.strip():
        raise SettingError
    return check_text(value)


def check_url(value: str) -> str:
    """Check a server's URL. Adds http:// if it has no scheme, and removes a slash at its end."""
    return "://".join(_split_url(value, ("http", "https")))


def check_broker(value: str) -> str:
    """Check a broker's URL. Adds mqtt:// if it has no scheme. unix:// is followed by the path of a socket."""
    scheme, rest = _split_url(value, (*BROKER_PORTS, "unix"))
    if scheme in ("mqtt", "mqtts") and "/" in rest:
        remedy = "remove it (topics have settings of their own, WebSocket URLs begin with ws://)"
        raise SettingError("contains a path", remedy)
    return f"{scheme}://{rest}"


def _split_url(value: str, schemes: tuple[str, ...]) -> tuple[str, str]:
    """The scheme of a checked URL, by default the first of these, and what follows. Raises SettingError."""
    url = check_name(value).strip()
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = schemes[0], url
    if scheme not in schemes:
        *first, last = (f"{name}://" for name in schemes)
        raise SettingError("unknown scheme", f"begin with {', '.join(first)} or {last}")
    if scheme == "unix":
        if not rest.startswith("/") or len(rest.encode()) > UNIX_PATH_BYTES_MAX:
            raise SettingError("no socket path after unix://", "write it as in unix:///run/mosquitto.sock")
        return scheme, rest
    if scheme not in ("ws", "wss"):
        rest = rest.rstrip("/")
    _check_server(rest)
    return scheme, rest


def _check_server(rest: str) -> None:
    """Check the part of a URL after ://. Raises SettingError."""
    authority = rest.partition("/")[0]
    if "@" in authority:
        raise SettingError("contains a user name or password", "move them to their own settings")
    if any(letter in rest for letter in "?# "):
        raise SettingError("contains a space, ? or #", "give the server's address only")
    name, port = split_port(authority)
    if not authority.isascii() or not _is_host(name):
        remedy = "write it as in 192.168.1.10 or [fd00::1], a port as in host:8086"
        raise SettingError("no valid host name or address", remedy)
    if port and not _is_port(port):
        raise SettingError("no valid port", "give a number from 1 to 65535")


def split_port(authority: str) -> tuple[str, str]:
    """Split into a name or bracketed IPv6 address, and the port; empty without one."""
    name, _, port = authority.rpartition(":")
    return (name, port) if port.isdecimal() else (authority, "")


class BrokerUrl(NamedTuple):
    """The parts of a broker's URL."""

    scheme: str
    host: str  # In lower case, without brackets; empty for a Unix socket
    port: int  # 0 for a Unix socket
    path: str


def split_broker(url: str) -> BrokerUrl:
    """The parts of a checked broker URL."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    name, port = split_port(authority)
    return BrokerUrl(scheme, name.strip("[]").lower(), int(port or BROKER_PORTS.get(scheme, 0)), slash + path)


def _is_port(text: str) -> bool:
    # Python converts no text of thousands of digits.
    return bool(re.fullmatch(r"\d{1,5}", text, re.ASCII)) and 0 < int(text) < 65536


def check_listen(value: str) -> str:
    """Check an address and a port to listen on; empty for none."""
    if not value:
        return value
    host, port = split_port(value)
    if not _is_address(host) or not _is_port(port):
        raise SettingError
    return value


def _is_host(name: str) -> bool:
    """Whether this is a host's name or address."""
    if name.startswith("[") or name.replace(".", "").isdecimal():
        return _is_address(re.sub(r"%[\w.-]+]$", "]", name))  # [fe80::1%br-lan]
    return ":" not in name and all(0 < len(label) < 64 for label in name.split("."))


def _is_address(text: str) -> bool:
    """Whether this is an IPv4 address, or an IPv6 address in brackets."""
    bracketed = text.startswith("[") and text.endswith("]")
    try:
        socket.inet_pton(socket.AF_INET6 if bracketed else socket.AF_INET, text[1:-1] if bracketed else text)
    except (OSError, ValueError):
        return False
    return True


def check_topic(value: str) -> str:
    """Check a topic prefix."""
    if any(letter in value for letter in "+#") or value.startswith("$"):
        raise SettingError("a topic cannot contain + or #, nor begin with $", "remove that")
    if value.startswith("/") or value.endswith("/"):
        raise SettingError("begins or ends with /", "remove it")
    if len(value.encode()) > TOPIC_BYTES_MAX:
        raise SettingError(f"longer than {TOPIC_BYTES_MAX} bytes", "shorten it")
    return check_name(value)


def check_topic_or_off(value: bool | str) -> str:
    """Check a topic prefix. Returns an empty one for false."""
    if value in (True, "true", "false"):
        raise SettingError
    return check_topic(value) if isinstance(value, str) and value else ""


def check_client_id(value: str) -> str:
    if len(value.encode()) > CLIENT_ID_BYTES_MAX:
        raise SettingError(f"longer than {CLIENT_ID_BYTES_MAX} bytes", "shorten it")
    return check_text(value)


def quantity(low: float, high: float, units: dict[str, int] | None = None) -> Callable[[Any], Any]:
    """A check of numbers within these limits, and of texts with a whole number and a unit, such as "15 min"."""

    def check(value: float | str) -> float:
        if isinstance(value, str):
            match = re.fullmatch(r"\s*(\d{1,12})\s*([a-z]*)\s*", value.lower(), re.ASCII)
            factor = {"": 1, **(units or {})}.get(match[2]) if match else None
            if match is None or factor is None:
                raise SettingError
            value = int(match[1]) * factor
        if not low <= value <= high:
            raise SettingError
        return value

    return check


def check_path(value: str) -> str:
    if not value.startswith("/") or any(letter in value for letter in "?# "):
        raise SettingError
    return check_text(value)


def check_measurement(value: str) -> str:
    if value.startswith("#"):
        raise SettingError("begins with #, which servers take for a comment", "choose another name")
    return check_name(value)


def check_verify(value: bool | str) -> bool | str:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        raise SettingError
    return check_name(value)


def check_serials(value: list[object]) -> list[str]:
    """Check inverters' serial numbers. Removes duplicates."""
    for serial in value:
        if not isinstance(serial, str) or len(serial) != SERIAL_LENGTH or not (serial.isascii() and serial.isalnum()):
            raise SettingError
    return list(dict.fromkeys(str(serial) for serial in value))


def check_tags(value: dict[str, object]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for name, text in value.items():
        if name == "serial":
            raise SettingError("the tag serial is the inverter's serial number", "choose another name")
        if name in RESERVED_TAGS:
            raise SettingError(f"the tag {name} is reserved by servers", "choose another name")
        if not isinstance(text, str) or not text or not name:
            raise SettingError
        tags[check_name(name)] = check_name(text)
    return tags


def choice(*words: str) -> ValueType:
    """The type of a setting that is one of these words."""
    listed = ", ".join(words)

    def check(value: str) -> str:
        if value not in words:
            near = nearest(value, words)
            raise SettingError(f"expected one of {listed}", f"did you mean {near}?") if near else SettingError
        return value

    return ValueType((str,), f"one of {listed}", check)


_TIMES = {"s": 1, "min": 60, "h": 3600}
_SIZES = {"b": 1, "k": 2**10, "kib": 2**10, "m": 2**20, "mib": 2**20, "g": 2**30, "gib": 2**30}

BOOLEAN = ValueType((bool,), "true or false", bool)
TEXT = ValueType((str,), "text", check_text)
NAME = ValueType((str,), "text that is not empty", check_name)
URL = ValueType((str,), "a server's address", check_url, "http://192.168.1.10:8086")
BROKER = ValueType((str,), "a broker's address", check_broker, "mqtt://192.168.1.10:1883")
LISTEN = ValueType((str,), "an IP address of this system and a port", check_listen, "127.0.0.1:9101")
TOPIC = ValueType((str,), "a topic prefix", check_topic)
TOPIC_OR_OFF = ValueType((bool, str), "a topic prefix, or false", check_topic_or_off)
CLIENT_ID = ValueType((str,), "text", check_client_id)
KEEPALIVE = ValueType((int,), "a whole number of seconds from 5 to 3600", quantity(5, 3600))
DURATION = ValueType(
    (int, float, str), "a number of seconds from 1 to 86400, or text", quantity(1, 86400, _TIMES), "15 min"
)
PATH = ValueType((str,), "a path", check_path, "/api/v2/write")
MEASUREMENT = ValueType((str,), "text that is not empty", check_measurement)
SECONDS = ValueType((int, float), "a number of seconds from 0.1 to 300", quantity(0.1, 300))
BYTES = ValueType(
    (int, str), "a number of bytes from 16 KiB to 1 GiB, or text", quantity(2**14, 2**30, _SIZES), "4 MiB"
)
VERIFY = ValueType((bool, str), "true, false, or the path of a file with certificates", check_verify)
SERIALS = ValueType((list,), f"serial numbers of {SERIAL_LENGTH} digits and letters", check_serials, ["2205164738"])
TAGS = ValueType((dict,), "names and texts", check_tags, {"site": "farm"})


def nearest(word: str, known: Iterable[str], least: float = 0.6) -> str | None:
    """The known word most similar to this one; None when none has at least the similarity `least` (0 to 1)."""
    import difflib

    folded = {item.casefold(): item for item in known}
    found = difflib.get_close_matches(word.casefold(), folded, 1, least)
    return folded[found[0]] if found else None
