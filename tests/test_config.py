"""The configuration: what is read, and that every mistake is told once, in one line, with its place and its remedy."""

from __future__ import annotations

import importlib
import os
import re
import struct
import subprocess
import sys
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inverter_capture.config import problems
from inverter_capture.config import schema as config
from inverter_capture.config.problems import ConfigError
from inverter_capture.config.schema import (
    REQUIRED,
    Config,
    ConsoleConfig,
    InfluxDb2Config,
    LogConfig,
    MetricsConfig,
    MqttConfig,
    PcapConfig,
    Section,
    SectionConfig,
    setting,
)
from inverter_capture.config.toml_file import header, load
from inverter_capture.config.values import NAME, TEXT, SettingError, ValueType
from tests.configuration import parse

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

GOOD = '[pcap]\ndevice = "br-lan"\n\n[[console]]\n'


def complaints(text: str) -> list[str]:
    """What is said about this text, without the file's name; each message is known to be one line."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "c.toml")
    messages = caught.value.messages
    assert messages
    assert str(caught.value) == "\n".join(messages)
    for message in messages:
        assert message.startswith("c.toml:")
        assert message.isprintable()
    return [message.removeprefix("c.toml:") for message in messages]


def complaint(text: str) -> str:
    """The only thing that is said about this text."""
    messages = complaints(text)
    assert len(messages) == 1, messages
    return messages[0]


@pytest.fixture
def zone_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of zone data that takes the place of the system's; empty at first."""
    monkeypatch.setitem(sys.modules, "tzdata", None)
    zoneinfo.reset_tzpath(to=[str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    yield tmp_path
    zoneinfo.reset_tzpath()
    zoneinfo.ZoneInfo.clear_cache()


def add_zones(folder: Path, *names: str) -> None:
    """The smallest zone files there can be: one hour east of Greenwich, always."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lbb", 3600, 0, 0) + b"CET\0"
        )


# What is read


def test_the_least_that_is_needed() -> None:
    assert parse(GOOD, "c.toml") == Config(
        pcap=PcapConfig(device="br-lan", filter="", file=False, timezone="local"),
        influxdb2=(),
        mqtt=(),
        console=(ConsoleConfig(format="table"),),
        metrics=MetricsConfig(listen=""),
        log=LogConfig(level="info"),
    )


def test_every_setting(zone_data: Path) -> None:
    add_zones(zone_data, "Europe/Paris")
    text = """
        [pcap]
        device = "/data/day.pcap"
        filter = "host 192.168.1.7"
        file = true
        timezone = "Europe/Paris"
        [[influxdb2]]
        host = "https://db.example:8086/influx/"
        org = "home"
        bucket = "solar"
        token = "T0p=="
        db = "d"
        path = "/write"
        authentication = "bearer"
        measurement = "m"
        tags = { site = "farm" }
        schema = "narrow"
        timeout = 2.5
        verify = "/etc/ca.pem"
        buffer = "1 MiB"
        [[influxdb2]]
        host = "db"
        org = "o"
        bucket = "b"
        token = "t"
        [[mqtt]]
        url = "mqtts://broker.example:8884/"
        username = "solar"
        password = "pass word"
        verify = false
        certificate = "/etc/ours.pem"
        key = "/etc/ours.key"
        base_topic = "house/solar"
        discovery_prefix = false
        client_id = "router"
        keepalive = 60
        stale_after = "1 h"
        field_topics = true
        [[mqtt]]
        url = "broker"
        [[console]]
        format = "json"
        [[console]]
        format = "line-protocol"
        [metrics]
        listen = "[::1]:9101"
        [log]
        level = "debug"
    """
    assert parse(text, "c.toml") == Config(
        pcap=PcapConfig(device="/data/day.pcap", filter="host 192.168.1.7", file=True, timezone="Europe/Paris"),
        influxdb2=(
            InfluxDb2Config(
                host="https://db.example:8086/influx",
                org="home",
                bucket="solar",
                token="T0p==",
                db="d",
                path="/write",
                authentication="bearer",
                measurement="m",
                tags={"site": "farm"},
                schema="narrow",
                timeout=2.5,
                verify="/etc/ca.pem",
                buffer=1024 * 1024,
            ),
            InfluxDb2Config(host="http://db", org="o", bucket="b", token="t"),
        ),
        mqtt=(
            MqttConfig(
                url="mqtts://broker.example:8884",
                username="solar",
                password="pass word",
                verify=False,
                certificate="/etc/ours.pem",
                key="/etc/ours.key",
                base_topic="house/solar",
                discovery_prefix="",
                client_id="router",
                keepalive=60,
                stale_after=3600.0,
                field_topics=True,
            ),
            MqttConfig(url="mqtt://broker"),
        ),
        console=(ConsoleConfig(format="json"), ConsoleConfig(format="line-protocol")),
        metrics=MetricsConfig(listen="[::1]:9101"),
        log=LogConfig(level="debug"),
    )


@pytest.mark.parametrize("form", ["table", "json", "csv", "line-protocol"])
def test_every_format(form: str) -> None:
    assert parse(f'{GOOD}format = "{form}"', "c.toml").console == (ConsoleConfig(format=form),)


@pytest.mark.parametrize("level", ["error", "warning", "info", "debug"])
def test_every_level(level: str) -> None:
    assert parse(f'{GOOD}[log]\nlevel = "{level}"', "c.toml").log == LogConfig(level=level)


@pytest.mark.parametrize(
    "text",
    [
        'console = [{format = "csv"}]\npcap = {device = "any"}',
        'pcap.device = "any"\nconsole = [\n{"format" = "csv"},\n]',
        '[[console]]\nformat = """csv"""\n[pcap]\n\'device\' = "any"\n',
        '\ufeff[pcap]\r\ndevice = "any"\r\n[[console]]\r\nformat = "csv"\r\n',
    ],
)
def test_every_way_to_write_toml(text: str) -> None:
    read = parse(text, "c.toml")
    assert read.pcap.device == "any"
    assert read.console == (ConsoleConfig(format="csv"),)


def test_nothing_can_be_changed_afterwards() -> None:
    read = parse(GOOD, "c.toml")
    for item, name in ((read, "log"), (read.pcap, "device"), (read.console[0], "format"), (read.log, "level")):
        with pytest.raises(AttributeError):
            setattr(item, name, "x")


# Files


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(GOOD + '[log]\nlevel = "debug" # für später', encoding="utf-8")
    assert load(str(path)).log.level == "debug"


def test_mistakes_name_the_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(GOOD + "formt = 1\n")
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    assert caught.value.messages == (f"{path}:5: [[console]] formt: unknown setting: did you mean format?",)


def refused(path: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    (message,) = caught.value.messages
    assert message.isprintable()
    return message


def test_a_missing_file(tmp_path: Path) -> None:
    path = str(tmp_path / "c.toml")
    assert (
        refused(path)
        == f"{path}: cannot be read (No such file or directory): check the path, and who may read the file"
    )


def test_no_file_at_all(tmp_path: Path) -> None:
    assert "Is a directory" in refused(str(tmp_path))
    assert refused("a\0b\n").startswith("a\\x00b\\n: cannot be read")


def test_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(GOOD.encode() + '# für\nx = "für"'.encode("latin-1"))
    assert refused(str(path)) == f"{path}:5: not UTF-8 text: save the file as UTF-8"


def test_a_file_that_is_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(GOOD.encode().ljust(problems.FILE_BYTES_MAX, b"#"))
    assert load(str(path)) == parse(GOOD, "c.toml")
    path.write_bytes(b"#" * (problems.FILE_BYTES_MAX + 1))
    assert refused(str(path)) == f"{path}: longer than 262144 bytes: give the path of a TOML file"


# Text that is no TOML


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[pcap]\ndevice = br-lan",
            '2: not TOML: text without quotes: write device = "br-lan"',
        ),
        ("[pcap]\ndevice = \u201clo\u201d", "2: not TOML: Invalid value: write straight quotes"),
        ("[pcap]\nfile = True", "2: not TOML: text without quotes: write file = true"),
        ("[pcap]\ndevice =", "2: not TOML: Invalid value: write text in quotes; true, false and numbers without"),
        (
            "pcap = {}\npcap.file.x = 1",
            "2: not TOML: Cannot mutate immutable namespace ('pcap', 'file'): write settings as",
        ),
        ("[pcap]\ndevice =\n", "2: not TOML: Invalid value: write text in quotes; true, false and numbers without"),
        (
            "[pcap]\nfilter = 1.2.3.4\n",
            "2: not TOML: Expected newline or end of document after a statement: write text in quotes",
        ),
        (
            '[pcap]\n\ndevice = "br-lan\n[log]\n',
            "3: not TOML: Illegal character '\\n': end text on its line, with the quote",
        ),
        (
            "[pcap]\nfile = true\nfile = true\n[[console]]",
            "3: not TOML: Cannot overwrite a value: it stands there twice: keep one",
        ),
        ("[pcap]\n[pcap]\n", "2: not TOML: [pcap] stands on line 1 already: join the two sections"),
        (
            "[[console]]\n[console]\n",
            "2: not TOML: [console] stands on line 1 already: write [[console]] both times",
        ),
        ('[pcap]\ndevice = "C:\\x"\n', "2: not TOML: Unescaped '\\' in a string: write a backslash twice"),
        (
            "[pcap]\ndevice\n",
            "2: not TOML: Expected '=' after a key in a key/value pair: write settings as name = \"text\"",
        ),
        ("[pcap\n", "1: not TOML: Expected ']' at the end of a table declaration: write settings as name"),
        ("\n\x00", "2: not TOML: Invalid statement: write settings as name"),
    ],
)
def test_syntax_errors_tell_the_line_and_the_remedy(text: str, said: str) -> None:
    assert any(message.startswith(said) for message in complaints(text))


def test_the_rest_of_a_file_that_is_not_toml() -> None:
    text = """
[pcap]
device = br-lan
filter = "tcp porrt 5"
[[mqtt]]
url = mqtt://me:s3cret@broker
password = s3cret
keepalive = 1
[pcap]
file = 7
[[console]]
format = "x" "y"
[log]
level = "lots"
level = "info"
"""
    check(
        complaints(text),
        ("3: not TOML: text without quotes: ", 'write device = "br-lan"'),
        ('4: [pcap] filter = "tcp porrt 5": syntax error',),
        ("6: not TOML: Invalid value: ", "write text in quotes"),
        ("7: not TOML: Invalid value: ", "write text in quotes"),
        ("8: [[mqtt]] keepalive = 1: expected",),
        ("9: not TOML: [pcap] stands on line 2 already: ", "join"),
        ("12: not TOML: Expected newline",),
        ('14: [log] level = "lots": expected one of',),
        ("15: not TOML: Cannot overwrite a value: ", "keep one"),
    )
    assert "s3cret" not in "".join(complaints(text))


def test_what_does_not_end_is_named_by_its_beginning() -> None:
    for start in ('"""a\n\n[log]', "'''a\n", "[", "[\n1,\n\n", "[\n1\n# ]\n", '["""'):
        assert complaint(f"[pcap]\n# x\nfilter = {start}\n") == "3: not TOML: no end: close its quotes or brackets"


def test_what_the_parser_cannot_bear() -> None:
    assert complaint("a = " + "[" * 100_000).startswith(" not TOML: too many brackets within brackets")
    assert complaint("a = " + "1" * 5000).startswith(" not TOML: too many digits in a number: ")


# Sections


def test_unknown_sections() -> None:
    assert complaint('[pcapp]\ndevice = "x"\n[[console]]') == "1: [pcapp]: unknown section: did you mean pcap?"
    assert complaint(GOOD + "\n[[Consoles]]\n") == "6: [[Consoles]]: unknown section: did you mean console?"
    assert (
        complaint(GOOD + "[xyzzy]\na.b = 1\n")
        == "5: [xyzzy]: unknown section: known are pcap, influxdb2, mqtt, console, metrics, log"
    )


def check(messages: list[str], *facts: tuple[str, ...]) -> None:
    """Each message begins with the first of its facts, and has the others in it."""
    assert len(messages) == len(facts), messages
    for message, (start, *others) in zip(messages, facts, strict=True):
        assert message.startswith(start), message
        for fact in others:
            assert fact in message


def test_sections_in_the_wrong_brackets() -> None:
    text = '[[pcap]]\ndevice = "x"\n\n[console]\nformat = "xml"\n[[log]]\n[[log]]\nlevel = 1\n'
    check(
        complaints(text),
        ("1: [[pcap]]: ", "write [pcap]"),
        ("4: [console]: ", "write [[console]]"),
        ('5: [console] format = "xml": ', "one of table, json, csv, line-protocol"),
        ("6: [[log]]: ", "write [log]"),
        ("8: [[log]] level = 1: ", "one of error, warning, info, debug, in quotes"),
    )


def test_sections_written_as_settings() -> None:
    check(
        complaints('log = "debug"\nconsole = ["json"]\npcap.device = "x"\n'),
        ("1: log: ", "write [log] on a line of its own"),
        ("2: console: ", "write [[console]] on a line of its own"),
    )


def test_an_empty_list_is_no_section() -> None:
    assert complaint('pcap.device = "x"\nconsole = []').startswith(" no backend:")
    assert complaints("pcap = []\n[[console]]")[0].startswith("1: [[pcap]]: this section can stand once only")


def test_a_backend_is_needed() -> None:
    said = " no backend: add a [[influxdb2]] or [[mqtt]] or [[console]] section for the readings to go to"
    assert complaint('[pcap]\ndevice = "x"\n') == said


def test_a_setting_that_is_required() -> None:
    meaning = f"({config.SECTIONS['pcap'].settings['device'].help})"
    assert complaint("[[console]]") == f" [pcap] device: missing: add it {meaning}"
    assert complaint("[[console]]\n\n[pcap]\nfile = true") == f"3: [pcap] device: missing: add it {meaning}"


# Settings in the wrong place or under the wrong name


def test_unknown_settings() -> None:
    assert complaint('[pcap]\ndevise = "x"\n[[console]]') == "2: [pcap] devise: unknown setting: did you mean device?"
    assert complaint(GOOD + 'Format = "csv"') == "5: [[console]] Format: unknown setting: did you mean format?"
    assert (
        complaint(GOOD + "[pcap.x]\ny = 1")
        == "5: [pcap] x: unknown setting: known are device, filter, file, timezone, guard, serials"
    )


def test_what_a_lost_line_may_have_set_is_not_missing() -> None:
    assert complaint('[pcap]\ndevice: "lo"\n[[console]]').startswith("2: not TOML: Expected '=' after a key")


def test_a_setting_has_one_mistake() -> None:
    assert len(complaints(influxdb2('schema = "narrow"', "tags = { group = 'x', name = 'y' }"))) == 1
    # Nothing is concluded from a value that is wrong.
    assert complaint(influxdb2("org = ", "bucket = ", "db = 5")).startswith("8: [[influxdb2]] db = 5: ")
    assert complaint(influxdb2("token = ", 'authentication = "nne"')).startswith("9: [[influxdb2]] authentication = ")
    assert complaint(influxdb2("token = 5")).startswith("9: [[influxdb2]] token = (hidden): ")
    assert "url = 5" in complaint(mqtt("url = 5", 'certificate = "c"'))
    assert complaint(influxdb2("org = ", 'og = "o"')).startswith("9: [[influxdb2]] og: unknown setting: ")
    assert complaint(influxdb2("token = ", 'tokn = "t"')).startswith("9: [[influxdb2]] tokn: unknown setting: ")


def test_addresses_have_other_names_elsewhere() -> None:
    text = '[[mqtt]]\nserver = "broker"\nport = 1883\nenabled = true\n'
    remedy = "unknown setting: write address and port in url, such as mqtt://192.168.1.10:1883"
    assert complaints(GOOD + text)[1:] == [
        f"6: [[mqtt]] server: {remedy}",
        f"7: [[mqtt]] port: {remedy}",
        "8: [[mqtt]] enabled: only backends in UCI have this option: remove it",
    ]


def test_a_file_of_another_format(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("# Settings\n\nconfig pcap 'pcap'\n\toption device 'lo'\n")
    assert "in UCI's format, not TOML: inverter-capture uci" in refused(str(path))
    assert all("not TOML: Expected '=' after" in message for message in complaints("pcap:\n  device: lo\n"))
    assert len(complaints("x: 1\n" * 100)) == 8


def test_a_setting_of_another_section() -> None:
    assert complaint(GOOD + "level = 1") == "5: [[console]] level: a setting of log: move it there"


def test_a_name_that_is_empty() -> None:
    assert complaint(GOOD + '[""]\nx = 1\n').startswith("5: []: unknown section: known are ")
    assert complaint('"" = "s3cret"\n' + GOOD).startswith("1: unknown setting outside any section")


def test_settings_outside_any_section() -> None:
    known = "[pcap], [[influxdb2]], [[mqtt]], [[console]], [metrics], [log]"
    assert complaints('# x\ndevice = "x"\nformt = 1\nxyzzy = {}\nzzz = 1\n') == [
        "2: device: a setting outside any section: move it below [pcap]",
        "3: formt: unknown setting outside any section: did you mean format, below [[console]]?",
        "4: [xyzzy]: unknown section: known are pcap, influxdb2, mqtt, console, metrics, log",
        f"5: zzz: unknown setting outside any section: known sections are {known}",
    ]


def test_values_under_unknown_names_are_not_shown() -> None:
    for text in (
        '{}[log]\nlevl = "s3cret"',
        'x = "s3cret"\n{}',
        '{}format2 = ["s3cret"]',
        'mqtt = "s3cret"\n{}',
        '{}[mail]\npassword = "s3cret"',
    ):
        assert "s3cret" not in complaint(text.format(GOOD))


# Values


NOT_EMPTY = "expected text that is not empty"
CONTROL = "contains a line break or another control character"
WRONG = [
    ("device = 5", f"device = 5: {NOT_EMPTY}, in quotes"),
    ("device = true", f"device = true: {NOT_EMPTY}, in quotes"),
    ('device = ""', f'device = "": {NOT_EMPTY} ('),
    ('device = " "', f'device = " ": {NOT_EMPTY} ('),
    ('device = ["a"]', f"device = [...]: {NOT_EMPTY}, in quotes"),
    ("device.x = 1", f"device = {{...}}: {NOT_EMPTY}, in quotes"),
    ("device = 1979-05-27", f"device = 1979-05-27: {NOT_EMPTY}, in quotes"),
    ("device = -inf", f"device = -inf: {NOT_EMPTY}, in quotes"),
    ("device = 0x" + "f" * 5000, "device = 0xffff"),
    ('device = "a\\u0000b"', f'device = "a\\u0000b": {CONTROL}'),
    ('device = "a\\u0085b"', f'device = "a\\u0085b": {CONTROL}'),
    ("filter = 5", "filter = 5: expected text, in quotes"),
    ('filter = """host\n1"""', f'filter = "host\\u000a1": {CONTROL}'),
    ('filter = "' + '\\\\\\"é' * 1000 + '\\n"', 'filter = "\\\\\\"é\\\\\\"é'),
    ('file = "true"', 'file = "true": expected true or false, without quotes ('),
    ("file = 1", "file = 1: expected true or false ("),
    ("timezone = 2", 'timezone = 2: expected local, or a name such as "Europe/Paris", in quotes ('),
    ('timezone = ""', 'timezone = "": expected local, or a name such as "Europe/Paris" ('),
]


@pytest.mark.parametrize(("line", "said"), WRONG)
def test_wrong_values_name_what_is_expected(line: str, said: str) -> None:
    start = "" if line.startswith("device") else 'device = "x"\n'
    message = complaint(f"[[console]]\n\n[pcap]\n{start}{line}\n")
    assert message.startswith(f"{4 + bool(start)}: [pcap] {said}")
    assert len(message) < 400


def test_a_capture_file_as_device() -> None:
    message = complaint('[[console]]\n[pcap]\ndevice = "day.pcap/"')
    assert message.startswith('3: [pcap] device = "day.pcap/": contains "/"')
    assert message.endswith("or set file = true")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('"jsn"', '"jsn": expected one of table, json, csv, line-protocol: did you mean json?'),
        ('"JSON"', '"JSON": expected one of table, json, csv, line-protocol: did you mean json?'),
        ('"xml"', '"xml": expected one of table, json, csv, line-protocol ('),
        ("1", "1: expected one of table, json, csv, line-protocol, in quotes ("),
    ],
)
def test_wrong_words(value: str, said: str) -> None:
    assert complaint(f"{GOOD}[[console]]\nformat = {value}").startswith(f"6: [[console]] format = {said}")


def test_every_mistake_is_told_in_the_order_of_the_file() -> None:
    consoles = "[[console]]\nformat = 4\n[[console]]\nformat = 5\ny = 6\n"
    messages = complaints(f'[log]\nlevel = "x"\n[pcap]\nfile = 1\nfilter = 2\nx = 3\n{consoles}')
    assert [message.partition(":")[0] for message in messages] == ["2", "3", "4", "5", "6", "8", "10", "11"]
    assert "device: missing" in messages[1]


# Time zones


def test_the_systems_zone_needs_no_zone_data(zone_data: Path) -> None:
    assert parse('[[console]]\n[pcap]\ndevice = "x"\ntimezone = "local"', "c.toml").pcap.timezone == "local"


def test_a_zone_name_of_a_thousand_parts() -> None:
    assert "unknown time zone" in complaint(f'[[console]]\n[pcap]\ndevice = "x"\ntimezone = "a{".a" * 1000}/b"\n')


def zone_complaint(name: str) -> str:
    """What is said about this zone, after its name."""
    message = complaint(f'[[console]]\n[pcap]\ndevice = "x"\ntimezone = "{name}"\n')
    start = f'4: [pcap] timezone = "{name}": '
    assert message.startswith(start)
    assert message.endswith("or use local")
    return message.removeprefix(start)


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("Europe/Pariss", "Europe/Paris"),
        ("Eurpoe/Paris", "Europe/Paris"),
        ("europe/paris", "Europe/Paris"),
        ("Paris", "Europe/Paris"),
        ("Africa/Paris", "Europe/Paris"),
        ("America/New York", "America/New_York"),
        ("America/Buenos_Aires", "America/Argentina/Buenos_Aires"),
    ],
)
def test_mistyped_zones(zone_data: Path, name: str, guess: str) -> None:
    add_zones(
        zone_data, "Europe/Paris", "America/New_York", "America/Argentina/Buenos_Aires", "Etc/GMT+2", "UTC", "posix/x"
    )
    assert zone_complaint(name).startswith(f"unknown time zone: did you mean {guess}? Or install its data")


@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ("UTC+2", "Africa/Johannesburg"),
        ("utc -03:00", "America/Sao_Paulo"),
        ("GMT+5:30", "Asia/Kolkata, and install its data (on OpenWrt zoneinfo-asia, elsewhere tzdata)"),
        ("+00", "Africa/Accra, and install its data (on OpenWrt zoneinfo-africa, elsewhere tzdata)"),
    ],
)
def test_offsets_are_no_zones(zone_data: Path, written: str, zone: str) -> None:
    add_zones(zone_data, "Africa/Johannesburg", "America/Sao_Paulo")
    message = complaint(f'[[console]]\n[pcap]\ndevice = "x"\ntimezone = "{written}"\n')
    assert message.endswith(f'timezone = "{written}": an offset, not the name of a time zone: write {zone}')


@pytest.mark.parametrize("name", ["GMT+99", "Europe/Berlin", "/Europe/Rome", "../x", "Europe", "x/" * 30, "Ü"])
def test_zones_that_resemble_none(zone_data: Path, name: str) -> None:
    add_zones(zone_data, "Europe/Paris", "Etc/GMT+2", "UTC", "posix/Europe/Berlin")
    assert zone_complaint(name).startswith("unknown time zone: check its spelling, install its data")


def test_a_file_that_is_no_zone(zone_data: Path) -> None:
    (zone_data / "zone.tab").write_text("# no zone")
    assert zone_complaint("zone.tab").startswith("this system has no time zone data: install")


@pytest.mark.parametrize(
    ("name", "package"), [("Europe/Paris", "europe"), ("Africa/Harare", "africa"), ("US/Pacific", "all")]
)
def test_a_right_name_without_zone_data(zone_data: Path, name: str, package: str) -> None:
    expected = f"this system has no time zone data: install its data (on OpenWrt zoneinfo-{package}, elsewhere tzdata)"
    assert zone_complaint(name).startswith(expected)


def test_python_light_on_a_router(zone_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # There importlib.resources cannot be imported, which zoneinfo does for whatever it finds no file of.
    monkeypatch.delattr(importlib, "resources", raising=False)
    monkeypatch.setitem(sys.modules, "importlib.resources", None)
    with pytest.raises(ImportError):
        zoneinfo.ZoneInfo("Europe/Paris")
    assert zone_complaint("Europe/Paris").startswith("this system has no time zone data: install")
    add_zones(zone_data, "Africa/Johannesburg")
    assert zone_complaint("Africa/Johanesburg").startswith("unknown time zone: did you mean Africa/Johannesburg? Or")


# Lines


def test_lookalikes_are_not_taken_for_settings() -> None:
    text = """
# file = 1
[log]
level = '''
[pcap]
file = 1
'''
[[console]]
format = [ # file = 1
  "file = 1",
  [1],
]
[pcap] # [pcap]
filter = ""
device = "file = 1 [pcap]"
"file" = 1
"""
    messages = complaints(text)
    assert [message.partition(" = ")[0] for message in messages] == [
        "4: [log] level",
        "9: [[console]] format",
        "16: [pcap] file",
    ]


def test_nested_tables() -> None:
    consoles = "[[console]]\nformat.x = 1\n[[console]]\n[console.format]\n[[console.y]]\n[[console.y]]\n"
    messages = complaints(f"[pcap.x]\na = 1\n{consoles}[pcap]\nfile = 1\n")
    assert [message.partition(":")[0] for message in messages] == ["1", "4", "6", "7", "9", "10"]
    assert "device: missing" in messages[4]


def test_of_inline_tables_only_the_first_has_a_line() -> None:
    text = 'pcap = {device = "x", file = 1}\nconsole = [\n  {},\n  {format = "x"}, # 4\n]\n'
    assert [message.partition(":")[0] for message in complaints(text)] == [' [[console]] format = "x"', "1"]


def test_no_line_is_better_than_a_wrong_one() -> None:
    text = '[["\\u0063onsole"]]\nformat = 1\n[[console]]\nformat = "csv"\n[pcap]\ndevice = "x"\n'
    assert complaint(text).startswith(" [[console]] format = 1: expected")
    text = '[pcap]\ndevice = "x"\n"fil\\u0065" = 1\n[[console]]\n'
    assert complaint(text).startswith("1: [pcap] file = 1: expected")


NAMES = {section.name: list(section.settings) for section in config.SECTIONS.values()}


@st.composite
def layouts(draw: st.DrawFn) -> tuple[str, list[tuple[int, str, str]]]:
    """A file in which all is wrong, in any order and form; and where it is: line, header, key."""
    lines: list[str] = []
    wrong = []
    for name in draw(st.permutations(["pcap", "log", *["console"] * draw(st.integers(0, 3))])):
        begin = header(config.SECTIONS[name])
        lines += draw(st.lists(st.sampled_from(["", "# [log]", "  # level = 1"]), max_size=2))
        lines.append(draw(st.sampled_from([begin, f"  {begin}", f"{begin} # x", begin.replace(name, f' "{name}"\t')])))
        for key in draw(st.permutations(NAMES[name])):
            lines += draw(st.lists(st.sampled_from(["", "# file = 1", "\t"]), max_size=2))
            wrong.append((len(lines) + 1, begin, key))
            written = draw(st.sampled_from([key, f'"{key}"', f"'{key}'", f"  {key}"]))
            value = draw(
                st.sampled_from(
                    ["5", "[\n 5, # file = 1\n\n]", "[[]]", "0.5 # = 1", '{file = "1"}', "['''\nfile = 1\n''']"]
                )
            )
            lines += f"{written} = {value}".split("\n")
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines), wrong


@unhurried
@given(layouts())
def test_every_wrong_value_is_reported_with_its_line(layout: tuple[str, list[tuple[int, str, str]]]) -> None:
    text, wrong = layout
    told = [message.partition(" = ")[0] for message in complaints(text)]
    assert [line for line in told if "no backend" not in line] == [
        f"{line}: {header} {key}" for line, header, key in wrong
    ]


@st.composite
def typos(draw: st.DrawFn) -> tuple[str, str, str]:
    """A section, one of its settings, and what became of its name."""
    name = draw(st.sampled_from(sorted(NAMES)))
    key = draw(st.sampled_from([key for key in NAMES[name] if len(key) > 2]))
    at = draw(st.integers(0, len(key) - 1))
    letter = draw(st.sampled_from("abcdefghijklmnopqrstuvwxyzE_-0"))
    typo = draw(
        st.sampled_from(
            [
                key[:at] + key[at + 1 :],
                key[:at] + letter + key[at:],
                key[:at] + letter + key[at + 1 :],
                key[: at - 1] + key[at] + key[at - 1] + key[at + 1 :] if at else key.upper(),
            ]
        ).filter(lambda word: word not in NAMES[name])
    )
    return name, key, typo


@unhurried
@given(typos(), st.integers(0, 5), st.integers(0, 5))
def test_every_typo_is_reported_with_its_line(typo: tuple[str, str, str], before: int, after: int) -> None:
    name, key, written = typo
    others = "".join(f"{other} = []\n" for other in NAMES[name] if other != key)
    begin = header(config.SECTIONS[name])
    rest = "".join(f"{header(config.SECTIONS[other])}\n" for other in NAMES if other != name)
    text = "\n" * before + rest + begin + "\n" + others + "# x\n" * after + f'{written} = "x"\n'
    messages = complaints(text)
    start = f"{len(text.splitlines())}: {begin} {written}: unknown setting: did you mean "
    (message,) = [message for message in messages if message.startswith(start)]
    # Some typos lie between two settings: fite is like file and filter.
    assert message.removeprefix(start) in {f"{other}?" for other in NAMES[name]}
    assert not any(f"{begin} {key}: missing" in message for message in messages)


# InfluxDB


SECRET = "s3cret-T0ken=="


def influxdb2(*lines: str) -> str:
    """A section that is right but for these lines, which come in place of their likes."""
    given = {"host": '"db"', "org": '"o"', "bucket": '"b"', "token": f'"{SECRET}"'}
    given |= dict(line.split(" = ", 1) for line in lines)
    return GOOD + "[[influxdb2]]\n" + "".join(f"{name} = {value}\n" for name, value in given.items() if value)


def read_influxdb2(*lines: str) -> InfluxDb2Config:
    (section,) = parse(influxdb2(*lines), "c.toml").influxdb2
    assert SECRET not in repr(section)
    return section


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("db", "http://db"),
        ("192.168.1.10:8086", "http://192.168.1.10:8086"),
        ("https://db.example/", "https://db.example"),
        (" http://db//", "http://db"),
        ("http://[fe80::1]:8086", "http://[fe80::1]:8086"),
        ("http://[::1]", "http://[::1]"),
        ("https://x_y.z:65535/a/b", "https://x_y.z:65535/a/b"),
    ],
)
def test_hosts(written: str, read: str) -> None:
    assert read_influxdb2(f'host = "{written}"').host == read


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "expected a server's address such as"),
        ("ftp://db", "begin with http:// or https://"),
        ("http://", "no valid host name"),
        ("http://:8086", "no valid host name"),
        ("http://db:0", "no valid port"),
        ("http://db:65536", "no valid port"),
        pytest.param("http://db:" + 5000 * "9", "no valid port", id="5000 digits"),
        ("http://db:x", "no valid host name"),
        ("http://db:٣", "no valid host name"),
        ("http://a..b", "no valid host name"),
        ("http://höhe", "no valid host name"),
        ("http://::1", "no valid host name"),
        ("http://" + "a" * 64, "no valid host name"),
        ("http://db?x=1", "the server's address only"),
        ("http://db#x", "the server's address only"),
        ("http://d b", "the server's address only"),
        ("db\\n", "contains a line break"),
    ],
)
def test_wrong_hosts(written: str, said: str) -> None:
    message = complaint(influxdb2(f'host = "{written}"'))
    assert message.startswith("6: [[influxdb2]] host = ")
    assert said in message


def test_a_password_in_the_host_is_not_shown() -> None:
    message = complaint(influxdb2(f'host = "http://me:{SECRET}@db"'))
    assert message.startswith("6: [[influxdb2]] host = (hidden): ")
    assert "own settings" in message


@pytest.mark.parametrize("text", ["two words", "line\\nbreak", "nul\\u0000", "tab\\t", "Höhe", "\\u20ac"])
@pytest.mark.parametrize("authentication", ["token", "bearer"])
def test_tokens_that_http_cannot_carry(text: str, authentication: str) -> None:
    message = complaint(influxdb2(f'token = "{SECRET}{text}"', f'authentication = "{authentication}"'))
    assert re.match(r"9: \[\[influxdb2]] token = \(hidden\): contains a ", message)
    assert SECRET not in message
    assert ": " in message.partition("(hidden): ")[2], "a remedy"


def test_what_is_missing() -> None:
    for name in ("org", "bucket", "token"):
        assert f"[[influxdb2]] {name}: missing: add it" in complaint(influxdb2(f"{name} = "))
    assert "[[influxdb2]] host: missing: add it" in complaint(influxdb2("host = "))
    assert read_influxdb2("org = ", "bucket = ", 'db = "d"').db == "d"
    assert read_influxdb2("org = ", "bucket = ", "token = ", 'authentication = "none"').token == ""
    basic = 'authentication = "basic"'
    assert read_influxdb2('token = "jörg: x "', basic).token == "jörg: x "
    assert "(hidden): not user:password, as basic" in complaint(influxdb2(basic))
    assert complaint(influxdb2("token = ")).endswith('or set authentication = "none"')


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("16384", 16384),
        ("1073741824", 1024**3),
        ('"4 MiB"', 4 * 1024**2),
        ('"4MiB"', 4 * 1024**2),
        ('" 64 k "', 65536),
        ('"20000"', 20000),
        ('"20000 B"', 20000),
        ('"1 GiB"', 1024**3),
    ],
)
def test_bytes(written: str, read: int) -> None:
    assert read_influxdb2(f"buffer = {written}").buffer == read


@pytest.mark.parametrize(
    "written",
    [
        "0",
        "-1",
        "16383",
        "1073741825",
        "4.5",
        "true",
        '"4 MB"',
        '""',
        '"MiB"',
        '"-4 MiB"',
        '"4 MiB x"',
        '"٤ MiB"',
        f'"{"9" * 50}"',
    ],
)
def test_wrong_bytes(written: str) -> None:
    assert "expected a number of bytes from 16 KiB to 1 GiB, or text such as" in complaint(
        influxdb2(f"buffer = {written}")
    )


@pytest.mark.parametrize("written", ["0", "-1", "301", "nan", "inf", "true", '"5"'])
def test_wrong_seconds(written: str) -> None:
    assert "expected a number of seconds from 0.1 to 300" in complaint(influxdb2(f"timeout = {written}"))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('verify = "true"', "expected true, false, or the path of a file with certificates, without quotes"),
        ('verify = ""', "expected true, false, or the path"),
        ("verify = 1", "expected true, false, or the path"),
        ('path = "write"', "expected a path such as"),
        ('path = "/write?db=x"', "expected a path such as"),
        ('measurement = "#x"', "begins with #"),
        ('measurement = ""', "expected text that is not empty"),
        ('schema = "narow"', "did you mean narrow?"),
        ("tags = { serial = 'x' }", "the tag serial is"),
        ("tags = { time = 'x' }", "the tag time is reserved"),
        ("tags = { _field = 'x' }", "the tag _field is reserved"),
        ("tags = { a = 1 }", 'expected names and texts such as { site = "farm" }'),
        ("tags = { a = '' }", 'expected names and texts such as { site = "farm" }'),
        ("tags = { '' = 'a' }", 'expected names and texts such as { site = "farm" }'),
        ('tags = { a = "b\\nc" }', "contains a line break"),
        ("tags = 'a'", "expected names and texts"),
    ],
)
def test_other_wrong_settings(written: str, said: str) -> None:
    assert said in complaint(influxdb2(written))


def test_tags_that_the_narrow_schema_writes_itself() -> None:
    for name in ("group", "name", "unit"):
        assert read_influxdb2(f"tags = {{ {name} = 'x' }}").tags == {name: "x"}
        message = complaint(influxdb2('schema = "narrow"', f"tags = {{ {name} = 'x' }}"))
        assert f"the narrow schema writes a tag {name}" in message


# Anything at all


FRAGMENTS = [
    *(
        "[pcap]\n",
        "[[pcap]]\n",
        "[console]\n",
        "[[console]]\n",
        "[log]\n",
        "[pcap.file]\n",
        "[[log.x]]\n",
        '[""]\n',
        "[\n",
        "]\n",
    ),
    *("device", "filter", "file", "timezone", "format", "level", "pcap", "console", "x", '""', '"a\\nb"', "."),
    *(
        " = ",
        " = true\n",
        ' = "x"\n',
        ' = "a\\u0000"\n',
        " = [",
        " = {",
        "}",
        ", ",
        "1",
        "\n",
        "\r\n",
        "# x",
        '"""',
        "'''",
        "\\",
    ),
    *(
        ' = "Europe/Nowhere"\n',
        " = nan\n",
        " = 0xf\n",
        " = 1979-05-27T07:32:00Z\n",
        "\ufeff",
        "\x00",
        "\x1c",
        "\u2028",
        "\ud800",
    ),
]


@unhurried
@given(st.text() | st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join))
def test_any_text_is_a_configuration_or_a_configuration_error(text: str) -> None:
    messages: tuple[str, ...] = ()
    try:
        assert isinstance(parse(text, "c.toml"), Config)
    except ConfigError as error:
        messages = error.messages or ("no message",)
    for message in messages:
        assert message.isprintable()
        place = re.match(r"c\.toml:(?:(\d+):)? \S", message)
        assert place, message
        assert 1 <= int(place[1] or 1) <= text.count("\n") + 1


@unhurried
@given(st.binary())
def test_any_file_is_a_configuration_or_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError):
        load(str(path))


# The door for backends to come


class LetterConfig(SectionConfig):
    host: str = setting(NAME, help="where to")
    stamp: str = setting(NAME, secret=True, help="what it costs")
    verify: Any = setting(
        ValueType((bool, str), "true, false or a path", lambda value: value), True, help="whom to trust"
    )
    level: str = setting(TEXT, "low", help="x")
    pages: int = setting(ValueType((int,), "a number", int), 1, help="how long")

    def check(self) -> Iterator[SettingError]:
        if self.stamp == "stolen":
            yield SettingError("not this one", setting="stamp")
        if self.verify == "blame another":
            yield SettingError("add it", setting="level")


class WiderConfig(NamedTuple):
    pcap: PcapConfig
    log: LogConfig
    influxdb2: tuple[InfluxDb2Config, ...]
    mqtt: tuple[MqttConfig, ...]
    console: tuple[ConsoleConfig, ...]
    letter: tuple[LetterConfig, ...]
    metrics: MetricsConfig


@pytest.fixture
def wider(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration with one more backend: a class, and a line each in Config and SECTIONS."""
    monkeypatch.setattr(problems, "Config", WiderConfig)
    monkeypatch.setitem(config.SECTIONS, "letter", Section("letter", LetterConfig, repeated=True))


LETTER = '[pcap]\ndevice = "x"\n[[letter]]\nhost = "h"\nstamp = '


@pytest.mark.usefixtures("wider")
def test_a_new_backend_is_read() -> None:
    read = parse(LETTER + '"s3cret"\nverify = "ca.pem"\n[[letter]]\nhost = "i"\nstamp = "t"', "c.toml")
    assert isinstance(read, WiderConfig)
    assert read.console == ()
    assert [(letter.host, letter.stamp, letter.verify) for letter in read.letter] == [
        ("h", "s3cret", "ca.pem"),
        ("i", "t", True),
    ]
    assert "s3cret" not in repr(read)


@pytest.mark.usefixtures("wider")
def test_true_is_no_number() -> None:
    assert complaint(LETTER + '"s"\npages = true') == "6: [[letter]] pages = true: expected a number (how long)"


@pytest.mark.usefixtures("wider")
def test_secrets_are_never_shown() -> None:
    assert (
        complaint(LETTER + '["s3cret"]')
        == "5: [[letter]] stamp = (hidden): expected text that is not empty (what it costs)"
    )
    assert complaint(LETTER + '"s3cret\\n"').startswith("5: [[letter]] stamp = (hidden): contains a line break")
    assert complaint(LETTER + '"stolen"') == "5: [[letter]] stamp = (hidden): not this one"


@pytest.mark.usefixtures("wider")
def test_a_section_can_blame_a_setting_that_is_not_there() -> None:
    assert complaint(LETTER + '"s"\nverify = "blame another"') == "3: [[letter]] level: add it"


@pytest.mark.usefixtures("wider")
def test_all_sections_that_could_be_meant_are_named() -> None:
    assert complaint(GOOD + "level = 1") == "5: [[console]] level: a setting of log or letter: move it there"
    no_backend = (
        " no backend: add a [[influxdb2]] or [[mqtt]] or [[console]] or [[letter]] section for the readings to go to"
    )
    assert complaint('pcap.device = "x"') == no_backend


def test_the_schema_is_data() -> None:
    assert {header(section): section.type for section in config.SECTIONS.values()} == {
        "[pcap]": PcapConfig,
        "[[influxdb2]]": InfluxDb2Config,
        "[[mqtt]]": MqttConfig,
        "[[console]]": ConsoleConfig,
        "[metrics]": MetricsConfig,
        "[log]": LogConfig,
    }
    settings = config.SECTIONS["pcap"].settings
    assert [(name, spec.type.types, spec.default, spec.secret) for name, spec in settings.items()] == [
        ("device", (str,), REQUIRED, False),
        ("filter", (str,), "", False),
        ("file", (bool,), False, False),
        ("timezone", (str,), "local", False),
        ("guard", (bool,), True, False),
        ("serials", (list,), [], False),
    ]
    assert all(spec.help for section in config.SECTIONS.values() for spec in section.settings.values())


def test_defaults_pass_their_own_checks() -> None:
    for section in config.SECTIONS.values():
        for spec in section.settings.values():
            if spec.default is not REQUIRED:
                assert spec.type.read(spec.default) == spec.default


def test_imports_are_late() -> None:
    code = """if True:
        import sys
        from inverter_capture.config.toml_file import TomlFile
        heavy = {"tomllib", "difflib", "zoneinfo"}
        assert not heavy & sys.modules.keys()
        TomlFile(sys.argv[1], "c.toml").config()
        assert heavy & sys.modules.keys() == {"tomllib"}
    """
    folder = os.path.dirname(os.path.dirname(config.__file__))
    subprocess.run([sys.executable, "-c", code, GOOD], cwd=folder, check=True)


# MQTT


def mqtt(*lines: str) -> str:
    """A section that is right but for these lines, which come in place of their likes."""
    given = {"url": '"broker"', "username": '"solar"', "password": f'"{SECRET}"'}
    given |= dict(line.split(" = ", 1) for line in lines)
    return GOOD + "[[mqtt]]\n" + "".join(f"{name} = {value}\n" for name, value in given.items() if value)


def read_mqtt(*lines: str) -> MqttConfig:
    (section,) = parse(mqtt(*lines), "c.toml").mqtt
    assert SECRET not in repr(section)
    return section


def test_a_broker_with_defaults() -> None:
    section = read_mqtt()
    assert vars(section) == {
        "url": "mqtt://broker",
        "username": "solar",
        "password": SECRET,
        "verify": True,
        "certificate": "",
        "key": "",
        "base_topic": "inverter-capture",
        "discovery_prefix": "homeassistant",
        "client_id": "",
        "keepalive": 30,
        "stale_after": 900.0,
        "field_topics": False,
    }


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("mqtt://192.168.1.10:1883", "mqtt://192.168.1.10:1883"),
        (" 192.168.1.10:1883/ ", "mqtt://192.168.1.10:1883"),
        ("mqtts://broker.example", "mqtts://broker.example"),
        ("mqtt://[fe80::1]:1883", "mqtt://[fe80::1]:1883"),
        ("mqtt://[fe80::1%br-lan]:1883", "mqtt://[fe80::1%br-lan]:1883"),
        ("ws://broker:9001/mqtt", "ws://broker:9001/mqtt"),
        ("ws://broker:9001/", "ws://broker:9001/"),
        ("wss://broker", "wss://broker"),
        ("unix:///run/mosquitto.sock", "unix:///run/mosquitto.sock"),
    ],
)
def test_brokers(written: str, read: str) -> None:
    assert read_mqtt(f'url = "{written}"').url == read


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "expected a broker's address such as"),
        ("http://broker", "begin with mqtt://, mqtts://, ws://, wss:// or unix://"),
        ("mqtt://", "no valid host name"),
        ("mqtt://a..b", "no valid host name"),
        ("mqtt://192.168.1.300", "no valid host name or address"),
        ("mqtt://192.168.1", "no valid host name or address"),
        ("mqtt://[fd00::1", "no valid host name or address"),
        ("mqtt://.b", "no valid host name"),
        ("mqtt://" + "a" * 64, "no valid host name"),
        ("mqtt://höhe", "no valid host name"),
        ("mqtt://broker:0", "no valid port"),
        ("mqtt://broker/topic", "contains a path"),
        ("mqtts://broker?x", "the server's address only"),
        ("unix://run/x", "unix:///run/mosquitto.sock"),
        ("unix:///" + "x" * 107, "unix:///run/mosquitto.sock"),
        ("broker\\n", "contains a line break"),
    ],
)
def test_wrong_brokers(written: str, said: str) -> None:
    message = complaint(mqtt(f'url = "{written}"'))
    assert message.startswith("6: [[mqtt]] url = ")
    assert said in message


def test_a_password_in_the_url_is_not_shown() -> None:
    message = complaint(mqtt(f'url = "mqtt://me:{SECRET}@broker"'))
    assert message.startswith("6: [[mqtt]] url = (hidden): ")
    assert "own settings" in message
    assert complaint(mqtt(f'url = "ftp://me:{SECRET}@broker"')).startswith("6: [[mqtt]] url = (hidden): unknown scheme")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("60", 60), ("0.5e2", 50), ('"90"', 90), ('"90 s"', 90), ('"15 min"', 900), ('"24H"', 86400)],
)
def test_durations(written: str, seconds: float) -> None:
    assert read_mqtt(f"stale_after = {written}").stale_after == seconds


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("stale_after = 0", 'expected a number of seconds from 1 to 86400, or text such as "15 min"'),
        ("stale_after = inf", 'expected a number of seconds from 1 to 86400, or text such as "15 min"'),
        ("stale_after = nan", 'expected a number of seconds from 1 to 86400, or text such as "15 min"'),
        ('stale_after = "2 days"', 'expected a number of seconds from 1 to 86400, or text such as "15 min"'),
        ('stale_after = "25 h"', 'expected a number of seconds from 1 to 86400, or text such as "15 min"'),
        ("keepalive = 4", "expected a whole number of seconds from 5"),
        ("keepalive = 30.0", "expected a whole number of seconds from 5"),
        ('base_topic = ""', "expected a topic prefix"),
        ('base_topic = "a/+"', "a topic cannot contain + or #"),
        ('base_topic = "$SYS"', "nor begin with $"),
        ('base_topic = "a/"', "begins or ends with /"),
        ('discovery_prefix = "/a"', "begins or ends with /"),
        (f'base_topic = "{"x" * 201}"', "longer than 200 bytes"),
        (f'client_id = "{"é" * 65}"', "longer than 128 bytes"),
        ('client_id = "a\\u0000"', "contains a line break or another control character"),
        ('username = ""', "missing: add it (a password alone cannot be sent)"),
        ('key = "k"', "missing: add it (the certificate that the key is for)"),
        ('certificate = "c"', "begin with mqtts:// or wss://"),
        ('discovery_prefix = "false"', "expected a topic prefix, or false, without quotes"),
        ("discovery_prefix = true", "expected a topic prefix, or false"),
        ("discovery_prefix = 0", "expected a topic prefix, or false"),
        ("field_topics = 1", "expected true or false"),
    ],
)
def test_wrong_mqtt_settings(line: str, said: str) -> None:
    message = complaint(mqtt(line))
    assert re.match(r"\d+: \[\[mqtt]] ", message)
    assert said in message
    assert SECRET not in message


# Metrics


@pytest.mark.parametrize("listen", ["127.0.0.1:9101", "0.0.0.0:80", "[::1]:9101", ""])
def test_where_metrics_are_served(listen: str) -> None:
    assert parse(f'{GOOD}[metrics]\nlisten = "{listen}"', "c.toml").metrics.listen == listen


@pytest.mark.parametrize(
    "listen", ["9101", ":9101", "127.0.0.1", "localhost:9101", "::1:9101", "[::1]", "[127.0.0.1]:9101", "127.0.0.1:0"]
)
def test_what_metrics_cannot_be_served_on(listen: str) -> None:
    assert complaint(f'{GOOD}[metrics]\nlisten = "{listen}"').startswith(
        f'6: [metrics] listen = "{listen}": expected an IP address of this system and a port such as "127.0.0.1:9101"'
    )
