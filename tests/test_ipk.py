"""`make ipk`: the packages as a router gets them, and the program started from what they install.

The packages are for the Python that runs these tests; the Makefile makes them with 3.11.
"""

from __future__ import annotations

import gzip
import io
import marshal
import os
import platform
import re
import struct
import subprocess
import sys
import tarfile
from pathlib import Path
from shutil import copy, copytree
from typing import NamedTuple

import pytest

import inverter_capture
from openwrt.tools import ipk
from openwrt.tools.jsmin import jsmin
from openwrt.tools.po2lmo import superfasthash, translations
from tests.programs import DAY, run_program

HOME = Path(__file__).parents[1]
EPOCH = 1_700_000_000
MINOR = sys.version_info.minor
SITE_PACKAGES = f"./usr/lib/python3.{MINOR}/site-packages"
# Bytes of the program's package in a router's squashfs.
SIZE_MAX = 300 * 1024
# The same of the LuCI app's.
APP_SIZE_MAX = 30 * 1024
# As OpenWrt's include/image.mk makes the file system of a router.
MKSQUASHFS = "mksquashfs {} {} -noappend -all-root -nopad -comp xz -b 256k -quiet -no-progress"

Members = dict[str, tuple[tarfile.TarInfo, bytes]]


class Package(NamedTuple):
    file: Path
    parts: Members
    control: Members
    data: Members

    def fields(self) -> dict[str, str]:
        lines = self.control["./control"][1].decode().replace("\n ", " ").replace(":  ", ": ").splitlines()
        return dict(line.split(": ", 1) for line in lines)


def unpacked(archive: bytes) -> Members:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(archive))) as tar:
        members = {}
        for member in tar:
            file = tar.extractfile(member)
            members[member.name if member.name != "." else "./"] = member, file.read() if file else b""
    return members


def read(file: Path) -> Package:
    parts = unpacked(file.read_bytes())
    return Package(file, parts, unpacked(parts["./control.tar.gz"][1]), unpacked(parts["./data.tar.gz"][1]))


def extract(tar: tarfile.TarFile, root: Path) -> None:
    # Debian 12 has Python 3.11.2, without this filter and without the argument for it.
    tar.extraction_filter = getattr(tarfile, "data_filter", None)
    tar.extractall(root)


def build(checkout: Path, directory: Path, umask: int) -> list[Path]:
    command = [sys.executable, str(checkout / "openwrt" / "tools" / "ipk.py"), str(directory)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH), "PYTHONHASHSEED": "random"}
    subprocess.run(command, env=environment, umask=umask, check=True, capture_output=True)
    return sorted(directory.iterdir())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return build(HOME, tmp_path_factory.mktemp("ipk"), 0o022)


@pytest.fixture(scope="module")
def packages(files: list[Path]) -> dict[str, Package]:
    return {file.name.split("_")[0]: read(file) for file in files}


@pytest.fixture(scope="module")
def program(packages: dict[str, Package]) -> Package:
    return packages["inverter-capture"]


@pytest.fixture(scope="module")
def router(packages: dict[str, Package], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a file system with the packages that this machine can use: its pypcap is for another C library."""
    root = tmp_path_factory.mktemp("router")
    for name in ("inverter-capture", "python3-dpkt"):
        package = packages[name]
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(package.parts["./data.tar.gz"][1]))) as tar:
            extract(tar, root)
    return root


def run(router: Path, release: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs Python with what the packages install, and otherwise with the libraries of a release."""
    libraries = [router / SITE_PACKAGES, Path(sys.prefix) / f"openwrt-{release}"]
    environment = {"PYTHONPATH": os.pathsep.join(map(str, libraries)), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-B", "-S", "-P", *arguments]
    return subprocess.run(command, env=environment, cwd=router, capture_output=True, text=True, check=False)


def python_packages(packages: dict[str, Package]) -> list[Package]:
    """Those of Python modules; the others are LuCI's, whose one script any Python runs."""
    return [package for name, package in packages.items() if not name.startswith("luci-")]


def test_what_the_app_installs(packages: dict[str, Package]) -> None:
    package = packages["luci-app-inverter-capture"]
    app = HOME / "openwrt" / "luci-app-inverter-capture"
    sources = {
        f"./{top}{path.relative_to(app / folder)}": path
        for folder, top in (("htdocs", "www/"), ("root", ""))
        for path in (app / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    installed = {name: content for name, (member, content) in package.data.items() if member.isreg()}
    assert installed.keys() == sources.keys()
    for name, path in sources.items():
        source = path.read_bytes()
        assert installed[name] == (jsmin(source) if path.suffix == ".js" else source), name
    assert package.data["./usr/libexec/rpcd/inverter-capture"][0].mode == 0o755
    # All that is installed, minified as LuCI's build does it. Translations are packages of their own.
    assert sum(map(len, installed.values())) < 60 * 1024
    assert package.fields()["Depends"] == "libc, luci-base, python3-light, inverter-capture"
    assert b"/etc/init.d/rpcd reload" in package.control["./postinst-pkg"][1]


@pytest.mark.parametrize(("language", "name"), [("af", "Afrikaans (Afrikaans)"), ("de", "Deutsch (German)")])
def test_translations_are_packages_as_luci_makes_them(packages: dict[str, Package], language: str, name: str) -> None:
    title = f"luci-i18n-inverter-capture-{language}"
    package = packages[title]
    assert package.fields()["Depends"] == "libc, luci-app-inverter-capture"
    assert "./postinst-pkg" not in package.control
    installed = {name: content for name, (member, content) in package.data.items() if member.isreg()}
    setting, content = (
        installed.pop(f"./{path}")
        for path in (f"etc/uci-defaults/{title}", f"usr/lib/lua/luci/i18n/inverter-capture.{language}.lmo")
    )
    assert not installed
    assert setting.decode() == f"uci set luci.languages.{language}='{name}'; uci commit luci\n"
    texts = translations(HOME / f"openwrt/luci-app-inverter-capture/po/{language}/inverter-capture.po")
    assert len(texts) > 300
    # As LuCI reads it: by the index, which is in order of the hashes.
    (start,) = struct.unpack(">I", content[-4:])
    index = list(struct.iter_unpack(">4I", content[start:-4]))
    assert index == sorted(index)
    found = {key: content[offset : offset + length].decode() for key, forms, offset, length in index if forms == 1}
    for original, translation in texts.items():
        assert found.pop(superfasthash(original.encode()), original) == translation
    assert not found


# What LuCI's own po2lmo computes.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("S", 0x7AC80E2C),
        ("So", 0xC781C4B7),
        ("Sol", 0x4D5E473D),
        ("Sola", 0xA0F37368),
        ("Wä", 0x53ABA601),
        ("abcü", 0x4C5310AA),
        ("xyz→", 0xFC82BC30),
        ("Batterie ü", 0x2D7BD6E8),
    ],
)
def test_the_hash_of_a_text_is_the_one_of_luci(text: str, expected: int) -> None:
    assert superfasthash(text.encode()) == expected


def test_the_names_of_the_packages(files: list[Path]) -> None:
    assert [file.name for file in files] == [
        f"inverter-capture_{inverter_capture.__version__}-r1_all.ipk",
        f"luci-app-inverter-capture_{inverter_capture.__version__}-r1_all.ipk",
        f"luci-i18n-inverter-capture-af_{inverter_capture.__version__}-r1_all.ipk",
        f"luci-i18n-inverter-capture-de_{inverter_capture.__version__}-r1_all.ipk",
        "python3-dpkt_1.9.8-r1_all.ipk",
        f"python3-pypcap_1.3.0-r1_{ipk.ARCHITECTURE}.ipk",
    ]


def test_a_package_is_made_of_what_opkg_reads(packages: dict[str, Package]) -> None:
    for package in packages.values():
        assert list(package.parts) == ["./debian-binary", "./data.tar.gz", "./control.tar.gz"]
        assert package.parts["./debian-binary"][1] == b"2.0\n"
        assert package.control.keys() >= {"./", "./control", "./postinst", "./prerm"}


def test_all_files_belong_to_root_and_are_as_old_as_they_are_said_to_be(packages: dict[str, Package]) -> None:
    for package in packages.values():
        for members in package[1:]:
            for member, _ in members.values():
                assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", ""), member.name
                assert member.mtime == EPOCH, member.name
                assert member.isdir() or member.isreg(), member.name


def test_the_modes(packages: dict[str, Package]) -> None:
    for package in packages.values():
        for name, (member, content) in (package.control | package.data).items():
            if ".dist-info/" in name:
                assert not member.mode & 0o022, name  # as its author had them
            elif member.isdir() or name.endswith(".so") or (content.startswith(b"#!") and "uci-defaults" not in name):
                assert member.mode == 0o755, name
            elif name.startswith("./etc/config/"):
                assert member.mode == 0o600, name
            else:
                assert member.mode == 0o644, name


def test_what_the_program_installs(program: Package) -> None:
    files = {f"./{path.relative_to(HOME / 'files')}": path for path in (HOME / "files").rglob("*") if path.is_file()}
    modules = {f"{SITE_PACKAGES}/{path.relative_to(HOME)}c": path for path in (HOME / "inverter_capture").rglob("*.py")}
    installed = {name: content for name, (member, content) in program.data.items() if member.isreg()}
    for name, path in files.items():
        assert installed[name] == path.read_bytes(), name
    others = installed.keys() - files.keys() - modules.keys()
    assert modules.keys() <= installed.keys()
    assert {name for name in others if ".dist-info/" not in name} == {"./usr/bin/inverter-capture"}
    assert installed["./usr/bin/inverter-capture"].startswith(b"#!/usr/bin/python3\n")


def test_a_directory_comes_before_what_is_in_it(packages: dict[str, Package]) -> None:
    for package in packages.values():
        seen: set[str] = set()
        for name in package.data:
            assert name == "./" or (name.rpartition("/")[0] in seen | {"."}), name
            seen.add(name)


def test_only_bytecode_of_python(packages: dict[str, Package]) -> None:
    for package in python_packages(packages):
        assert not [name for name in package.data if name.endswith(".py") or "__pycache__" in name]


def test_the_bytecode_has_lines_but_no_columns(program: Package) -> None:
    code = marshal.loads(program.data[f"{SITE_PACKAGES}/inverter_capture/text.pyc"][1][16:])
    lines, _, columns, _ = map(set, zip(*code.co_positions(), strict=True))
    assert len(lines) > 5
    assert columns == {None}


def test_nothing_tells_of_the_machine_that_made_the_packages(packages: dict[str, Package]) -> None:
    here = [str(path).encode() for path in (HOME, sys.prefix, sys.base_prefix, Path.home()) if len(str(path)) > 6]
    for package in packages.values():
        for name, (_, content) in package.data.items():
            assert not [path for path in here if path in content], name


@pytest.mark.parametrize(
    "start", ["#!/venv/bin/python", "#!/bin/sh\n'''exec' \"/a venv/bin/python\" \"$0\" \"$@\"\n' '''"]
)
def test_the_program_is_started_by_the_routers_python(start: str) -> None:
    assert ipk.with_interpreter(f"{start}\nimport sys\n") == "#!/usr/bin/python3\nimport sys\n"


def test_control(program: Package) -> None:
    fields = program.fields()
    ours = dict(re.findall(r"^(\w+):=(.*)$", (HOME / "openwrt" / "feed.mk").read_text(), re.MULTILINE))
    size = len(gzip.decompress(program.parts["./data.tar.gz"][1]))
    assert fields.pop("Description").startswith("Captures the readings that a solar inverter")
    assert fields.pop("Depends").split(", ")[2:] == [
        "libc",
        "python3-light",
        "python3-codecs",
        "python3-logging",
        "python3-openssl",
        "python3-urllib",
        "python3-dpkt",
        "python3-paho-mqtt",
        "python3-pypcap",
        "python3-requests",
    ]
    assert fields == {
        "Package": "inverter-capture",
        "Version": f"{inverter_capture.__version__}-r1",
        "License": "GPL-3.0-or-later",
        "Section": "net",
        "Require-User": "inverter-capture=511:inverter-capture=511",
        "URL": ours["PROJECT_URL"],
        "Maintainer": ours["PKG_MAINTAINER"],
        "Architecture": "all",
        "Installed-Size": str(size),
    }


def test_bytecode_is_not_installed_beside_another_python(packages: dict[str, Package]) -> None:
    for package in python_packages(packages):
        assert [name for name in package.data if name.endswith((".pyc", ".so"))]
        depends = package.fields()["Depends"].split(", ")
        # opkg takes `<` for `<=`; there is no version without a third number.
        assert depends[:2] == [f"python3-light (>=3.{MINOR})", f"python3-light (<3.{MINOR + 1})"]


def test_the_service_runs_as_the_user_that_the_package_makes(program: Package) -> None:
    script = program.data["./etc/init.d/inverter-capture"][1].decode()
    user = program.fields()["Require-User"].partition("=")[0]
    assert f"NAME={user}\n" in script
    assert 'procd_set_param user "$NAME"' in script


def test_changed_settings_survive_an_upgrade(program: Package) -> None:
    conffiles = program.control["./conffiles"][1].decode().splitlines()
    assert conffiles == [name[1:] for name in program.data if name.startswith("./etc/config/") and name[-1] != "/"]


@pytest.mark.parametrize(
    ("changes", "words", "gone"),
    [
        ({}, ["remove"], True),  # opkg
        ({}, ["0.1.0-r1"], True),  # apk
        ({}, ["upgrade"], False),
        ({"PKG_UPGRADE": "1"}, ["remove"], False),
        ({"IPKG_INSTROOT": "/elsewhere"}, ["remove"], False),
    ],
)
def test_removal_leaves_nothing(
    program: Package, changes: dict[str, str], words: list[str], gone: bool, tmp_path: Path
) -> None:
    run_directory, etc = tmp_path / "var/run", tmp_path / "etc/config"
    left = [run_directory / "inverter-capture/status.json", run_directory / "inverter-capture.new/config.toml"]
    left += [etc / "inverter-capture-opkg", etc / "inverter-capture.apk-new"]
    others = [etc / "inverter-capture", etc / "network", run_directory / "others"]
    for path in (*left, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    script = program.control["./postrm"][1].decode()
    for directory in ("/var/run", "/etc/config"):
        script = script.replace(f" {directory}/", f" {tmp_path}{directory}/")
    for _ in range(2):
        done = subprocess.run(["sh", "-c", script, "sh", *words], env=changes, capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert [path.exists() for path in left] == [not gone] * len(left)
    assert [path.parent.exists() for path in left] == [not gone] * 2 + [True] * 2
    assert all(path.exists() for path in others)


@pytest.mark.parametrize(("script", "called"), [("postinst", "default_postinst"), ("prerm", "default_prerm")])
def test_the_scripts_leave_it_to_openwrt(
    packages: dict[str, Package], script: str, called: str, tmp_path: Path
) -> None:
    (tmp_path / "lib").mkdir()
    for package in packages.values():
        file = tmp_path / f"{package.fields()['Package']}.{script}"
        file.write_bytes(package.control[f"./{script}"][1])
        (tmp_path / "lib" / "functions.sh").write_text(f'{called}() {{ echo "$@"; }}\n')
        for root in (tmp_path, tmp_path / "without"):
            command = ["sh", str(file), "configure"]
            ran = subprocess.run(command, env={"IPKG_INSTROOT": str(root)}, capture_output=True, text=True, check=True)
            assert ran.stdout == (f"{file} configure\n" if root == tmp_path else "")


@pytest.mark.parametrize(
    ("name", "limit"), [("inverter-capture", SIZE_MAX), ("luci-app-inverter-capture", APP_SIZE_MAX)]
)
def test_the_size_in_squashfs(packages: dict[str, Package], name: str, limit: int, tmp_path: Path) -> None:
    root, image = tmp_path / "root", tmp_path / "image"
    data = packages[name].data
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packages[name].parts["./data.tar.gz"][1]))) as tar:
        extract(tar, root)
    subprocess.run(MKSQUASHFS.format(root, image).split(), check=True, stdout=subprocess.PIPE)
    largest = sorted(((len(content), name) for name, (_, content) in data.items()), reverse=True)
    assert image.stat().st_size <= limit, (image.stat().st_size, largest[:5])


def test_another_checkout_of_another_user_gives_the_same_packages(files: list[Path], tmp_path: Path) -> None:
    for name in ("files", "inverter_capture", "openwrt"):
        copytree(HOME / name, tmp_path / "a checkout" / name)
    for name in ("LICENSE", "pyproject.toml"):
        copy(HOME / name, tmp_path / "a checkout")
    for path in (tmp_path / "a checkout").rglob("*"):
        os.chown(path, 1234, 1234)
        path.chmod(path.stat().st_mode & 0o700)
    again = build(tmp_path / "a checkout", tmp_path / "packages", 0o077)
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in again]


@pytest.mark.parametrize("release", ["24.10", "25.12"])
def test_the_program_runs_from_bytecode_alone(release: str, router: Path) -> None:
    for start in (["usr/bin/inverter-capture"], ["-m", "inverter_capture"]):
        process = run(router, release, *start, "--version")
        assert process.stdout == f"inverter-capture {inverter_capture.__version__}\n", process.stderr
    words = ["decode", str(DAY), "--format", "json", "--timezone", "UTC"]
    process = run(router, release, "usr/bin/inverter-capture", *words)
    assert process.returncode == 0, process.stderr
    assert process.stdout == run_program(*words).out
    assert not list(router.rglob("__pycache__"))


@pytest.mark.parametrize("release", ["24.10", "25.12"])
def test_the_backends_from_bytecode_alone(release: str, router: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    capture = f"[pcap]\ndevice = '{DAY}'\nfile = true\ntimezone = 'UTC'\n"
    config.write_text(f"{capture}[[console]]\n")
    process = run(router, release, "usr/bin/inverter-capture", "run", config)
    assert process.returncode == 0, process.stderr
    assert len(process.stdout.splitlines()) > 200

    config.write_text(
        f"{capture}[[influxdb2]]\nhost = 'https://localhost:1'\norg = 'home'\nbucket = 'inverter'\ntoken = 'secret'\n"
        "[[mqtt]]\nurl = 'mqtts://localhost:1'\n"
    )
    process = run(router, release, "usr/bin/inverter-capture", "check", "--connect", config)
    assert process.returncode == 1
    assert {line.partition(": check ")[0] for line in process.stderr.splitlines()} == {
        f'error: {config}:6: [[influxdb2]] host = "https://localhost:1": cannot be reached (Connection refused)',
        f'error: {config}:11: [[mqtt]] url = "mqtts://localhost:1": cannot be reached (Connection refused)',
    }


def test_a_traceback_tells_file_and_line(router: Path) -> None:
    process = run(router, "24.10", "-c", "from inverter_capture.commands.arguments import main; main(0)")
    file = f"{SITE_PACKAGES[1:]}/inverter_capture/commands/arguments.py"
    assert re.search(rf'File "{re.escape(file)}", line [1-9]', process.stderr), process.stderr


def test_pypcap_is_for_the_c_library_of_openwrt(packages: dict[str, Package], tmp_path: Path) -> None:
    library = tmp_path / "pcap.so"
    library.write_bytes(packages["python3-pypcap"].data[f"{SITE_PACKAGES}/pcap.so"][1])

    def output(*command: str | Path) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert re.findall(r"\(NEEDED\).*\[(.*)\]", output("readelf", "-d", library)) == ["libpcap.so.1", "libc.so"]
    musl = f"/usr/lib/{platform.machine()}-linux-musl/libc.so"
    has = {line.split()[-1] for line in output("nm", "-D", "--defined-only", musl).splitlines()}
    needs = {line.split()[-1] for line in output("nm", "-D", "--undefined-only", library).splitlines() if " U " in line}
    others = {name for name in needs if not name.startswith(("Py", "_Py", "pcap_", "bpf_"))}
    assert others
    assert others <= has


@pytest.fixture(scope="module")
def commands(router: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of commands as on a router, where only these modules are."""
    directory = tmp_path_factory.mktemp("commands")
    libraries = os.pathsep.join([str(router / SITE_PACKAGES), f"{sys.prefix}/openwrt-24.10"])
    python = f"PYTHONPATH='{libraries}' exec '{sys.executable}' -B -S -P"
    for name, words in (("python3", python), ("inverter-capture", f"{python} '{router}/usr/bin/inverter-capture'")):
        (directory / name).write_text(f'#!/bin/sh\n{words} "$@"\n')
        (directory / name).chmod(0o755)
    return directory


def check_package(package: str, version: str, commands: Path) -> int:
    """Runs the test.sh of each package, as the packages feed does for each package that it has built."""
    environment = {"PATH": f"{commands}:{os.environ['PATH']}"}
    codes = [
        subprocess.run([file, package, version], env=environment, capture_output=True, check=False).returncode
        for file in sorted((HOME / "openwrt").glob("*/test.sh"))
    ]
    return sum(codes)


def test_each_package_passes_its_test_script(packages: dict[str, Package], commands: Path) -> None:
    for package in python_packages(packages):
        name = package.fields()["Package"]
        assert check_package(name, package.fields()["Version"], commands) == 0, name
        assert check_package(name, package.fields()["Version"].partition("-")[0], commands) == 0, name


@pytest.mark.parametrize("package", ["inverter-capture", "python3-dpkt"])
def test_another_version_fails_the_test_script(package: str, commands: Path) -> None:
    assert check_package(package, "9.9.9", commands) == 1


@pytest.mark.parametrize(
    ("package", "module"), [("inverter-capture", "paho"), ("python3-dpkt", "dpkt"), ("python3-pypcap", "pcap")]
)
def test_a_missing_module_fails_the_test_script(
    packages: dict[str, Package], package: str, module: str, commands: Path, tmp_path: Path
) -> None:
    for command in commands.iterdir():
        (tmp_path / command.name).write_text(command.read_text().replace("PYTHONPATH='", f"PYTHONPATH='{tmp_path}:"))
        (tmp_path / command.name).chmod(0o755)
    (tmp_path / f"{module}.py").write_text("raise ImportError\n")
    assert check_package(package, packages[package].fields()["Version"], tmp_path) == 1
