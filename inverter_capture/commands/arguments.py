"""The command line. Results go to standard output, everything else to standard error.

Exit codes: 0 success; 1 failure, also of a part; 2 invalid arguments or configuration; 3 the device or a backend is not
configured yet.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from inverter_capture import __version__
from inverter_capture.output.formats import FORMATS
from inverter_capture.service.log import set_level, start_log
from inverter_capture.text import printable

if TYPE_CHECKING:
    from inverter_capture.capture.libpcap import CaptureError
    from inverter_capture.config.problems import ConfigError, Mistake
    from inverter_capture.config.schema import Config

DONE, FAILED, WRONG_USE, UNSET = 0, 1, 2, 3

_log = logging.getLogger(__name__)

DISCOVER_SECONDS = 660  # Default duration in seconds: two reports of a dongle that sends one every five minutes
NUMBER_MAX = 1_000_000
SETTINGS_WIDTH_MAX = 100  # Maximum line length in characters of `settings`
STATUS_FILE = "/var/run/inverter-capture/status.json"  # Path of the status file in OpenWrt's init script


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code."""
    _open_standard_streams()
    # Ctrl-C ends the program without a traceback. `run` and `discover` set their own handlers.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    options = _parse(arguments)
    start_log(syslog=getattr(options, "syslog", False))
    command: Callable[[argparse.Namespace], int] = options.command
    return command(options)


def _open_standard_streams() -> None:
    """Open closed standard streams on /dev/null, so that no file or device gets their descriptors."""
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDWR)):
        try:
            os.fstat(number)
        except OSError:
            # With the opposite access mode, so that their use fails as before.
            os.open(os.devnull, flags)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 (until the end)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name may have bytes that are not UTF-8.
        sys.stdout.reconfigure(errors="backslashreplace")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with one line, without the usage text."""
        from inverter_capture.config.values import nearest

        hint = f"see {self.prog} --help"
        wrong = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)|unrecognized arguments: (--?[a-z]\S*)", message)
        if wrong:
            # `prog` ends with the command, whose usage text has its options.
            known = re.findall(r"[\w-]+", wrong[2]) if wrong[2] else re.findall(r"--\w+", self.format_usage())
            near = nearest(wrong[1] or wrong[3], known)
            hint = f"did you mean {near}? Or {hint}" if near else hint
        self.exit(WRONG_USE, f"error: {printable(message)}; {hint}\n")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser, commands = _parser()
    options, others = parser.parse_known_args(arguments)
    if others:
        commands[options.name].error(f"unrecognized arguments: {' '.join(others)}")
    return options


def _parser() -> tuple[_Parser, dict[str, _Parser]]:
    """The parser, and those of the commands."""
    parser = _Parser(
        prog="inverter-capture",
        description="Captures the readings that a Sunsynk/Deye inverter's Inteless dongle sends to its cloud.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="name", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], help: str) -> Callable[..., argparse.Action]:
        added = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        added.set_defaults(command=run)
        return added.add_argument

    add = command("run", _run, "capture and deliver, as configured, until SIGTERM, Ctrl-C or the end of a capture file")
    add("config", metavar="CONFIG.toml", help="a TOML file, - for standard input")
    confirmed = "time zone of the inverter's clock, in place of the configured one; confirms it for an import"
    add("--timezone", metavar="ZONE", default="", help=confirmed)
    add("--status", metavar="FILE", default="", help="keep a status file, for `status`; default: none")
    add("--syslog", action="store_true", help="log to the system log, unless run in a terminal")

    add = command("status", _status, "show how the running service is doing")
    add("file", metavar="FILE", nargs="?", default=STATUS_FILE, help="a status file; default: %(default)s")
    add("--json", action="store_true", help="print the file itself, for scripts")

    add = command("check", _check, "tell what is wrong with a configuration")
    export = "output of `uci export`, - for standard input; default: run `uci export`"
    add("config", metavar="CONFIG", nargs="?", default="", help=f"a TOML file or {export}")
    add("--connect", action="store_true", help="also test the servers, without changing anything there")
    add("--json", action="store_true", help="print the mistakes as JSON, for scripts")

    add = command("decode", _decode, "print the readings in capture files")
    add("files", metavar="FILE", nargs="+", help="a capture file (pcap or pcapng), - for standard input")
    add("--format", choices=FORMATS, default="table", help="default: table")
    zone = "time zone of the inverter's clock; default: the system's"
    add("--timezone", metavar="ZONE", default="local", help=zone)
    packets = "packets to read, in tcpdump's syntax; default: the dongles are found"
    add("--filter", metavar="BPF", default="", help=packets)
    add("--raw", action="store_true", help="with a table: also print messages in hex, and reports of unknown length")
    add("--anonymise", action="store_true", help="replace serial numbers, for bug reports")

    add = command("discover", _discover, "find dongles, and print the settings for them")
    add("source", metavar="DEVICE-or-FILE", help="a network device, any, or a capture file, - for standard input")
    seconds = "seconds to listen; default: %(default)s"
    add("--seconds", metavar="N", type=_number, default=DISCOVER_SECONDS, help=seconds)
    add("--json", action="store_true", help="print progress and result as JSON lines, for scripts")

    command("settings", _settings, "explain every setting")

    add = command("uci", _uci, "print OpenWrt's settings as TOML, for `run`")
    add("file", metavar="UCI-FILE", nargs="?", default="", help=export)
    return parser, commands.choices


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(NUMBER_MAX)) and 0 < int(text) <= NUMBER_MAX):
        raise argparse.ArgumentTypeError(f'"{text}": expected a whole number from 1 to {NUMBER_MAX}')
    return int(text)


def _run(options: argparse.Namespace) -> int:
    from inverter_capture.capture.libpcap import CaptureError
    from inverter_capture.config.problems import ConfigError, Mistake
    from inverter_capture.config.toml_file import load

    def load_again() -> Config:
        if options.config == "-":
            raise ConfigError([Mistake("standard input", "can be read only once", "restart with other settings")])
        return load(options.config, options.timezone)

    if options.timezone and (wrong := _wrong_timezone(options.timezone)):
        return _fail(WRONG_USE, wrong)
    try:
        config = load(options.config, options.timezone)
        if not options.timezone and (reason := _unconfirmed_zone(config)):
            return _fail(WRONG_USE, f'{options.config}: [pcap] timezone = "local": {reason}')
        set_level(config.log.level)
        from inverter_capture.service.service import Service
        from inverter_capture.service.single import AnotherServiceError, only_service

        try:
            with only_service(options.status):
                return Service(config, load_again, status_path=options.status).run()
        except AnotherServiceError as error:
            return _fail(FAILED, str(error))
    except (ConfigError, CaptureError) as error:
        return _refuse(options.config, error)


def _wrong_timezone(zone: str) -> str:
    """What is wrong with the argument of --timezone; empty when it is right."""
    from inverter_capture.config.timezone import TIMEZONE
    from inverter_capture.config.values import SettingError

    try:
        TIMEZONE.read(zone)
    except SettingError as error:
        reason = error.reason or f"expected {TIMEZONE.expected}"
        return ": ".join(filter(None, (f"--timezone {zone}", reason, error.remedy)))
    return ""


def _unconfirmed_zone(config: Config) -> str:
    """Why an import must not begin before its time zone is confirmed; empty when it may. Raises CaptureError."""
    if not config.pcap.file or config.pcap.timezone != "local" or not (config.influxdb2 or config.mqtt):
        return ""
    from inverter_capture.service.file_checks import clock_error, explain_clocks

    error = clock_error(config.pcap)
    if error is None:
        return ""
    reason = explain_clocks(error, 'set it to "{}"')
    return f"{reason}, or confirm it with --timezone local, since an import cannot be taken back"


def _status(options: argparse.Namespace) -> int:
    from inverter_capture.commands.status import StatusError, read_status, status_text
    from inverter_capture.output.terminal import has_colour, width

    try:
        text = read_status(options.file)
        if not options.json:
            text = status_text(text, colour=has_colour(sys.stdout), width=width(sys.stdout))
    except StatusError as error:
        return _fail(FAILED, str(error))
    return _print(text)


def _check(options: argparse.Namespace) -> int:
    import json

    from inverter_capture.commands.check import Checked
    from inverter_capture.output.terminal import has_colour, is_terminal

    checked = Checked(options.config)
    code = DONE if checked.is_right else UNSET if checked.unset else WRONG_USE
    mistakes, right = list(checked.mistakes), []
    if options.connect and code == DONE:
        for name, mistake in checked.try_backends():
            if mistake is None:
                right.append(name)
            else:
                mistakes.append(mistake)
                code = FAILED
    if options.json:
        return _print(json.dumps([mistake._asdict() for mistake in mistakes], indent=1) + "\n") or code
    if is_terminal(sys.stderr):
        for mistake in mistakes:
            print(checked.show(mistake, colour=has_colour(sys.stderr)), file=sys.stderr)
    else:
        _log_mistakes(mistakes)
    if options.connect:
        return _print("".join(f"{name}: OK\n" for name in right)) or code
    return _print(f"{checked.name}: OK\n") if code == DONE else code


def _settings(options: argparse.Namespace) -> int:  # noqa: ARG001 (there are none)
    from inverter_capture.commands.settings import settings_text
    from inverter_capture.output.terminal import width

    return _print(settings_text(min(width(sys.stdout), SETTINGS_WIDTH_MAX)))


def _decode(options: argparse.Namespace) -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    from inverter_capture.capture.libpcap import FilterError
    from inverter_capture.commands.decode import DecodeCommand
    from inverter_capture.config.timezone import named_zone

    if options.raw and options.format != "table":
        return _fail(WRONG_USE, f"--raw with --format {options.format}: hex goes with --format table only")
    if wrong := _wrong_timezone(options.timezone):
        return _fail(WRONG_USE, wrong)
    zone = named_zone(options.timezone)
    command = DecodeCommand(zone, options.format, filter=options.filter, raw=options.raw, anonymise=options.anonymise)
    try:
        problems = command.run(options.files)
    except FilterError as error:
        return _fail(WRONG_USE, f"--filter {error}")
    except OSError as error:
        return _cannot_write(error)
    if command.warning:
        _log.warning("%s", command.warning)
    return _fail(FAILED, *problems) if problems else DONE


def _discover(options: argparse.Namespace) -> int:
    import json

    from inverter_capture.capture.libpcap import CaptureError
    from inverter_capture.commands.discover import discover

    def print_json(found: dict[str, Any]) -> int:
        return _print(json.dumps(found) + "\n")

    progress = print_json if options.json else lambda _: DONE
    try:
        survey, problem = discover(options.source, options.seconds, progress)
    except CaptureError as error:
        return print_json({"problems": [str(error)]}) or FAILED if options.json else _fail(FAILED, str(error))
    if options.json:
        problems = [problem] if problem else []
        return print_json(survey.as_json() | {"problems": problems}) or (FAILED if problem else DONE)
    printed = _print(survey.report()) if survey.found else DONE
    return _fail(FAILED, problem) if problem else printed


def _uci(options: argparse.Namespace) -> int:
    from inverter_capture.config.problems import ConfigError
    from inverter_capture.config.uci import to_toml

    try:
        return _print(to_toml(options.file))
    except ConfigError as error:
        return _refuse(options.file, error)


def _print(text: str) -> int:
    """Write a result. Returns the exit code."""
    try:
        print(text, end="", flush=True)
    except OSError as error:
        return _cannot_write(error)
    return DONE


def _cannot_write(error: OSError) -> int:
    # At exit, Python tries again to write its buffer.
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())
    return _fail(FAILED, f"standard output: cannot be written to: {error.strerror}")


def _refuse(path: str, error: ConfigError | CaptureError) -> int:
    """Log why the configuration in this file cannot be used. Returns the exit code."""
    from inverter_capture.config.problems import ConfigError

    if isinstance(error, ConfigError):
        _log_mistakes(error.mistakes)
        return UNSET if error.unset else WRONG_USE
    return _fail(WRONG_USE if error.setting == "filter" else FAILED, f"{path}: [pcap] {error.setting} = {error}")


def _log_mistakes(mistakes: Iterable[Mistake]) -> None:
    """Log mistakes in a configuration, and print the commands that are their remedies, to be pasted."""
    for mistake in mistakes:
        _log.log(logging.WARNING if mistake.warning else logging.ERROR, "%s", mistake)
        for command in mistake.commands:
            print(command, file=sys.stderr)


def _fail(code: int, *messages: str) -> int:
    for message in messages:
        _log.error("%s", printable(message))
    return code
