"""What `check` says beyond the settings themselves: files, sections that do not go together, values hardly meant."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.network import ROOT
from tests.programs import DAY, PROGRAM, environment, run_program

START = '[pcap]\ndevice = "lo"\n'


def check(text: str, code: int = 2) -> list[str]:
    """What is said about this configuration, from the line's number on."""
    done = run_program("check", "-", input=text.encode())
    assert done.code == code, done
    assert (done.out == "standard input: OK\n") == (code == 0)
    return [re.sub(r"^(error|warning): standard input:", "", line) for line in done.err.splitlines()]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    ca, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    text = f'[[mqtt]]\nurl = "mqtts://broker"\nverify = "{ca}"\ncertificate = "{tmp_path}/c.pem"\nkey = "{key}"\n'
    no_file = "cannot be read (No such file or directory): check the path, and who may read the file"
    assert check(START + text) == [
        f'5: [[mqtt]] verify = "{ca}": {no_file}',
        f'6: [[mqtt]] certificate = "{tmp_path}/c.pem": {no_file}',
        f'7: [[mqtt]] key = "{key}": {no_file}',
    ]
    ca.write_text("no certificate")
    text = f'[[influxdb2]]\nhost = "https://db"\nauthentication = "none"\ndb = "d"\nverify = "{ca}"\n'
    remedy = "give the file of the server's CA certificate"
    assert check(START + text) == [
        f'7: [[influxdb2]] verify = "{ca}": contains no certificate in PEM format: {remedy}',
    ]


def test_a_certificate_and_the_key_of_another(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    (certificate, key), (_, other) = authority.files(), authority.files(names="DNS:other")
    text = f'[[mqtt]]\nurl = "mqtts://broker"\ncertificate = "{certificate}"\nkey = "{{}}"\n'
    assert check(START + text.format(key), 0) == []
    (message,) = check(START + text.format(other))
    # A long path is shown in part.
    assert message.startswith('6: [[mqtt]] key = "/')
    assert ": not the key of this certificate" in message


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("", "", True),
        ('client_id = "a"', 'client_id = "a"\nbase_topic = "other"', True),
        ('client_id = "a"', 'client_id = "b"', False),
        ("", 'base_topic = "other"', False),
    ],
)
def test_two_clients_that_throw_each_other_out(first: str, second: str, clash: bool) -> None:
    text = f'{START}[[mqtt]]\nurl = "broker"\n{first}\n[[mqtt]]\nurl = "mqtt://Broker:1883/"\n{second}\n'
    said = check(text, 2 if clash else 0)
    assert len(said) == clash
    assert not clash or "the broker would disconnect it and section 1 of mqtt in turns" in said[0]
    assert check(text.replace("Broker:1883", "broker:1884"), 0) == []


def test_durations_that_are_hardly_meant() -> None:
    text = (
        f'{START}[[mqtt]]\nurl = "broker"\nstale_after = 15\nkeepalive = 3600\n[[influxdb2]]\nhost = "db"\ndb = "d"\n'
    )
    said = check(text + 'authentication = "none"\ntimeout = 0.1\n', 0)
    assert [line.partition(":")[0] for line in said] == ["5", "6", "11"]
    assert said[0].startswith("5: [[mqtt]] stale_after = 15: dongles report every one to five minutes: give the unit")


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    """It can be read only once, and may have no end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for device in (str(pipe), "-"):
        text = f'[pcap]\ndevice = "{device}"\nfile = true\n[[console]]\n'
        assert check(text, 0) == []
        config = tmp_path / "c.toml"
        config.write_text(text)
        with subprocess.Popen([*PROGRAM, "check", str(config)], stdin=subprocess.PIPE, env=environment()) as program:
            assert program.wait() == 0


def test_a_query_in_an_address_is_hidden() -> None:
    """Other programs take user and password there."""
    text = (
        '[[influxdb2]]\nhost = "http://db/?p=s3cret"\npath = "/write?p=s3cret"\ndb = "d"\n[[mqtt]]\nurl = "b?s3cret"\n'
    )
    said = "\n".join(check(START + text))
    assert said.count("(hidden)") == 3
    assert "s3cret" not in said


def test_a_capture_file_is_for_decode() -> None:
    done = run_program("check", DAY)
    assert (done.code, done.out) == (2, "")
    assert (
        done.err
        == f"error: {DAY}: a capture file, not a configuration: see what is in it with inverter-capture decode\n"
    )


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["chekc"], "check"),
        (["decode", "--formt", "json", "x"], "--format"),
        (["decode", "--format", "jsn", "x"], "json"),
        (["discover", "--secs", "9", "lo"], "--seconds"),
    ],
)
def test_what_is_misspelt_is_suggested(arguments: list[str], near: str) -> None:
    done = run_program(*arguments)
    assert (done.code, done.out) == (2, "")
    assert f"; did you mean {near}? Or see inverter-capture" in done.err


def test_on_a_terminal_the_line_is_shown_without_secrets(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        START
        + '[[mqtt]]\r\nurl\t= "ftp://x" # broker\r\npassword = s3cret\npasword = "s3cret"\n[[mqtt]]\nurl = "ftp://me:s3cret@x"\n'
    )
    master, slave = pty.openpty()
    command = [*PROGRAM, "check", str(config)]
    done = subprocess.run(command, stderr=slave, env=environment(NO_COLOR="1"), cwd=ROOT, check=False)
    text = os.read(master, 65536).decode().replace("\r\n", "\n")
    for end in (master, slave):
        os.close(end)
    assert done.returncode == 2
    assert text.startswith(
        'error: [[mqtt]] url = "ftp://x": unknown scheme\n'
        f"   --> {config}:4\n"
        "     |\n"
        '   4 | url = "ftp://x" # broker\n'
        "     |       ^^^^^^^^^\n"
        "     = help: begin with mqtt://, mqtts://, ws://, wss:// or unix://\n"
    )
    assert "\n   5 | password = ...\n     | ^^^^^^^^\n" in text
    assert "\n   6 | pasword = ...\n" in text
    assert "s3cret" not in text


def test_json_has_the_commands_too() -> None:
    done = run_program("check", "--json", "-", input=b"config pcap 'pcap'\n\toption device 'lo'\n\n")
    assert done.code == 3
    (mistake,) = json.loads(done.out)
    assert mistake["section"] == mistake["setting"] == ""
    assert "uci set inverter-capture.mqtt.enabled=1" in mistake["commands"]
