"""Answers what the pages ask rpcd for: plugin.py METHOD, with the arguments as JSON on standard input.

What comes from a page is checked by type and form, and reaches a program as an argument or on its standard input, never
through a shell. Searches and tests, which take longer than rpcd waits, go on in the background, one at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

PACKAGE = "inverter-capture"
SCRIPT = f"/etc/init.d/{PACKAGE}"
FOLDER = f"/var/run/luci-app-{PACKAGE}"
"""Of the job: its description, its lock, what it prints."""
COUNT_MAX = 64
TEXT_MAX = 4096
OUTPUT_MAX = 1 << 20
"""More than a search prints."""
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

_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")

Json = dict[str, Any]


class Refused(Exception):
    """The arguments are not what the method takes."""


def main() -> None:
    methods = (settings, fields, problems, service, check, test, find, progress, cancel)
    try:
        arguments = json.load(sys.stdin)
        found = [method for method in methods if [method.__name__] == sys.argv[1:]]
        if not found or not isinstance(arguments, dict):
            raise Refused("unknown method")
        answer = found[0](arguments)
    except (ValueError, Refused) as error:
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

    kind = arguments.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise Refused("unknown kind of inverter")
    groups = []
    for group in GROUPS:
        members = sorted((field for field in KINDS[kind].fields if field.group == group), key=row_order)
        rows = [(each.id, label(each, 0), each.unit, each.decimals, *DIRECTIONS.get(each.id, ())) for each in members]
        groups.append([group, rows])
    return {"groups": groups}


def _setting(name: str, spec: Any) -> Json:
    """What a form has to know of a setting."""
    from inverter_capture.config.schema import REQUIRED
    from inverter_capture.config.uci import write

    default, example, expected = spec.default, spec.type.example, spec.type.expected
    types, words = set(spec.type.types), expected.removeprefix("one of ")
    limits = re.fullmatch(r"a (?:whole )?number of seconds from ([\d.]+) to (\d+)", expected)
    kind = "flag" if types == {bool} else "switch" if bool in types else "list" if {dict, list} & types else "text"
    if type(default) in (int, float) and example and spec.type.read(example) == default:
        # The same is easier to read, such as 4 MiB.
        default = example
    return {
        "name": name,
        "title": _title(name),
        "help": spec.help,
        "type": "choice" if words != expected else kind,
        "choices": words.split(", ") if words != expected else [],
        "datatype": f"range({limits[1]},{limits[2]})" if limits else "",
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
    sections = arguments.get("sections")
    if not isinstance(sections, list) or len(sections) > COUNT_MAX:
        raise Refused("no list of sections")
    return _checked(_run([PACKAGE, "check", "--json", "-"], _export(map(_section, sections))))


def service(arguments: Json) -> Json:
    """Start, stop or restart the service; enable or disable it, now and at boot."""
    action = arguments.get("action")
    if action not in ("start", "stop", "restart", "enable", "disable"):
        raise Refused("unknown action")
    commands = [[SCRIPT, action]]
    if action in ("enable", "disable"):
        commands = [
            ["uci", "set", f"{PACKAGE}.@service[0].enabled={int(action == 'enable')}"],
            ["uci", "commit", PACKAGE],
            [SCRIPT, action],
            [SCRIPT, "start" if action == "enable" else "stop"],
        ]
    for command in commands:
        done = _run(command)
        if done.returncode:
            lines = [line.removeprefix("error: ") for line in done.stderr.splitlines()]
            return _problem(*(lines or [f"{command[0]} failed with {done.returncode}"]))
    return _problem()


def test(arguments: Json) -> Json:
    """Begin to test a server with these settings. Nothing is changed there."""
    options = arguments.get("options")
    if not isinstance(options, dict):
        raise Refused("no options")
    options = {name: value for name, value in options.items() if name != "enabled"}
    backend = {"type": arguments.get("type"), "name": "test", "options": options}
    capture = {"type": "pcap", "name": "pcap", "options": {"device": "any"}}
    config = _export(map(_section, (capture, backend)))
    return _begin(0, [PACKAGE, "check", "--json", "--connect", "-"], config)


def find(arguments: Json) -> Json:
    """Begin to listen for dongles."""
    device = arguments.get("device")
    # `discover` would take a path for that of a capture file.
    if not isinstance(device, str) or device not in ["any", *os.listdir("/sys/class/net")]:
        raise Refused("there is no such network device")
    return _begin(FIND_SECONDS, [PACKAGE, "discover", "--json", "--seconds", str(FIND_SECONDS), "--", device], "")


def progress(_: Json) -> Json:
    """How far the job is, and what it has found: the last that it printed."""
    try:
        job: Json = json.loads(_read("job"))
    except FileNotFoundError:
        return {"running": False}
    answer = {
        "seconds": job["seconds"],
        "elapsed": round(time.monotonic() - job["began"]),
        "running": _is_running(),
    }
    out = _read("out")
    for text in (out, *out.splitlines()[-1:]):
        with suppress(ValueError):
            answer["found"] = json.loads(text)
    return answer


def cancel(_: Json) -> Json:
    """End the job; a search still tells what it has found."""
    end = time.monotonic() + 10
    while _is_running() and time.monotonic() < end:
        with suppress(OSError, ValueError):
            os.kill(json.loads(_read("job"))["pid"], signal.SIGINT)
        time.sleep(0.2)
    return _problem()


def _problem(*messages: str) -> Json:
    """The answer with such problems, or that there is none."""
    return {"problems": [{"message": message} for message in messages]}


def _export(sections: Iterable[str]) -> str:
    return f"package {PACKAGE}\n\n" + "".join(sections)


def _section(section: object) -> str:
    """A section as `uci export` prints it."""
    if not isinstance(section, dict):
        raise Refused("a section is no object")
    type_, name, options = section.get("type"), section.get("name"), section.get("options")
    if not isinstance(options, dict) or len(options) > COUNT_MAX:
        raise Refused("a section has no options")
    for word in (type_, name, *options):
        if not isinstance(word, str) or not _NAME.fullmatch(word):
            raise Refused("the name of a section or an option is none")
    lines = [f"config {type_} '{name}'"]
    for option, value in options.items():
        word, items = ("list", value[:COUNT_MAX]) if isinstance(value, list) else ("option", [value])
        lines += [f"\t{word} {option} {_quoted(item)}" for item in items]
    return "\n".join(lines) + "\n\n"


def _quoted(value: object) -> str:
    if not isinstance(value, str) or len(value) > TEXT_MAX:
        raise Refused("a value is no text, or a very long one")
    escaped = value.replace("'", "'\\''")
    return f"'{escaped}'"


def _run(command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, check=False, text=True, errors="replace")


def _checked(done: subprocess.CompletedProcess[str]) -> Json:
    """What `check` has found: its problems, and whether the service can run, or only has not been configured yet."""
    try:
        return {"problems": json.loads(done.stdout), "right": done.returncode == 0, "unset": done.returncode == 3}
    except ValueError:
        return _problem(*done.stderr.splitlines()[-1:])


def _begin(seconds: int, command: list[str], text: str) -> Json:
    """Run a command in the background, in place of another, with this text on its standard input."""
    cancel({})
    os.umask(0o077)
    os.makedirs(FOLDER, exist_ok=True)
    # In memory alone: it may hold a token.
    given = os.memfd_create(PACKAGE)
    os.write(given, text.encode())
    os.lseek(given, 0, os.SEEK_SET)
    # The command inherits the lock, and holds it until it ends.
    with open(f"{FOLDER}/lock", "w") as lock, open(f"{FOLDER}/out", "w") as out, open(f"{FOLDER}/job", "w") as job:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            command,
            stdin=given,
            stdout=out,
            stderr=subprocess.DEVNULL,
            pass_fds=[lock.fileno()],
            start_new_session=True,
        )
        json.dump({"began": time.monotonic(), "seconds": seconds, "pid": process.pid}, job)
    return _problem()


def _is_running() -> bool:
    """Whether the job's lock is held."""
    with suppress(FileNotFoundError), open(f"{FOLDER}/lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _read(name: str) -> str:
    with open(f"{FOLDER}/{name}", errors="replace") as file:
        return file.read(OUTPUT_MAX)


if __name__ == "__main__":
    main()
