"""The commands, as people and scripts call them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from inverter_capture import __version__
from inverter_capture.protocol.registers import FIELDS
from inverter_capture.service.file_checks import UNKNOWN
from tests import wire
from tests.conftest import CAPTURES
from tests.network import BRIDGE, ROOT, Network, in_namespace
from tests.programs import (
    DAY,
    PORT,
    PROGRAM,
    ZONE,
    Finished,
    Program,
    cloud,
    environment,
    run_program,
    send,
    service,
    start_dongle,
    without_rights,
    write_config,
)

SERIAL = "1235687108"
ESCAPE = "\x1b"
COMMANDS = ("run", "status", "check", "decode", "discover", "settings", "uci")


@pytest.fixture(scope="session")
def real() -> Path:
    """The real capture, of one frame."""
    return CAPTURES / "inteless-292-2022-11-05.pcap"


def good(done: Finished) -> str:
    """What it printed, and nothing was wrong."""
    assert (done.code, done.err) == (0, "")
    return done.out


def wrong(done: Finished, code: int = 2) -> str:
    """The one line that says what was wrong."""
    assert (done.code, done.out) == (code, "")
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


# --- arguments ----------------------------------------------------------------------------------------------------


def test_the_version() -> None:
    assert good(run_program("--version")) == f"inverter-capture {__version__}\n"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command: str) -> None:
    text = good(run_program(*command.split(), "--help"))
    assert text.startswith(f"usage: {f'inverter-capture {command}'.rstrip()} [")
    words = {
        "": COMMANDS,
        "decode": ("--raw", "--anonymise", "--timezone", "--filter"),
        "discover": ("--seconds",),
        "uci": ("UCI-FILE",),
        "status": ("--json",),
        "settings": (),
    }
    for word in words.get(command, ("CONFIG",)):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "required: COMMAND; see inverter-capture --help"),
        (["walk"], "invalid choice: 'walk'"),
        (["run"], "required: CONFIG.toml; see inverter-capture run --help"),
        (["run", "a", "b"], "unrecognized arguments: b"),
        (["decode"], "required: FILE"),
        (["decode", "--format", "xml", "f"], "argument --format: invalid choice: 'xml'"),
        (["decode", "--colour", "f"], "unrecognized arguments: --colour"),
        (["decode", "a\nb", "--x\ny"], "unrecognized arguments: --x\\ny"),
        (["decode", "f", "--raw", "--format", "json"], "--raw with --format json: hex goes with --format table only"),
        (["decode", "f", "--timezone", "Afrika/Johannesburg"], "--timezone Afrika/Johannesburg: unknown time zone: "),
        (["decode", str(DAY), "--filter", "tcp porrt 5"], '--filter "tcp porrt 5": syntax error, at "porrt 5" after'),
        (["discover"], "required: DEVICE-or-FILE"),
        (["discover", "lo", "--seconds", "0"], '--seconds: "0": expected a whole number from 1 to 1000000'),
        (["discover", "lo", "--seconds", "soon"], '--seconds: "soon": expected a whole number'),
        (["discover", "lo", "--seconds", "9" * 5000], "expected a whole number"),
        (["discover", "lo", "--seconds", "-3"], "expected"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_one_line(arguments: list[str], part: str) -> None:
    assert part in wrong(run_program(*arguments))


# --- decode -------------------------------------------------------------------------------------------------------

REAL_TIMESTAMP = 1667629966000000000


def test_decode_as_json(real: Path) -> None:
    text = good(run_program("decode", real, "--format", "json", "--timezone", ZONE))
    assert text.startswith(
        f'{{"timestamp": {REAL_TIMESTAMP}, "time": "2022-11-05T06:32:46+00:00", "serial": "{SERIAL}", "values": {{"'
    )
    assert text.endswith("}}\n")
    assert text.count("\n") == 1
    values = json.loads(text)["values"]
    assert list(values) == [field.id for field in FIELDS if field.id in values]
    known = {
        "inverter_state": 2, "grid_voltage": 233.3, "battery_soc": 54, "battery_voltage": 53.43, "battery_power": -639,
        "battery_current": -11.96, "battery_temperature": 21.0, "pv_power_1": 930, "pv_voltage_1": 163.7,
        "pv_current_1": 5.7, "inverter_power": 230, "grid_power": 0, "grid_import_total": 74.3,
        "grid_export_total": 0.5, "load_consumption_total": 316.7, "pv_production_total": 357.8,
        "grid_frequency": 49.86, "inverter_temperature_dc": 58.4, "bms_voltage": 53.38, "bms_current": 10,
    }  # fmt: skip
    assert {name: values[name] for name in known} == known


def test_decode_as_csv(real: Path) -> None:
    text = good(run_program("decode", real, "--format", "csv", "--timezone", ZONE))
    (row,) = csv.DictReader(io.StringIO(text))
    assert list(row)[: 3 + len(FIELDS)] == ["timestamp", "time", "serial", *(field.id for field in FIELDS)]
    assert row["timestamp"] == str(REAL_TIMESTAMP)
    assert row["time"] == "2022-11-05T06:32:46+00:00"
    assert row["serial"] == SERIAL
    assert row["battery_power"] == "-639"
    values = json.loads(good(run_program("decode", real, "--format", "json", "--timezone", ZONE)))["values"]
    assert {name: float(text) for name, text in list(row.items())[3:] if text} == values
    assert "\r" not in text


def test_decode_as_line_protocol(real: Path) -> None:
    text = good(run_program("decode", real, "--format", "line-protocol", "--timezone", ZONE))
    head, fields, timestamp = text.split(" ")
    assert head == f"inverter,serial={SERIAL}"
    assert timestamp == f"{REAL_TIMESTAMP}\n"
    values = json.loads(good(run_program("decode", real, "--format", "json", "--timezone", ZONE)))["values"]
    assert {name: float(value) for name, value in (field.split("=") for field in fields.split(","))} == values


def test_decode_as_a_table(real: Path) -> None:
    text = good(run_program("decode", real, "--timezone", ZONE))
    lines = text.splitlines()
    assert lines[0] == f"Inverter {SERIAL}   2022-11-05 08:32:46 +02:00   (2022-11-05 06:32:46 UTC)"
    assert max(map(len, lines)) <= 80
    assert ESCAPE not in text
    for group in ("Inverter -", "PV -", "Battery -", "Grid -", "Load -"):
        assert group in text
    assert re.search(r"State +Normal", text, re.IGNORECASE)
    assert re.search(r"Power \(charging\) +-639 W", text)
    assert re.search(r"SOC +54 %", text, re.IGNORECASE)


def test_the_system_s_time_zone_is_the_default(real: Path) -> None:
    for zone, moment in (("UTC", "2022-11-05T08:32:46"), ("Asia/Kolkata", "2022-11-05T03:02:46")):
        done = run_program("decode", real, "--format", "json", TZ=zone)
        assert json.loads(done.out)["time"] == f"{moment}+00:00"
        assert done.code == 0
        again = run_program("decode", real, "--format", "json", "--timezone", zone, TZ="America/New_York")
        assert again.out == done.out


@pytest.mark.parametrize(
    ("zone", "distance"), [("UTC", "2 h ahead of"), ("Asia/Kolkata", "3 h 30 min behind"), ("Europe/Helsinki", "")]
)
def test_decode_says_which_time_zone_fits(zone: str, distance: str, real: Path) -> None:
    done = run_program("decode", real, "--format", "json", "--timezone", zone)
    assert done.code == 0
    fits = (
        f"warning: the inverter's clock is {distance} the capture's throughout: use --timezone Africa/Johannesburg, or "
    )
    assert done.err.startswith(fits) if distance else not done.err


def test_an_import_begins_with_a_time_zone_that_fits(tmp_path: Path) -> None:
    config = tmp_path / "import.toml"
    text = f'[pcap]\ndevice = "{DAY}"\nfile = true\n[[mqtt]]\nurl = "127.0.0.1:1"\n'
    config.write_text(text)
    message = wrong(run_program("run", config, TZ="UTC"))
    assert message.startswith(f'{config}: [pcap] timezone = "local": the inverter\'s clock is 2 h ahead of the capture')
    assert 'set it to "Africa/Johannesburg"' in message
    assert message.endswith("or confirm it with --timezone local, since an import cannot be taken back")
    words = [*PROGRAM, "run", str(config)]
    for zone, more in (("UTC", ["--timezone", "local"]), (ZONE, [])):
        with Program([*words, *more], TZ=zone) as program:
            program.wait_until_said("inverter 2205164738: ")
            program.stop()
    config.write_text(text.replace("file = true", 'file = true\ntimezone = "UTC"'))
    with Program(words) as program:
        program.wait_until_said("inverter 2205164738: ")
        program.stop()
    message = wrong(run_program("run", config, "--timezone", "Europe/Pariss"))
    assert message.startswith("--timezone Europe/Pariss: unknown time zone: ")


def test_run_says_why_nothing_came_of_a_file(tmp_path: Path, real_report: bytes) -> None:
    empty = write_reports(tmp_path / "empty.pcap")
    done = run_program("run", write_config(tmp_path / "c.toml", empty, file=True))
    assert done.code == 1
    assert f'error: [pcap] device = "{empty}": no reading: 6 packets in all, ' in done.err
    longer = real_report[:9] + (307).to_bytes(2, "big") + real_report[11:] + bytes(range(26))
    path = write_reports(tmp_path / "unknown.pcap", longer)
    done = run_program("run", write_config(tmp_path / "c.toml", path, file=True))
    assert done.code == 1
    assert f'error: [pcap] device = "{path}": {UNKNOWN.format(1)}' in done.err


def dumped_bytes(text: str) -> bytes:
    """The report in a hex dump."""
    rows = re.findall(r"^ *\d+  [ \d]{8}  ((?:[0-9a-f]{2,4} ?)+)", text, re.MULTILINE)
    return bytes.fromhex("".join(rows))


def test_decode_raw(real: Path, real_report: bytes) -> None:
    text = good(run_program("decode", real, "--timezone", ZONE, "--raw"))
    assert text.startswith(good(run_program("decode", real, "--timezone", ZONE)))
    assert "captured 2022-11-05 06:32:50 UTC, from 192.168.0.202 port " in text
    assert f"report number 250 from the dongle, {len(real_report)} bytes, layout known" in text
    assert dumped_bytes(text) == real_report
    # Register 59 is the first of the report; 150 and 312 begin the others.
    words = {register: real_report[at : at + 2].hex() for register, at in ((59, 44), (150, 176), (312, 276))}
    for register, word in words.items():
        assert re.search(rf"^ *\d+ +{register}  {word}\b", text, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments", [["--raw"], ["--format", "json"], ["--format", "csv"], ["--format", "line-protocol"]]
)
def test_anonymised_output_has_no_serial_in_it(real: Path, arguments: list[str]) -> None:
    text = good(run_program("decode", real, "--timezone", ZONE, "--anonymise", *arguments))
    assert "ANON000001" in text
    assert SERIAL not in text
    dense = re.sub(r"[^0-9a-f]", "", text.lower())
    assert SERIAL.encode().hex() not in dense
    if "--raw" in arguments:
        # Nor where the owner lives.
        assert "192.168.0.202" not in text
        assert b"ANON000001" in dumped_bytes(text)
    else:
        plain = good(run_program("decode", real, "--timezone", ZONE, *arguments))
        assert text == plain.replace(SERIAL, "ANON000001")


def test_each_inverter_has_its_own_made_up_serial() -> None:
    readings = run_program("decode", DAY, "--format", "json", "--anonymise").readings
    assert {reading["serial"] for reading in readings} == {"ANON000001", "ANON000002"}


def write_reports(path: Path, *reports: bytes) -> Path:
    connection = wire.Connection(wire.Endpoint("192.168.8.202", 50586), wire.Endpoint("203.0.113.10", PORT, wire.MAC_B))
    time = connection.open(1_718_900_000 * wire.SECOND)
    for report in reports:
        time = connection.send(time + wire.SECOND, report)
    connection.close(time)
    with path.open("wb") as file:
        wire.write_pcap(file, connection.records)
    return path


def test_reports_of_unknown_length_are_counted_and_can_be_dumped(tmp_path: Path, real_report: bytes) -> None:
    longer = real_report[:9] + (307).to_bytes(2, "big") + real_report[11:] + bytes(range(26))
    path = write_reports(tmp_path / "unknown.pcap", longer, longer[:42] + b"\x3b" + longer[43:])
    done = run_program("decode", path, "--format", "json")
    assert (done.code, done.out) == (1, "")
    assert done.errors == [f"error: {UNKNOWN.format(2)}"]
    text = good(run_program("decode", path, "--raw", "--anonymise"))
    assert text.count("318 bytes, layout unknown") == 2
    assert dumped_bytes(text)[:318] == longer.replace(SERIAL.encode(), b"ANON000001")


def test_output_may_end_early() -> None:
    words = ["bash", "-c", 'set -o pipefail; "$@" | head -1', "bash", *PROGRAM, "decode", str(DAY)]
    done = subprocess.run(words, env=environment(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("Inverter ")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert done.returncode in (0, 128 + signal.SIGPIPE)


@pytest.mark.parametrize("command", [["decode", "--format", "json"], ["discover"]])
def test_output_that_cannot_be_written(command: list[str]) -> None:
    for redirection, reason in ((">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")):
        words = ["sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM, *command, str(DAY)]
        done = subprocess.run(words, env=environment(), cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr == f"error: standard output: cannot be written to: {reason}\n"


# --- on a terminal ------------------------------------------------------------------------------------------------


class Terminal:
    """A terminal on which a program runs."""

    def __init__(self, words: list[str], *, out: bool = True, err: bool = True, **changes: str) -> None:
        self._master, slave = os.openpty()
        os.set_blocking(self._master, False)
        self._process = subprocess.Popen(
            words,
            stdin=slave,
            stdout=slave if out else subprocess.DEVNULL,
            stderr=slave if err else subprocess.DEVNULL,
            env=environment(**changes),
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(slave)
        self.text = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def read(self, seconds: float) -> bool:
        """Take what comes within this time. False when there will be no more."""
        if select.select([self._master], [], [], seconds)[0]:
            try:
                self.text += os.read(self._master, 65536).decode(errors="replace")
            except OSError:
                return False
        return True

    def read_until(self, pattern: str, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert time.monotonic() < end, self.text
            assert self.read(0.1), self.text

    def read_all(self) -> str:
        """Everything until the program has ended."""
        end = time.monotonic() + 30
        while self.read(0.1):
            assert time.monotonic() < end
        assert self._process.wait(10) == 0
        assert "Traceback" not in self.text
        return self.text.replace("\r\n", "\n")

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)


def test_colours_are_for_terminals_only(real: Path) -> None:
    words = [*PROGRAM, "decode", str(real), "--timezone", ZONE]
    plain = good(run_program("decode", real, "--timezone", ZONE))
    with Terminal(words) as terminal:
        coloured = terminal.read_all()
    assert f"{ESCAPE}[1mInverter {SERIAL}{ESCAPE}[0m" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain
    for terminal in (Terminal(words, NO_COLOR="1"), Terminal(words, TERM="dumb")):
        with terminal:
            assert terminal.read_all() == plain


def test_progress_is_for_terminals_only(tmp_path: Path) -> None:
    # Large enough for more than half a second.
    path = tmp_path / "large.pcap"
    data = DAY.read_bytes()
    with path.open("wb") as file:
        file.write(data[:24] + data[24:] * 8)
    words = [*PROGRAM, "decode", "--timezone", ZONE, str(path)]
    with Program(words) as program, Terminal(words, out=False) as terminal:
        text = terminal.read_all()
        assert program.wait() == 0
    assert re.search(r"\d+% \[=* *\] .*large\.pcap", text)
    assert text.endswith(f"\r{ESCAPE}[K")
    assert program.log == []


def test_decode_of_files_to_a_terminal_is_not_torn(real: Path) -> None:
    arguments = ["decode", "--timezone", ZONE, "--format", "json", str(real), str(real)]
    with Terminal([*PROGRAM, *arguments], NO_COLOR="1") as terminal:
        assert good(run_program(*arguments)) == terminal.read_all()


# --- check --------------------------------------------------------------------------------------------------------


def test_a_good_configuration(tmp_path: Path) -> None:
    config = write_config(tmp_path / "good.toml", "lo", filter="src host 192.168.8.202")
    assert good(run_program("check", config)) == f"{config}: OK\n"
    config = write_config(tmp_path / "file.toml", DAY, file=True)
    assert good(run_program("check", config)) == f"{config}: OK\n"
    assert good(run_program("check", "tests/captures/day.toml")) == "tests/captures/day.toml: OK\n"


def test_a_device_may_yet_come(tmp_path: Path) -> None:
    config = write_config(tmp_path / "later.toml", "br-guest")
    done = run_program("check", config)
    assert (done.code, done.out) == (0, f"{config}: OK\n")
    assert done.err.startswith(
        f'warning: {config}:2: [pcap] device = "br-guest": there is no such device (there are: lo'
    )
    assert done.err.endswith("): the service will wait for it\n")


def test_check_reads_standard_input() -> None:
    day = Path("tests/captures/day.toml").read_bytes()
    assert run_program("run", "-", input=day).out == run_program("run", "tests/captures/day.toml").out != ""
    good_text = b'[pcap]\ndevice = "lo"\n[[console]]\n'
    good_export = b"package inverter-capture\n\nconfig pcap\n\toption device 'lo'\n\nconfig console\n\n"
    for text in (good_text, good_export):
        assert good(run_program("check", "-", input=text)) == "standard input: OK\n"
    bad = run_program("check", "-", input=good_text + b"x = 1\n")
    assert wrong(bad) == "standard input:4: [[console]] x: unknown setting: known are format"
    unset = run_program("check", "-", input=b"config pcap\n\n")
    assert (unset.code, unset.out) == (3, "")
    assert "no backend is enabled" in unset.err


def test_check_as_json() -> None:
    text = b'[pcap]\ndevice = "lo"\nfile = 1\n[[mqtt]]\nurl = "broker"\npassword = "s3cret"\nkey = "k"\n'
    done = run_program("check", "--json", "-", input=text)
    assert (done.code, done.err) == (2, "")
    assert "s3cret" not in done.out
    shown = ("line", "section", "name", "setting", "value", "message", "warning")
    assert [tuple(mistake[name] for name in shown) for mistake in json.loads(done.out)] == [
        (3, "pcap", "", "file", "1", FILE_EXPECTED, False),
        (4, "mqtt", "", "username", "", "missing", False),
        (4, "mqtt", "", "certificate", "", "missing", False),
    ]
    export = "config pcap 'pcap'\n\toption device 'nodev0'\n\nconfig mqtt 'home'\n\toption url 'ftp://x'\n\n"
    first, second = json.loads(run_program("check", "--json", "-", input=export.encode()).out), []
    assert {name: first[0][name] for name in ("section", "name", "setting", "value", "remedy")} == {
        "section": "mqtt",
        "name": "home",
        "setting": "url",
        "value": "ftp://x",
        "remedy": "begin with mqtt://, mqtts://, ws://, wss:// or unix://",
    }
    second = json.loads(run_program("check", "--json", "-", input=export.replace("ftp", "mqtt").encode()).out)
    assert [(mistake["section"], mistake["name"], mistake["setting"], mistake["warning"]) for mistake in second] == [
        ("pcap", "pcap", "device", True)
    ]
    assert json.loads(good(run_program("check", "--json", "tests/captures/day.toml"))) == []


def test_check_of_servers_as_json() -> None:
    export = "config pcap 'pcap'\n\toption device 'lo'\n\nconfig mqtt\n\toption url '127.0.0.1:1'\n\n"
    done = run_program("check", "--json", "--connect", "-", input=export.encode())
    assert (done.code, done.err) == (1, "")
    (mistake,) = json.loads(done.out)
    assert (mistake["section"], mistake["name"]) == ("mqtt", "@mqtt[0]")
    assert "cannot be reached" in mistake["message"]


FILE_EXPECTED = "expected true or false (Whether device is the path of a capture file, which is read once)"

BAD = {
    'device = "lo"\ntimezon = "local"': ":3: [pcap] timezon: unknown setting: did you mean timezone?",
    'device = "lo"\ntimezone = "Europe/Pari"': ':3: [pcap] timezone = "Europe/Pari": unknown time zone: did you mean',
    'device = "lo"\nfilter = 5': ":3: [pcap] filter = 5: expected text, in quotes",
    "filter = 'tcp'": ":1: [pcap] device: missing",
    'device = "tests/captures/day.pcap"': ':2: [pcap] device = "tests/captures/day.pcap": contains "/"',
    'device = "lo': ":2: not TOML: ",
}


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_wrong_configuration(tmp_path: Path, command: str, text: str) -> None:
    config = tmp_path / "bad.toml"
    config.write_text(f"[pcap]\n{text}\n[[console]]\n")
    assert wrong(run_program(command, config)).startswith(f"{config}{BAD[text]}")


def test_every_mistake_has_a_line(tmp_path: Path) -> None:
    config = tmp_path / "bad.toml"
    config.write_text('[pcap]\ndevise = "lo"\nfile = "yes"\n[[console]]\nformat = "jsn"\n')
    done = run_program("check", config)
    assert (done.code, done.out) == (2, "")
    assert [line.partition(": [")[2].partition(":")[0] for line in done.errors] == [
        "pcap] devise",
        'pcap] file = "yes"',
        '[console]] format = "jsn"',
    ]
    assert "did you mean json?" in done.errors[2]


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_configuration_that_cannot_be_read(tmp_path: Path, command: str) -> None:
    assert "No such file" in wrong(run_program(command, tmp_path / "missing.toml"))
    assert "Is a directory" in wrong(run_program(command, tmp_path))
    large = tmp_path / "large.toml"
    large.write_text("#" * 262145)
    assert "262144 bytes" in wrong(run_program(command, large))


# --- rights -------------------------------------------------------------------------------------------------------


def test_capturing_needs_rights(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o711)
    config = write_config(tmp_path / "lo.toml", "lo")
    config.chmod(0o644)
    reason = (
        "no permission to capture (socket: Operation not permitted); run as root, or with the capability CAP_NET_RAW"
    )
    message = wrong(run_program("run", config, before=without_rights()), 1)
    assert message == f'{config}: [pcap] device = "lo": cannot be opened: {reason}'
    message = wrong(run_program("discover", "lo", "--seconds", "1", before=without_rights()), 1)
    assert message == f'"lo": cannot be opened: {reason}'
    # What needs none does without.
    assert good(run_program("check", config, before=without_rights())) == f"{config}: OK\n"


# --- discover -----------------------------------------------------------------------------------------------------


def pcap_section(text: str) -> dict[str, object]:
    """The section to paste."""
    start = text.index("[pcap]\n")
    section: dict[str, object] = tomllib.loads(text[start:])["pcap"]
    return section


def check_section(tmp_path: Path, text: str) -> None:
    """It can be pasted."""
    config = tmp_path / "pasted.toml"
    config.write_text(text[text.index("[pcap]\n") :] + "[[console]]\n")
    assert good(run_program("check", config)) == f"{config}: OK\n"


def rows(text: str, host: str) -> dict[str, str]:
    """What the report says of one dongle."""
    block = text[text.index(f"{host} is a dongle\n") :].partition("\n\n")[0]
    return {line[2:12].strip(): line[12:] for line in block.splitlines()[1:]}


def test_discover_in_the_real_capture(tmp_path: Path, real: Path) -> None:
    text = good(run_program("discover", real))
    found = rows(text, "192.168.0.202")
    assert found["inverter"].startswith(SERIAL)
    assert found["server"] == "47.242.67.221 port 51100"
    assert found["reports"].startswith("1 report of 292 bytes")
    assert found["poll map"].startswith("not heard")
    assert found["clock"].startswith("2022-11-05 08:32:46, 2 h ahead of this system's clock: set [pcap] timezone = ")
    assert pcap_section(text) == {
        "device": str(real),
        "file": True,
        "filter": "host 192.168.0.202 and tcp port 51100",
        "timezone": "Africa/Johannesburg",
    }
    check_section(tmp_path, text)
    right = good(run_program("discover", real, TZ=ZONE))
    assert rows(right, "192.168.0.202")["clock"] == "2022-11-05 08:32:46, right in this system's time zone"


def test_discover_in_the_bundled_day(tmp_path: Path) -> None:
    text = good(run_program("discover", DAY))
    first, second = rows(text, "192.168.8.202"), rows(text, "192.168.8.203")
    assert first["inverter"].startswith("2205164738")
    assert second["inverter"].startswith("E47R2K0193")
    assert first["server"] == second["server"] == "203.0.113.10 port 51100"
    assert first["reports"].startswith("288 reports of 292 bytes (")
    assert second["reports"].startswith("288 reports of 306 bytes (")
    assert first["reports"].endswith(", one every 5 min")
    section = pcap_section(text)
    assert section["filter"] == (
        f"(host 192.168.8.202 and tcp port {PORT}) or (host 192.168.8.203 and tcp port {PORT})"
    )
    check_section(tmp_path, text)
    # With it, all of them are found.
    found = run_program("decode", DAY, "--format", "json", "--filter", str(section["filter"])).readings
    assert len(found) == 576


def test_discover_in_a_damaged_file_says_what_it_found(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcap"
    path.write_bytes(DAY.read_bytes()[:-7])
    done = run_program("discover", path)
    assert done.code == 1
    assert rows(done.out, "192.168.8.202")["reports"].startswith("288 reports of 292 bytes")
    (line,) = done.err.splitlines()
    assert line.startswith(f'error: "{path}": the capture file is damaged or was cut off')


def test_discover_in_a_file_with_a_strange_name(tmp_path: Path, real: Path) -> None:
    path = tmp_path / 'a "strange" \\ name.pcap'
    path.write_bytes(real.read_bytes())
    text = good(run_program("discover", path))
    assert pcap_section(text)["device"] == str(path)
    check_section(tmp_path, text)


def test_discover_where_nothing_is(tmp_path: Path) -> None:
    assert wrong(run_program("discover", "br-guest"), 1).startswith(
        '"br-guest": there is no such device (there are: lo'
    )
    assert "cannot be read (No such file" in wrong(run_program("discover", tmp_path / "missing.pcap"), 1)
    empty = write_reports(tmp_path / "empty.pcap")
    assert wrong(run_program("discover", empty), 1).startswith(f'"{empty}": no reading: 6 packets in all, ')


def test_discover_on_a_live_device(network: Network, tmp_path: Path) -> None:
    words = [*PROGRAM, "discover", BRIDGE]
    with cloud(network), Program([*words, "--seconds", "600"], where=network.router) as interrupted:
        interrupted.wait_until_said(f"capturing on {BRIDGE}")
        with Program(words, where=network.router) as terminated:
            terminated.wait_until_said(f"capturing on {BRIDGE}")
            with Program([*words, "--seconds", "8"], where=network.router) as listening:
                listening.wait_until_said(f"capturing on {BRIDGE}")
                send(network, "--start", "now", "--readings", "2", "--pace", "0.05")
                for program in (interrupted, terminated):
                    program.wait_until_asleep(0.3)
                for program, number in ((interrupted, signal.SIGINT), (terminated, signal.SIGTERM)):
                    stopped = program.stop(number)
                    assert stopped.code == 0
                    assert stopped.seconds < 4
                assert listening.wait() == 0
    assert listening.out == interrupted.out == terminated.out
    assert listening.log == [f"info: capturing on {BRIDGE}"]
    text = "\n".join(listening.out) + "\n"
    found = rows(text, network.dongle.ipv4)
    assert found["inverter"].startswith("2205164738")
    assert found["server"] == f"{network.server.ipv4} port {PORT}"
    assert found["reports"].startswith("2 reports of 292 bytes")
    assert pcap_section(text)["filter"] == f"host {network.dongle.ipv4} and tcp port {PORT}"
    config = tmp_path / "pasted.toml"
    config.write_text(text[text.index("[pcap]\n") :] + '[[console]]\nformat = "json"\n')
    with cloud(network), service(config, network.router) as program:
        sent = send(network, "--readings", "2")
        assert [reading["values"] for reading in program.wait_for_readings(2)] == [
            reading["values"] for reading in sent
        ]


def test_discover_as_json_lines(network: Network) -> None:
    words = [*PROGRAM, "discover", BRIDGE, "--json", "--seconds", "600"]
    with cloud(network), Program(words, where=network.router) as listening:
        listening.wait_until_said(f"capturing on {BRIDGE}")
        send(network, "--readings", "2", "--pace", "0.05")
        listening.wait_for(lambda: any(network.dongle.ipv4 in line for line in listening.out), "a candidate")
        assert listening.stop(signal.SIGINT).code == 0
    *_, progress, last = map(json.loads, listening.out)
    assert progress["packets"] >= progress["reports"]
    assert progress["candidates"] == [network.dongle.ipv4]
    (dongle,) = last["dongles"]
    assert dongle == dongle | {
        "host": network.dongle.ipv4, "inverters": {"2205164738": "single-phase"}, "port": PORT, "reports": 2,
        "lengths": {"292": "learnt"}, "poll_map": True,
    }  # fmt: skip
    assert last["settings"] == {"device": BRIDGE, "filter": f"host {network.dongle.ipv4} and tcp port {PORT}"}
    assert last["problems"] == []
    done = run_program("discover", "nodev0", "--json")
    assert (done.code, done.err) == (1, "")
    assert "there is no such device" in json.loads(done.out)["problems"][0]


def test_discover_tells_a_wrong_time_zone(network: Network) -> None:
    with cloud(network):
        words = [*PROGRAM, "discover", "any", "--seconds", "600"]
        with Program(words, where=network.router, TZ="America/New_York") as program:
            program.wait_until_said("capturing on any")
            # Its clock is ahead of this system's, which no report that was kept can be.
            send(network, "--start", "now", "--zone", "+05:45", "--readings", "1")
            program.wait_until_asleep(0.3)
            assert program.stop(signal.SIGINT).code == 0
            text = "\n".join(program.out) + "\n"
    assert 'ahead of this system\'s clock: set [pcap] timezone = "Asia/Kathmandu"\n' in text
    assert pcap_section(text)["timezone"] == "Asia/Kathmandu"
    assert pcap_section(text)["device"] == "any"


def test_discover_shows_its_progress_on_a_terminal(network: Network) -> None:
    words = in_namespace(network.router, [*PROGRAM, "discover", BRIDGE, "--seconds", "60"])
    with cloud(network), Terminal(words) as terminal:
        terminal.read_until(rf"listening on {BRIDGE}, \d+ s to go \(Ctrl-C to end\): no report yet")
        with start_dongle(network, "--readings", "1") as dongle:
            dongle.wait()
        terminal.read_until(rf"1 report from {network.dongle.ipv4}")
        terminal.interrupt()
        text = terminal.read_all()
        assert "Traceback" not in text
        assert f"\r{ESCAPE}[K{network.dongle.ipv4} is a dongle\n" in text


def test_discover_without_a_report_says_what_to_try() -> None:
    done = run_program("discover", "lo", "--seconds", "1")
    assert (done.code, done.out) == (1, "")
    assert done.errors == [line for line in done.err.splitlines() if "capturing on lo" not in line]
    assert done.errors[0].startswith('error: "lo": no report was captured. Does the dongle')


# --- what is not there --------------------------------------------------------------------------------------------


BACKENDS = """
[[influxdb2]]
host = "http://[::1]:1"
authentication = "none"
[[mqtt]]
url = "mqtt://[::1]:1"
"""
LIBRARIES = {"requests", "urllib3", "paho"}
"""What only backends import."""


def imported(code: str, *words: str | Path) -> set[str]:
    """The modules that are loaded after some code."""
    command = [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)", *map(str, words)]
    done = subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_little_is_imported() -> None:
    names = imported("import inverter_capture.service.service, inverter_capture.backends.create")
    heavy = {"argparse", "asyncio", "ctypes", "dpkt", "email", "http", "importlib.metadata", "json", "urllib.request"}
    assert not (heavy | LIBRARIES) & names


@pytest.mark.parametrize("command", ["uci", "check", "status"])
def test_commands_import_no_library_of_backends(command: str, tmp_path: Path) -> None:
    config = write_config(tmp_path / "check", DAY, file=True)
    config.write_text(config.read_text() + BACKENDS)
    (tmp_path / "uci").write_text("package inverter-capture\n\nconfig pcap\n\toption device 'lo'\n\nconfig console\n")
    start = "from inverter_capture.commands.arguments import main"
    names = imported(f"{start}; print(main(sys.argv[1:]))", command, tmp_path / command)
    assert "inverter_capture.config.schema" in names or command == "status"
    assert not LIBRARIES & names
    assert "inverter_capture.protocol.registers" not in names or command != "uci"


def test_capturing_begins_before_the_libraries_of_backends_are_imported(tmp_path: Path) -> None:
    """On a router that takes seconds."""
    config = write_config(tmp_path / "c.toml", "lo")
    config.write_text(config.read_text() + BACKENDS)
    words = [sys.executable, "-X", "importtime", *PROGRAM[1:], "run", str(config)]
    with Program(words) as program:
        program.wait_until_said("cannot be reached", 2)
        lines = [line.rpartition("|")[2].strip() for line in program.log]
    began = next(number for number, line in enumerate(lines) if "capturing on lo" in line)
    assert not LIBRARIES & set(lines[:began])
    assert set(lines) >= LIBRARIES
