"""The `check` command: finds all mistakes in a configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator

from inverter_capture.backends.connection_errors import certificate_files, certificate_problems
from inverter_capture.backends.create import create_backend, sections
from inverter_capture.backends.status import no_status
from inverter_capture.capture.device import device_problem
from inverter_capture.capture.file import FileCapture
from inverter_capture.capture.libpcap import FILTER_REMEDY, CaptureError, FilterError, check_filter
from inverter_capture.commands.service_user import unreadable
from inverter_capture.config.problems import ConfigError, Mistake, Problem, is_uci, read_file
from inverter_capture.config.schema import Config, MqttConfig, SectionConfig
from inverter_capture.config.timezone import named_zone
from inverter_capture.config.toml_file import TomlFile, decode
from inverter_capture.config.uci import CONFIG_FILE, UciExport, export
from inverter_capture.config.values import BrokerUrl, SettingError, split_broker
from inverter_capture.output.terminal import styled
from inverter_capture.text import printable

ODD = (
    ("mqtt", "stale_after", 60, 6 * 3600, "dongles report every one to five minutes", "give the unit: 15 min"),
    ("mqtt", "keepalive", 5, 300, "so long a lost connection may go unnoticed", "give 30, or a minute"),
    ("influxdb2", "timeout", 1, 120, "servers answer within some seconds", "give 10, or a minute"),
)
"""Usual ranges of settings in seconds, and the warning and remedy for values outside them."""


class Checked:
    """A checked configuration."""

    def __init__(self, path: str) -> None:
        """`path`: a TOML file or the output of `uci export`, - for standard input; if empty, `uci export` is called."""
        self.name = ""  # The name of the file in messages
        self.mistakes: list[Mistake] = []  # All mistakes, warnings included
        self.unset = False  # Whether nothing is wrong, but the device or a backend is not configured yet
        self._source: TomlFile | UciExport | None = None
        self._config: Config | None = None
        try:
            self._source = self._read(path)
            self._config = self._source.config()
            self.mistakes = self._source.describe(_problems(self._config))
        except ConfigError as error:
            self.mistakes = list(error.mistakes)
            self.unset = error.unset

    @property
    def is_right(self) -> bool:
        """Whether the service can run."""
        return all(mistake.warning for mistake in self.mistakes)

    def _read(self, path: str) -> TomlFile | UciExport:
        wanted = "a TOML file, or what `uci export` prints"
        self.name, data = read_file(path, wanted) if path else (CONFIG_FILE, export())
        return UciExport(data, self.name) if is_uci(data) else TomlFile(decode(data, self.name), self.name)

    def try_backends(self) -> Iterator[tuple[str, Mistake | None]]:
        """Test the servers. Yields the name of each backend, and its mistake or None. Only when `is_right`."""
        assert self._source is not None
        assert self._config is not None
        zone = named_zone(self._config.pcap.timezone)
        for name, number, section in sections(self._config):
            backend = create_backend(section, zone, no_status)
            problem = backend.check()
            address = next(iter(section.settings))
            found = Problem(name, number, address, SettingError(problem or ""), getattr(section, address))
            yield backend.name, self._source.describe([found])[0] if problem else None

    def show(self, mistake: Mistake, *, colour: bool) -> str:
        """A mistake for a terminal, with its line in the file and a mark at the wrong part."""
        kind, style = ("warning", "yellow") if mistake.warning else ("error", "red")
        line, start, end = self._source.excerpt(mistake) if isinstance(self._source, TomlFile) else ("", 0, 0)
        text = ": ".join(filter(None, (mistake.label, mistake.message)))
        lines = [f"{styled(kind, style, colour=colour)}: {printable(text)}"]
        if mistake.line:
            lines.append(printable(f"{'-->':>6} {mistake.file}:{mistake.line}"))
        if line and line.isprintable():
            marks = " " * start + styled("^" * max(1, end - start), style, colour=colour)
            lines += [f"{'|':>6}", f"{mistake.line:4} | {line}", f"{'|':>6} {marks}"]
        if mistake.remedy:
            lines.append(f"{'=':>6} {styled('help', 'cyan', colour=colour)}: {printable(mistake.remedy)}")
        return "".join(f"{line}\n" for line in (*lines, *mistake.commands))


def _problems(config: Config) -> Iterator[Problem]:
    """Problems that the schema does not find: the device, files, and sections that conflict."""
    yield from _capture_problems(config)
    clients: dict[tuple[BrokerUrl, str], int] = {}
    for name, number, section in sections(config):
        yield from _file_problems(name, number, section)
        for where, setting, low, high, reason, remedy in ODD:
            if where == name and not low <= (value := getattr(section, setting)) <= high:
                yield Problem(name, number, setting, SettingError(reason, remedy), value, warning=True)
        if isinstance(section, MqttConfig):
            client = (split_broker(section.url), section.client_id or f" {section.base_topic}")
            first = clients.setdefault(client, number)
            if first != number:
                reason = f"the broker would disconnect it and section {first + 1} of mqtt in turns: they are one client"
                remedy = "give each a client_id of its own, or remove one"
                yield Problem(name, number, "client_id", SettingError(reason, remedy))


def _capture_problems(config: Config) -> Iterator[Problem]:
    device = config.pcap.device
    try:
        if config.pcap.file and not _is_pipe(device):
            FileCapture(device, config.pcap.filter).close()
            if blocked := unreadable(device):
                yield Problem("pcap", 0, "device", SettingError(*blocked), device)
        else:
            check_filter(config.pcap.filter)
    except FilterError as error:
        # It does not fit the file, or has a host name that cannot be resolved at present.
        yield Problem("pcap", 0, "filter", SettingError(error.reason, FILTER_REMEDY), config.pcap.filter)
    except CaptureError as error:
        yield Problem("pcap", 0, "device", SettingError(error.reason), device)
    if not config.pcap.file and (problem := device_problem(device)):
        waits = SettingError(problem, "the service will wait for it")
        yield Problem("pcap", 0, "device", waits, device, warning=True)


def _is_pipe(path: str) -> bool:
    """Whether to open this capture file may wait for long, and would take what can be read only once."""
    return path == "-" or (os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path))


def _file_problems(name: str, number: int, section: SectionConfig) -> Iterator[Problem]:
    """The problems with the certificate files of a backend."""
    files = certificate_files(section)
    errors = {error.setting: error for error in certificate_problems(files)}
    for setting, path in files.items():
        if setting not in errors and (blocked := unreadable(path)):
            errors[setting] = SettingError(*blocked)
    for setting, error in errors.items():
        yield Problem(name, number, setting, error, files[setting])
