"""The UCI file: read as `uci` reads it, turned into TOML that says the same, and every mistake told in UCI's words."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from inverter_capture.capture import libpcap
from inverter_capture.capture.libpcap import FilterError, check_filter
from inverter_capture.config import schema as config
from inverter_capture.config import uci
from inverter_capture.config.kinds import (
    NAME,
    REQUIRED,
    TEXT,
    Kind,
    Section,
    SectionConfig,
    Setting,
    SettingError,
    setting,
)
from inverter_capture.config.schema import SECTIONS, ConfigError, InfluxDb2Config, MqttConfig, PcapConfig, parse
from inverter_capture.config.uci import OFF, ON, UciFile
from tests.programs import run_program

Sections = list[tuple[str, str, dict[str, str | list[str]]]]
"""What UCI makes of a file: type, name (as uci export -n gives it) and options of each section."""


def read(text: str) -> Sections:
    return [(section.type, section.name, section.options) for section in UciFile(text, "f").read()]


def toml(folder: Path, text: str | bytes) -> str:
    """What the file becomes; it is always right."""
    path = folder / "inverter-capture"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogateescape"))
    made = uci.to_toml(str(path))
    assert made.isascii()
    parse(made, "c.toml")
    return made


def complaints(folder: Path, text: str | bytes) -> list[str]:
    """What is said about this text, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        toml(folder, text)
    name = f"{folder}/inverter-capture:"
    messages = caught.value.messages
    assert messages
    assert all(message.startswith(name) and message.isprintable() for message in messages)
    return [message.removeprefix(name).removeprefix(" ") for message in messages]


def complaint(folder: Path, text: str | bytes) -> str:
    """The only thing that is said about this text."""
    (message,) = complaints(folder, text)
    return message


# --- libuci's grammar ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("", []),
        (" \t\n# config a\n\r\n  # x\n", []),
        ("config a", [("a", "cfg01b606", {})]),
        ("package p\nconfig a 'b'\n", [("a", "b", {})]),
        ("c a b\no x 1\nl y 2\nl y 3\np q\n", [("a", "b", {"x": "1", "y": ["2", "3"]})]),
        ("config \"a\" b\r\n\toption 'x'\t\"1\"\r\n", [("a", "b", {"x": "1"})]),
        ("config a b\noption x one' two'\" three\"\\ four\n", [("a", "b", {"x": "one two three four"})]),
        ("config a b\noption x '\"\\n#;'\n", [("a", "b", {"x": '"\\n#;'})]),
        ('config a b\noption x "\'\\"\\n\\\\"\n', [("a", "b", {"x": "'\"n\\"})]),
        ("config a b\noption x 'it'\\''s'\n", [("a", "b", {"x": "it's"})]),
        ("config a b\noption x '1\n\n 2'\n", [("a", "b", {"x": "1\n\n 2"})]),
        ('config a b\noption x "1\\\n2\\\r\n3\r\n4"\n', [("a", "b", {"x": "123\r\n4"})]),
        ("config a b\noption x 1\\\n2 \\\n\n", [("a", "b", {"x": "12"})]),
        ("config a b\noption x 1#2\noption y # 3\n", [("a", "b", {"x": "1"})]),
        ("config a b # c\noption x \\#1 #2\n", [("a", "b", {"x": "#1"})]),
        ("config a b\noption x é\xa0ÿ\n", [("a", "b", {"x": "é\xa0ÿ"})]),
        # An empty option is none, and leaves what was there before; an empty item of a list is one.
        ("config a b\noption x 1\noption x ''\noption y\nlist z ''\n", [("a", "b", {"x": "1", "z": [""]})]),
        # The last one counts, an option and a list of one name are one list.
        ("config a b\noption x 1\noption y 2\noption x 3\n", [("a", "b", {"x": "3", "y": "2"})]),
        ("config a b\noption x 1\nlist x 2\nlist y 3\noption y 4\n", [("a", "b", {"x": ["1", "2"], "y": "4"})]),
        # A section goes on where its name comes again, even if that is what libuci called one without a name.
        ("config a b\nconfig c\nconfig a b\noption x 1\n", [("a", "b", {"x": "1"}), ("c", "cfg02b608", {})]),
        ("config a\nconfig a cfg01b606\noption x 1\n", [("a", "cfg01b606", {"x": "1"})]),
        # Several commands on a line; a ; that touches a word without quotes ends the line.
        ("config a 'b'; option x 1 ; option y '2'\n", [("a", "b", {"x": "1", "y": "2"})]),
        ("config a b\noption x 1; option y 2\n", [("a", "b", {"x": "1"})]),
        ("config a b\noption x 1; (anything\n", [("a", "b", {"x": "1"})]),
        ("config a b\noption x '1' '' option y 2\n", [("a", "b", {"x": "1", "y": "2"})]),
        ("config a!$%~ b\n", [("a!$%~", "b", {})]),
    ],
)  # fmt: skip
def test_what_libuci_makes_of_it(text: str, sections: Sections) -> None:
    """Each compared with what OpenWrt's `uci -n export` says."""
    assert read(text) == sections


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("config\n", '1: expected "config", "option" or "list"'),
        ("config a b\n\n  opt x 1\n", '3: expected "config", "option" or "list"'),
        ("\ufeffconfig a\n", '1: expected "config", "option" or "list"'),
        ("config a 'b';\n", '1: expected "config", "option" or "list"'),
        ("config", '1: nothing behind "config"'),
        ("config a\noption \n", "2: an option's name is missing"),
        ("config ''\n", "1: a section's type is missing"),
        ("package # p\n", "1: a package's name is missing"),
        ("option x 1\n", '1: an option outside any section: write "config" and the section\'s type above it'),
        ("config a b-c\n", "1: a section's name can have letters, digits and _ only"),
        ("config é\n", "1: a section's type can have letters, digits and _ only"),
        ("config a\nlist x.y 1\n", "2: an option's name can have letters, digits and _ only"),
        ("package a.b\n", "1: a package's name can have letters, digits, _ and - only"),
        ("config a\noption x 1 2\n", "2: more words than belong here: put quotes around a value of several words"),
        ("config a b c\n", "1: more words than belong here: put quotes around a value of several words"),
        ("config a\noption x \\\n 1\n", "3: more words than belong here: put quotes around a value of several words"),
        ("config a b\nconfig c b\n", "2: a section of type a has this name already: choose another"),
        ("config a\n\noption x '1\n\n\n", "3: text that begins with ' has no end: write ' behind it"),
        ('config a\noption x "1\\', '2: text that begins with " has no end: write " behind it'),
    ],
)
def test_what_libuci_refuses(tmp_path: Path, text: str, said: str) -> None:
    assert complaint(tmp_path, text) == said


def test_a_damaged_file(tmp_path: Path) -> None:
    assert complaint(tmp_path, "config a\n\0\0") == "2: a NUL character, as a damaged file has: write the file anew"


class Command(NamedTuple):
    """A line of a UCI file, or a part of one, before it is written."""

    word: str
    name: str
    value: str


NAMES = st.sampled_from(["a", "b", "influxdb2", "_", "7", "cfg01b606", "cfg02b606"])
TYPES = st.sampled_from(["a", "c", "influxdb2", "a-b!"])
VALUES = st.text(st.sampled_from("ab \t\r\n'\"\\#;=é€😀\x01\xa0") | st.characters(exclude_characters="\0"), max_size=12)
COMMENTS = st.text(st.characters(exclude_characters="\0\n"), max_size=9).map("#{}".format)
commands = (
    st.builds(Command, st.just("config"), TYPES, NAMES | st.just(""))
    | st.builds(Command, st.sampled_from(["option", "list"]), NAMES, VALUES)
    | st.builds(Command, st.just("package"), st.just("inverter-capture"), st.just(""))
)


def meaning(commands: Iterable[Command]) -> Sections:
    """What libuci makes of these commands. For generated names only those of type a are known."""
    sections: Sections = []
    options: dict[str, str | list[str]] = {}
    for word, name, value in commands:
        if word == "config":
            known = [section for section in sections if section[1] == value]
            if known:
                assume(known[0][0] == name)
            else:
                known = [(name, value or f"cfg{len(sections) + 1:02x}{GENERATED[name]}", {})]
                sections += known
            options = known[0][2]
        elif word == "option" and value:
            options[name] = value
        elif word == "list":
            before = options.get(name, [])
            options[name] = [*([before] if isinstance(before, str) else before), value]
    return sections


GENERATED = {"a": "b606", "c": "b608", "influxdb2": "6c33", "a-b!": "0c76"}
"""The part of a generated name that comes from the type, as `uci` makes it."""


@st.composite
def quoted(draw: st.DrawFn, value: str) -> str:
    """The value as it can stand in a file: in pieces with and without quotes, over several lines."""
    written = ""
    places = sorted(draw(st.sets(st.integers(0, len(value)), max_size=3)) | {0, len(value)})
    for start, end in pairwise(places):
        piece = value[start:end]
        style = draw(st.sampled_from("'\"\\"))
        if style == "'" and "'" not in piece:
            written += f"'{piece}'"
        elif style == '"' or "\n" in piece or "\r" in piece:
            escaped = re.sub(r'(["\\])', r"\\\1", piece)
            written += f'"{draw(st.sampled_from(["", chr(92) + chr(10)]))}{escaped}"'
        else:
            written += re.sub(r"([ \t\v\f'\"\\#;])", r"\\\1", piece)
        if piece:
            written += draw(st.sampled_from(["", "", "", "''", "\\\n", "\\\r\n"]))
    return written or "''"


@st.composite
def uci_texts(draw: st.DrawFn, commands: list[Command]) -> str:
    """The commands as somebody, or `uci`, writes them."""
    blanks = st.sampled_from([" ", "\t", "  ", " \t"])
    text = ""
    for place, (word, name, value) in enumerate(commands, 1):
        if not text.endswith("; "):
            text += draw(st.sampled_from(["", "", "\t", "  ", "\n", " \r\n"]))
            if draw(st.integers(0, 9)) == 0:
                text += draw(COMMENTS) + "\n"
        text += draw(st.sampled_from([word, word, word[0]])) + draw(blanks) + draw(quoted(name))
        has_value = word != "package" and (bool(value) or draw(st.booleans()))
        if has_value:
            text += draw(blanks) + draw(quoted(value))
        # On one line: not in front of an empty line, which would be no command, nor in the place of an argument.
        if (has_value or word == "package") and place < len(commands) and draw(st.integers(0, 9)) == 0:
            text += " ; "
        else:
            text += draw(st.sampled_from(["\n", "\n", "\n", "\r\n", " \n", draw(blanks) + draw(COMMENTS) + "\n"]))
    return text if draw(st.booleans()) else text.removesuffix("\n")


@given(st.data(), st.lists(commands, max_size=8))
def test_whatever_way_it_is_written(data: st.DataObject, commands: list[Command]) -> None:
    commands = [Command("config", "a", ""), *commands]
    expected = meaning(commands)
    assert read(data.draw(uci_texts(commands))) == expected


# --- every setting, as the schema has it --------------------------------------------------------------------------

POOL: tuple[Any, ...] = (
    *(True, False, 0, 1, 7, 60, 4000, 20_000, 2**30, 0.25, 7.5, 0.001),
    *("", "x", "br-lan", "any", "local", "UTC", "/data/day.pcap", "/etc/ssl/ca.pem", "T0ken==", "user:password"),
    *("http://db:8086", "https://[::1]/influx", "db.example", "mqtt://broker", "mqtts://broker:8884", "unix:///run/m"),
    *(
        "64 KiB",
        "4 MiB",
        "15 min",
        "tcp port 80 and host 192.168.1.7",
        'it\'s "quoted" \\n #;',
        "日光 ☀ é😀",
        " 1 ",
        "a=b",
    ),
    *({"site": "farm"}, {"a b": "c = 'd'", "é": "\\"}, ["x"], ["x", "y z"]),
)
"""Values in TOML. Each setting takes some of them; words and examples come from what its kind says it expects."""
GOOD: dict[str, dict[str, Any]] = {
    "pcap": {"device": "br-lan"},
    "influxdb2": {"host": "db", "org": "o", "bucket": "b", "token": "user:password"},
    "mqtt": {"url": "mqtts://broker", "username": "u", "certificate": "/etc/ssl/c.pem"},
}
"""Settings that let every other one be set, as far as there are such."""
EVERY_SETTING = [(known.name, name) for known in SECTIONS.values() for name in known.settings]


FILTER = SECTIONS["pcap"].settings["filter"]


def takes(spec: Setting, value: Any) -> bool:
    try:
        spec.kind.read(value)
        if spec is FILTER:
            check_filter(value)
    except (SettingError, FilterError):
        return False
    # UCI has no empty value. It would say nothing, unless the default is another.
    return bool(value != "" or (isinstance(spec.default, str) and spec.default))


@cache
def candidates(section: str, name: str) -> list[Any]:
    spec = SECTIONS[section].settings[name]
    found = [value for value in (*POOL, *re.findall('"([^"]*)"', spec.kind.expected)) if takes(spec, value)]
    assert found, f"no value for {name} of {section}: add one to the POOL"
    return found


def values(section: str, name: str) -> st.SearchStrategy[Any]:
    spec = SECTIONS[section].settings[name]
    letters = st.characters(exclude_categories=["Cc", "Cs"])
    texts = st.text(letters, min_size=1, max_size=9).filter(lambda text: takes(spec, text))
    known = st.sampled_from(candidates(section, name))
    return known | texts if spec.kind in (TEXT, NAME) and spec is not FILTER else known


@st.composite
def settings_of(draw: st.DrawFn, known: Section) -> dict[str, Any]:
    """Settings, as in TOML, that go together."""
    chosen = {
        name: draw(values(known.name, name))
        for name, spec in known.settings.items()
        if spec.default is REQUIRED or draw(st.integers(0, 3))
    }
    while True:
        try:
            known.type(**{name: known.settings[name].kind.read(value) for name, value in chosen.items()})
        except SettingError as wrong:
            if GOOD.get(known.name, {}).items() <= chosen.items():
                del chosen[wrong.setting]
            else:
                chosen |= GOOD[known.name]
        else:
            return chosen


def as_uci(value: Any) -> list[tuple[str, str]]:
    """The commands and texts that say this in UCI."""
    if isinstance(value, bool):
        return [("option", "1" if value else "0")]
    if isinstance(value, dict):
        return [("list", f"{name}={text}") for name, text in value.items()]
    if isinstance(value, list):
        return [("list", item) for item in value]
    return [("option", "0" if value == "" else str(value))]


def section(type: str, name: str, chosen: dict[str, Any], *lines: str) -> str:
    text = f"config {type} {name}\n" + "".join(f"\t{line}\n" for line in lines)
    for option, value in chosen.items():
        for command, word in as_uci(value):
            escaped = word.replace("'", "'\\''")
            text += f"\t{command} {option} '{escaped}'\n"
    return text


@st.composite
def configurations(draw: st.DrawFn) -> tuple[str, config.Config]:
    """A UCI file, and what it configures."""
    sections: list[str] = []
    expected: dict[str, list[Any]] = {}
    for known in SECTIONS.values():
        several = expected.setdefault(known.name, [])
        for _ in range(draw(st.integers(known.name == "console", 2)) if known.repeated else 1):
            chosen = draw(settings_of(known))
            name = draw(st.sampled_from(["", f"{known.name}_{len(sections)}"]))
            enabled = [f"option enabled {word}" for word in draw(st.lists(st.sampled_from(ON), max_size=1))]
            sections.append(section(known.name, name, chosen, *(enabled if known.repeated else ())))
            several.append(known.type(**{name: known.settings[name].kind.read(chosen[name]) for name in chosen}))
            if known.repeated and draw(st.booleans()):
                off = f"option enabled {draw(st.sampled_from(OFF))}"
                sections.append(section(known.name, "", draw(settings_of(known)), off, "option unknown 1"))
    sections.append("config service service\n\toption enabled 0\n")
    # Sections of one type stay in their order.
    order = draw(st.permutations(range(len(sections)))) if draw(st.booleans()) else range(len(sections))
    by_type: dict[str, list[str]] = {}
    for text in sections:
        by_type.setdefault(text.split()[1], []).append(text)
    text = "\n".join(by_type[sections[place].split()[1]].pop(0) for place in order)
    made: dict[str, Any] = {
        name: tuple(several) if SECTIONS[name].repeated else several[0] for name, several in expected.items()
    }
    return text, config.Config(**made)


@settings(phases=set(Phase) - {Phase.shrink})  # it would take minutes
@given(configurations())
def test_whatever_is_configured(
    tmp_path_factory: pytest.TempPathFactory, configuration: tuple[str, config.Config]
) -> None:
    text, expected = configuration
    assert parse(toml(tmp_path_factory.getbasetemp(), text), "c.toml") == expected


@pytest.mark.parametrize(("name", "option"), EVERY_SETTING)
def test_every_setting(tmp_path: Path, name: str, option: str) -> None:
    known = SECTIONS[name]
    spec = known.settings[option]
    tried = 0
    for value in candidates(name, option):
        chosen = {**GOOD.get(name, {}), option: value}
        try:
            expected = known.type(**{key: known.settings[key].kind.read(chosen[key]) for key in chosen})
        except SettingError:
            continue
        others = [other for other in ("pcap", "console") if other != name]
        text = "".join(section(other, "", GOOD.get(other, {})) for other in others) + section(name, "x", chosen)
        made = getattr(parse(toml(tmp_path, text), "c.toml"), name)
        assert (made[-1] if known.repeated else made) == expected
        tried += 1
    assert tried
    if bool in spec.kind.types:
        for words, value in ((ON, True), (OFF, False)):
            for word in words:
                text = section("pcap", "pcap", GOOD["pcap"]) + "config console\n"
                text += section(name, "x" if known.repeated else name, GOOD[name], f"option {option} {word}")
                made = getattr(parse(toml(tmp_path, text), "c.toml"), name)
                assert getattr(made[-1] if known.repeated else made, option) is value


def test_in_one_example(tmp_path: Path) -> None:
    text = """
        config service 'service'
            option enabled '1'
        config pcap 'pcap'
            option device 'br-lan'
            option filter ''
        config influxdb2
            option host '192.168.1.10:8086'
            option org 'home'
            option bucket 'solar "roof"'
            option token 'T0p=='
            option timeout ' 2.50 '
            option verify 'off'
            option buffer '1048576'
            list tags 'site=my farm'
            list tags ''
            list schema 'narrow'
        config influxdb2 'other'
            option enabled '0'
            option anything 'goes'
        config mqtt 'broker'
            option enabled 'yes'
            option url 'mqtt://broker'
            option discovery_prefix '0'
            option verify '/etc/ssl/é.pem'
    """
    made = toml(tmp_path, text)
    assert made == (
        '[pcap]\ndevice = "br-lan"\n\n'
        '[[influxdb2]]\nhost = "192.168.1.10:8086"\norg = "home"\nbucket = "solar \\"roof\\""\ntoken = "T0p=="\n'
        'timeout = 2.5\nverify = false\nbuffer = 1048576\ntags = {"site" = "my farm"}\nschema = "narrow"\n\n'
        '[[mqtt]]\nurl = "mqtt://broker"\ndiscovery_prefix = ""\nverify = "/etc/ssl/\\U000000e9.pem"\n\n'
    )
    read = parse(made, "c.toml")
    assert read.pcap == PcapConfig(device="br-lan")
    assert read.mqtt == (MqttConfig(url="mqtt://broker", discovery_prefix="", verify="/etc/ssl/é.pem"),)
    assert read.influxdb2 == (
        InfluxDb2Config(
            host="http://192.168.1.10:8086",
            org="home",
            bucket='solar "roof"',
            token="T0p==",
            timeout=2.5,
            verify=False,
            buffer=1024 * 1024,
            tags={"site": "my farm"},
            schema="narrow",
        ),
    )


# --- mistakes -----------------------------------------------------------------------------------------------------

START = "config pcap 'pcap'\n\toption device 'br-lan'\n\nconfig console\n\n"
DATABASE = "config influxdb2 'home'\n\toption host 'db'\n\toption org 'o'\n\toption bucket 'b'\n\toption token 't'\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DATABASE + "option host ftp://x", "influxdb2 'home' option host 'ftp://x': begin with http:// or https://"),
        (
            DATABASE + "option timeout soon",
            ("influxdb2 'home' option timeout 'soon': expected a number of seconds above 0, up to 300 "
            "(how long to wait for the server)"),
        ),
        (
            "config influxdb2\noption enabled 0\n" + DATABASE.replace(" 'home'", "") + "option schema wid",
            "@influxdb2[1] option schema 'wid': did you mean \"wide\"? Possible are \"wide\", \"narrow\"",
        ),
        (
            DATABASE + "option verify ' '",
            ("influxdb2 'home' option verify ' ': expected true, false, or the path of a file with certificates "
            "(whether to check the server's certificate, or the file of its authority)"),
        ),
        (DATABASE + "option tokem x", "influxdb2 'home' option tokem: unknown option: did you mean \"token\"?"),
        (DATABASE + "option level x", "influxdb2 'home' option level: an option of log: move it there"),
        (
            "config influxdb2 home\noption host db\noption org o\noption bucket b\n",
            ("influxdb2 'home' option token: missing: uci set inverter-capture.home.token=..., "
            "or option authentication 'none'"),
        ),
        (
            "config mqtt\noption keepalive 10",
            ("@mqtt[0] option url: missing: uci set inverter-capture.@mqtt[0].url=... "
            "(the broker's address, with mqtt://, mqtts://, ws://, wss:// or unix://)"),
        ),
        (DATABASE + "list tags site", "influxdb2 'home' option tags: expected items such as 'site=farm'"),
        (
            DATABASE + "list tags a=b\nlist tags a=c",
            "influxdb2 'home' option tags: a stands there twice: keep one",
        ),
        (
            DATABASE + "list tags =b",
            "influxdb2 'home' option tags: a tag is a name and a text, as in list tags 'site=farm'",
        ),
        (DATABASE + "list org a\nlist org b", "influxdb2 'home' option org: a list of several values: keep one"),
        (DATABASE + "option org 'a\nb'", ("influxdb2 'home' option org 'a\\nb': has a line break or another control "
         "character in it: leave that out")),
        (DATABASE + "option org '\udcff'", "influxdb2 'home' option org: not UTF-8 text: write it as UTF-8"),
        (DATABASE + "list tags 'a=\udcff'", "influxdb2 'home' option tags: not UTF-8 text: write it as UTF-8"),
        (DATABASE + "option enabled maybe", "influxdb2 'home' option enabled 'maybe': expected 1 or 0"),
        (DATABASE + "list enabled 1", "influxdb2 'home' option enabled: expected 1 or 0"),
        ("config service\noption enabled 2", "@service[0] option enabled '2': expected 1 or 0"),
        ("config service s\noption enable 1", "service 's' option enable: unknown option: known is enabled"),
        ("config influx x\noption token t", "influx 'x': unknown section type: did you mean influxdb2?"),
        ("config Log", "@Log[0]: unknown section type: did you mean log?"),
        (
            "config xyzzy",
            "@xyzzy[0]: unknown section type: known are service, pcap, influxdb2, mqtt, console, log",
        ),
        (
            "config pcap\noption device x",
            "@pcap[1]: pcap 'pcap' is there already: keep one: uci delete inverter-capture.@pcap[1]",
        ),
        ("config log\noption enabled 1", "@log[0] option enabled: unknown option: known are level"),
        (
            "config pcap pcap\noption file 2",
            "pcap 'pcap' option file '2': expected 1 or 0 (whether device is the path of a capture file)",
        ),
        (
            "config pcap pcap\noption device /a",
            ("pcap 'pcap' option device '/a': no network device has \"/\" in its name: for a capture file add "
            "option file '1'"),
        ),
        (
            "config pcap pcap\noption device ' '",
            ("pcap 'pcap' option device ' ': expected text that is not empty (a network device, \"any\", or with "
            "option file '1' the path of a capture file)"),
        ),
        (
            "config mqtt\noption url broker\noption discovery_prefix /",
            "@mqtt[0] option discovery_prefix '/': leave out the / at its ends",
        ),
    ],
)  # fmt: skip
def test_mistakes_in_ucis_words(tmp_path: Path, text: str, said: str) -> None:
    assert complaint(tmp_path, START + text) == said


def test_a_filter_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaint(tmp_path, START + "config pcap pcap\noption filter 'tcp porrt 5'") == (
        'pcap \'pcap\' option filter "tcp porrt 5": syntax error, at "porrt 5" behind "tcp"; see `man pcap-filter`'
    )

    def no_name_server(text: str) -> None:
        raise FilterError("\"host dongle\": unknown host 'dongle'", passing=True)

    monkeypatch.setattr(libpcap, "check_filter", no_name_server)
    assert 'filter = "host dongle"' in toml(tmp_path, START + "config pcap pcap\noption filter 'host dongle'")


def test_every_mistake_is_told(tmp_path: Path) -> None:
    text = """
        config service
            option on 1
        config pcap
            option devise eth0
        config console
            option format tabel
            option enabled x
        config influxdb2 'a'
        config log
            option level 9
        config log
            option level 9
    """
    assert [message.split(":")[0] for message in complaints(tmp_path, text)] == [
        "@service[0] option on",
        "@console[0] option enabled 'x'",
        "@log[1]",
        "@pcap[0] option devise",
        "@console[0] option format 'tabel'",
        "influxdb2 'a' option host",
        "@log[0] option level '9'",
    ]


def test_with_a_mistyped_section_nothing_else_is_missing(tmp_path: Path) -> None:
    text = "config pcapp\n\toption device x\n\nconfig influxdb 'home'\n"
    assert complaints(tmp_path, text) == [
        "@pcapp[0]: unknown section type: did you mean pcap?",
        "influxdb 'home': unknown section type: did you mean influxdb2?",
    ]
    text = "config pcap\n\noption devise x\n\nconfig consul\n"
    assert len(complaints(tmp_path, text)) == 2


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("", ["pcap=pcap", "pcap.device=...", "home=influxdb2 (or mqtt, console) and its options"]),
        (
            "config pcap pcap\noption device ''\n",
            ["pcap.device=...", "home=influxdb2 (or mqtt, console) and its options"],
        ),
        ("config pcap\n\nconfig console\n", ["@pcap[0].device=..."]),
        ("config pcap\n\nconfig mqtt\n\toption enabled off\n", ["@pcap[0].device=...", "@mqtt[0].enabled=1"]),
        ("config pcap\noption device x\n" + DATABASE + "option enabled 0", ["home.enabled=1"]),
    ],
)
def test_nothing_is_configured_yet(tmp_path: Path, text: str, commands: list[str]) -> None:
    listed = ", and ".join(f"uci set inverter-capture.{command}" for command in commands)
    assert complaint(tmp_path, text) == f"not configured yet: {listed}"


def test_what_is_missing_beside_a_mistake(tmp_path: Path) -> None:
    assert complaints(tmp_path, "config pcap 'p'\n\toption guard 2\n") == [
        "pcap 'p' option guard '2': expected 1 or 0 (whether unlikely values wait until later ones confirm them)",
        (
            "pcap 'p' option device: missing: uci set inverter-capture.p.device=... (a network device, \"any\", or "
            "with option file '1' the path of a capture file)"
        ),
        "no backend is enabled: uci set inverter-capture.home=influxdb2 (or mqtt, console) and its options",
    ]


SECRET = "s3cret-T0ken=="


@pytest.mark.parametrize(
    "text",
    [
        DATABASE + f"option token '{SECRET} '",
        DATABASE + f"option token '{SECRET}\n'",
        DATABASE + f"option token '{SECRET}\udcff'",
        DATABASE + f"list token '{SECRET}'\nlist token '{SECRET}'",
        DATABASE + f"option tokn '{SECRET}'",
        DATABASE + f"option host 'http://u:{SECRET}@db'",
        DATABASE + f"option host 'http://u:{SECRET}\udcff@db'",
        DATABASE + f"option token {SECRET} {SECRET}",
        DATABASE + f"option token '{SECRET}",
        DATABASE + f"token {SECRET}",
        DATABASE + f"option token.{SECRET} 1",
        f"config mqtt\noption url broker\noption password '{SECRET}'",
        f"config mqt\noption password '{SECRET}'",
        f"config service\noption password '{SECRET}'",
    ],
)
def test_secrets_are_never_shown(tmp_path: Path, text: str) -> None:
    assert not any("s3cret" in message for message in complaints(tmp_path, START + text))


SOUP_LINES = "config pcap|config console|config mqtt b|config service|config log|option device x|option file 1"
SOUP_WORDS = "option|list|config|enabled|level|url|tags|'|\"|\\|#|;| |\r|x=y|x|é|\udcff|\0|debug|0|[[x]] = true"
SOUP = st.lists(
    st.sampled_from(SOUP_LINES.split("|")).map("{}\n".format)
    | st.sampled_from(SOUP_WORDS.split("|")).map("{} ".format)
    | st.sampled_from(SOUP_WORDS.split("|"))
    | st.just("\n"),
    max_size=30,
).map("".join)


@given(SOUP | st.text())
def test_any_text_is_a_configuration_or_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    messages: tuple[str, ...] = ()
    try:
        toml(folder, text)
    except ConfigError as error:
        messages = error.messages or ("none",)
    assert all(message.startswith(f"{folder}/") and message.isprintable() for message in messages)


# --- the door for backends to come --------------------------------------------------------------------------------


class LetterConfig(SectionConfig):
    stamp: str = setting(NAME, secret=True, help="what it costs")
    pages: int = setting(Kind((int,), "a number", int), 1, help="how long")
    weight: float = setting(Kind((float,), "a number", float), 1.0, help="how heavy")
    copies: list[str] = setting(Kind((list,), "names", list), [], help="who else gets it")
    greeting: str = setting(TEXT, "hello", help="how it begins")


class WiderConfig(NamedTuple):
    pcap: PcapConfig
    influxdb2: tuple[InfluxDb2Config, ...]
    mqtt: tuple[MqttConfig, ...]
    console: tuple[config.ConsoleConfig, ...]
    log: config.LogConfig
    letter: tuple[LetterConfig, ...]


LETTER = "config pcap\noption device x\nconfig letter\noption stamp s\n"


@pytest.fixture
def _wider(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration with one more backend: a class, and a line each in Config and SECTIONS."""
    monkeypatch.setattr(config, "Config", WiderConfig)
    monkeypatch.setitem(SECTIONS, "letter", Section("letter", LetterConfig, repeated=True))


@pytest.mark.usefixtures("_wider")
def test_a_new_backend_needs_nothing_here(tmp_path: Path) -> None:
    text = LETTER + "option pages 0012\noption weight 3\nlist copies 'a b'\nlist copies c\noption greeting off\n"
    assert toml(tmp_path, text + "config letter\noption enabled 0").endswith(
        '[[letter]]\nstamp = "s"\npages = 12\nweight = 3.0\ncopies = ["a b", "c"]\ngreeting = ""\n\n'
    )
    assert 'copies = ["a b"]' in toml(tmp_path, LETTER + "option copies 'a b'")
    assert complaint(tmp_path, LETTER + "option pages 1.5").startswith("@letter[0] option pages '1.5': expected a num")
    assert complaint(tmp_path, LETTER + f"option pages {'9' * 5000}").startswith("@letter[0] option pages '999999")
    assert complaint(tmp_path, LETTER + "option weight nan").startswith("@letter[0] option weight 'nan': expected a n")
    assert complaint(tmp_path, LETTER + "list stamp 1\nlist stamp 2").startswith("@letter[0] option stamp: a list of")


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "inverter-capture"
    path.write_text(START + DATABASE + "option org 'é'", encoding="utf-8")
    done = run_program("uci", path, PYTHONIOENCODING="latin-1")
    assert (done.code, done.err) == (0, "")
    (tmp_path / "c.toml").write_text(done.out)
    assert run_program("check", tmp_path / "c.toml").code == 0
    assert config.load(str(tmp_path / "c.toml")).influxdb2[0].org == "é"


def test_the_command_with_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "inverter-capture"
    path.write_text(START + "config log\noption level 9\noption x 1\n")
    done = run_program("uci", path)
    assert (done.code, done.out, len(done.errors)) == (2, "", 2)
    assert done.errors[0].startswith(f"error: {path}: @log[0] option level '9': expected one of ")
    path.write_text("config service service\n\toption enabled 0\n")
    done = run_program("uci", path)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert done.err.startswith(f"error: {path}: not configured yet: ")


def test_the_command_without_a_file(tmp_path: Path) -> None:
    done = run_program("uci", tmp_path / "x")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: {tmp_path}/x: cannot be read (No such file or directory): check the path, and who may read the file\n"
    )
    (tmp_path / "x").write_bytes(b"#" * (config.MAX_FILE_SIZE + 1))
    assert run_program("uci", tmp_path / "x").err.endswith("longer than 262144 bytes: give the path of a UCI file\n")
    assert "default: /etc/config/inverter-capture" in run_program("uci", "--help").out


def test_imports_are_few(tmp_path: Path) -> None:
    (tmp_path / "inverter-capture").write_text(START + DATABASE)
    code = """if True:
        import sys
        from inverter_capture.config import uci
        uci.to_toml(sys.argv[1])
        heavy = {"dpkt", "pcap", "requests", "paho", "json", "difflib", "dataclasses", "pathlib", "shlex", "zoneinfo"}
        assert not heavy & sys.modules.keys()
    """
    folder = os.path.dirname(os.path.dirname(config.__file__))
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "inverter-capture")], cwd=folder, check=True)
