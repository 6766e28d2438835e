"""Files that root can read and the service's user cannot."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from inverter_capture.commands import service_user
from inverter_capture.commands.service_user import unreadable
from inverter_capture.config.schema import ConsoleConfig, InfluxDb2Config, MqttConfig
from tests.certificates import Authority
from tests.faulty_server import FaultyServer
from tests.network import ROOT

USER = "nobody"


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where everybody gets; the service's user is one that every system has."""
    monkeypatch.setattr(service_user, "USER", USER)
    monkeypatch.setattr(service_user, "UJAIL", "/bin/sh")
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def obey(message: str) -> None:
    """Run what a message says, in the group that every system has for that user."""
    group = grp.getgrgid(pwd.getpwnam(USER).pw_gid).gr_name
    commands = message.partition("cannot read it: ")[2].replace(f"chgrp {USER} ", f"chgrp {group} ")
    subprocess.run(["sh", "-ec", commands], check=True)


@pytest.mark.parametrize("setting", ["verify", "certificate", "key"])
def test_a_file_of_roots(folder: Path, setting: str) -> None:
    file = folder / "a file.pem"
    file.touch(mode=0o600)
    others = {"certificate": "/etc/passwd"} if setting == "key" else {}
    config = MqttConfig(url="mqtts://x", **others | {setting: str(file)})
    message = unreadable(config)
    assert message is not None
    assert message.startswith(
        f"{setting} = \"{file}\": the service's user {USER} cannot read it: chgrp {USER} '{file}'"
    )
    obey(message)
    assert unreadable(config) is None
    assert file.stat().st_mode & 0o777 == 0o640
    # We are root again.
    assert (os.geteuid(), os.getegid()) == (0, 0)
    assert (folder / "a file.pem").read_text() == ""


def test_a_directory_of_roots(folder: Path) -> None:
    inner = folder / "keys"
    inner.mkdir(mode=0o700)
    file = inner / "key.pem"
    file.touch(mode=0o644)
    config = InfluxDb2Config(host="https://x", token="x", org="x", bucket="x", verify=str(file))
    message = unreadable(config)
    assert message is not None
    assert f"chmod g+x {inner}" in message
    obey(message)
    assert unreadable(config) is None
    # A directory of authorities is listed.
    config = InfluxDb2Config(host="https://x", token="x", org="x", bucket="x", verify=str(inner))
    message = unreadable(config)
    assert message is not None
    assert f"chmod g+rx {inner}" in message
    obey(message)
    assert unreadable(config) is None


def test_what_is_no_matter_of_that_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "key.pem"
    file.touch(mode=0o600)
    config = MqttConfig(url="mqtts://x", verify=str(file))
    assert unreadable(MqttConfig(url="mqtts://x", verify=str(folder / "none"))) is None  # the connection says that
    assert unreadable(MqttConfig(url="mqtts://x", verify=False)) is None
    assert unreadable(ConsoleConfig()) is None
    with monkeypatch.context() as patch:
        patch.setattr(service_user, "UJAIL", str(folder / "none"))
        assert unreadable(config) is None
    with monkeypatch.context() as patch:
        patch.setattr(service_user, "USER", "no-such-user")
        assert unreadable(config) is None
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 1000)
        assert unreadable(config) is None


CODE = """if True:
    import sys
    from inverter_capture.commands import arguments, service_user
    service_user.USER, service_user.UJAIL = "nobody", "/bin/sh"
    sys.exit(arguments.main())
"""


def test_check_says_so_and_not_right(folder: Path) -> None:
    file = Authority(folder).file
    config = folder / "c.toml"
    with FaultyServer() as server:
        lines = ["[pcap]", 'device = "lo"', "[[influxdb2]]", f'host = "{server.url}"', 'org = "o"', 'bucket = "b"']
        config.write_text("\n".join([*lines, 'token = "t"', f'verify = "{file}"\n']))
        for mode, code, said in ((0o600, 1, "cannot read it: chgrp nobody "), (0o644, 0, "right\n")):
            file.chmod(mode)
            command = [sys.executable, "-c", CODE, "check", "--connect", str(config)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == code
            assert said in done.stdout + done.stderr
            assert ("right" in done.stdout) == (code == 0)
