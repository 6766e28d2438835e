"""rpcd's plugin of the LuCI app, run as rpcd runs it on a router: the method as an argument, JSON on standard input."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from inverter_capture.config.schema import SECTIONS
from inverter_capture.config.uci import SERVICE
from inverter_capture.output.table import GROUPS
from tests.databases import free_port
from tests.mosquitto import Mosquitto
from tests.network import wait_for
from tests.router.root import NAME, Router

APP = Path(__file__).parents[1] / "openwrt" / "luci-app-inverter-capture" / "root"
FOLDER = f"/var/run/luci-app-{NAME}"
SECRET = "to-ken"
# Would all do harm if any of them reached a shell, a file or another command.
HOSTILE = [
    "; touch /tmp/harm",
    "$(touch /tmp/harm)",
    "`touch /tmp/harm`",
    "'\n\toption x 'y",
    "--help",
    "../../etc",
    "a\0b",
]

Json = dict[str, Any]


class Plugin:
    """The plugin on a router."""

    def __init__(self, router: Router) -> None:
        self.router = router
        shutil.copytree(APP, router.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        (router.root / "sys/class/net/br-lan").mkdir(parents=True)

    def call(self, method: str, arguments: object = None, *, network: bool = False) -> Json:
        """What a method answers."""
        words = self.router.words(["/usr/libexec/rpcd/inverter-capture", "call", method], network=network)
        text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
        done = subprocess.run(
            words, env=self.router.environment(), input=text, capture_output=True, text=True, timeout=120, check=True
        )
        assert not done.stderr
        answer: Json = json.loads(done.stdout)
        return answer

    def problems(self, method: str, arguments: object = None) -> list[str]:
        """What it says is wrong."""
        found = self.call(method, arguments)["problems"]
        return [": ".join(filter(None, map(each.get, ("label", "message", "remedy")))) for each in found]

    def finish(self) -> Json:
        """The last progress of the job."""
        wait_for(lambda: not self.call("progress")["running"], "the end of the job", 60)
        return self.call("progress")


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    """On a router where nothing has been configured yet."""
    return Plugin(Router(tmp_path))


def section(type: str, name: str = "home", **options: str | list[str]) -> str:
    """A section as a page sends it: as `uci export` prints it."""
    lines = [f"config {type} '{name}'"]
    for option, value in options.items():
        word, items = ("list", value) if isinstance(value, list) else ("option", [value])
        lines += [f"\t{word} {option} {quoted(item)}" for item in items]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """A value as `uci export` prints it."""
    escaped = text.replace("'", "'\\''")
    return f"'{escaped}'"


ANY = section("pcap", "pcap", device="any")


# --- the state ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", (False, False, 0)),
        ("config service 'service'\n", (False, False, 0)),
        ("config service\n\toption enabled '1'\n", (True, False, 0)),
        ("config service 'service'\n\toption enabled 'on'\nconfig pcap\n\toption device 'br-lan'\n", (True, True, 0)),
        (
            "config mqtt 'a'\n\nconfig mqtt 'b'\n\toption enabled '0'\nconfig console\n\toption enabled '1'\n",
            (False, False, 2),
        ),
        ("config influxdb2 'x'\n\toption token 'enabled 1'\nconfig service\n\toption enabled '0'\n", (False, False, 1)),
        ("config pcap\n\toption filter 'device'\n", (False, False, 0)),
    ],
)  # fmt: skip
def test_the_state_says_what_is_configured_and_nothing_of_it(
    plugin: Plugin, settings: str, expected: tuple[bool, bool, int]
) -> None:
    plugin.router.write(f"/etc/config/{NAME}", settings, 0o600)
    before = time.time()
    state = plugin.call("state")
    assert before - 1 <= state.pop("now") <= time.time()
    assert state == dict(zip(("enabled", "device", "backends"), expected, strict=True)) | {"running": False}
    assert not plugin.router.read("/tmp/runs"), "Python takes too long for this"


def test_the_state_of_a_file_that_cannot_be_read(plugin: Plugin) -> None:
    plugin.router.write(f"/etc/config/{NAME}", "config 'unterminated\n", 0o600)
    assert plugin.call("state")["enabled"] is False


def test_the_service_runs(plugin: Plugin) -> None:
    plugin.router.write("/etc/init.d/inverter-capture", "#!/bin/sh\n[ $1 = running ]\n", 0o755)
    assert plugin.call("state")["running"] is True


def test_the_pages_are_told_what_there_is(plugin: Plugin) -> None:
    assert [each["name"] for each in plugin.call("settings")["sections"]] == [SERVICE, *SECTIONS]
    assert [group for group, _ in plugin.call("fields", {"kind": "single-phase"})["groups"]] == list(GROUPS)


# --- wrong settings -----------------------------------------------------------------------------------------------


def test_problems_of_the_saved_settings(plugin: Plugin) -> None:
    text = (
        "config pcap 'pcap'\n\toption device 'br-lan'\n"
        f"config influxdb2 'home'\n\toption host 'ftp://x'\n\toption token '{SECRET}'\n"
    )
    plugin.router.write(f"/etc/config/{NAME}", text, 0o600)
    problems = plugin.problems("problems")
    assert any(message.startswith("influxdb2 'home' option host 'ftp://x': unknown scheme") for message in problems)
    assert SECRET not in str(problems)


def test_settings_are_checked_before_they_are_saved(plugin: Plugin) -> None:
    unset = section("service", "service", enabled="1") + ANY
    right = section("influxdb2", host="http://10.0.0.1:8086", org="it's", bucket="b", token=SECRET, tags=["site=a 'b'"])
    assert plugin.call("check", {"settings": unset + right}) == {"problems": [], "right": True, "unset": False}
    assert plugin.call("check", {"settings": unset})["unset"] is True
    wrong = section("mqtt", "ha", url="mqtt://x", keepalive="1", nonsense="2")
    problems = plugin.problems("check", {"settings": unset + wrong})
    assert [message.split(":")[0] for message in problems] == [
        "mqtt 'ha' option keepalive '1'",
        "mqtt 'ha' option nonsense",
    ]
    assert plugin.router.read(f"/etc/config/{NAME}").startswith("# Settings")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_value_is_a_value(plugin: Plugin, text: str) -> None:
    settings = section("pcap", "pcap", device=text) + section("console", format=text)
    problems = plugin.problems("check", {"settings": settings})
    assert any("option format" in message for message in problems)
    assert plugin.problems("check", {"settings": section("console", name=text)})
    assert plugin.problems("check", {"settings": ANY + section("console", **{text: "1"})})
    assert plugin.problems("check", {"settings": text})
    assert "refused" in plugin.problems("find", {"device": text})[0]
    assert "refused" in plugin.problems("service", {"action": text})[0]
    assert plugin.call("progress")["running"] is False
    assert not plugin.problems("test", {"settings": ANY + section("console", format=text)})
    assert plugin.finish()["found"]
    assert not plugin.router.path("/tmp/harm").exists()


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("check", {}),
        ("check", {"settings": 7}),
        ("check", {"settings": [section("pcap")]}),
        ("check", "["),
        ("check", "[]"),
        ("test", {}),
        ("test", {"settings": {"type": "mqtt"}}),
        ("find", {}),
        ("find", {"device": ["any"]}),
        ("find", {"device": "/tmp/x.pcap"}),
        ("service", {"action": ["stop"]}),
        ("fields", {}),
        ("fields", {"kind": ["single-phase"]}),
        ("main", {}),
    ],
)
def test_arguments_of_another_form_are_refused(plugin: Plugin, method: str, arguments: object) -> None:
    (message,) = plugin.problems(method, arguments)
    assert message.startswith("the page's request was refused: ")


# --- the service --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["start", "stop", "restart", "enable", "disable"])
def test_the_service_is_started_and_stopped(plugin: Plugin, action: str) -> None:
    plugin.router.write("/etc/init.d/inverter-capture", '#!/bin/sh\necho "$*" >>/tmp/told\n', 0o755)
    plugin.router.write("/sbin/uci", '#!/bin/sh\necho "uci $*" >>/tmp/told\n', 0o755)
    assert plugin.problems("service", {"action": action}) == []
    expected = {
        "enable": ["uci set inverter-capture.@service[0].enabled=1", "uci commit inverter-capture", "enable", "start"],
        "disable": ["uci set inverter-capture.@service[0].enabled=0", "uci commit inverter-capture", "disable", "stop"],
    }.get(action, [action])
    assert plugin.router.read("/tmp/told").splitlines() == expected


def test_what_the_service_says_when_it_cannot_start_is_handed_on(plugin: Plugin) -> None:
    plugin.router.write("/etc/init.d/inverter-capture", "#!/bin/sh\necho 'error: that is wrong' >&2\nexit 1\n", 0o755)
    assert plugin.problems("service", {"action": "start"}) == ["that is wrong"]


# --- the test of a server -----------------------------------------------------------------------------------------


def test_a_server_that_is_not_there(plugin: Plugin) -> None:
    url = f"mqtt://127.0.0.1:{free_port()}"
    assert plugin.problems("test", {"settings": ANY + section("mqtt", url=url)}) == []
    done = plugin.finish()
    (problem,) = done["found"]
    assert problem["section"] == "mqtt"
    assert url in f"{problem}"


def test_a_broker_that_is_there(plugin: Plugin, tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker", users={"me": SECRET}) as broker:
        right = ANY + section("mqtt", url=broker.url, username="me", password=SECRET)
        assert plugin.call("test", {"settings": right}, network=True) == {"problems": []}
        assert plugin.finish()["found"] == []
        plugin.call("test", {"settings": right.replace(SECRET, "no")}, network=True)
        done = plugin.finish()
        assert "the broker refuses" in done["found"][0]["message"]


def test_wrong_values_are_said_by_option(plugin: Plugin) -> None:
    assert plugin.problems("test", {"settings": ANY + section("influxdb2", host="ftp://x", token=SECRET)}) == []
    done = plugin.finish()
    assert [problem["setting"] for problem in done["found"]] == ["host", "org", "bucket"]
    assert SECRET not in str(done)


def test_a_token_is_kept_by_nobody(plugin: Plugin) -> None:
    right = section("influxdb2", host=f"http://127.0.0.1:{free_port()}", org="o", bucket="b", token=SECRET)
    assert plugin.problems("test", {"settings": ANY + right}) == []
    folder = plugin.router.path(FOLDER)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    plugin.finish()
    assert not any(SECRET in path.read_text() for path in folder.iterdir())
    assert SECRET not in plugin.router.read("/tmp/runs"), "anyone may see a command's arguments"


# --- the search ---------------------------------------------------------------------------------------------------


def test_a_search_goes_on_in_the_background_and_can_be_ended(plugin: Plugin) -> None:
    plugin.router.write(
        f"/usr/bin/{NAME}",
        "#!/bin/sh\n"
        'trap \'echo "{\\"dongles\\": [7]}"; exit 0\' INT\n'
        'echo "$*" >/tmp/arguments\necho "info: capturing" >&2\necho "{\\"packets\\": 3}"\n'
        "n=0; while [ $n -lt 600 ]; do sleep 0.1; n=$((n + 1)); done\n",
        0o755,
    )
    begun = time.monotonic()
    assert plugin.problems("find", {"device": "br-lan"}) == []
    assert time.monotonic() - begun < 20, "rpcd waits no longer than 30 seconds"
    wait_for(lambda: plugin.router.read("/tmp/arguments"), "the search")
    assert plugin.router.read("/tmp/arguments") == "discover --json --seconds 660 -- br-lan\n"
    wait_for(lambda: "found" in plugin.call("progress"), "the first line")
    answer = plugin.call("progress")
    assert (answer["running"], answer["seconds"]) == (True, 660)
    assert answer["found"] == {"packets": 3}
    assert plugin.problems("cancel") == []
    answer = plugin.call("progress")
    assert (answer["running"], answer["found"]) == (False, {"dongles": [7]})


def test_the_result_of_a_long_search_comes_after_its_progress(plugin: Plugin) -> None:
    """With a line each second, on a network with some dongles."""
    line = json.dumps({"packets": 1, "candidates": [f"192.168.100.{host}" for host in range(100, 108)]})
    plugin.router.write("/tmp/lines", f"{line}\n" * 660)
    plugin.router.write(f"/usr/bin/{NAME}", "#!/bin/sh\ncat /tmp/lines\necho '{\"dongles\": [7]}'\n", 0o755)
    assert plugin.problems("find", {"device": "any"}) == []
    assert plugin.finish()["found"] == {"dongles": [7]}


def test_another_job_takes_the_place_of_the_first(plugin: Plugin) -> None:
    plugin.router.write(
        f"/usr/bin/{NAME}",
        "#!/bin/sh\ntrap 'exit 1' INT\nn=0; while [ $n -lt 600 ]; do sleep 0.1; n=$((n + 1)); done\n",
        0o755,
    )
    for _ in range(2):
        assert plugin.problems("find", {"device": "any"}) == []
        assert plugin.call("progress")["running"] is True
    plugin.call("cancel")
    assert plugin.call("progress")["running"] is False


def test_a_search_that_is_ended_without_a_dongle(plugin: Plugin) -> None:
    def search() -> Json:
        plugin.problems("find", {"device": "any"})
        process = plugin.router.read(f"{FOLDER}/process")
        sockets = Path(f"/proc/{process}/net/packet")
        wait_for(lambda: sockets.read_text().count("\n") > 1, "the capture", 60)
        plugin.problems("cancel")
        return plugin.call("progress")

    # A signal between the capture's start and the program's handling of signals ends it at once.
    wait_for(lambda: "found" in search(), "a report")
    found = plugin.call("progress")["found"]
    assert found["dongles"] == []
    assert len(found["problems"]) == 1


def test_a_job_that_is_killed_has_found_nothing(plugin: Plugin) -> None:
    plugin.router.write(f"/usr/bin/{NAME}", "#!/bin/sh\nkill -9 $$\n", 0o755)
    plugin.problems("find", {"device": "any"})
    done = plugin.finish()
    assert "found" not in done
