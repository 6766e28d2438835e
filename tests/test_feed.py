"""The OpenWrt feed: what its packages depend on, and `make sdk` with a stand-in for an SDK.

What `make ipk` makes of it is in test_ipk.py.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import inverter_capture
from openwrt.tools import ipk

HOME = Path(__file__).parents[1]
FACTS = HOME / "tests" / "openwrt"
"""Versions and files of the releases' packages; OpenWrt's own, as they were in 2026."""
EXERCISE = FACTS / "exercise.py"
CAPTURE = HOME / "tests" / "captures" / "day.pcap"
RELEASES = ["24.10", "25.12"]

# What packages of OpenWrt depend on by themselves. It is a little more, but the rest is not needed here: of requests,
# whose dependencies bring all of Python, only what the program needs is counted, and named by our packages.
BRINGS = {
    "python3-light": {"python3-base"},
    "python3-urllib": {"python3-email"},
    "python3-paho-mqtt": {"python3-light", "python3-uuid"},
    "python3-requests": {"python3-light"},
}
SERVERS = """
[pcap]
device = "lo"
[[influxdb2]]
host = "https://localhost:1"
org = "home"
bucket = "inverter"
token = "secret"
[[mqtt]]
url = "mqtts://localhost:1"
"""


@cache
def control(package: str) -> dict[str, str]:
    """The fields of control of this package of the feed, by its directory."""
    with TemporaryDirectory() as work:
        text = ipk.Recipe(ipk.FEED / package, Path(work)).make("control")
    return dict(line.split(": ", 1) for line in text.splitlines())


def feed() -> dict[str, set[str]]:
    """The packages of the feed by name, with what they depend on, of any version."""
    packages = [control(path.parent.name) for path in ipk.FEED.glob("*/Makefile")]
    return {
        fields["Package"]: {dependency.split(" ")[0] for dependency in fields["Depends"].split(", ")}
        for fields in packages
    }


def closure(packages: set[str], leave_out: str = "") -> set[str]:
    """These packages and all that they bring, without one that is left out wherever it is named."""
    known = BRINGS | feed()
    found: set[str] = set()
    waiting = packages - {leave_out}
    while waiting:
        found |= waiting
        waiting = {dependency for package in waiting for dependency in known.get(package, ())} - found - {leave_out}
    return found


def module(file: str) -> str | None:
    """The full name of the module in this file of OpenWrt's Python, or nothing if it is none."""
    path = file.split("/", 4)[4]
    if path.startswith("lib-dynload/"):
        return path.split("/")[1].split(".")[0]
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") if path.endswith(".py") else None


def exercise(release: str, packages: set[str], directory: Path) -> subprocess.CompletedProcess[str]:
    """Uses the program with what these packages of this release hold of the standard library."""
    split = json.loads((FACTS / f"python-split-{release}.json").read_text())
    lacking = {name for file, package in split.items() if package not in packages and (name := module(file))}
    (directory / "lacking").write_text("\n".join(sorted(lacking)))
    libraries = Path(sys.prefix) / f"openwrt-{release}"
    command = [sys.executable, "-I", "-S", str(EXERCISE), *map(str, (directory / "lacking", CAPTURE, HOME, libraries))]
    return subprocess.run(command, env={}, input=SERVERS, capture_output=True, text=True, check=False)


def works(process: subprocess.CompletedProcess[str]) -> bool:
    refused = process.stderr.count("cannot be reached (Connection refused)") == SERVERS.count("[[")
    return process.returncode == 0 and process.stdout == "done\n" and refused


@pytest.mark.parametrize("release", RELEASES)
def test_the_program_and_its_libraries_find_all_that_they_import(release: str, tmp_path: Path) -> None:
    process = exercise(release, closure({"inverter-capture"}), tmp_path)
    assert works(process), process.stdout + process.stderr


@pytest.mark.parametrize("release", RELEASES)
def test_no_piece_of_python_is_named_in_vain(release: str, tmp_path: Path) -> None:
    split = set(json.loads((FACTS / f"python-split-{release}.json").read_text()).values())
    named = set.union(*feed().values()) & split
    assert "python3-email" not in named  # no longer a package of its own after 25.12
    for package in sorted(named - {"python3-light"}):
        assert not works(exercise(release, closure({"inverter-capture"}, package), tmp_path)), package


def test_each_package_names_python_itself() -> None:
    assert {name: "python3-light" in dependencies for name, dependencies in feed().items()} == dict.fromkeys(
        ["inverter-capture", "luci-app-inverter-capture", "python3-dpkt", "python3-pypcap"], True
    )


def test_the_version_is_that_of_the_program() -> None:
    assert control("inverter-capture")["Version"] == f"{inverter_capture.__version__}-r1"


def test_each_package_has_one_maintainer_a_url_and_a_test_script() -> None:
    directories = [path.parent for path in ipk.FEED.glob("*/Makefile")]
    assert len({control(directory.name)["Maintainer"] for directory in directories}) == 1
    for directory in directories:
        assert control(directory.name)["URL"].startswith("https://")
        assert (directory / "test.sh").stat().st_mode & 0o100


def test_the_app_is_an_ordinary_luci_app() -> None:
    lines = (ipk.FEED / "luci-app-inverter-capture" / "Makefile").read_text().splitlines()
    assert lines[-3:] == [
        "include $(TOPDIR)/feeds/luci/luci.mk",
        "",
        "# call BuildPackage - OpenWrt buildroot signature",
    ]
    assert control("luci-app-inverter-capture")["Version"] == f"{inverter_capture.__version__}-r1"


def test_each_package_is_an_ordinary_python_package() -> None:
    for path in ipk.FEED.glob("*/Makefile"):
        if path.parent.name.startswith("luci-"):
            continue
        name = control(path.parent.name)["Package"]
        called = re.findall(r"^\$\(eval \$\(call (.*)\)\)$", path.read_text(), re.MULTILINE)
        assert called == [f"Py3Package,{name}", f"BuildPackage,{name}", f"BuildPackage,{name}-src"]


def test_releases_are_built_from_all_packages_of_the_feed() -> None:
    workflow = (HOME / ".github" / "workflows" / "openwrt.yml").read_text()
    built = re.search(r"PACKAGES: (.*)", workflow)
    assert built is not None
    assert set(built[1].split()) == {path.parent.name for path in ipk.FEED.glob("*/Makefile")}


@pytest.fixture
def sdk(tmp_path: Path) -> Path:
    """A directory that looks like an OpenWrt SDK, and only writes down what it is asked for, and by which variables."""
    directory = tmp_path / "sdk"
    (directory / "scripts").mkdir(parents=True)
    feeds = directory / "scripts" / "feeds"
    feeds.write_text('#!/bin/sh\necho "feeds $*" >>asked\n')
    feeds.chmod(0o755)
    (directory / "feeds.conf.default").write_text("src-git base https://example.org/base\n")
    (directory / "Makefile").write_text(
        "defconfig:\n"
        "\t@echo 'make $@ $(origin SDK) $(origin PYTHON)' >>asked\n"
        "package/%/compile:\n"
        "\t@echo 'make $@ $(origin SDK) $(origin PYTHON)' >>asked\n"
        "\t@mkdir -p bin/x/base bin/x/inverter_capture\n"
        "\t@touch bin/x/base/libpcap_1.ipk bin/x/inverter_capture/$*_1.ipk bin/x/inverter_capture/$*-src_1.ipk\n"
    )
    return directory


def make_sdk(directory: Path | str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--silent", "sdk", f"SDK={directory}", "PYTHON=python3"]
    return subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)


def test_make_sdk_builds_with_the_feed_of_this_checkout(sdk: Path) -> None:
    for _ in range(2):
        process = make_sdk(sdk)
        assert process.returncode == 0, process.stderr
        assert (sdk / "feeds.conf").read_text().splitlines() == [
            "src-git base https://example.org/base",
            f"src-link inverter_capture {HOME / 'openwrt'}",
        ]
        asked = (sdk / "asked").read_text().splitlines()
        assert asked[:3] + sorted(asked[3:]) == [
            "feeds update -a",
            "feeds install -f -p inverter_capture -a",
            "make defconfig undefined undefined",
            "make package/inverter-capture/compile undefined undefined",
            "make package/luci-app-inverter-capture/compile undefined undefined",
            "make package/python-dpkt/compile undefined undefined",
            "make package/python-pypcap/compile undefined undefined",
        ]
        (sdk / "asked").unlink()
    built = [
        f"{sdk}/bin/x/inverter_capture/{name}_1.ipk"
        for name in ("inverter-capture", "luci-app-inverter-capture", "python-dpkt", "python-pypcap")
    ]
    assert sorted(process.stdout.splitlines()) == [*built, "The packages:"]


def test_make_sdk_keeps_the_feeds_that_are_set_up(sdk: Path) -> None:
    (sdk / "feeds.conf").write_text("src-link inverter_capture /elsewhere\nsrc-link mine /mine\n")
    assert make_sdk(sdk).returncode == 0
    assert (sdk / "feeds.conf").read_text() == f"src-link mine /mine\nsrc-link inverter_capture {HOME / 'openwrt'}\n"


@pytest.mark.parametrize("directory", ["", "/nowhere"])
def test_make_sdk_says_what_is_missing(directory: str) -> None:
    process = make_sdk(directory)
    assert process.returncode == 2
    assert process.stderr.splitlines()[0].startswith(f"sdk: no OpenWrt SDK in '{directory}'; ")


def test_make_sdk_fails_when_a_package_does_not_build(sdk: Path) -> None:
    (sdk / "Makefile").write_text("defconfig:\n")
    assert make_sdk(sdk).returncode == 2
