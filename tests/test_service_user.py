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
from tests.certificates import Authority
from tests.faulty_server import FaultyServer
from tests.network import ROOT

USER = "nobody"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sees files with the eyes of another user")


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where everybody gets; the service's user is one that every system has."""
    monkeypatch.setattr(service_user, "USER", USER)
    monkeypatch.setattr(service_user, "UJAIL", "/bin/sh")
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def obey(commands: str) -> None:
    """Run the remedy, in the group that every system has for that user."""
    group = grp.getgrgid(pwd.getpwnam(USER).pw_gid).gr_name
    subprocess.run(["sh", "-ec", commands.replace(f"chgrp {USER} ", f"chgrp {group} ")], check=True)


def remedy(path: Path) -> str:
    """The remedy for a file that the service's user cannot read."""
    problem = unreadable(str(path))
    assert problem is not None
    reason, commands = problem
    assert reason == f"the service's user {USER} cannot read it"
    return commands


def test_a_file_of_roots(folder: Path) -> None:
    file = folder / "a file.pem"
    file.touch(mode=0o600)
    commands = remedy(file)
    assert commands.startswith(f"chgrp {USER} '{file}'")
    obey(commands)
    assert unreadable(str(file)) is None
    assert file.stat().st_mode & 0o777 == 0o640
    # We are root again.
    assert (os.geteuid(), os.getegid()) == (0, 0)
    assert (folder / "a file.pem").read_text() == ""


def test_a_directory_of_roots(folder: Path) -> None:
    inner = folder / "keys"
    inner.mkdir(mode=0o700)
    file = inner / "key.pem"
    file.touch(mode=0o644)
    commands = remedy(file)
    assert f"chmod g+x {inner}" in commands
    obey(commands)
    assert unreadable(str(file)) is None
    # A directory of authorities is listed.
    commands = remedy(inner)
    assert f"chmod g+rx {inner}" in commands
    obey(commands)
    assert unreadable(str(inner)) is None


def test_what_is_no_matter_of_that_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "key.pem"
    file.touch(mode=0o600)
    with monkeypatch.context() as patch:
        patch.setattr(service_user, "UJAIL", str(folder / "none"))
        assert unreadable(str(file)) is None
    with monkeypatch.context() as patch:
        patch.setattr(service_user, "USER", "no-such-user")
        assert unreadable(str(file)) is None
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 1000)
        assert unreadable(str(file)) is None


CODE = """if True:
    import sys
    from inverter_capture.commands import arguments, service_user
    service_user.USER, service_user.UJAIL = "nobody", "/bin/sh"
    sys.exit(arguments.main())
"""


def test_check_says_so_and_not_ok(folder: Path) -> None:
    file = Authority(folder).file
    config = folder / "c.toml"
    with FaultyServer() as server:
        lines = ["[pcap]", 'device = "lo"', "[[influxdb2]]", f'host = "{server.url}"', 'org = "o"', 'bucket = "b"']
        config.write_text("\n".join([*lines, 'token = "t"', f'verify = "{file}"\n']))
        for mode, code, said in ((0o600, 2, "cannot read it: chgrp nobody "), (0o644, 0, "OK\n")):
            file.chmod(mode)
            command = [sys.executable, "-c", CODE, "check", "--connect", str(config)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == code
            assert said in done.stdout + done.stderr
            assert ("OK" in done.stdout) == (code == 0)
