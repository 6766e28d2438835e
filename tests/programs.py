"""The program as its users have it: a process, given arguments, files and signals."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from tests.dongle.day import expected_day
from tests.dongle.server import CloudServer
from tests.network import ROOT, Host, Network, in_namespace, wait_for

PROGRAM = (sys.executable, "-m", "inverter_capture")
PORT = 51100
"""Of the cloud server."""
ZONE = "Africa/Johannesburg"
"""Of the simulated inverters' clocks, unless they are told otherwise."""
TEST_FILES = Path(__file__).parent / "captures"
DAY = TEST_FILES / "day.pcap"

Json = dict[str, Any]


def by_inverter(readings: Iterable[Json]) -> dict[str, list[Json]]:
    """Readings by serial number. Those of one come in order, but may wait for a lost packet while another's do not."""
    found: dict[str, list[Json]] = {}
    for reading in readings:
        found.setdefault(reading["serial"], []).append(reading)
    return found


@cache
def day_by_inverter() -> dict[str, list[Json]]:
    """What should be decoded from the bundled day."""
    return by_inverter(expected_day())


class Finished(NamedTuple):
    """A program that has ended."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines on standard error that are errors."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]

    @property
    def readings(self) -> list[Json]:
        """What it printed with the format json."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def by_inverter(self) -> dict[str, list[Json]]:
        """The same, each inverter's by itself."""
        return by_inverter(self.readings)


class Stopped(NamedTuple):
    """How a program ended after a signal."""

    code: int
    seconds: float


@cache
def bytecode_folder() -> str:
    """Where Python keeps what it has compiled, so that programs start fast, and nothing of it is left."""
    folder = tempfile.mkdtemp(prefix="bytecode-")
    os.chmod(folder, 0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def environment(**changes: str) -> dict[str, str]:
    """That of the tests, without what would change the output, and with these changes."""
    left_out = ("NO_COLOR", "COLUMNS", "LINES", "PYTHONDONTWRITEBYTECODE")
    variables = {name: text for name, text in os.environ.items() if name not in left_out}
    ours = {"PYTHONPATH": ROOT, "PYTHONPYCACHEPREFIX": bytecode_folder(), "TZ": "UTC", "TERM": "xterm"}
    return variables | ours | changes


def check_log(text: str) -> None:
    """Nothing in it is for programmers."""
    assert "Traceback" not in text
    assert "Exception" not in text
    assert "itself" not in text, text


def run_program(
    *arguments: str | Path,
    input: bytes = b"",
    cwd: str | Path = ROOT,
    before: Sequence[str] = (),
    timeout: float = 60,
    **changes: str,
) -> Finished:
    """Run the program to its end. `before` is a program that starts it; `changes` are of the environment."""
    words = [*before, *PROGRAM, *map(str, arguments)]
    done = subprocess.run(
        words, input=input, cwd=cwd, env=environment(**changes), capture_output=True, timeout=timeout, check=False
    )
    finished = Finished(done.returncode, done.stdout.decode(), done.stderr.decode())
    check_log(finished.err)
    return finished


def without_rights() -> list[str]:
    """What starts a program as root without any of root's rights: another user may not get at the Python."""
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


class Program:
    """A process whose output is collected as it comes; a context manager, at whose end it is killed if need be."""

    def __init__(
        self,
        words: Sequence[str],
        *,
        where: Host | str | None = None,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = subprocess.PIPE,
        reading: bool = True,
        cwd: str | Path = ROOT,
        **changes: str,
    ) -> None:
        """`where` is a network namespace. Without `reading`, the output is not read until `read_on`."""
        self._process = subprocess.Popen(
            words if where is None else in_namespace(where, words),
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=environment(**changes),
            text=True,
        )
        self.pid = self._process.pid
        self.out: list[str] = []
        self.log: list[str] = []
        self._threads: list[threading.Thread] = []
        self._collect(self._process.stderr, self.log)
        if reading:
            self.read_on()

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join(10)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        if error is None:
            check_log("\n".join(self.log))
        else:
            sys.stderr.write("".join(f"{self.pid}: {line}\n" for line in self.log))

    def read_on(self) -> None:
        """Begin to read what it prints."""
        self._collect(self._process.stdout, self.out)

    def close_output(self) -> None:
        """Nobody will ever read what it prints."""
        assert self._process.stdout is not None
        self._process.stdout.close()

    def write_line(self, text: str) -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def close_input(self) -> None:
        """It will get no more lines."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    @property
    def readings(self) -> list[Json]:
        """What it has printed so far with the format json."""
        return [json.loads(line) for line in list(self.out)]

    def said(self, text: str) -> int:
        """How many lines of its log have this in them."""
        return sum(text in line for line in list(self.log))

    def wait_until_said(self, text: str, count: int = 1, seconds: float = 30) -> None:
        """Until so many lines of its log have this in them."""
        self.wait_for(lambda: self.said(text) >= count, f"{text!r} in the log", seconds)

    def wait_for_readings(self, count: int, seconds: float = 30) -> list[Json]:
        """The readings, as soon as there are so many."""
        self.wait_for(lambda: len(self.out) >= count, f"{count} readings", seconds)
        return self.readings

    def wait_for(self, condition: Callable[[], object], what: str, seconds: float = 30) -> None:
        """As the function of that name; but the program must not end before."""

        def come_true() -> bool:
            if condition():
                return True
            assert self._process.poll() is None, f"it has ended: {self.log}"
            return False

        wait_for(come_true, what, seconds)

    def stop(self, number: int = signal.SIGTERM) -> Stopped:
        """Send a signal, and wait for the end."""
        began = time.monotonic()
        self._process.send_signal(number)
        code = self._process.wait(30)
        seconds = time.monotonic() - began
        for thread in self._threads:
            thread.join(10)
        return Stopped(code, seconds)

    def wait(self, seconds: float = 60) -> int:
        """Its exit code, when it has ended by itself."""
        code = self._process.wait(seconds)
        for thread in self._threads:
            thread.join(10)
        return code

    def descriptors(self) -> dict[int, str]:
        """What it has open."""
        links: dict[int, str] = {}
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                links[int(entry.name)] = os.readlink(entry)
            except FileNotFoundError:
                continue
        return links

    def wakeups(self) -> int:
        """How often its threads have waited for something, so far."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            total += int((task / "status").read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
        return total

    def wait_until_asleep(self, seconds: float) -> None:
        """Until it has not woken for so long. On a busy machine its start takes its time."""

        def is_asleep() -> bool:
            before = self.wakeups()
            time.sleep(seconds)
            return self.wakeups() == before

        self.wait_for(is_asleep, f"sleep of {seconds:g} s", max(30, 10 * seconds))

    def _collect(self, stream: IO[str] | None, lines: list[str]) -> None:
        if stream is None:
            return

        def collect() -> None:
            for line in stream:
                lines.append(line.rstrip("\n"))

        thread = threading.Thread(target=collect, daemon=True)
        self._threads.append(thread)
        thread.start()


def write_config(
    path: Path,
    device: str | Path,
    *,
    filter: str = "",
    file: bool = False,
    timezone: str = ZONE,
    format: str = "json",
    level: str = "info",
) -> Path:
    """A configuration with a console. Simulated dongles begin with the same totals each time: live, no guard."""
    lines = ["[pcap]", f'device = "{device}"', f'timezone = "{timezone}"', f"guard = {str(file).lower()}"]
    if filter:
        lines.append(f'filter = "{filter}"')
    if file:
        lines.append("file = true")
    lines += ["[[console]]", f'format = "{format}"', "[log]", f'level = "{level}"']
    path.write_text("\n".join(lines) + "\n")
    return path


def service(config: Path, where: Host | str | None = None, **options: Any) -> Program:
    """The service, as soon as it captures or waits for its device."""
    program = Program([*PROGRAM, "run", str(config)], where=where, **options)
    try:
        wait_until_begun(program)
    except BaseException as error:
        program.__exit__(type(error), error, None)
        raise
    return program


def wait_until_begun(program: Program) -> None:
    program.wait_for(lambda: program.said("capturing ") or program.said("; waiting for it"), "beginning")


@contextmanager
def services(configs: Sequence[Path], where: Host | str) -> Iterator[list[Program]]:
    """Several at a time."""
    programs: list[Program] = []
    error: BaseException | None = None
    try:
        programs += [Program([*PROGRAM, "run", str(config)], where=where) for config in configs]
        for program in programs:
            wait_until_begun(program)
        yield programs
    except BaseException as caught:
        error = caught
        raise
    finally:
        for program in programs:
            program.__exit__(None if error is None else type(error), error, None)


# --- the dongle and its server ------------------------------------------------------------------------------------


def bracketed(address: str) -> str:
    """The address and the server's port."""
    return f"[{address}]:{PORT}" if ":" in address else f"{address}:{PORT}"


@contextmanager
def cloud(network: Network, *addresses: str) -> Iterator[None]:
    """A server on the server's host, at these addresses; its own when there are none."""
    programs: list[Program] = []
    try:
        for address in addresses or (network.server.ipv4,):
            words = [sys.executable, "-m", "tests.dongle.server", "--listen", bracketed(address)]
            programs.append(Program(words, where=network.server))
        for program in programs:
            program.wait_for(lambda program=program: program.out, "server")  # type: ignore[misc] # the loop's
        yield
    finally:
        for program in programs:
            program.__exit__(None, None, None)


def start_dongle(network: Network, *options: str, server: str = "", host: Host | None = None) -> Program:
    """A dongle that sends readings, and prints what should be decoded from them."""
    words = [
        sys.executable,
        "-m",
        "tests.dongle.client",
        "--server",
        bracketed(server or network.server.ipv4),
        *options,
    ]
    return Program(words, where=host or network.dongle)


def send(network: Network, *options: str, server: str = "", host: Host | None = None) -> list[Json]:
    """Let a dongle send readings. Returns what should be decoded from them."""
    with start_dongle(network, *options, server=server, host=host) as dongle:
        assert dongle.wait() == 0
        return dongle.readings


class Dongle:
    """A dongle and its cloud on this very machine, where the databases are, too."""

    def __init__(self) -> None:
        self._cloud = CloudServer()
        self.port = self._cloud.address[1]
        self.filter = f"tcp dst port {self.port}"
        self._days = 0

    def send(self, count: int) -> list[Json]:
        """So many readings of a new day. Returns what should be decoded from them."""
        self._days += 1
        words = [sys.executable, "-m", "tests.dongle.client", "--server", f"127.0.0.1:{self.port}"]
        with Program([*words, "--readings", str(count), "--start", f"2024-06-{self._days:02}T05:00"]) as dongle:
            assert dongle.wait() == 0
            return dongle.readings

    def close(self) -> None:
        self._cloud.close()


class Talker:
    """The dongle's host, on which the test itself says what is sent, and when."""

    def __init__(self, network: Network, place: str = "") -> None:
        """`place` is a device of the host, for whole packets; otherwise there is a connection to the server."""
        words = [sys.executable, "-m", "tests.talker", place or bracketed(network.server.ipv4)]
        self._program = Program(words, where=network.dongle, stdin=subprocess.PIPE)
        self._said = 0

    def __enter__(self) -> Talker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._program.__exit__(kind, error, traceback)

    def say(self, data: bytes) -> None:
        """Send this in one write, and wait until the server's end has it."""
        self._said += 1
        self._program.write_line(data.hex())
        self._program.wait_for(lambda: len(self._program.out) >= self._said, "acknowledgement", 30)
