"""Makes packages for OpenWrt's opkg without OpenWrt's build system: python ipk.py DIRECTORY

The packages are for the minor version of Python that runs this (OpenWrt 23.05 and 24.10 have 3.11); python3-pypcap is
also for the architecture of this machine. The Makefiles of this feed give the control data and the files beside the
Python modules. Modules are installed and compiled as OpenWrt's python3-package.mk does it. Wheels from PyPI are those
that .ci/setup puts into the environment; its pypcap is compiled for musl, OpenWrt's C library.

The same checkout gives the same bytes. All files get the time of the last commit, or that of SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import gzip
import io
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from shutil import copytree, rmtree

# This is a script, and a module for its tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from openwrt.tools.jsmin import jsmin

TOOLS = Path(__file__).resolve().parent
FEED = TOOLS.parent
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SITE_PACKAGES = f"usr/lib/python{PYTHON}/site-packages"
WHEELS = Path(sys.prefix) / "openwrt-wheels"
# As `opkg print-architecture` names it. For other machines OpenWrt has several names, by the processor.
ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "aarch64_generic"}.get(platform.machine(), "")
PACKAGES = [
    "inverter-capture",
    "luci-app-inverter-capture",
    "python-dpkt",
    *(["python-pypcap"] if ARCHITECTURE else []),
]
# What OpenWrt's build system includes at these places.
STAND_INS = ["package.mk", "feeds/packages/lang/python/pypi.mk", "feeds/packages/lang/python/python3-package.mk"]
# These describe the installation on this machine, with its paths.
NOT_INSTALLED = ["INSTALLER", "RECORD", "REQUESTED", "direct_url.json"]

# LuCI's build gives its packages this, for the menu and rpcd to notice them.
LUCI_POSTINST = """[ -n "${IPKG_INSTROOT}" ] || {
	rm -f /tmp/luci-indexcache.*
	rm -rf /tmp/luci-modulecache/
	/etc/init.d/rpcd reload 2>/dev/null
	exit 0
}
"""

Members = dict[str, tuple[int, bytes | None]]
"""What a tar holds by name: the mode, and the content of a file, or None for a directory; all are owned by root."""

# The same in every package of OpenWrt: /lib/functions.sh there does the work.
POSTINST = """#!/bin/sh
[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0
[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0
. ${IPKG_INSTROOT}/lib/functions.sh
default_postinst $0 $@
"""
PRERM = """#!/bin/sh
[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0
. ${IPKG_INSTROOT}/lib/functions.sh
default_prerm $0 $@
"""


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python ipk.py DIRECTORY")
    target = Path(sys.argv[1])
    os.umask(0o022)
    target.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        name, content = make_package(FEED / package)
        (target / name).write_bytes(content)
        print(target / name)
    limits = f"python3-pypcap for its architecture {ARCHITECTURE}" if ARCHITECTURE else "without python3-pypcap"
    print(f"ipk.py: for OpenWrt with Python {PYTHON}, {limits}; for others use `make sdk`", file=sys.stderr)


def make_package(directory: Path) -> tuple[str, bytes]:
    """The file name and the content of the package of this directory of the feed."""
    with tempfile.TemporaryDirectory() as work:
        recipe = Recipe(directory, Path(work))
        pages = (directory / "htdocs").is_dir()
        data = _archive(_members(recipe.install_pages() if pages else recipe.install_modules()))
        control = recipe.make("control") + f"Installed-Size: {len(data)}\n"
        description = "".join(f" {line.strip()}\n" for line in recipe.make("description").splitlines())
        optional = {name: recipe.make(name) for name in ("conffiles", "postrm")}
    texts = {"control": f"{control}Description: {description}", "postinst": POSTINST, "prerm": PRERM}
    if pages:
        texts["postinst-pkg"] = LUCI_POSTINST
    texts |= {name: text for name, text in optional.items() if text.strip()}
    control_members: Members = {"./": (0o755, None)}
    for name, text in sorted(texts.items()):
        control_members[f"./{name}"] = 0o755 if text.startswith("#!") else 0o644, text.encode()
    package: Members = {
        "./debian-binary": (0o644, b"2.0\n"),
        "./data.tar.gz": (0o644, _compressed(data)),
        "./control.tar.gz": (0o644, _compressed(_archive(control_members))),
    }
    fields = dict(line.split(": ", 1) for line in control.splitlines())
    file = f"{fields['Package']}_{fields['Version']}_{fields['Architecture']}.ipk"
    return file, _compressed(_archive(package))


class Recipe:
    """The Makefile of a feed package, run with our rules.mk in place of OpenWrt's, in an empty directory."""

    def __init__(self, directory: Path, work: Path) -> None:
        self._directory = directory
        self._top, self._root = work / "top", work / "root"
        for name in STAND_INS:
            (self._top / name).parent.mkdir(parents=True, exist_ok=True)
            (self._top / name).touch()
        for name, place in (("rules.mk", "rules.mk"), ("luci.mk", "feeds/luci/luci.mk")):
            (self._top / place).parent.mkdir(parents=True, exist_ok=True)
            (self._top / place).write_bytes((TOOLS / name).read_bytes())

    def make(self, target: str) -> str:
        """What this target of rules.mk prints."""
        variables = {"TOPDIR": self._top, "ROOT": self._root, "ARCH_PACKAGES": ARCHITECTURE}
        variables |= {"PYTHON3_VERSION": PYTHON, "HOST_PYTHON3_BIN": sys.executable}
        command = ["make", "--silent", "--no-print-directory", "-C", str(self._directory)]
        return _run([*command, target, *(f"{name}={value}" for name, value in variables.items())])

    def install_pages(self) -> Path:
        """The directory with all files of a LuCI app, where scripts are as its build leaves them."""
        self.make("install")
        for folder in self._root.rglob("__pycache__"):
            rmtree(folder)
        for path in self._root.rglob("*"):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            if path.suffix == ".js":
                path.write_bytes(jsmin(path.read_bytes()))
        return self._root

    def install_modules(self) -> Path:
        """The directory with all files of a package of Python modules, which are bytecode there."""
        self._install_wheel()
        return self._install()

    def _install_wheel(self) -> None:
        """Installs the package's wheel, which for a local source is made first."""
        self.make("prepare")
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        options = ["--root-user-action=ignore", "--no-deps", "--no-compile", "--no-index", "--no-build-isolation"]
        places = [f"--find-links={WHEELS}", f"--root={self._top / 'installed'}", "--prefix=/usr", "--ignore-installed"]
        _run([*pip, *options, *places, self.make("pypi").strip() or str(self._top / "build")])

    def _install(self) -> Path:
        root = self._root
        self.make("install")
        copytree(self._top / "installed" / SITE_PACKAGES, root / SITE_PACKAGES)
        self.make("compile")
        for path in sorted(root.rglob("*")):
            if path.suffix == ".py" or path.name in NOT_INSTALLED:
                path.unlink()
            elif path.suffix == ".so":
                path.rename(path.with_name(path.name.split(".")[0] + ".so"))  # named for this machine's C library
            elif path.parent == root / "usr/bin":
                path.write_text("#!/usr/bin/python3\n" + path.read_text().partition("\n")[2])
        return root


def _run(command: list[str]) -> str:
    # Options and variables of a `make` that runs this are not meant for this command.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(command, env=environment, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"ipk.py: this failed, see above: {' '.join(command)}")
    return done.stdout


def _members(root: Path) -> Members:
    paths = {"./": root} | {f"./{path.relative_to(root)}": path for path in sorted(root.rglob("*"))}
    return {
        name: (path.stat().st_mode & 0o777, None if path.is_dir() else path.read_bytes())
        for name, path in paths.items()
    }


def _archive(members: Members) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, (mode, content) in members.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.mtime = mode, _time()
            if content is None:
                entry.type = tarfile.DIRTYPE
            entry.size = len(content or b"")
            tar.addfile(entry, io.BytesIO(content or b""))
    return archive.getvalue()


def _compressed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


@cache
def _time() -> int:
    """The time that all files get, in seconds since the epoch."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(FEED), "log", "-1", "--format=%ct"]
    found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    return int(found or 0)


if __name__ == "__main__":
    main()
