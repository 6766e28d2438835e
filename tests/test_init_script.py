"""The init script and the other files of a router, under BusyBox's shell, with calls to procd recorded."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from inverter_capture.config.schema import SECTIONS, Config
from inverter_capture.config.uci import BACKEND_ENABLED, ENABLED, SERVICE, SERVICE_ENABLED, to_toml
from tests.configuration import parse
from tests.programs import Program, check_log
from tests.router import uci
from tests.router.root import FILES, NAME, PATH, USER_ID, Router

TOML = f"/var/run/{NAME}/config.toml"
SECRET = "a-token-that-nobody-may-see"
KEEPS = "the service keeps running with the previous settings"
SETTINGS = f"""
config service 'service'
	option enabled '1'

config pcap 'pcap'
	option device 'lo'

config influxdb2 'home'
	option host 'http://192.168.1.10:8086'
	option org 'home'
	option bucket 'inverter'
	option token '{SECRET}'
"""
WRONG = SETTINGS.replace("http:", "ftp:")
INSTANCE = {
    "command": ["/usr/bin/inverter-capture", "run", TOML, "--status", f"/var/run/{NAME}/status.json", "--syslog"],
    "env": ["PYTHONUNBUFFERED=1"],
    "file": [TOML],
    "reload_signal": ["HUP"],
    "stdout": ["1"],
    "stderr": ["1"],
    "respawn": ["3600", "5", "0"],
}
JAIL = {
    "jail": [NAME],
    "capabilities": [f"/etc/capabilities/{NAME}.json"],
    "user": [NAME],
    "group": [NAME],
    "no_new_privs": ["1"],
}


class Told(NamedTuple):
    """What procd was told by one command."""

    instance: dict[str, list[str]] | None
    """What it is to run, if anything."""
    triggers: list[str]
    """The files whose change makes it reload."""
    killed: bool


class Service:
    """A router and its init script, in the words of the tests."""

    def __init__(self, router: Router) -> None:
        self.router = router

    def configure(self, text: str) -> None:
        """Write the settings."""
        self.router.write(f"/etc/config/{NAME}", text, 0o600)

    def init(self, action: str, *, fails: bool = False, mask: int = 0o022, **changes: str) -> Told:
        """Run the script; what it says is in the log and, but at boot, on standard error."""
        before, lines = len(self.calls), len(self.log)
        done = self.router.init(action, mask=mask, **changes)
        said = [line.split(" ", 1)[1] for line in self.log[lines:]]
        assert done == (fails, "", "".join(f"{line}\n" for line in said if action != "boot"))
        assert said or not fails
        return read_calls(self.calls[before:])

    @property
    def calls(self) -> list[list[str]]:
        return [line.split("\t") for line in self.router.read("/tmp/procd").splitlines()]

    @property
    def log(self) -> list[str]:
        """What was logged: PRIORITY TAG: TEXT."""
        text = self.router.read("/tmp/log")
        check_log(text)
        assert SECRET not in text
        return text.splitlines()

    @property
    def runs(self) -> list[str]:
        """The arguments that the program was run with."""
        return self.router.read("/tmp/runs").splitlines()

    @property
    def toml(self) -> Path:
        return self.router.path(TOML)

    @property
    def leftovers(self) -> list[str]:
        """What is in /var/run beside the service's own directory."""
        return [entry.name for entry in self.router.path("/var/run").iterdir() if entry.name != NAME]


def read_calls(calls: list[list[str]]) -> Told:
    """Also checks that they come in an order that procd's functions take."""
    instance: dict[str, list[str]] | None = None
    triggers: list[str] = []
    killed = False
    inside: list[str] = []
    for name, *words in calls:
        match name:
            case "open_service":
                assert not inside
                assert words[0] == NAME
                instance, triggers, killed = None, [], False
                inside.append("service")
            case "open_instance":
                assert inside == ["service"]
                assert instance is None
                instance = {}
                inside.append("instance")
            case "set_param":
                assert inside == ["service", "instance"]
                assert instance is not None
                assert words[0] not in instance
                instance[words[0]] = words[1:]
            case "add_jail":
                assert inside == ["service", "instance"]
                assert instance is not None
                instance["jail"] = words
            case "close_instance" | "close_service":
                assert inside.pop() == name.removeprefix("close_")
            case "add_reload_trigger":
                assert inside == ["service"]
                triggers += words
            case "kill":
                assert not inside
                assert words == [NAME]
                instance, triggers, killed = None, [], True
            case _:
                pytest.fail(f"{name} is no call that this test knows")
    assert not inside
    return Told(instance, triggers, killed)


@pytest.fixture
def router(tmp_path: Path) -> Router:
    return Router(tmp_path)


@pytest.fixture
def service(router: Router) -> Service:
    """Installed, and configured."""
    service = Service(router)
    service.configure(SETTINGS)
    return service


def check_file(path: Path, mode: int, owner: int) -> None:
    found = path.lstat()
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (mode, owner, owner)


# --- start --------------------------------------------------------------------------------------------------------


def test_just_installed_it_says_what_to_do(router: Router) -> None:
    service = Service(router)
    assert service.init("start") == Told(None, [NAME], False)
    (line,) = service.log
    assert line == (
        f"daemon.notice {NAME}: not enabled: make your settings in /etc/config/{NAME} "
        f"(`{NAME} check` says which), then: "
        f"uci set {NAME}.@service[0].enabled=1; uci commit; /etc/init.d/{NAME} start"
    )
    assert service.runs == []  # no time is lost at boot
    assert not service.toml.exists()


def test_enabled_without_settings_it_says_which_to_set(router: Router) -> None:
    router.run("uci", "set", f"{NAME}.service.enabled=1")
    service = Service(router)
    assert service.init("start", fails=True) == Told(None, [NAME], False)
    device, backend, *commands = service.log
    assert device.startswith(f"daemon.err {NAME}: /etc/config/{NAME}: pcap 'pcap' option device: missing: uci set ")
    assert backend.startswith(f"daemon.err {NAME}: /etc/config/{NAME}: no backend is enabled: paste ")
    assert f"daemon.err {NAME}: uci set {NAME}.influxdb2.enabled=1" in commands
    assert service.leftovers == []


@pytest.mark.parametrize("action", ["start", "reload"])
def test_configured_it_starts(service: Service, action: str) -> None:
    assert service.init(action) == Told(INSTANCE | JAIL, [NAME], False)
    assert service.log == []
    assert service.runs == ["uci"]
    assert tomllib.loads(service.toml.read_text()) == {
        "pcap": {"device": "lo"},
        "influxdb2": [
            {"host": "http://192.168.1.10:8086", "org": "home", "bucket": "inverter", "token": SECRET},
        ],
    }


def test_a_service_section_without_a_name_counts(service: Service) -> None:
    service.configure(SETTINGS.replace("service 'service'", "service").replace("pcap 'pcap'", "pcap"))
    assert service.init("start") == Told(INSTANCE | JAIL, [NAME], False)
    service.configure(SETTINGS.replace("service 'service'", "service").replace("enabled '1'", "enabled 'off'"))
    assert service.init("reload").instance is None


def test_boot_is_start(service: Service) -> None:
    assert service.init("boot") == Told(INSTANCE | JAIL, [NAME], False)


def test_a_capture_file_is_read_once(service: Service) -> None:
    service.configure(SETTINGS.replace("device 'lo'", "device '/tmp/day.pcap'\n\toption file '1'"))
    instance = service.init("start").instance
    assert instance is not None
    assert "respawn" not in instance


def test_changes_that_wait_for_a_commit_count(service: Service) -> None:
    service.router.run("uci", "set", f"{NAME}.home.bucket=another")
    service.init("start")
    assert tomllib.loads(service.toml.read_text())["influxdb2"][0]["bucket"] == "another"


# --- rights -------------------------------------------------------------------------------------------------------


def test_the_capability_is_the_only_one() -> None:
    sets = ("bounding", "effective", "ambient", "permitted", "inheritable")
    text = (FILES / "etc/capabilities" / f"{NAME}.json").read_text()
    assert json.loads(text) == {name: ["CAP_NET_RAW"] for name in sets}


@pytest.mark.parametrize("missing", ["ujail", "capabilities", "user"])
def test_without_a_jail_it_runs_as_root(tmp_path: Path, missing: str) -> None:
    service = Service(Router(tmp_path, **{missing: False}))
    service.configure(SETTINGS)
    assert service.init("start") == Told(INSTANCE, [NAME], False)
    check_file(service.toml, 0o600, 0)
    check_file(service.toml.parent, 0o700, 0)


@pytest.mark.parametrize("mask", [0o022, 0, 0o777])
def test_nobody_else_can_read_the_settings_at_any_moment(service: Service, mask: int) -> None:
    for action in ("start", "reload"):
        service.init(action, mask=mask)
        check_file(service.toml, 0o600, USER_ID)
        check_file(service.toml.parent, 0o700, USER_ID)
    modes = service.router.read("/tmp/modes").splitlines()
    assert len(modes) == 2 * 2
    for line in modes:
        mode, owner, place = line.split()
        assert (mode, owner) == ("700" if place.endswith(".new") else "600", "root")
    assert service.leftovers == []


def test_links_of_the_service_user_lead_root_nowhere(service: Service) -> None:
    service.init("start")
    victim = service.router.path("/etc/shadow")
    victim.write_text("root")
    victim.chmod(0o600)
    for name in ("config.toml", "config.toml.new", "new", NAME):
        link = service.toml.parent / name
        link.unlink(missing_ok=True)
        link.symlink_to("/etc/shadow")
    service.init("reload")
    check_file(victim, 0o600, 0)
    assert victim.read_text() == "root"
    check_file(service.toml, 0o600, USER_ID)


def test_a_link_of_the_service_user_to_a_directory_is_refused(service: Service) -> None:
    service.init("start")
    service.toml.unlink()
    service.toml.symlink_to("/etc/init.d")
    before = sorted(service.router.path("/etc").rglob("*"))
    service.init("reload", fails=True)
    assert sorted(service.router.path("/etc").rglob("*")) == before
    assert service.log[-1].endswith(KEEPS)


def test_what_an_interrupted_start_left_is_no_obstacle(service: Service) -> None:
    service.router.write(f"/var/run/{NAME}.new/config.toml", "old", 0o644)
    assert service.init("start").instance is not None
    assert service.leftovers == []
    check_file(service.toml, 0o600, USER_ID)


# --- settings that are wrong --------------------------------------------------------------------------------------


def test_wrong_settings_at_boot(service: Service) -> None:
    service.configure(WRONG)
    assert service.init("boot", fails=True) == Told(None, [NAME], False)
    (line,) = service.log
    assert line.startswith(f"daemon.err {NAME}: /etc/config/{NAME}: influxdb2 'home' option host")
    assert service.leftovers == []


def test_each_mistake_has_a_line(service: Service) -> None:
    service.configure(WRONG.replace("option org", "option og") + "config log 'log'\n\toption level 'loud'\n")
    service.init("start", fails=True)
    assert len(service.log) == 3
    assert all(line.startswith(f"daemon.err {NAME}: /etc/config/{NAME}: ") for line in service.log)


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ("reload", WRONG),
        ("start", SETTINGS.replace("config influxdb2 'home'", "config influxdb2 'home")),
        ("reload", "config service 'service\n" + SETTINGS),  # so that not even `enabled` can be read
    ],
)
@pytest.mark.parametrize("release", ["", "old"])
def test_wrong_settings_leave_the_running_service_alone(service: Service, action: str, text: str, release: str) -> None:
    told = service.init("start")
    before = service.toml.stat()
    service.configure(text)
    assert service.init(action, fails=True, RESTART_AFTER_RELOAD=release) == told
    *reasons, last = service.log
    assert reasons
    assert all(line.startswith(f"daemon.err {NAME}: /etc/config/{NAME}:") for line in reasons)
    assert last == f"daemon.err {NAME}: {KEEPS}"
    after = service.toml.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_uid) == (before.st_ino, before.st_mtime_ns, before.st_uid)
    service.configure(SETTINGS)
    assert service.init(action) == told
    assert len(service.log) == len(reasons) + 1


def test_a_restart_with_wrong_settings_leaves_the_running_service_alone(service: Service) -> None:
    service.init("start")
    before = service.toml.read_text()
    service.configure(WRONG)
    assert service.init("restart", fails=True) == Told(None, [], False)  # procd is told nothing
    assert service.toml.read_text() == before
    reason, last = service.log
    assert "influxdb2 'home' option host" in reason
    assert last.endswith(KEEPS)


def test_a_damaged_file_at_boot(service: Service) -> None:
    service.configure(SETTINGS.replace("config influxdb2 'home'", "config influxdb2 'home"))
    assert service.init("boot", fails=True).instance is None
    (line,) = service.log
    assert line.startswith(f"daemon.err {NAME}: /etc/config/{NAME}: Parse error (EOF with unterminated '")


@pytest.mark.parametrize(("text", "starts"), [("host and", False), ("host a-name.invalid", True), ("tcp", True)])
def test_a_filter_that_would_end_the_service_at_once(service: Service, text: str, starts: bool) -> None:
    """A host's name may only be unknown because the name server cannot be asked yet."""
    service.configure(SETTINGS.replace("device 'lo'", f"device 'lo'\n\toption filter '{text}'"))
    assert (service.init("start", fails=not starts).instance is not None) == starts
    assert len(service.log) == (not starts)
    assert all("pcap 'pcap' option filter" in line for line in service.log)


def test_a_file_that_is_missing(service: Service) -> None:
    service.router.path(f"/etc/config/{NAME}").unlink()
    assert service.init("start", fails=True).instance is None
    (line,) = service.log
    assert line.startswith(f"daemon.err {NAME}: /etc/config/{NAME}: no such file: ")


def test_a_program_that_does_not_run(service: Service) -> None:
    service.router.write(
        f"/usr/bin/{NAME}", "#!/bin/sh\necho 'half a line'\necho 'no Python here' >&2\nexit 1\n", 0o755
    )
    assert service.init("start", fails=True).instance is None
    assert service.log == [f"daemon.err {NAME}: no Python here"]
    assert not service.toml.exists()


def test_a_full_disk(service: Service) -> None:
    service.init("start")
    before = service.toml.read_text()
    service.router.write(f"/usr/bin/{NAME}", "#!/bin/sh\necho x >/dev/full\n", 0o755)
    assert service.init("reload", fails=True).instance is not None
    assert service.toml.read_text() == before
    assert service.log[-1].endswith(KEEPS)


# --- changes ------------------------------------------------------------------------------------------------------


def test_a_change_replaces_the_file_and_nothing_else(service: Service) -> None:
    told = service.init("start")
    with open(service.toml) as old:
        service.configure(SETTINGS.replace("192.168.1.10", "192.168.1.11"))
        assert service.init("reload") == told  # so procd sends the signal, and does not restart
        assert "192.168.1.10" in old.read()
    assert "192.168.1.11" in service.toml.read_text()
    assert service.runs == ["uci"] * 2


def test_without_a_change_the_file_is_the_same(service: Service) -> None:
    told = service.init("start")
    text = service.toml.read_text()
    assert service.init("reload") == told
    assert service.toml.read_text() == text


def test_disabling_it_stops_it(service: Service) -> None:
    service.init("start")
    service.configure(SETTINGS.replace("enabled '1'", "enabled '0'"))
    assert service.init("reload") == Told(None, [NAME], False)
    assert not service.toml.exists()
    service.configure(WRONG)
    assert service.init("reload", fails=True).instance is None  # there is nothing to go on with


def test_stop(service: Service) -> None:
    service.init("start")
    assert service.init("stop").killed
    assert not service.toml.exists()
    service.configure(WRONG)
    assert service.init("start", fails=True).instance is None


def test_restart(service: Service) -> None:
    service.init("start")
    assert service.init("restart") == Told(INSTANCE | JAIL, [NAME], False)
    assert ["kill", NAME] in service.calls


def test_a_restart_of_what_is_not_there(service: Service) -> None:
    service.configure(WRONG)
    assert service.init("restart", fails=True).instance is None
    service.configure(SETTINGS)
    assert service.init("restart").instance is not None
    service.configure(SETTINGS.replace("enabled '1'", "enabled '0'"))
    assert service.init("restart") == Told(None, [NAME], False)


def test_enable_and_disable(service: Service) -> None:
    links = service.router.path("/etc/rc.d")
    service.init("enable")
    assert sorted(link.name for link in links.iterdir()) == [f"K10{NAME}", f"S95{NAME}"]
    service.init("disable")
    assert list(links.iterdir()) == []
    assert service.calls == []


# --- what users see -----------------------------------------------------------------------------------------------


def test_secrets_are_in_no_arguments(service: Service) -> None:
    service.init("start")
    service.init("reload")
    service.configure(WRONG)
    service.init("reload", fails=True)
    assert service.log  # which looks for secrets
    assert SECRET not in service.router.read("/tmp/runs")
    assert SECRET not in service.router.read("/tmp/procd")


# --- the service itself -------------------------------------------------------------------------------------------


def as_procd_starts_it(service: Service, told: Told) -> Program:
    """With the rights that ujail leaves, on a network that has lo alone."""
    assert told.instance is not None
    assert told.instance["env"] == ["PYTHONUNBUFFERED=1"]
    setpriv = shutil.which("setpriv")
    assert setpriv is not None
    shutil.copy(setpriv, service.router.path("/usr/bin/setpriv"))
    rights = " ".join(f"--{kind}=-all,+net_raw" for kind in ("inh-caps", "ambient-caps", "bounding-set"))
    user = f"--reuid={USER_ID} --regid={USER_ID} --clear-groups --no-new-privs"
    # The system log here would be this machine's.
    command = " ".join(word for word in told.instance["command"] if word != "--syslog")
    start = f"ip link set lo up && exec setpriv {user} {rights} {command}"
    return Program(service.router.words(["/bin/sh", "-c", start]), PATH=PATH, PYTHONUNBUFFERED="1")


def test_the_service_runs_with_what_procd_is_told(service: Service) -> None:
    console = "config console 'console'\n\toption format 'json'\n"
    service.configure(SETTINGS + console)
    with as_procd_starts_it(service, service.init("start")) as program:
        program.wait_until_said("capturing on lo")
        service.configure(SETTINGS + console.replace("json", "csv"))
        service.init("reload")
        os.kill(program.pid, signal.SIGHUP)
        program.wait_until_said("the configuration has been read again")
        assert program.stop().code == 0


# --- /etc/config --------------------------------------------------------------------------------------------------

SHIPPED = (FILES / "etc/config" / NAME).read_text()


def options(text: str) -> dict[str, dict[str, str]]:
    """The options by section, those behind # too, and what stands above each."""
    found: dict[str, dict[str, str]] = {}
    before = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"config (\w+) '\w+'", line):
            section = found.setdefault(match[1], {})
        elif match := re.fullmatch(r"\t#?(?:option|list) (\w+) '.*'", line):
            section[match[1]] = before.removeprefix("\t# ")
        else:
            assert re.fullmatch(r"(\t?# .*)?", line), line
        before = line
    return found


def test_every_option_is_in_the_file_and_explained_in_the_words_of_the_schema() -> None:
    expected = {
        name: {**({ENABLED: BACKEND_ENABLED.help} if known.repeated else {})}
        | {option: spec.help for option, spec in known.settings.items()}
        for name, known in SECTIONS.items()
    }
    assert options(SHIPPED) == {SERVICE: {ENABLED: SERVICE_ENABLED.help}} | expected


def test_the_defaults_in_the_file_are_the_programs() -> None:
    enabled = SHIPPED.replace("option enabled '0'", "option enabled '1'").replace("token ''", "token 'x'")
    shown = enabled.replace("\t#option", "\toption")
    assert configuration(shown) == configuration(enabled.replace("#option device", "option device"))


def configuration(text: str) -> Config:
    """What the program makes of it."""
    with tempfile.NamedTemporaryFile("w", suffix=".uci") as file:
        file.write(uci.export(NAME, uci.parse(text)))
        file.flush()
        return parse(to_toml(file.name), file.name)


def test_the_file_as_it_is_switches_everything_off() -> None:
    assert re.findall(r"^\toption enabled '(.*)'", SHIPPED, re.MULTILINE) == ["0"] * 4


# --- /etc/uci-defaults --------------------------------------------------------------------------------------------

NETWORK = "config interface 'lan'\n\toption device 'br-lan.1'\n"
SYSTEM = "config system\n\toption zonename 'Africa/Johannesburg'\n"


def set_defaults(router: Router, network: str = NETWORK, system: str = SYSTEM, **zones: bool) -> dict[str, str]:
    """What the script fills in, run as the package manager and the first boot run it."""
    router.write("/etc/config/network", network)
    router.write("/etc/config/system", system)
    run = '[ -f "$1" ] && cd "$(dirname "$1")" && . "$1"'
    done = router.run("/bin/sh", "-c", f"( {run} ) && echo done", "sh", f"/etc/uci-defaults/{NAME}")
    assert done == (0, "done\n", "")
    check_file(router.path(f"/etc/config/{NAME}"), 0o600, 0)
    text = router.read(f"/etc/config/{NAME}")
    return dict(re.findall(r"^\toption (device|timezone) '(.*)'$", text, re.MULTILINE))


def test_defaults_come_from_the_system(router: Router) -> None:
    expected = {"device": "br-lan.1", "timezone": "Africa/Johannesburg"}
    assert set_defaults(router) == expected
    text = router.read(f"/etc/config/{NAME}")
    added = [line for line in text.splitlines() if line not in SHIPPED.splitlines()]
    assert len(text.splitlines()) == len(SHIPPED.splitlines()) + len(added) == len(SHIPPED.splitlines()) + 2
    assert set_defaults(router, NETWORK.replace("br-lan", "eth"), SYSTEM.replace("Africa", "Europe")) == expected
    assert router.read(f"/etc/config/{NAME}") == text


def test_defaults_leave_what_is_set(router: Router) -> None:
    router.write(f"/etc/config/{NAME}", SETTINGS, 0o600)
    assert set_defaults(router) == {"device": "lo", "timezone": "Africa/Johannesburg"}


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("America/New York", "America/New_York"),  # as LuCI writes it
        ("UTC", "local"),  # nobody has set it
        ("Mars/Olympus", "local"),
        ("", "local"),
    ],
)
def test_default_time_zones(router: Router, zone: str, expected: str) -> None:
    assert set_defaults(router, system=f"config system\n\toption zonename '{zone}'\n")["timezone"] == expected


@pytest.mark.parametrize(
    "network", ["", "config interface 'lan'\n\toption proto 'static'\n", "config interface 'lan\n"]
)
def test_without_a_lan_the_device_is_left_to_the_user(router: Router, network: str) -> None:
    assert set_defaults(router, network) == {"timezone": "Africa/Johannesburg"}


def test_defaults_that_could_break_the_file_are_left_out(router: Router) -> None:
    assert set_defaults(router, "config interface 'lan'\n\toption device \"a'b\"\n") == {
        "timezone": "Africa/Johannesburg"
    }
