"""Broken settings, in TOML and as UCI exports them. They are read, or refused with a ConfigError, and nothing else."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

from inverter_capture.config import toml_file, uci
from inverter_capture.config.problems import ConfigError
from inverter_capture.config.schema import SECTIONS
from tests.fuzz import Failure
from tests.network import ROOT

ROUND_INPUTS = 20
CHANGES_MAX = 4

TOML = b"""# a comment
[pcap]
device = "br-lan"
filter = "tcp port 51100"
timezone = "Africa/Johannesburg"
guard = true
serials = ["2211229876"]
[[influxdb2]]
host = "https://influx.example:8086"
org = 'home'
bucket = "solar"
token = "secret=="
tags = { site = "house", "a b" = "c" }
timeout = 7.5
buffer = "4 MiB"
[[mqtt]]
url = "mqtts://broker"
username = "u"
password = "p"
stale_after = "15 min"
discovery_prefix = false
[[console]]
format = "json"
[metrics]
listen = "[::1]:9101"
[log]
level = "info"
"""
UCI = b"package inverter-capture\n\n" + re.sub(
    rb"^(\t(?:option|list) \S+) ([^'\n]*)$",
    rb"\1 '\2'",
    (Path(ROOT) / "files/etc/config/inverter-capture").read_bytes(),
    flags=re.MULTILINE,
)
SETTINGS = [name.encode() for section in SECTIONS.values() for name in section.settings]
PIECES = [
    *(b'"', b"'", b'"""', b"'''", b"[", b"[[", b"]", b"{", b"}", b"=", b",", b"\n", b"\\", b"#", b".", b"\0", b"\r"),
    *(b"\xff", "ü\N{SNOWMAN}".encode(), b"1e999", b"-1", b"nan", b"9" * 5000, b"0x", b"1979-05-27", b"true", b"\\u0"),
    *(b"[" * 2000, b"a." * 500, b"://", b"[::1]", b"%", b"$", b"\tlist tags 'a=b'\n", b"config mqtt\n", b"option "),
    *SETTINGS,
]


def changed(data: bytes, chance: random.Random, pieces: list[bytes]) -> bytes:
    """Some of it is missing, doubled, moved, of other bytes, or has one of these pieces in it."""
    for _ in range(chance.randrange(CHANGES_MAX + 1)):
        at, to = sorted(chance.randrange(len(data) + 1) for _ in range(2))
        to = min(to, at + chance.choice([1, 10, 100, len(data)]))
        piece, cut = chance.choice(pieces), data[at:to]
        middle = chance.choice([b"", cut * 2, piece, piece + cut, cut[::-1], chance.randbytes(len(cut) & 15)])
        data = data[:at] + middle + data[to:]
    return data


class Texts:
    """Settings in one of the two forms."""

    def __init__(self, chance: random.Random, whole: bytes, read: Callable[[bytes], object]) -> None:
        self.inputs: list[object] = []
        self._chance = chance
        self._whole = whole
        self._read = read

    def round(self) -> None:
        """Raises whatever goes wrong."""
        self.inputs = []
        for _ in range(ROUND_INPUTS):
            data = changed(self._whole, self._chance, PIECES)
            self.inputs.append(data)
            try:
                self._read(data)
            except ConfigError as error:
                if not error.messages or any("\n" in message for message in error.messages):
                    raise Failure(f"messages of one line each, not {error.messages}") from error

    def close(self) -> None:
        """Nothing is kept."""


def read_toml(data: bytes) -> object:
    return toml_file.TomlFile(toml_file.decode(data, "f"), "f").config()


def read_uci(data: bytes) -> object:
    text = uci.UciExport(data, "f").toml()
    return toml_file.TomlFile(text, "f").config()
