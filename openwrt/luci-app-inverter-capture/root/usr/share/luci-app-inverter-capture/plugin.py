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
import tomllib
from contextlib import suppress
from typing import Any

PACKAGE = "inverter-capture"
SCRIPT = f"/etc/init.d/{PACKAGE}"
ACTIONS = ("start", "stop", "restart", "enable", "disable")
FOLDER = f"/var/run/luci-app-{PACKAGE}"
"""Of the job: its description, its lock, what it prints. For root alone, for settings hold tokens."""
SECTIONS_MAX = 64
OPTIONS_MAX = 64
TEXT_MAX = 4096
OUTPUT_MAX = 65536
SECONDS_MAX = 3600
TEST_SECONDS = 330
"""A server may be given 300 seconds for its answer."""

_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")

Json = dict[str, Any]


class Refused(Exception):
    """The arguments are not what the method takes."""


def main() -> None:
    methods = {
        "problems": problems,
        "service": service,
        "check": check,
        "try": try_backend,
        "find": find,
        "progress": progress,
        "cancel": cancel,
    }
    try:
        arguments = json.load(sys.stdin)
        if len(sys.argv) != 2 or sys.argv[1] not in methods or not isinstance(arguments, dict):
            raise Refused("unknown method")
        answer = methods[sys.argv[1]](arguments)
    except (ValueError, Refused) as error:
        answer = {"messages": [f"the page's request was refused: {error}"]}
    except OSError as error:
        answer = {"messages": [f"{error.filename or PACKAGE}: {error.strerror}"]}
    print(json.dumps(answer))


def problems(_: Json) -> Json:
    """What is wrong with the saved settings."""
    return {"messages": _messages(_run([PACKAGE, "uci"]))}


def service(arguments: Json) -> Json:
    """Start, stop or restart the service; enable or disable it, now and at boot."""
    action = arguments.get("action")
    if action not in ACTIONS:
        raise Refused("unknown action")
    if action in ("enable", "disable"):
        for command in (
            ["uci", "set", f"{PACKAGE}.@service[0].enabled={int(action == 'enable')}"],
            ["uci", "commit", PACKAGE],
            [SCRIPT, action],
        ):
            done = _run(command)
            if done.returncode:
                return {"messages": _messages(done)}
        action = "start" if action == "enable" else "stop"
    done = _run([SCRIPT, action])
    return {"messages": _messages(done) if done.returncode else []}


def check(arguments: Json) -> Json:
    """What is wrong with these settings, before they are saved."""
    sections = arguments.get("sections")
    if not isinstance(sections, list) or len(sections) > SECTIONS_MAX:
        raise Refused("no list of sections")
    return {"messages": _messages(_to_toml("".join(_section(section) for section in sections)))}


def try_backend(arguments: Json) -> Json:
    """Begin to test a server with these settings. Nothing is changed there."""
    options = arguments.get("options")
    if not isinstance(options, dict):
        raise Refused("no options")
    options = {name: value for name, value in options.items() if name != "enabled"}
    backend = _section({"type": arguments.get("type"), "name": "test", "options": options})
    done = _to_toml(_section({"type": "pcap", "name": "pcap", "options": {"device": "any"}}) + backend)
    if done.returncode:
        return {"messages": _messages(done)}
    _begin("try", TEST_SECONDS, [PACKAGE, "check", f"{FOLDER}/config.toml", "--connect"], done.stdout)
    return {"messages": []}


def find(arguments: Json) -> Json:
    """Begin to listen for dongles."""
    device, seconds = arguments.get("device"), arguments.get("seconds")
    # `discover` would take a path for that of a capture file.
    if not isinstance(device, str) or device not in ["any", *os.listdir("/sys/class/net")]:
        raise Refused("there is no such network device")
    if type(seconds) is not int or not 0 < seconds <= SECONDS_MAX:
        raise Refused(f"seconds: not from 1 to {SECONDS_MAX}")
    _begin("find", seconds, [PACKAGE, "discover", "--seconds", str(seconds), "--", device], "")
    return {"messages": []}


def progress(_: Json) -> Json:
    """How far the job is, and what it has found."""
    try:
        with open(f"{FOLDER}/job.json") as file:
            job = json.load(file)
    except FileNotFoundError:
        return {"kind": "", "running": False, "messages": []}
    running = _is_running()
    answer = {
        "kind": job["kind"],
        "running": running,
        "elapsed": round(time.monotonic() - job["began"]),
        "seconds": job["seconds"],
        "messages": [],
    }
    if not running:
        answer |= _result(job["kind"])
    return answer


def cancel(_: Json) -> Json:
    """End the job; a search still tells what it has found."""
    _stop()
    return {"messages": []}


def _section(section: object) -> str:
    """A section as `uci export` prints it."""
    if not isinstance(section, dict):
        raise Refused("a section is no object")
    type_, name, options = section.get("type"), section.get("name"), section.get("options")
    for word in (type_, name):
        if not isinstance(word, str) or not _NAME.fullmatch(word):
            raise Refused("a section's type or name is none")
    if not isinstance(options, dict) or len(options) > OPTIONS_MAX:
        raise Refused("a section has no options")
    lines = [f"config {type_} '{name}'"]
    for option, value in options.items():
        if not _NAME.fullmatch(option):
            raise Refused("an option's name is none")
        if isinstance(value, list):
            lines += [f"\tlist {option} {_quoted(item)}" for item in value[:OPTIONS_MAX]]
        else:
            lines.append(f"\toption {option} {_quoted(value)}")
    return "\n".join(lines) + "\n\n"


def _quoted(value: object) -> str:
    if not isinstance(value, str) or len(value) > TEXT_MAX:
        raise Refused("a value is no text, or a very long one")
    escaped = value.replace("'", "'\\''")
    return f"'{escaped}'"


def _to_toml(sections: str) -> subprocess.CompletedProcess[str]:
    return _run([PACKAGE, "uci", "-"], f"package {PACKAGE}\n\n{sections}")


def _run(command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, check=False, text=True, errors="replace")


def _messages(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a program says is wrong: nothing when it succeeded."""
    if not done.returncode:
        return []
    lines = [
        line.removeprefix("error: ").removeprefix("standard input: ").removeprefix(f"/etc/config/{PACKAGE}: ")
        for line in done.stderr.splitlines()
    ]
    return lines or [f"{done.args[0]} failed with {done.returncode}"]


def _begin(kind: str, seconds: int, command: list[str], config: str) -> None:
    """Run a command in the background, in place of another."""
    _stop()
    os.makedirs(FOLDER, mode=0o700, exist_ok=True)
    for name, text in (("config.toml", config), ("out", ""), ("err", ""), ("code", "")):
        _write(name, text)
    lock = os.open(f"{FOLDER}/lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    job = {"kind": kind, "began": time.monotonic(), "seconds": seconds}
    if os.fork():
        _write("job.json", json.dumps(job))
        os.close(lock)
        return
    # The child, which holds the lock until it ends. rpcd waits until nobody has its pipes any more.
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    code = -1
    with suppress(OSError, subprocess.SubprocessError):
        with open(f"{FOLDER}/out", "w") as out, open(f"{FOLDER}/err", "w") as err:
            process = subprocess.Popen(command, stdin=null, stdout=out, stderr=err)
        _write("pid", str(process.pid))
        try:
            code = process.wait(seconds + 30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    os.unlink(f"{FOLDER}/config.toml")
    _write("code", str(code))
    os._exit(0)


def _stop() -> None:
    """End a job that is running, and wait for that."""
    end = time.monotonic() + 10
    while _is_running() and time.monotonic() < end:
        with suppress(OSError, ValueError), open(f"{FOLDER}/pid") as file:
            os.kill(int(file.read()), signal.SIGINT)
        time.sleep(0.2)
    with suppress(FileNotFoundError):
        os.unlink(f"{FOLDER}/pid")


def _is_running() -> bool:
    """Whether somebody holds the job's lock."""
    try:
        with open(f"{FOLDER}/lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _result(kind: str) -> Json:
    """What a job that has ended has found."""
    out, err, code = (_read(name) for name in ("out", "err", "code"))
    messages = [line.removeprefix("error: ") for line in err.splitlines() if not line.startswith("info: ")]
    if not code:
        messages.append("it was ended before it was done: try again")
    answer: Json = {"succeeded": code == "0", "lines": out.splitlines(), "messages": messages}
    if kind == "find":
        answer["settings"] = _settings(out)
    return answer


def _settings(report: str) -> dict[str, str]:
    """The settings that `discover` proposes at the end of its report."""
    _, found, section = report.rpartition("[pcap]\n")
    if not found:
        return {}
    try:
        return {name: str(value) for name, value in tomllib.loads(section).items()}
    except tomllib.TOMLDecodeError:
        return {}


def _write(name: str, text: str) -> None:
    file = os.open(f"{FOLDER}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(file, "w") as stream:
        stream.write(text)


def _read(name: str) -> str:
    with suppress(FileNotFoundError), open(f"{FOLDER}/{name}", errors="replace") as file:
        return file.read(OUTPUT_MAX)
    return ""


if __name__ == "__main__":
    main()
