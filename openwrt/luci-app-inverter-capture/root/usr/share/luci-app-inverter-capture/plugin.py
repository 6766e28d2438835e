"""Answers what the pages ask rpcd for: plugin.py METHOD, with the arguments as JSON on standard input.

Nothing from a page reaches a shell: it is a word that is known here, or goes to the program's standard input. Searches
and tests, which take longer than rpcd waits, run in the background, one at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

PACKAGE = "inverter-capture"
SCRIPT = f"/etc/init.d/{PACKAGE}"
FOLDER = f"/var/run/luci-app-{PACKAGE}"
"""Of the job: its process, and what it prints."""
FIND_SECONDS = 660
"""Enough for two reports of a dongle that sends one every five minutes."""
TITLES = {
    "pcap": "Capture",
    "influxdb2": "InfluxDB",
    "mqtt": "MQTT",
    "client_id": "Client ID",
    "db": "Database",
    "host": "Server",
    "org": "Organisation",
    "timezone": "Time zone",
    "token": "API token",
    "url": "Broker",
    "username": "User name",
}
"""Of sections and settings whose names are no titles."""

Json = dict[str, Any]


def main() -> None:
    methods = {
        each.__name__: each for each in (settings, fields, problems, service, check, test, find, progress, cancel)
    }
    try:
        arguments = json.load(sys.stdin)
        method = methods.get(sys.argv[1])
        if method is None or not isinstance(arguments, dict):
            raise ValueError("unknown method")
        answer = method(arguments)
    except ValueError as error:
        answer = _problem(f"the page's request was refused: {error}")
    except OSError as error:
        answer = _problem(f"{error.filename or PACKAGE}: {error.strerror}")
    print(json.dumps(answer))


def settings(_: Json) -> Json:
    """The sections and settings that there are, as the forms need them."""
    from inverter_capture.config.schema import SECTIONS
    from inverter_capture.config.uci import BACKEND_ENABLED, ENABLED, SERVICE, SERVICE_ENABLED

    found = [(SERVICE, False, {ENABLED: SERVICE_ENABLED})]
    for name, section in SECTIONS.items():
        enabled = {ENABLED: BACKEND_ENABLED} if section.repeated else {}
        found.append((name, section.repeated, enabled | section.settings))
    sections = []
    for name, repeated, specs in found:
        rows = [_setting(key, spec) for key, spec in specs.items()]
        sections.append({"name": name, "title": _title(name), "repeated": repeated, "settings": rows})
    return {"sections": sections}


def fields(arguments: Json) -> Json:
    """The values of a kind of inverter by group, in the order in which `decode` has them: [id, name, unit, decimals].

    A value with a sign has its meanings too, when positive and when negative.
    """
    from inverter_capture.output.table import DIRECTIONS, GROUPS, label, row_order
    from inverter_capture.protocol.inverter_kinds import KINDS

    kind = KINDS[_word(arguments, "kind", tuple(KINDS))]
    groups = []
    for group in GROUPS:
        members = sorted((field for field in kind.fields if field.group == group), key=row_order)
        rows = [(each.id, label(each, 0), each.unit, each.decimals, *DIRECTIONS.get(each.id, ())) for each in members]
        groups.append([group, rows])
    return {"groups": groups}


def _setting(name: str, spec: Any) -> Json:
    """What a form has to know of a setting."""
    from inverter_capture.config.schema import REQUIRED
    from inverter_capture.config.uci import write

    default, example, types = spec.default, spec.type.example, set(spec.type.types)
    kind = "flag" if types == {bool} else "switch" if bool in types else "list" if {dict, list} & types else "text"
    choices = spec.type.expected.removeprefix("one of ").split(", ") if spec.type.expected.startswith("one of ") else []
    if type(default) in (int, float) and example and spec.type.read(example) == default:
        # The same is easier to read, such as 4 MiB.
        default = example
    return {
        "name": name,
        "title": _title(name),
        "help": spec.help,
        "type": "choice" if choices else kind,
        "choices": choices,
        "required": default is REQUIRED,
        "default": "" if default is REQUIRED else write(default).strip("'"),
        "example": write(example or "").strip("'"),
        "secret": spec.secret,
    }


def _title(name: str) -> str:
    return TITLES.get(name) or name.replace("_", " ").capitalize()


def problems(_: Json) -> Json:
    """What is wrong with the saved settings."""
    return _checked(_run([PACKAGE, "check", "--json"]))


def check(arguments: Json) -> Json:
    """What is wrong with these settings, before they are saved."""
    return _checked(_run([PACKAGE, "check", "--json", "-"], _settings(arguments)))


def service(arguments: Json) -> Json:
    """Start, stop or restart the service; enable or disable it, now and at boot."""
    action = _word(arguments, "action", ("start", "stop", "restart", "enable", "disable"))
    commands = [[SCRIPT, action]]
    if action in ("enable", "disable"):
        setting = f"{PACKAGE}.@service[0].enabled={int(action == 'enable')}"
        commands = [["uci", "set", setting], ["uci", "commit", PACKAGE], *commands]
        commands += [[SCRIPT, "start" if action == "enable" else "stop"]]
    for command in commands:
        done = _run(command)
        if done.returncode:
            lines = [line.removeprefix("error: ") for line in done.stderr.splitlines()]
            return _problem(*(lines or [f"{command[0]} failed with {done.returncode}"]))
    return _problem()


def test(arguments: Json) -> Json:
    """Begin to test the servers in these settings. Nothing is changed there."""
    return _begin([PACKAGE, "check", "--json", "--connect", "-"], _settings(arguments))


def find(arguments: Json) -> Json:
    """Begin to listen for dongles."""
    # `discover` would take a path for that of a capture file.
    device = _word(arguments, "device", ("any", *os.listdir("/sys/class/net")))
    return _begin([PACKAGE, "discover", "--json", "--seconds", str(FIND_SECONDS), "--", device])


def progress(_: Json) -> Json:
    """Whether the job still runs, and what it has found: the last that it printed."""
    answer = {"running": _is_running(), "seconds": FIND_SECONDS}
    with suppress(FileNotFoundError), open(f"{FOLDER}/out", errors="replace") as file:
        out = file.read()
        for text in (out, *out.splitlines()[-1:]):
            with suppress(ValueError):
                answer["found"] = json.loads(text)
    return answer


def cancel(_: Json) -> Json:
    """End the job; a search still tells what it has found."""
    end = time.monotonic() + 10
    while _is_running() and time.monotonic() < end:
        with suppress(OSError, ValueError), open(f"{FOLDER}/process") as file:
            os.kill(int(file.read()), signal.SIGINT)
        time.sleep(0.2)
    return _problem()


def _word(arguments: Json, name: str, known: Sequence[str]) -> str:
    """An argument that is one of the known words. Raises ValueError."""
    word = arguments.get(name)
    if word not in known:
        raise ValueError(f"unknown {name}")
    return str(word)


def _settings(arguments: Json) -> str:
    """Settings as `uci export` prints them. Raises ValueError."""
    text = arguments.get("settings")
    if not isinstance(text, str):
        raise ValueError("no settings")
    return text


def _problem(*messages: str) -> Json:
    """The answer with these problems, or that there is none."""
    return {"problems": [{"message": message} for message in messages]}


def _run(command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, check=False, text=True, errors="replace")


def _checked(done: subprocess.CompletedProcess[str]) -> Json:
    """What `check` has found: its problems, and whether the service can run, or only has not been configured yet."""
    try:
        return {"problems": json.loads(done.stdout), "right": done.returncode == 0, "unset": done.returncode == 3}
    except ValueError:
        return _problem(*done.stderr.splitlines()[-1:])


def _begin(command: list[str], text: str = "") -> Json:
    """Run a command in the background, in place of another, with this text on its standard input."""
    cancel({})
    os.umask(0o077)
    os.makedirs(FOLDER, exist_ok=True)
    # In memory alone: it may hold a token.
    given = os.memfd_create(PACKAGE)
    os.write(given, text.encode())
    os.lseek(given, 0, os.SEEK_SET)
    with open(f"{FOLDER}/out", "w") as out, open(f"{FOLDER}/process", "w") as file:
        # The command inherits the lock, and holds it until it ends.
        fcntl.flock(out, fcntl.LOCK_EX)
        process = subprocess.Popen(command, stdin=given, stdout=out, stderr=subprocess.DEVNULL, start_new_session=True)
        file.write(str(process.pid))
    return _problem()


def _is_running() -> bool:
    """Whether the job holds its lock."""
    with suppress(FileNotFoundError), open(f"{FOLDER}/out") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


if __name__ == "__main__":
    main()
