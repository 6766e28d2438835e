"""Makes packages for OpenWrt's opkg without OpenWrt's build system: python ipk.py DIRECTORY

For those packages of this feed that need no compiler. They are for the version of Python that runs this: OpenWrt 23.05
and 24.10 have 3.11. What a package is and holds comes from its Makefile in the feed; a package that OpenWrt's own build
system makes from it differs in a few fields of control, and in the metadata of Python distributions, which nothing here
reads. dpkt is taken from the Python environment. The same checkout gives the same packages: all files are as old as the
last commit, or as SOURCE_DATE_EPOCH says.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Self

TOOLS = Path(__file__).resolve().parent
FEED = TOOLS.parent
PACKAGES = ["inverter-capture", "python-dpkt"]
SITE_PACKAGES = f"/usr/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
# What OpenWrt's build system includes at these places.
STAND_INS = ["package.mk", "feeds/packages/lang/python/pypi.mk", "feeds/packages/lang/python/python3-package.mk"]

# They are the same in every package of OpenWrt: what is done for it stands in its /lib/functions.sh.
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


def make_package(directory: Path) -> tuple[str, bytes]:
    """The file name and the content of the package of this directory of the feed."""
    with Recipe(directory) as recipe:
        root = recipe.work / "root"
        if pypi := recipe.get("pypi").split():
            name, wanted = pypi
            _install_distribution(name, wanted, root)
        else:
            recipe.install(root)
        data = _archive(root, [root, *sorted(root.rglob("*"))])

        control = recipe.get("control") + f"Installed-Size: {len(data)}\n"
        fields = dict(line.split(": ", 1) for line in control.splitlines())
        description = "".join(f" {line.strip()}\n" for line in recipe.get("description").splitlines())
        parts = {"control": f"{control}Description: {description}", "postinst": POSTINST, "prerm": PRERM}
        if conffiles := recipe.get("conffiles").strip():
            parts["conffiles"] = conffiles + "\n"
        scripts = recipe.work / "control"
        scripts.mkdir()
        for name, text in parts.items():
            (scripts / name).write_text(text)
            (scripts / name).chmod(0o755 if text.startswith("#!") else 0o644)

        package = recipe.work / "package"
        package.mkdir()
        members = {
            "debian-binary": b"2.0\n",
            "data.tar.gz": _compressed(data),
            "control.tar.gz": _compressed(_archive(scripts, [scripts, *sorted(scripts.iterdir())])),
        }
        for name, content in members.items():
            (package / name).write_bytes(content)
        whole = _archive(package, [package / name for name in members])
    return f"{fields['Package']}_{fields['Version']}_{fields['Architecture']}.ipk", _compressed(whole)


class Recipe:
    """The Makefile of a feed package, run with our rules.mk in the place of OpenWrt's."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._temporary = tempfile.TemporaryDirectory()
        self.work = Path(self._temporary.name)
        self._top = self.work / "top"
        for name in STAND_INS:
            (self._top / name).parent.mkdir(parents=True, exist_ok=True)
            (self._top / name).touch()
        (self._top / "rules.mk").write_bytes((TOOLS / "rules.mk").read_bytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._temporary.cleanup()

    def get(self, what: str) -> str:
        """`control`, without size and description, `description`, `conffiles`; `pypi`: name and version there."""
        return self._make(what)

    def install(self, root: Path) -> None:
        """Makes this directory, with all files that the package installs."""
        self._make("install", f"ROOT={root}")

    def _make(self, *arguments: str) -> str:
        variables = [f"TOPDIR={self._top}", f"PYTHON={sys.executable}", f"PYTHON3_PKG_DIR={SITE_PACKAGES}"]
        # Options and variables of a `make` that runs this are not meant for this one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        command = ["make", "--silent", "--no-print-directory", "-C", str(self._directory), *arguments, *variables]
        made = subprocess.run(command, env=environment, check=False, stdout=subprocess.PIPE, text=True)
        if made.returncode:
            sys.exit(f"ipk.py: {self._directory}/Makefile does not work, see above")
        return made.stdout


def _install_distribution(name: str, wanted: str, root: Path) -> None:
    """Installs the bytecode of a distribution in pure Python from the environment."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations or version(name) != wanted:
        sys.exit(f"ipk.py: {name} {wanted} is not installed in the environment of {sys.executable}")
    site_packages = root / SITE_PACKAGES[1:]
    copytree(spec.submodule_search_locations[0], site_packages / name, ignore=ignore_patterns("__pycache__"))
    options = ["-q", "-b", "--invalidation-mode", "unchecked-hash", "-d", f"{SITE_PACKAGES}/{name}"]
    command = [sys.executable, "-m", "compileall", *options, str(site_packages / name)]
    subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": "0"}, check=True)
    for path in sorted(site_packages.rglob("*")):
        if path.suffix == ".py":
            path.unlink()
        elif path.is_file():
            path.chmod(0o644)


def _archive(root: Path, paths: list[Path]) -> bytes:
    """A tar of these files and directories, which are to belong to root, by their names in `root`."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in paths:
            entry = tar.gettarinfo(path, f"./{path.relative_to(root)}" if path != root else "./")
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = _time()
            with open(path, "rb") if entry.isreg() else io.BytesIO() as content:
                tar.addfile(entry, content)
    return archive.getvalue()


def _compressed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


@cache
def _time() -> int:
    """What all files are dated, in seconds since the epoch."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(FEED), "log", "-1", "--format=%ct"]
    found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    return int(found or 0)


if __name__ == "__main__":
    main()
