"""A router's root directory, in which the shell is BusyBox's and the files of `files/` are installed.

    router = Router(tmp_path)
    done = router.init("start")

A command runs there in namespaces of its own, with the host's libraries and this Python mounted; what it leaves stands
in the directory. rc.common, the functions and `uci` stand in for OpenWrt's. Needs root.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.network import ROOT
from tests.programs import bytecode_folder

FILES = Path(ROOT) / "files"
STAND_INS = Path(__file__).parent
NAME = "inverter-capture"
USER_ID = 32768
"""Of the service's user."""
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""As procd sets it."""

LIBRARIES = [
    Path("/usr") / name for name in ("lib", "lib32", "lib64", "share/zoneinfo") if (Path("/usr") / name).is_dir()
]
INTERPRETER = Path(sys.executable).resolve()
"""Not the environment's link, which may lead to /usr/bin/python3, where the router has what starts this one."""
PACKAGES = sysconfig.get_path("platlib")
PYTHON = [INTERPRETER if Path(sys.base_prefix) == Path("/usr") else Path(sys.base_prefix), Path(PACKAGES)]


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str


class Router:
    """The directory, and what is in it."""

    def __init__(self, directory: Path, *, ujail: bool = True, capabilities: bool = True, user: bool = True) -> None:
        """What lets the service run with CAP_NET_RAW alone may be left out."""
        self.root = directory / "root"
        self._mounts = [*LIBRARIES, *PYTHON, Path(ROOT), Path(bytecode_folder()), Path("/proc"), Path("/dev")]
        for folder in ("bin", "sbin", "lib/functions", "usr/bin", "etc/rc.d", "tmp/run", "root"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "var").symlink_to("tmp")
        self._link_libraries()
        for mount in self._mounts:
            place = self._inside(mount)
            place.parent.mkdir(parents=True, exist_ok=True)
            if mount.is_dir():
                place.mkdir(exist_ok=True)
            else:
                place.touch()
        self._install_busybox()
        for name, folder in (("rc.common", "etc"), ("functions.sh", "lib"), ("procd.sh", "lib/functions")):
            shutil.copy(STAND_INS / name, self.root / folder / name)
        self.write("/sbin/uci", self._start_python('-S -m tests.router.uci "$@"'), 0o755)
        # Says what is run, and who could read the files beside it at that moment.
        notes = '(umask 0; shift; echo "$*" >>/tmp/runs; stat -c "%a %U %n" "$PWD" "$PWD"/* >>/tmp/modes)\n'
        self.write("/usr/bin/python3", self._start_python('"$@"', notes), 0o755)
        users = {"root": 0} | ({NAME: USER_ID} if user else {})
        self.write(
            "/etc/passwd", "".join(f"{name}:x:{n}:{n}:{name}:/var/run/{name}:/bin/false\n" for name, n in users.items())
        )
        self.write("/etc/group", "".join(f"{name}:x:{n}:\n" for name, n in users.items()))
        shutil.copytree(FILES, self.root, dirs_exist_ok=True)
        _, _, script = (Path(sysconfig.get_path("scripts")) / NAME).read_text().partition("\n")
        self.write(f"/usr/bin/{NAME}", f"#!/usr/bin/python3\n{script}", 0o755)
        (self.root / "etc/config" / NAME).chmod(0o600)
        if ujail:
            self.write("/sbin/ujail", "#!/bin/sh\n", 0o755)
        if not capabilities:
            self.path(f"/etc/capabilities/{NAME}.json").unlink()

    def path(self, place: str) -> Path:
        """Where something of the router is, seen from outside."""
        parts = Path(place).parts[1:]
        return self.root.joinpath("tmp" if parts[0] == "var" else parts[0], *parts[1:])

    def read(self, place: str) -> str:
        """A file's text; empty when there is no such file."""
        path = self.path(place)
        return path.read_text() if path.exists() else ""

    def write(self, place: str, text: str, mode: int = 0o644) -> None:
        """Make a file."""
        path = self.path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def words(self, words: Sequence[str], *, network: bool = False) -> list[str]:
        """The words that start a command there; without `network` in a namespace that has no devices but lo."""
        binds = "".join(f'mount --rbind "{mount}" "{self._inside(mount)}" && ' for mount in self._mounts)
        shell = f'{binds}root=$1 && shift && exec chroot "$root" "$@"'
        spaces = ["--mount"] if network else ["--mount", "--net"]
        return ["unshare", *spaces, "--", "/bin/sh", "-c", shell, "sh", str(self.root), *words]

    def environment(self, **changes: str) -> dict[str, str]:
        """What a command gets, and nothing else."""
        return {"PATH": PATH, **changes}

    def run(self, *words: str, mask: int = 0o022, **changes: str) -> Done:
        """Run a command there; `changes` are of the environment."""
        done = subprocess.run(
            self.words(words),
            env=self.environment(**changes),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            umask=mask,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def init(self, action: str, *, mask: int = 0o022, **changes: str) -> Done:
        """Run the init script as its first line says."""
        return self.run("/bin/sh", "/etc/rc.common", f"/etc/init.d/{NAME}", action, mask=mask, **changes)

    def _inside(self, place: Path) -> Path:
        return self.root / place.relative_to("/")

    def _link_libraries(self) -> None:
        """/lib is the router's own, and yet all is found that programs of the host look for there."""
        for name in ("lib", "lib32", "lib64"):
            folder = Path("/") / name
            if folder.is_dir():
                (self.root / name).mkdir(exist_ok=True)
                for entry in folder.resolve().iterdir():
                    (self.root / name / entry.name).symlink_to(folder.resolve() / entry.name)
        for name in ("ld.so.cache", "localtime"):
            if (Path("/etc") / name).exists():
                shutil.copy(Path("/etc") / name, self.root / "etc" / name)

    def _install_busybox(self) -> None:
        busybox = shutil.which("busybox")
        assert busybox, "BusyBox is missing: install the Debian package busybox"
        shutil.copy(busybox, self.root / "bin/busybox")
        for applet in subprocess.check_output([busybox, "--list"], text=True).split():
            if applet != "busybox":
                (self.root / "bin" / applet).symlink_to("busybox")
        (self.root / "bin/logger").unlink()
        shutil.copy(STAND_INS / "logger", self.root / "bin/logger")
        (self.root / "bin/logger").chmod(0o755)

    def _start_python(self, arguments: str, before: str = "") -> str:
        variables = f'PYTHONPATH="{ROOT}:{PACKAGES}" PYTHONPYCACHEPREFIX="{bytecode_folder()}"'
        return f'#!/bin/sh\n{before}{variables} exec "{INTERPRETER}" {arguments}\n'
