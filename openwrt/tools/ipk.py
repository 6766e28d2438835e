"""Builds packages for OpenWrt's opkg without OpenWrt's build system: python ipk.py DIRECTORY

The packages are for the minor version of Python that runs this script (OpenWrt 23.05 and 24.10 have 3.11), and
python3-pypcap for the architecture of this machine. Control data and files other than Python modules come from the
Makefiles of this feed. Modules are installed and compiled as in OpenWrt's python3-package.mk. .ci/setup provides the
wheels from PyPI, with pypcap compiled for musl, OpenWrt's C library.

Builds are reproducible: all files get the time of the last commit, or of SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import gzip
import io
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from shutil import copytree, rmtree

# So that it can be run as a script, and imported by tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from openwrt.tools.jsmin import jsmin

TOOLS = Path(__file__).resolve().parent
FEED = TOOLS.parent
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SITE_PACKAGES = f"usr/lib/python{PYTHON}/site-packages"
WHEELS = Path(sys.prefix) / "openwrt-wheels"
# As in `opkg print-architecture`. For other machines, OpenWrt's name depends on the processor.
ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "aarch64_generic"}.get(platform.machine(), "")
PACKAGES = [
    "inverter-capture",
    "luci-app-inverter-capture",
    "python-dpkt",
    *(["python-pypcap"] if ARCHITECTURE else []),
]
# Files of OpenWrt's build system that the Makefiles include. Empty here.
STAND_INS = ["package.mk", "feeds/packages/lang/python/pypi.mk", "feeds/packages/lang/python/python3-package.mk"]
# They contain paths of this machine.
NOT_INSTALLED = ["INSTALLER", "RECORD", "REQUESTED", "direct_url.json"]

# As in LuCI's build system: updates the menu and rpcd.
LUCI_POSTINST = """[ -n "${IPKG_INSTROOT}" ] || {
	rm -f /tmp/luci-indexcache.*
	rm -rf /tmp/luci-modulecache/
	/etc/init.d/rpcd reload 2>/dev/null
	exit 0
}
"""

Members = dict[str, tuple[int, bytes | None]]
"""Members of a tar archive by name: mode and content, which is None for a directory. All are owned by root."""

# The same in every package of OpenWrt.
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
        translations = sorted((FEED / package / "po").glob("*/*.po"))
        for language in ("", *(path.parent.name for path in translations)):
            name, content = make_package(FEED / package, language)
            (target / name).write_bytes(content)
            print(target / name)
    limits = f"python3-pypcap for its architecture {ARCHITECTURE}" if ARCHITECTURE else "without python3-pypcap"
    print(f"ipk.py: for OpenWrt with Python {PYTHON}, {limits}; for others use `make sdk`", file=sys.stderr)


def make_package(directory: Path, language: str = "") -> tuple[str, bytes]:
    """File name and content of the package of a directory of the feed, or of its translation to a language."""
    with tempfile.TemporaryDirectory() as work:
        recipe = Recipe(directory, Path(work), language)
        pages = (directory / "htdocs").is_dir()
        data = _archive(_members(recipe.install_pages() if pages else recipe.install_modules()))
        control = recipe.make("control") + f"Installed-Size: {len(data)}\n"
        description = "".join(f" {line.strip()}\n" for line in recipe.make("description").splitlines())
        optional = {name: recipe.make(name) for name in ("conffiles", "postrm")}
    texts = {"control": f"{control}Description: {description}", "postinst": POSTINST, "prerm": PRERM}
    if pages and not language:
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
    """The Makefile of a package, run in an empty directory with our rules.mk in place of OpenWrt's."""

    def __init__(self, directory: Path, work: Path, language: str = "") -> None:
        self._directory, self._language = directory, language
        self._top, self._root = work / "top", work / "root"
        for name in STAND_INS:
            (self._top / name).parent.mkdir(parents=True, exist_ok=True)
            (self._top / name).touch()
        for name, place in (("rules.mk", "rules.mk"), ("luci.mk", "feeds/luci/luci.mk")):
            (self._top / place).parent.mkdir(parents=True, exist_ok=True)
            (self._top / place).write_bytes((TOOLS / name).read_bytes())

    def make(self, target: str) -> str:
        """The output of a target of rules.mk."""
        variables = {"TOPDIR": self._top, "ROOT": self._root, "ARCH_PACKAGES": ARCHITECTURE}
        variables |= {"PYTHON3_VERSION": PYTHON, "HOST_PYTHON3_BIN": sys.executable, "LUCI_LANGUAGE": self._language}
        command = ["make", "--silent", "--no-print-directory", "-C", str(self._directory)]
        return _run([*command, target, *(f"{name}={value}" for name, value in variables.items())])

    def install_pages(self) -> Path:
        """The directory with all files of a LuCI app (scripts minified as LuCI's build does) or of a translation."""
        self.make("install")
        for folder in self._root.rglob("__pycache__"):
            rmtree(folder)
        for path in self._root.rglob("*"):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            if path.suffix == ".js":
                path.write_bytes(jsmin(path.read_bytes()))
        return self._root

    def install_modules(self) -> Path:
        """The directory with all files of a package of Python modules, compiled to bytecode."""
        self._install_wheel()
        return self._install()

    def _install_wheel(self) -> None:
        """Install the package's wheel. For local sources, build it first."""
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
                path.write_text(with_interpreter(path.read_text()))
        return root


def with_interpreter(script: str) -> str:
    """A script of pip's for OpenWrt's Python. A long path, or one with a space, takes three lines of it."""
    return re.sub(r"\A#!.*\n('''exec' .*\n' '''\n)?", "#!/usr/bin/python3\n", script)


def _run(command: list[str]) -> str:
    # Without options and variables of a `make` that runs this script.
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
    """The time of all files, in seconds since the epoch."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(FEED), "log", "-1", "--format=%ct"]
    found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    return int(found or 0)


if __name__ == "__main__":
    main()
