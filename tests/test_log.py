"""Where the lines of the log go."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inverter_capture.service import log
from tests.network import ROOT
from tests.programs import DAY, write_config

CODE = """if True:
    import sys
    from inverter_capture.service import log
    from inverter_capture.commands.arguments import main
    log.SYSLOG_SOCKET = sys.argv.pop(1)
    sys.exit(main())
"""


class SystemLog:
    """What a system log receives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(str(path))

    def close(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def lines(self) -> list[str]:
        """Since the last question."""
        found = []
        try:
            while True:
                found.append(self._socket.recv(65536).decode())
        except BlockingIOError:
            return found


@pytest.fixture
def system_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SystemLog]:
    made = SystemLog(tmp_path / "log")
    monkeypatch.setattr(log, "SYSLOG_SOCKET", str(made.path))
    yield made
    made.close()


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """One with the system log, beside pytest's own."""
    made = logging.getLogger("test_log")
    made.propagate = False
    made.setLevel(logging.DEBUG)
    handler = log._SystemLog(log._StandardError(sys.stderr))
    made.addHandler(handler)
    yield made
    made.removeHandler(handler)


def run(socket_path: Path, config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CODE, str(socket_path), "run", str(config), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_service_logs_to_the_system_log_with_severities(system_log: SystemLog, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(DAY.read_bytes()[:-1])
    done = run(system_log.path, write_config(tmp_path / "c.toml", cut, file=True), "--syslog")
    assert done.returncode == 1
    assert done.stderr == ""
    lines = system_log.lines()
    assert all("inverter-capture[" in line for line in lines)
    assert [line for line in lines if line.startswith("<27>") and str(cut) in line]  # daemon.err
    assert [line for line in lines if line.startswith("<30>") and "readings: 57" in line]  # daemon.info
    # Nothing says the severity twice.
    assert not [line for line in lines if "info: " in line or "error: " in line]


def test_without_a_system_log_or_the_wish_for_it_lines_go_to_standard_error(
    system_log: SystemLog, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "c.toml", DAY, file=True)
    assert "info: inverter 2205164738: " in run(system_log.path, config).stderr
    assert system_log.lines() == []
    assert "info: inverter 2205164738: " in run(tmp_path / "none", config, "--syslog").stderr


@pytest.mark.parametrize(
    ("level", "severity"), [(logging.ERROR, 27), (logging.WARNING, 28), (logging.INFO, 30), (logging.DEBUG, 31)]
)
def test_severities(system_log: SystemLog, logger: logging.Logger, level: int, severity: int) -> None:
    logger.log(level, "caf\u00e9 \udcff")
    (line,) = system_log.lines()
    assert line.startswith(f"<{severity}>inverter-capture[")
    assert line.endswith("]: caf\u00e9 \\udcff")


def test_a_traceback_is_a_line_each(system_log: SystemLog, logger: logging.Logger) -> None:
    try:
        raise ValueError("x")
    except ValueError:
        logger.exception("an error")
    lines = system_log.lines()
    assert len(lines) > 3
    assert all(line.startswith("<27>inverter-capture[") and "\n" not in line for line in lines)


def test_a_system_log_that_hangs_or_is_started_anew_stops_nothing(
    capfd: pytest.CaptureFixture[str], system_log: SystemLog, logger: logging.Logger
) -> None:
    # Far more than the kernel keeps for it.
    for number in range(3000):
        logger.info("line %d", number)
    assert 0 < len(system_log.lines()) < 3000
    logger.info("it reads again")
    assert system_log.lines()[-1].endswith("it reads again")
    system_log.close()
    logger.warning("nobody is there")
    assert "nobody is there" in capfd.readouterr().err
    again = SystemLog(system_log.path)
    logger.info("there it is")
    assert again.lines()[-1].endswith("there it is")
    again.close()


def test_standard_error_that_nobody_reads_stops_nothing() -> None:
    code = "import logging; from inverter_capture.service.log import start_log; start_log()"
    code += "\nfor number in range(1000): logging.error('x' * 1000)\nprint('done')"
    reader, writer = os.pipe()
    with open(reader), open(writer, "wb") as full:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, stderr=full, stdout=subprocess.PIPE, cwd=ROOT, timeout=60, check=True)
    assert done.stdout == b"done\n"
