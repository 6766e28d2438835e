"""The `check` command: tells what is wrong with a configuration, all at once."""

from __future__ import annotations

import json
from collections.abc import Iterator

from inverter_capture.backends.create import create_backend, sections
from inverter_capture.backends.status import no_status
from inverter_capture.capture.device import device_problem
from inverter_capture.capture.file import FileCapture
from inverter_capture.capture.libpcap import FILTER_REMEDY, CaptureError, FilterError, check_filter
from inverter_capture.commands.service_user import unreadable
from inverter_capture.config.problems import ConfigError, Mistake, Problem, read_file
from inverter_capture.config.schema import SECTIONS, Config, SectionConfig
from inverter_capture.config.timezone import named_zone
from inverter_capture.config.toml_file import TomlFile, decode
from inverter_capture.config.uci import CONFIG_FILE, Settings, export, is_export, read_settings


class Checked:
    """A configuration that was checked."""

    def __init__(self, path: str) -> None:
        """`path`: a TOML file or the output of `uci export`, - for standard input; if empty, `uci export` is called."""
        self.name = {"": CONFIG_FILE, "-": "standard input"}.get(path, path)
        self.mistakes: list[Mistake] = []  # All mistakes, warnings included
        self.unset = False  # Whether nothing is wrong, but the device or a backend is not configured yet
        self._config: Config | None = None
        try:
            self._source = self._read(path)
            self._config = self._source.config()
            self.mistakes = self._source.describe(_capture_problems(self._config))
        except ConfigError as error:
            self.mistakes = list(error.mistakes)
            self.unset = error.unset

    @property
    def is_right(self) -> bool:
        """Whether the service can run."""
        return all(mistake.warning for mistake in self.mistakes)

    def _read(self, path: str) -> TomlFile | Settings:
        wanted = "a TOML file, or what `uci export` prints"
        data = read_file(0 if path == "-" else path, self.name, wanted) if path else export()
        return read_settings(data, self.name) if is_export(data) else TomlFile(decode(data, self.name), self.name)

    def try_backends(self) -> Iterator[tuple[str, Mistake | None]]:
        """The name of each backend, and what is wrong with it when its server is asked. Only when `is_right`."""
        assert self._config is not None
        zone = named_zone(self._config.pcap.timezone)
        numbers: dict[str, int] = {}
        for section in sections(self._config):
            name = _name(section)
            numbers[name] = numbers.get(name, -1) + 1
            backend = create_backend(section, zone, no_status)
            problem = unreadable(section) or backend.check()
            if problem:
                address = next(iter(section.settings))
                value = getattr(section, address)
                (mistake,) = self._source.describe([Problem(name, numbers[name], address, problem, value=value)])
                yield backend.name, mistake
            else:
                yield backend.name, None


def as_json(mistakes: list[Mistake]) -> str:
    """The mistakes as a list of objects, whose names are those of Mistake."""
    return json.dumps([mistake._asdict() for mistake in mistakes], indent=1) + "\n"


def _name(section: SectionConfig) -> str:
    return next(known.name for known in SECTIONS.values() if known.type is type(section))


def _capture_problems(config: Config) -> Iterator[Problem]:
    """What is wrong with the device or capture file."""
    device = config.pcap.device
    try:
        if config.pcap.file:
            FileCapture(device, config.pcap.filter).close()
        else:
            check_filter(config.pcap.filter)
    except FilterError as error:
        # One that does not fit the file, or with a name that no name server knows at the moment.
        yield Problem("pcap", 0, "filter", error.reason, FILTER_REMEDY, config.pcap.filter)
    except CaptureError as error:
        yield Problem("pcap", 0, "device", _reason(error, device), value=device)
    problem = None if config.pcap.file else device_problem(device)
    if problem:
        remedy = "the service will wait for it"
        yield Problem("pcap", 0, "device", _reason(problem, device), remedy, device, warning=True)


def _reason(error: object, value: str) -> str:
    """The text of a CaptureError without the value with which it begins."""
    return str(error).removeprefix(f'"{value}": ')
