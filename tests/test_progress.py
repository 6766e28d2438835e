"""Progress on a terminal, seen through a real one."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import pty
import re
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inverter_capture.output import progress
from inverter_capture.output.progress import BAR_WIDTH, ProgressBar, StatusLine, progress_text

PATIENCE = 10.0
"""Seconds to wait for what must come; nothing is concluded from less."""


class Terminal:
    """A pseudo-terminal: `stream` is what the program writes to, `screen` what a person sees."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        os.set_blocking(self.master, False)
        self.stream = os.fdopen(slave, "w", encoding="utf-8")
        self.written = ""
        self.resize(80)

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self) -> str:
        """All that was written so far."""
        try:
            while piece := os.read(self.master, 65536):
                self.written += piece.decode()
        except OSError as error:
            # The end of a pseudo-terminal is EIO.
            if error.errno not in (errno.EAGAIN, errno.EIO):
                raise
        return self.written

    def screen(self) -> list[str]:
        """The lines that stand there, as a terminal understands what was written."""
        lines = [""]
        column = 0
        for part in re.findall(r"\x1b\[\??\d*[A-Za-z]|.", self.read(), re.DOTALL):
            if part == "\r":
                column = 0
            elif part == "\n":
                lines.append("")
            elif part == "\x1b[K":
                lines[-1] = lines[-1][:column]
            elif not part.startswith("\x1b"):
                lines[-1] = lines[-1][:column].ljust(column) + part + lines[-1][column + 1 :]
                column += 1
        return lines

    def wait_for(self, seen: Callable[[str], object]) -> str:
        """The screen's last line, as soon as it is as it should be."""
        deadline = time.monotonic() + PATIENCE
        while not seen(self.screen()[-1]):
            assert time.monotonic() < deadline, self.written
            time.sleep(0.01)
        return self.screen()[-1]

    def close(self) -> None:
        self.stream.close()
        os.close(self.master)


@pytest.fixture(autouse=True)
def able_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar that is drawn soon and often."""
    monkeypatch.setattr(progress, "INTERVAL_SECONDS", 0.01)


def progress_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "progress"]


def progress_threads_end() -> None:
    for thread in progress_threads():
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.mark.usefixtures("at_once")
def test_a_bar_follows_the_work_and_goes(terminal: Terminal) -> None:
    position = 0
    with ProgressBar(lambda: position, 200_000_000, "/mnt/captures/day.pcap", terminal.stream):
        assert "0 of 200 MB" in terminal.wait_for(lambda line: "  0% " in line)
        position = 100_000_000
        line = terminal.wait_for(lambda line: " 50% " in line)
        assert "100 of 200 MB, " in line
        assert line.endswith(" s left: day.pcap")
        bar = re.search(r"\[(=*)( *)\]", line)
        assert bar is not None
        assert len(bar[1]) == len(bar[2]) == BAR_WIDTH // 2
        terminal.resize(20)
        terminal.wait_for(lambda line: len(line) == 19)
    assert terminal.screen() == [""]
    assert not progress_threads()
    # Wrapping, which is off while a line is drawn, is on again.
    assert terminal.written.rindex("\x1b[?7h") > terminal.written.rindex("\x1b[?7l")


def test_short_work_shows_nothing(terminal: Terminal) -> None:
    with ProgressBar(lambda: 1, 2, "day.pcap", terminal.stream) as bar:
        assert len(progress_threads()) == 1
        bar.clear()
    assert terminal.read() == ""


@pytest.mark.usefixtures("at_once")
def test_results_and_the_bar_share_a_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    with ProgressBar(lambda: 1, 2, "day.pcap", terminal.stream) as bar:
        for number in range(3):
            monkeypatch.setattr(progress, "INTERVAL_SECONDS", 0.01)
            terminal.wait_for(lambda line: " 50% " in line)
            # Long enough for whatever is printed now.
            monkeypatch.setattr(progress, "INTERVAL_SECONDS", 0.2)
            bar.clear()
            terminal.stream.write(f"reading {number}\n")
            terminal.stream.flush()
    assert terminal.screen() == ["reading 0", "reading 1", "reading 2", ""]


@pytest.mark.usefixtures("at_once")
def test_a_position_that_is_not_known_ends_the_bar_quietly(terminal: Terminal) -> None:
    closed = threading.Event()

    def position() -> int:
        if closed.is_set():
            raise OSError("closed")
        return 1

    with ProgressBar(position, 2, "day.pcap", terminal.stream):
        terminal.wait_for(lambda line: " 50% " in line)
        closed.set()
        progress_threads_end()
    assert terminal.screen() == [""]


@pytest.mark.usefixtures("at_once")
def test_an_error_in_the_work_passes_and_the_bar_goes(terminal: Terminal) -> None:
    def work() -> None:
        with ProgressBar(lambda: 1, 2, "day.pcap", terminal.stream):
            terminal.wait_for(lambda line: " 50% " in line)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert terminal.screen() == [""]
    assert not progress_threads()


@pytest.mark.usefixtures("at_once")
def test_a_terminal_that_hangs_up_harms_nothing() -> None:
    terminal = Terminal()
    with ProgressBar(lambda: 1, 2, "day.pcap", terminal.stream) as bar:
        terminal.wait_for(lambda line: " 50% " in line)
        os.close(terminal.master)
        progress_threads_end()
        bar.clear()
    with pytest.raises(OSError, match="Input/output error"):
        terminal.stream.close()


def check_nothing(stream: TextIO | None) -> None:
    with ProgressBar(lambda: 1, 2, "day.pcap", stream) as bar:
        assert not progress_threads()
        bar.show("something")
        bar.clear()


def test_without_a_terminal_there_is_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, opened = io.StringIO(), io.StringIO()
    closed.close()
    check_nothing(closed)
    check_nothing(opened)
    assert opened.getvalue() == ""
    monkeypatch.setattr("sys.stderr", None)
    check_nothing(None)
    monkeypatch.setenv("TERM", "dumb")
    check_nothing(terminal.stream)
    assert terminal.read() == ""


def test_a_file_of_unknown_size_has_no_bar(terminal: Terminal) -> None:
    with ProgressBar(lambda: 1, 0, "-", terminal.stream):
        assert not progress_threads()
    assert terminal.read() == ""


@pytest.mark.usefixtures("at_once")
def test_a_status_line_is_rewritten(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal.stream)
    line = StatusLine()
    line.show("listening on br-lan, 120 packets")
    assert terminal.screen() == ["listening on br-lan, 120 packets"]
    line.show("found one\n\x1b[2J")
    assert terminal.screen() == [r"found one\n\x1b[2J"]
    line.clear()
    assert terminal.screen() == [""]
    written = terminal.read()
    line.clear()
    assert terminal.read() == written


@pytest.mark.parametrize(("columns", "seen"), [(20, 19), (200, 100), (0, 79)])
def test_a_status_line_stays_one_line(terminal: Terminal, columns: int, seen: int) -> None:
    terminal.resize(columns)
    StatusLine(terminal.stream).show("x" * 100)
    assert terminal.screen() == ["x" * seen]


@given(st.integers(-1, 2**40), st.integers(1, 2**40), st.floats(0, 1e6))
def test_any_numbers_make_a_bar(position: int, total: int, seconds: float) -> None:
    bar = re.search(r"\[(=*)( *)\]", progress_text("day.pcap", position, total, seconds))
    assert bar is not None
    assert len(bar[1] + bar[2]) == BAR_WIDTH
