"""Two services at once, and a service whose jail is gone."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from inverter_capture.service import single
from inverter_capture.service.single import AnotherServiceError, only_service
from tests.network import ROOT, wait_for
from tests.programs import PROGRAM, Dongle, Program, wait_until_begun, write_config


def words(config: Path, status: Path) -> list[str]:
    return [*PROGRAM, "run", str(config), "--status", str(status)]


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def test_the_later_one_takes_over(dongle: Dongle, tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.toml", "lo", filter=dongle.filter)
    status = tmp_path / "status.json"
    with Program(words(config, status)) as first:
        wait_until_begun(first)
        with Program(words(config, status)) as second:
            wait_until_begun(second)
            assert first.wait() == 0
            assert second.said(f"another inverter-capture is running (process {first.pid}): it is stopped") == 1
            sent = dongle.send(2)
            assert second.wait_for_readings(2) == sent
            assert first.readings == []
            with Program(words(config, status)) as third:
                wait_until_begun(third)
                assert second.wait() == 0
                assert third.stop().code == 0
    # One that has ended holds nothing.
    with Program(words(config, status)) as program:
        wait_until_begun(program)
        assert program.said("another") == 0
        assert program.stop().code == 0
    assert list(tmp_path.iterdir()) == [config]


def test_services_with_other_status_files_or_none_are_others(dongle: Dongle, tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.toml", "lo", filter=dongle.filter)
    starts = [words(config, tmp_path / "one.json"), words(config, tmp_path / "two.json"), words(config, tmp_path)[:-2]]
    with Program(starts[0]) as one, Program(starts[1]) as two, Program(starts[2]) as three:
        for program in (one, two, three):
            wait_until_begun(program)
        sent = dongle.send(1)
        for program in (one, two, three):
            assert program.wait_for_readings(1) == sent
            assert program.said("another") == 0


def test_one_that_does_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single, "TAKE_OVER_SECONDS", 0.3)
    status = tmp_path / "status.json"
    script = f"trap '' TERM; exec 9>>{status}.lock; flock 9; echo $$ >&9; echo ready; while :; do sleep 0.1; done"
    stubborn = subprocess.Popen(["sh", "-c", script, "sh", str(status)], stdout=subprocess.PIPE)
    try:
        assert stubborn.stdout is not None
        assert stubborn.stdout.readline() == b"ready\n"
        with pytest.raises(AnotherServiceError, match=f"kill -9 {stubborn.pid}$"), only_service(str(status)):
            pass
    finally:
        stubborn.kill()
        stubborn.communicate()


def test_the_one_that_holds_the_lock_at_the_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When several start at once, another one may have taken over from the first."""
    monkeypatch.setattr(single, "TAKE_OVER_SECONDS", 0.3)
    status = tmp_path / "status.json"
    start = ["sh", "-c", "while :; do sleep 0.1; done", "sh", str(status)]
    with open(f"{status}.lock", "w") as file, subprocess.Popen(start) as first, subprocess.Popen(start) as later:

        def take_over(process: int) -> None:
            assert process == first.pid
            Path(f"{status}.lock").write_text(str(later.pid))

        monkeypatch.setattr(single, "_stop", take_over)
        file.write(str(first.pid))
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            with pytest.raises(AnotherServiceError, match=f"kill -9 {later.pid}$"), only_service(str(status)):
                pass
        finally:
            first.kill()
            later.kill()


def test_whoever_else_holds_the_lock_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be that of some other process by now."""
    monkeypatch.setattr(single, "TAKE_OVER_SECONDS", 0.3)
    status = tmp_path / "status.json"
    with open(f"{status}.lock", "w") as file, subprocess.Popen(["sleep", "60"]) as other:
        file.write(str(other.pid))
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(AnotherServiceError, match="ps w"), only_service(str(status)):
            pass
        assert other.poll() is None
        other.kill()


def test_the_path_may_be_given_in_another_form(dongle: Dongle, tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.toml", "lo", filter=dongle.filter)
    status = tmp_path / "status.json"
    with Program([*words(config, status)[:-2], f"--status={tmp_path}/./status.json"]) as first:
        wait_until_begun(first)
        with Program(words(config, status)) as second:
            wait_until_begun(second)
            assert first.wait() == 0
            assert second.stop().code == 0


HOLD_AS = """
import os, sys
from inverter_capture.service import single
single.TAKE_OVER_SECONDS = 0.3
os.setuid(int(sys.argv[2]))
try:
    with single.only_service(sys.argv[1]):
        print("held", flush=True)
        sys.stdin.read()
except single.AnotherServiceError as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("stale", [True, False], ids=["own file", "root's file"])
def test_another_users_service_is_told_apart_and_left_alone(tmp_path: Path, stale: bool) -> None:
    """As when root runs a second service by hand, and procd starts the first one again, as its own user."""
    user = 65534
    # The directories above are root's alone.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    os.chown(folder, user, user)
    status = folder / "status.json"
    pipe = subprocess.PIPE
    try:
        if stale:
            Path(f"{status}.lock").touch()
            os.chown(f"{status}.lock", user, user)
        roots = [sys.executable, "-c", HOLD_AS, str(status), "0"]
        users = [*roots[:-1], str(user)]
        with subprocess.Popen(roots, stdin=pipe, stdout=pipe, cwd=ROOT) as first:
            assert first.stdout is not None
            assert first.stdout.readline() == b"held\n"
            done = subprocess.run(users, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT, check=True)
            assert done.stdout.endswith(f"does not end: kill -9 {first.pid}\n")
            assert done.stderr == f"another inverter-capture is running (process {first.pid}) as another user: end it\n"
            assert first.poll() is None
            # A root that is killed leaves a file that its user cannot write.
            first.kill()
        done = subprocess.run(users, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT, check=True)
        assert (done.stdout, done.stderr) == ("held\n", "")
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)


def test_the_lock_of_a_later_one_stays(tmp_path: Path) -> None:
    """When the directory is removed while a service runs, the next one makes a lock of its own."""
    status = tmp_path / "status.json"
    lock = Path(f"{status}.lock")
    with only_service(str(status)):
        lock.unlink()
        lock.write_text("a later one's")
    assert lock.read_text() == "a later one's"


def test_a_place_that_cannot_be_locked_stops_nothing(tmp_path: Path) -> None:
    with only_service(str(tmp_path / "none" / "status.json")):
        pass


@pytest.mark.parametrize(("name", "ends"), [("ujail", True), ("shell", False)])
def test_the_service_ends_with_its_jail(dongle: Dongle, tmp_path: Path, name: str, ends: bool) -> None:
    config = write_config(tmp_path / "c.toml", "lo", filter=dongle.filter)
    parent = tmp_path / name
    parent.symlink_to("/bin/sh")
    start = [str(parent), "-c", '"$@" & echo "$!" >&2; wait', "sh", *PROGRAM, "run", str(config)]
    with Program(start) as program:
        wait_until_begun(program)
        process = int(program.log[0])
        try:
            os.kill(program.pid, signal.SIGKILL)
            if ends:
                wait_for(lambda: not is_running(process), "end of the service")
                assert program.said("ujail has ended") == 1
            else:
                sent = dongle.send(1)
                assert program.wait_for_readings(1) == sent
                assert is_running(process)
        finally:
            if is_running(process):
                os.kill(process, signal.SIGKILL)
