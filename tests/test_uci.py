"""OpenWrt's settings: what `uci export` prints is read, becomes TOML that says the same, and every mistake is told."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from inverter_capture.capture import libpcap
from inverter_capture.capture.libpcap import FilterError, check_filter
from inverter_capture.config import problems, uci
from inverter_capture.config import schema as config
from inverter_capture.config.problems import ConfigError
from inverter_capture.config.schema import (
    REQUIRED,
    SECTIONS,
    InfluxDb2Config,
    MqttConfig,
    PcapConfig,
    Section,
    SectionConfig,
    Setting,
    setting,
)
from inverter_capture.config.toml_file import load
from inverter_capture.config.uci import OFF, ON, read_export
from inverter_capture.config.values import NAME, TEXT, SettingError, ValueType
from tests.configuration import parse
from tests.programs import run_program
from tests.router import uci as stand_in

EXPORTS = [json.loads(line) for line in (Path(__file__).parent / "uci/exports.jsonl").read_text("utf-8").splitlines()]
"""UCI files, and what OpenWrt 23.05's own `uci export` prints of each."""

Sections = list[tuple[str, str, str, dict[str, list[str]]]]
"""Type, name, how `uci set` calls it, and options of each section."""


def read(text: str) -> Sections:
    found = read_export(text, "f")
    return [(section.type, section.name, section.reference, section.options) for section in found]


def toml(folder: Path, text: str) -> str:
    """What this UCI file becomes, by way of `uci export`; it is always right."""
    return toml_of(folder, stand_in.export("inverter-capture", stand_in.parse(text)))


def toml_of(folder: Path, export: str) -> str:
    path = folder / "inverter-capture"
    path.write_bytes(export.encode(errors="surrogateescape"))
    made = uci.to_toml(str(path))
    assert made.isascii()
    parse(made, "c.toml")
    return made


def complaints(folder: Path, text: str) -> list[str]:
    """What is said about this UCI file, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        toml(folder, text)
    name = f"{folder}/inverter-capture:"
    messages = caught.value.messages
    assert messages
    assert all(message.startswith(name) and message.isprintable() for message in messages)
    return [message.removeprefix(name).removeprefix(" ") for message in messages]


def complaint(folder: Path, text: str) -> str:
    """The only thing that is said about this UCI file."""
    (message,) = complaints(folder, text)
    return message


# --- what `uci export` prints -------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXPORTS)
def test_what_openwrt_prints(example: dict[str, str]) -> None:
    """Compared with another reader, of the file that it was printed of."""
    sections = stand_in.parse(example["file"])
    expected: Sections = []
    for section in sections:
        number = sum(section.type == kind for kind, *_ in expected)
        options = {
            name: [item for item in ([value] if isinstance(value, str) else value) if item]
            for name, value in section.options.items()
        }
        expected.append((section.type, section.name, section.name or f"@{section.type}[{number}]", options))
    assert read(example["export"]) == expected
    assert stand_in.export("inverter-capture", sections) + "\n" == example["export"]


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("", []),
        ("package p\n\n", []),
        ("package p\n\nconfig a\n\nconfig a 'b'\n", [("a", "", "@a[0]", {}), ("a", "b", "b", {})]),
        ("config a 'b'\n\nconfig a\n\n", [("a", "b", "b", {}), ("a", "", "@a[1]", {})]),
        ("config a\n\tlist x '1'\n\tlist x ''\n\tlist x '2'\n", [("a", "", "@a[0]", {"x": ["1", "2"]})]),
        ("config a\n\toption x 'it'\\''s'\n", [("a", "", "@a[0]", {"x": ["it's"]})]),
        ("config a\n\toption x ''\\'''\\'''", [("a", "", "@a[0]", {"x": ["''"]})]),
        (
            "config a\n\toption x '\n\toption y '\\''1'\\''\n'\n\toption z '\\'\n",
            [("a", "", "@a[0]", {"x": ["\n\toption y '1'\n"], "z": ["\\"]})],
        ),
    ],
)
def test_details_of_it(text: str, sections: Sections) -> None:
    assert read(text) == sections


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# a comment\n", 1),
        ("config a\n\n\noption x 1\n", 4),
        ("config a\noption x\n", 2),
        ("option x '1'\n", 1),
        ("config a\noption x 'o\nption y '1'\n", 2),
        ("config a\noption x '1", 2),
        ("config a 'b' 'c'", 1),
        ("config", 1),
        ("\ufeffconfig a\n", 1),
        ("{}", 1),
    ],
)
def test_what_it_does_not_print(text: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    (message,) = caught.value.messages
    assert message.startswith(f"f:{line}: ")
    assert "give what `uci export inverter-capture` prints" in message


names = st.text(st.sampled_from("abc_7"), min_size=1, max_size=4)
texts = st.text(st.sampled_from("ab \t\r\n'\"\\#;=é€😀\x01\xa0") | st.characters(exclude_characters="\0"), max_size=12)
options = st.dictionaries(names, texts.filter(bool) | st.lists(texts, min_size=1, max_size=3), max_size=4)


@given(st.lists(st.tuples(names, names | st.just(""), options), max_size=5, unique_by=lambda item: item[1] or id(item)))
def test_whatever_it_prints(items: list[tuple[str, str, stand_in.Options]]) -> None:
    sections = []
    for kind, name, values in items:
        sections.append(stand_in.Section(kind, name))
        sections[-1].options.update(values)
    found = read(stand_in.export("inverter-capture", sections))
    assert [(kind, name) for kind, name, *_ in found] == [(kind, name) for kind, name, _ in items]
    for (*_, options), (*_, expected) in zip(found, items, strict=True):
        as_lists = {name: [value] if isinstance(value, str) else value for name, value in expected.items()}
        assert options == {name: [item for item in value if item] for name, value in as_lists.items()}


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
"""Values in TOML. Each setting takes some of them; words and an example come from what its type expects."""
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
        spec.type.read(value)
        if spec is FILTER:
            check_filter(value)
    except (SettingError, FilterError):
        return False
    return bool(value != "")  # UCI has no empty value


@cache
def candidates(section: str, name: str) -> list[Any]:
    spec = SECTIONS[section].settings[name]
    words = re.findall(r"[\w-]+", spec.type.expected)
    found = [value for value in (*POOL, spec.type.example, *words) if takes(spec, value)]
    assert found, f"no value for {name} of {section}: add one to the POOL"
    return found


def values(section: str, name: str) -> st.SearchStrategy[Any]:
    spec = SECTIONS[section].settings[name]
    letters = st.characters(exclude_categories=["Cc", "Cs"])
    texts = st.text(letters, min_size=1, max_size=9).filter(lambda text: takes(spec, text))
    known = st.sampled_from(candidates(section, name))
    return known | texts if spec.type in (TEXT, NAME) and spec is not FILTER else known


def checked(known: Section, chosen: dict[str, Any]) -> SectionConfig:
    """The section with these settings. Raises SettingError."""
    section = known.type(**{name: known.settings[name].type.read(value) for name, value in chosen.items()})
    for error in section.check():
        raise error
    return section


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
            checked(known, chosen)
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
    return [("option", str(value))]


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
            several.append(known.type(**{name: known.settings[name].type.read(chosen[name]) for name in chosen}))
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
            expected = checked(known, chosen)
        except SettingError:
            continue
        others = [other for other in ("pcap", "console") if other != name]
        text = "".join(section(other, "", GOOD.get(other, {})) for other in others) + section(name, "x", chosen)
        made = getattr(parse(toml(tmp_path, text), "c.toml"), name)
        assert (made[-1] if known.repeated else made) == expected
        tried += 1
    assert tried
    if bool in spec.type.types:
        for words, value in ((ON, True), (OFF, False)):
            for word in words if takes(spec, value) else ():
                text = section("pcap", "pcap", GOOD["pcap"]) + "config console\n"
                text += section(name, "x" if known.repeated else name, GOOD[name], f"option {option} {word}")
                made = getattr(parse(toml(tmp_path, text), "c.toml"), name)
                assert getattr(made[-1] if known.repeated else made, option) == spec.type.read(value)


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
        'timeout = 2.5\nverify = false\nbuffer = 1048576\ntags = { site = "my farm" }\nschema = "narrow"\n\n'
        '[[mqtt]]\nurl = "mqtt://broker"\ndiscovery_prefix = false\nverify = "/etc/ssl/\\u00e9.pem"\n\n'
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
    ("text", "place", "facts"),
    [
        (DATABASE + "option host ftp://x", "influxdb2 'home' option host 'ftp://x'", "begin with http:// or https://"),
        (DATABASE + "option timeout soon", "influxdb2 'home' option timeout 'soon'", "from 0.1 to 300 (Timeout"),
        (
            "config influxdb2\noption enabled 0\n" + DATABASE.replace(" 'home'", "") + "option schema wid",
            "@influxdb2[1] option schema 'wid'",
            "expected one of wide, narrow: did you mean wide?",
        ),
        (DATABASE + "option verify ' '", "influxdb2 'home' option verify ' '", "expected true, false, or the path"),
        (DATABASE + "option buffer 1", "influxdb2 'home' option buffer '1'", "or text such as '4 MiB' ("),
        (DATABASE + "option tokem x", "influxdb2 'home' option tokem", "unknown setting: did you mean token?"),
        (DATABASE + "option enable 1", "influxdb2 'home' option enable", "did you mean enabled?"),
        (DATABASE + "option port 1", "influxdb2 'home' option port", "write address and port in host, such as http://"),
        (DATABASE + "option level x", "influxdb2 'home' option level", "a setting of log: move it there"),
        (
            "config influxdb2 home\noption host db\noption org o\noption bucket b\n",
            "influxdb2 'home' option token",
            "token=... (API token with write permission), or set option authentication 'none'",
        ),
        (
            "config mqtt\noption keepalive 10",
            "@mqtt[0] option url",
            "missing: uci set inverter-capture.@mqtt[0].url=... (",
        ),
        (DATABASE + "list tags site", "influxdb2 'home' option tags", "expected names and texts such as 'site=farm'"),
        (DATABASE + "list tags a=b\nlist tags a=c", "influxdb2 'home' option tags", "a stands there twice: keep one"),
        (DATABASE + "list tags =b", "influxdb2 'home' option tags '=b'", "such as 'site=farm'"),
        (DATABASE + "list org a\nlist org b", "influxdb2 'home' option org", "a list of several values: keep one"),
        (DATABASE + "option org 'a\nb'", "influxdb2 'home' option org 'a\\nb'", "contains a line break"),
        (DATABASE + "option org '\udcff'", "influxdb2 'home' option org", "not UTF-8 text: write it as UTF-8"),
        (DATABASE + "list tags 'a=\udcff'", "influxdb2 'home' option tags", "not UTF-8 text: write it as UTF-8"),
        (DATABASE + "option enabled maybe", "influxdb2 'home' option enabled 'maybe'", "expected 1 or 0"),
        (DATABASE + "list enabled 1\nlist enabled 0", "influxdb2 'home' option enabled '1 0'", "expected 1 or 0"),
        ("config service\noption enabled 2", "@service[0] option enabled '2'", "expected 1 or 0"),
        ("config service s\noption enable 1", "service 's' option enable", "unknown setting: known is enabled"),
        ("config influx x\noption token t", "influx 'x'", "unknown section type: did you mean influxdb2?"),
        ("config Log", "@Log[0]", "unknown section type: did you mean log?"),
        ("config xyzzy", "@xyzzy[0]", "known are service, pcap, influxdb2, mqtt, console, metrics, log"),
        (
            "config pcap\noption device x",
            "@pcap[1]",
            "pcap 'pcap' is there already: keep one: uci delete inverter-capture.@pcap[1]",
        ),
        ("config log\noption enabled 1", "@log[0] option enabled", "only backends in UCI have this option: remove it"),
        ("config pcap pcap\noption file 2", "pcap 'pcap' option file '2'", "expected true or false (Whether device is"),
        ("config pcap pcap\noption device /a", "pcap 'pcap' option device '/a'", "or set option file '1'"),
        ("config pcap pcap\noption device ' '", "pcap 'pcap' option device ' '", "expected text that is not empty ("),
        (
            "config mqtt\noption url broker\noption discovery_prefix /",
            "@mqtt[0] option discovery_prefix '/'",
            "begins or ends with /",
        ),
        (
            "config mqtt\noption url broker\noption discovery_prefix on",
            "@mqtt[0] option discovery_prefix 'on'",
            "expected a topic prefix, or false (",
        ),
    ],
)
def test_a_mistake_is_told_with_section_option_value_and_remedy(
    tmp_path: Path, text: str, place: str, facts: str
) -> None:
    message = complaint(tmp_path, START + text)
    assert message.startswith(f"{place}: ")
    assert facts in message


def test_a_filter_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaint(tmp_path, START + "config pcap pcap\noption filter 'tcp porrt 5'").startswith(
        "pcap 'pcap' option filter 'tcp porrt 5': syntax error, at \"porrt 5\" after \"tcp\": write it as in host "
    )

    def no_name_server(text: str) -> None:
        raise FilterError(text, "unknown host 'dongle'", passing=True)

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
        "influxdb2 'a' option org",
        "influxdb2 'a' option bucket",
        "influxdb2 'a' option token",
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


def obeyed(tmp_path: Path, text: str, way: str) -> str:
    """The settings after the commands for one way on have been run; and the TOML of them."""
    with pytest.raises(ConfigError) as caught:
        toml(tmp_path, text)
    assert caught.value.unset
    commands = [command for mistake in caught.value.mistakes for command in mistake.commands]
    commands += [mistake.remedy.partition(" (")[0] for mistake in caught.value.mistakes if mistake.setting]
    sections = stand_in.parse(text)
    for command in "; ".join(commands).split("; "):
        words = shlex.split(command, comments=True)
        if words[:2] == ["uci", "set"]:
            where, _, value = words[2].removeprefix("inverter-capture.").partition("=")
            name, _, option = where.partition(".")
            if not option:
                sections.append(stand_in.Section(value, name))
            elif stand_in.find(sections, name).type in (way, "pcap", "service"):
                stand_in.find(sections, name).options[option] = value
    made = stand_in.export("inverter-capture", [each for each in sections if each.type in (way, "pcap", "service")])
    return made + toml_of(tmp_path, made)


@pytest.mark.parametrize("way", ["mqtt", "influxdb2"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "config pcap pcap\noption device ''\n",
        "config pcap\noption device x\n\nconfig service\noption enabled 0\n",
        "config pcap\n\nconfig mqtt\noption enabled off\n\nconfig influxdb2 home\noption enabled 0\noption org o\n",
        Path("files/etc/config/inverter-capture").read_text(),
    ],
)
def test_nothing_is_configured_yet(tmp_path: Path, text: str, way: str) -> None:
    made = obeyed(tmp_path, text, way)
    assert f"[[{way}]]\n" in made
    assert re.search(r"config service.*\n\toption enabled '1'", made)


def test_only_the_device_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        toml(tmp_path, "config pcap\n\nconfig console\n")
    (mistake,) = caught.value.mistakes
    assert caught.value.unset
    assert (mistake.setting, mistake.message) == ("device", "missing")
    assert mistake.remedy.startswith("uci set inverter-capture.@pcap[0].device=... (")


def test_what_is_missing_beside_a_mistake(tmp_path: Path) -> None:
    guard, device, backend = complaints(tmp_path, "config pcap 'p'\n\toption guard 2\n")
    assert guard.startswith("pcap 'p' option guard '2': expected true or false (")
    assert device.startswith("pcap 'p' option device: missing: uci set inverter-capture.p.device=... (")
    assert backend == "no backend is enabled: paste the lines of one of these ways, with your values"


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
        DATABASE + f"option host 'http://u:{SECRET}@db'\noption org ''",
        f"config mqtt\noption url broker\noption password '{SECRET}'",
        f"config mqt\noption password '{SECRET}'",
        f"config service\noption password '{SECRET}'",
    ],
)
def test_secrets_are_never_shown(tmp_path: Path, text: str) -> None:
    assert not any("s3cret" in message for message in complaints(tmp_path, START + text))


@pytest.mark.parametrize("line", [f"option token {SECRET}", f"option token '{SECRET}", f"token '{SECRET}'"])
def test_secrets_in_text_that_uci_does_not_print(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f"config influxdb2\n\t{line}\n")
    assert "s3cret" not in str(caught.value)


SOUP_LINES = (
    "config pcap|config console|config mqtt 'b'|config service|config log|\toption device 'x'|\toption file '1'"
)
SOUP_WORDS = (
    "option|list|config|enabled|level|url|tags|'|'\\''|\\|#| |\r|'x=y'|'x'|é|\udcff|\0|'debug'|'0'|[[x]] = true"
)
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
        toml_of(folder, text)
    except ConfigError as error:
        messages = error.messages or ("none",)
    assert all(message.startswith(f"{folder}/") and message.isprintable() for message in messages)


# --- the door for backends to come --------------------------------------------------------------------------------


class LetterConfig(SectionConfig):
    stamp: str = setting(NAME, secret=True, help="what it costs")
    pages: int = setting(ValueType((int,), "a number", int), 1, help="how long")
    weight: float = setting(ValueType((float,), "a number", float), 1.0, help="how heavy")
    copies: list[str] = setting(ValueType((list,), "names", list), [], help="who else gets it")


class WiderConfig(NamedTuple):
    pcap: PcapConfig
    influxdb2: tuple[InfluxDb2Config, ...]
    mqtt: tuple[MqttConfig, ...]
    console: tuple[config.ConsoleConfig, ...]
    metrics: config.MetricsConfig
    log: config.LogConfig
    letter: tuple[LetterConfig, ...]


LETTER = "config pcap\noption device x\nconfig letter\noption stamp s\n"


@pytest.fixture
def _wider(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration with one more backend: a class, and a line each in Config and SECTIONS."""
    monkeypatch.setattr(problems, "Config", WiderConfig)
    monkeypatch.setitem(SECTIONS, "letter", Section("letter", LetterConfig, repeated=True))


@pytest.mark.usefixtures("_wider")
def test_a_new_backend_needs_nothing_here(tmp_path: Path) -> None:
    text = LETTER + "option pages 0012\noption weight 3\nlist copies 'a b'\nlist copies c\n"
    assert toml(tmp_path, text + "config letter\noption enabled 0").endswith(
        '[[letter]]\nstamp = "s"\npages = 12\nweight = 3.0\ncopies = ["a b", "c"]\n\n'
    )
    assert 'copies = ["a b"]' in toml(tmp_path, LETTER + "option copies 'a b'")
    assert complaint(tmp_path, LETTER + "option pages 1.5").startswith("@letter[0] option pages '1.5': expected a num")
    assert complaint(tmp_path, LETTER + f"option pages {'9' * 5000}").startswith("@letter[0] option pages '999999")
    assert complaint(tmp_path, LETTER + "option weight nan").startswith("@letter[0] option weight 'nan': expected a n")
    assert complaint(tmp_path, LETTER + "list stamp 1\nlist stamp 2").startswith("@letter[0] option stamp: a list of")


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "inverter-capture"
    path.write_text(exported(START + DATABASE + "option org 'é'"), encoding="utf-8")
    for done in (
        run_program("uci", path, PYTHONIOENCODING="latin-1"),
        run_program("uci", "-", input=path.read_bytes(), PYTHONIOENCODING="latin-1"),
    ):
        assert (done.code, done.err) == (0, "")
        (tmp_path / "c.toml").write_text(done.out)
        assert run_program("check", tmp_path / "c.toml").code == 0
        assert load(str(tmp_path / "c.toml")).influxdb2[0].org == "é"


def exported(text: str) -> str:
    return stand_in.export("inverter-capture", stand_in.parse(text))


def test_the_command_with_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "inverter-capture"
    path.write_text(exported(START + "config log\noption level 9\noption x 1\n"))
    done = run_program("uci", path)
    assert (done.code, done.out, len(done.errors)) == (2, "", 2)
    assert done.errors[0].startswith(f"error: {path}: @log[0] option level '9': expected one of ")
    done = run_program("uci", "-", input=b"config service 'service'\n\toption enabled '0'\n")
    assert (done.code, done.out, len(done.errors)) == (3, "", 2)
    assert "\nuci set inverter-capture.mqtt.url=" in done.err


def test_the_command_without_a_file(tmp_path: Path) -> None:
    done = run_program("uci", tmp_path / "x")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {tmp_path}/x: cannot be read (No such file or directory): ")
    (tmp_path / "x").write_bytes(b"#" * (problems.FILE_BYTES_MAX + 1))
    for words, data in ((("x",), b""), (("-",), b"#" * (problems.FILE_BYTES_MAX + 1))):
        assert "longer than 262144 bytes" in run_program("uci", *words, input=data, cwd=tmp_path).err


def with_uci(folder: Path, script: str) -> str:
    """The PATH on which `uci` is this shell script."""
    (folder / "uci").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "uci").chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_without_a_file_it_asks_uci(tmp_path: Path) -> None:
    (tmp_path / "export").write_text(exported(START))
    uci_script = f'test "$*" = "export inverter-capture" && cat "{tmp_path}/export"'
    done = run_program("uci", PATH=with_uci(tmp_path, uci_script))
    assert (done.code, done.err) == (0, "")
    assert done.out == '[pcap]\ndevice = "br-lan"\n\n[[console]]\n\n'
    (tmp_path / "export").write_text(exported(START + "config log\noption level 9"))
    done = run_program("uci", PATH=with_uci(tmp_path, uci_script))
    assert done.err.startswith("error: /etc/config/inverter-capture: @log[0] option level '9': ")


def test_uci_that_is_missing_or_fails(tmp_path: Path) -> None:
    done = run_program("uci", PATH=str(tmp_path))
    assert (done.code, done.out, len(done.errors)) == (2, "", 1)
    assert done.err.startswith("error: uci: cannot be run (No such file or directory): ")
    done = run_program("uci", PATH=with_uci(tmp_path, "echo 'uci: Entry not found' >&2; exit 1"))
    assert (done.code, done.out, len(done.errors)) == (2, "", 1)
    assert done.err.startswith("error: /etc/config/inverter-capture: no such file: ")


def test_what_uci_refuses_it_says_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "echo 'uci: Parse error (\x1b) at line 3, byte 7' >&2; exit 1"
    monkeypatch.setenv("PATH", with_uci(tmp_path, script))
    (tmp_path / "settings").touch()
    monkeypatch.setattr(uci, "CONFIG_FILE", str(tmp_path / "settings"))
    with pytest.raises(ConfigError) as caught:
        uci.to_toml("")
    assert str(caught.value) == f"{tmp_path}/settings: Parse error (\\x1b) at line 3, byte 7: correct the file there"
    with_uci(tmp_path, "exit 3")
    with pytest.raises(ConfigError, match="`uci export` fails with 3"):
        uci.to_toml("")


def test_imports_are_few(tmp_path: Path) -> None:
    (tmp_path / "inverter-capture").write_text(exported(START + DATABASE))
    code = """if True:
        import sys
        from inverter_capture.config import uci
        uci.to_toml(sys.argv[1])
        heavy = {"dpkt", "pcap", "requests", "paho", "json", "difflib", "dataclasses", "pathlib", "tomllib", "zoneinfo"}
        assert not heavy & sys.modules.keys()
    """
    folder = os.path.dirname(os.path.dirname(config.__file__))
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "inverter-capture")], cwd=folder, check=True)
