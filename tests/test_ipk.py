"""`make ipk`: the packages as a router gets them, and the program started from what they install.

They are for the Python that runs this; that they are for 3.11 else is the Makefile's business.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from shutil import copy, copytree
from typing import NamedTuple

import pytest

import inverter_capture
from tests.programs import DAY, run_program

HOME = Path(__file__).parents[1]
EPOCH = 1_700_000_000
SITE_PACKAGES = f"./usr/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
# All of ours on the flash of a router, but for the pages of its web interface.
SIZE_MAX = 150 * 1024

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
    """The root of a file system with both packages."""
    root = tmp_path_factory.mktemp("router")
    for package in packages.values():
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(package.parts["./data.tar.gz"][1]))) as tar:
            tar.extractall(root, filter="data")
    return root


def run(router: Path, release: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs Python with what the packages install, and otherwise with the libraries of a release."""
    libraries = [router / SITE_PACKAGES, Path(sys.prefix) / f"openwrt-{release}"]
    environment = {"PYTHONPATH": os.pathsep.join(map(str, libraries)), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-B", "-S", "-P", *arguments]
    return subprocess.run(command, env=environment, cwd=router, capture_output=True, text=True, check=False)


def test_the_names_of_the_packages(files: list[Path]) -> None:
    assert [file.name for file in files] == [
        f"inverter-capture_{inverter_capture.__version__}-r1_all.ipk",
        "python3-dpkt_1.9.8-r1_all.ipk",
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
            if member.isdir() or (content.startswith(b"#!") and "uci-defaults" not in name):
                assert member.mode == 0o755, name
            elif name.startswith("./etc/config/"):
                assert member.mode == 0o600, name
            else:
                assert member.mode == 0o644, name


def test_what_the_program_installs(program: Package) -> None:
    ours = {f"./{path.relative_to(HOME / 'files')}": path for path in (HOME / "files").rglob("*") if path.is_file()}
    installed = {name: content for name, (member, content) in program.data.items() if member.isreg()}
    assert set(installed) == {*ours} | {
        f"{SITE_PACKAGES}/inverter_capture/{name}" for name in ("__init__.pyc", "modules")
    }
    for name, path in ours.items():
        assert installed[name] == path.read_bytes(), name
    assert "./usr/bin/inverter-capture" in ours


def test_a_directory_comes_before_what_is_in_it(packages: dict[str, Package]) -> None:
    for package in packages.values():
        seen: set[str] = set()
        for name in package.data:
            assert name == "./" or (name.rpartition("/")[0] in seen | {"."}), name
            seen.add(name)


def test_only_bytecode_of_python(packages: dict[str, Package]) -> None:
    for package in packages.values():
        assert not [name for name in package.data if name.endswith(".py") or "__pycache__" in name]


def test_control(program: Package) -> None:
    fields = program.fields()
    size = len(gzip.decompress(program.parts["./data.tar.gz"][1]))
    assert fields.pop("Description").startswith("Captures the readings that a solar inverter")
    assert fields.pop("Depends").split(", ") == [
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
        "Architecture": "all",
        "Installed-Size": str(size),
    }


def test_the_service_runs_as_the_user_that_the_package_makes(program: Package) -> None:
    script = program.data["./etc/init.d/inverter-capture"][1].decode()
    user = program.fields()["Require-User"].partition("=")[0]
    assert f"NAME={user}\n" in script
    assert 'procd_set_param user "$NAME"' in script


def test_changed_settings_survive_an_upgrade(program: Package) -> None:
    conffiles = program.control["./conffiles"][1].decode().splitlines()
    assert conffiles == [name[1:] for name in program.data if name.startswith("./etc/config/") and name[-1] != "/"]


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


def test_the_size_on_flash(program: Package) -> None:
    largest = sorted(((len(content), name) for name, (_, content) in program.data.items()), reverse=True)
    assert int(program.fields()["Installed-Size"]) <= SIZE_MAX, largest[:5]


def test_another_checkout_of_another_user_gives_the_same_packages(files: list[Path], tmp_path: Path) -> None:
    for name in ("files", "inverter_capture", "openwrt"):
        copytree(HOME / name, tmp_path / "checkout" / name)
    copy(HOME / "LICENSE", tmp_path / "checkout")
    for path in (tmp_path / "checkout").rglob("*"):
        os.chown(path, 1234, 1234)
        path.chmod(path.stat().st_mode & 0o700)
    again = build(tmp_path / "checkout", tmp_path / "packages", 0o077)
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
    assert sorted(process.stderr.splitlines()) == [
        "error: influxdb2 https://localhost:1: cannot be reached (Connection refused)",
        "error: mqtt mqtts://localhost:1: cannot be reached (Connection refused)",
    ]


def test_each_module_is_in_the_package(router: Path) -> None:
    paths = [path.relative_to(HOME) for path in (HOME / "inverter_capture").rglob("*.py") if path.stem != "__main__"]
    names = sorted(".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths)
    code = """
import sys
from importlib import import_module
for name in sys.argv[1:]:
    module = import_module(name)
    print(name, type(module.__loader__).__name__, hasattr(module, "__path__"))
"""
    process = run(router, "24.10", "-c", code, *names)
    packages = ("inverter_capture", "inverter_capture.backends")
    assert process.stdout.splitlines() == [
        f"{name} {'SourcelessFileLoader' if name == packages[0] else '_Modules'} {name in packages}" for name in names
    ]


def test_a_traceback_tells_file_and_line(router: Path) -> None:
    process = run(router, "24.10", "-c", "from inverter_capture.commands.arguments import main; main(0)")
    assert re.search(r'File "inverter_capture/commands/arguments.py", line [1-9]', process.stderr), process.stderr


def test_a_library_that_is_missing_is_named_each_time(router: Path) -> None:
    code = """
import sys
sys.modules["dpkt"] = None
for _ in range(2):
    try:
        import inverter_capture.protocol.packets
    except ImportError as error:
        print(error.name)
"""
    assert run(router, "24.10", "-c", code).stdout == "dpkt\n" * 2
