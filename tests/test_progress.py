"""Progress on a terminal, seen through a real one."""

from __future__ import annotations

import errno
import fcntl
import io
import logging
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
from inverter_capture.output.progress import ProgressBar, StatusLine, duration_text, progress_text

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
    """A bar that does not wait for the work to prove long."""
    monkeypatch.setattr(progress, "FIRST_DRAWN", 0.0)


def progress_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "progress"]


@pytest.mark.usefixtures("at_once")
def test_a_bar_follows_the_work_and_goes(terminal: Terminal) -> None:
    position = 0
    with ProgressBar(lambda: position, 200_000_000, "day.pcap", terminal.stream):
        assert terminal.wait_for(lambda line: "  0%" in line).startswith("day.pcap    0%  [   ")
        position = 100_000_000
        line = terminal.wait_for(lambda line: " 50%" in line)
        assert "100.0 of 200.0 MB" in line
        assert " left  " in line
        assert line.endswith(" MB/s")
        bar = re.search(r"\[(=*)( *)\]", line)
        assert bar is not None
        assert abs(len(bar[1]) - len(bar[2])) <= 1
        assert 70 <= len(line) < 80
        terminal.resize(40)
        narrow = terminal.wait_for(lambda line: len(line) < 40)
        assert " 50%" in narrow
    assert terminal.screen() == [""]
    assert not progress_threads()
    # Wrapping, which is off while a line is drawn, is on again.
    assert terminal.written.rindex("\x1b[?7h") > terminal.written.rindex("\x1b[?7l")


def test_short_work_shows_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST_DRAWN", 3600.0)
    asked = False

    def position() -> int:
        nonlocal asked
        asked = True
        return 1

    with ProgressBar(position, 2, "day.pcap", terminal.stream):
        assert len(progress_threads()) == 1
        time.sleep(0.05)
    assert terminal.read() == ""
    assert not asked


def test_half_a_second_is_short() -> None:
    assert progress.FIRST_DRAWN == 0.5
    assert progress.INTERVAL == 0.2


class Clock:
    """A clock that stands still."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.usefixtures("at_once")
def test_results_and_the_bar_share_a_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    asked = threading.Event()

    def position() -> int:
        asked.set()
        return 1

    with ProgressBar(position, 2, "day.pcap", terminal.stream) as bar:
        for number in range(3):
            clock.now += progress.INTERVAL
            terminal.wait_for(lambda line: " 50%" in line)
            bar.clear()
            # However long the printing takes by another clock, the bar stays away.
            for _ in range(2):
                asked.clear()
                assert asked.wait(PATIENCE)
            # What stdout would write: a line of its own, with nothing of the bar in it.
            terminal.stream.write(f"reading {number}\n")
            terminal.stream.flush()
    assert terminal.screen() == ["reading 0", "reading 1", "reading 2", ""]


def test_clearing_a_bar_that_is_not_there_writes_nothing(terminal: Terminal) -> None:
    with ProgressBar(lambda: 1, 2, "day.pcap", terminal.stream) as bar:
        bar.clear()
    assert terminal.read() == ""


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("error", [OSError("closed"), ValueError("closed")])
def test_a_closed_file_ends_the_bar_quietly(
    terminal: Terminal, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    closed = threading.Event()

    def position() -> int:
        if closed.is_set():
            raise error
        return 1

    with ProgressBar(position, 2, "day.pcap", terminal.stream):
        terminal.wait_for(lambda line: " 50%" in line)
        closed.set()
        terminal.wait_for(lambda line: line == "")
        progress_threads_end()
    assert terminal.screen() == [""]
    assert not caplog.records


@pytest.mark.usefixtures("at_once")
def test_a_fault_in_the_thread_is_said_in_one_line(terminal: Terminal, caplog: pytest.LogCaptureFixture) -> None:
    asked = iter([1])
    with caplog.at_level(logging.WARNING), ProgressBar(lambda: next(asked), 2, "day.pcap", terminal.stream):
        progress_threads_end()
    assert [record.getMessage() for record in caplog.records] == ["the progress bar has stopped: StopIteration: "]
    assert all(record.exc_info is None for record in caplog.records)
    assert terminal.screen() == [""]


@pytest.mark.usefixtures("at_once")
def test_a_bar_that_is_being_drawn_at_the_end_goes_too(terminal: Terminal) -> None:
    asked = threading.Event()

    def position() -> int:
        asked.set()
        time.sleep(0.2)
        return 1

    with ProgressBar(position, 2, "day.pcap", terminal.stream):
        assert asked.wait(PATIENCE)
    assert not progress_threads()
    assert terminal.screen() == [""]


def progress_threads_end() -> None:
    for thread in progress_threads():
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.mark.usefixtures("at_once")
def test_an_error_in_the_work_passes_and_the_bar_goes(terminal: Terminal) -> None:
    def work() -> None:
        with ProgressBar(lambda: 1, 2, "day.pcap", terminal.stream):
            terminal.wait_for(lambda line: " 50%" in line)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert terminal.screen() == [""]
    assert not progress_threads()


@pytest.mark.usefixtures("at_once")
def test_a_terminal_that_hangs_up_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    terminal = Terminal()
    with ProgressBar(lambda: 1, 2, "day.pcap", terminal.stream) as bar:
        terminal.wait_for(lambda line: " 50%" in line)
        os.close(terminal.master)
        progress_threads_end()
        bar.clear()
    with pytest.raises(OSError, match="Input/output error"):
        terminal.stream.close()
    assert not caplog.records


def no_terminals() -> list[TextIO]:
    closed = io.StringIO()
    closed.close()
    return [io.StringIO(), closed]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("stream", no_terminals())
def test_without_a_terminal_there_is_nothing(stream: TextIO) -> None:
    check_nothing(stream)
    if not stream.closed:
        assert isinstance(stream, io.StringIO)
        assert stream.getvalue() == ""


def check_nothing(stream: TextIO | None) -> None:
    with ProgressBar(lambda: 1, 2, "day.pcap", stream) as bar:
        assert not progress_threads()
        bar.clear()
    line = StatusLine(stream)
    assert not line.active
    line.show("listening")
    line.clear()


def test_without_any_stderr_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    check_nothing(None)


def test_stderr_is_where_it_all_goes(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal.stream)
    StatusLine().show("listening")
    assert terminal.screen() == ["listening"]


def test_a_dumb_terminal_gets_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    check_nothing(terminal.stream)
    assert terminal.read() == ""


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("total", [0, -1])
def test_nothing_to_read_needs_no_bar(terminal: Terminal, total: int) -> None:
    with ProgressBar(lambda: 1, total, "day.pcap", terminal.stream):
        assert not progress_threads()
    assert terminal.read() == ""


def test_a_status_line_is_rewritten(terminal: Terminal) -> None:
    line = StatusLine(terminal.stream)
    line.show("listening on br-lan, 120 packets")
    assert terminal.screen() == ["listening on br-lan, 120 packets"]
    line.show("found one\n\x1b[2J")
    assert terminal.screen() == ["found one\\n\\x1b[2J"]
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


@given(
    st.text("day.pcap/0123456789", max_size=100),
    st.integers(-1, 2**40),
    st.integers(1, 2**40),
    st.floats(0, 1e6),
    st.integers(1, 300),
)
def test_a_bar_fits_any_terminal(label: str, position: int, total: int, seconds: float, width: int) -> None:
    text = progress_text(label, position, total, seconds, width)
    assert len(text) <= width
    if width >= 20:
        assert f"{100 * min(max(position, 0), total) // total}%" in text


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (79, "day.pcap   25%  [=====                 ]  25.0 of 100.0 MB  0:30 left  2.5 MB/s"),
        (59, "day.pcap   25%  [===         ]  25.0 of 100.0 MB  0:30 left"),
        (49, "day.pcap   25%  [===          ]  25.0 of 100.0 MB"),
        (34, "day.pcap   25%  [====            ]"),
        (20, "y.pcap   25%"),
    ],
)
def test_the_less_important_goes_first(width: int, text: str) -> None:
    assert progress_text("day.pcap", 25_000_000, 100_000_000, 10.0, width) == text


def test_a_long_path_shows_its_end() -> None:
    text = progress_text("/mnt/captures/2022/november/05/router/day.pcap", 1, 2, 1.0, 60)
    assert text.startswith("r/05/router/day.pcap   50%")


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.9, "0:59"), (61, "1:01"), (3661, "1:01:01")])
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
