"""Creates the backend of each backend section of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo

from inverter_capture.backends.backend import Backend
from inverter_capture.backends.status import StatusSource
from inverter_capture.config.schema import SECTIONS, Config, ConsoleConfig, InfluxDb2Config, MqttConfig, SectionConfig


def sections(config: Config) -> Iterator[tuple[str, int, SectionConfig]]:
    """The backend sections of a configuration, one backend each, with their names, each counted from 0."""
    for name, known in SECTIONS.items():
        if known.repeated:
            for number, section in enumerate(getattr(config, name)):
                yield name, number, section


def create_backend(section: SectionConfig, zone: tzinfo | None, status: StatusSource) -> Backend:
    """Create the backend of a section. Backends that are not configured are not imported, which saves memory.

    `zone` is the inverter's time zone, None the system's. `status` returns the service's status.
    """
    if isinstance(section, InfluxDb2Config):
        from inverter_capture.backends.influxdb2.delivery import InfluxDb2

        return InfluxDb2(section)
    if isinstance(section, ConsoleConfig):
        from inverter_capture.backends.console import Console

        return Console(section, zone)
    if isinstance(section, MqttConfig):
        from inverter_capture.backends.mqtt.delivery import Mqtt

        return Mqtt(section, status)
    raise TypeError(f"no backend for {type(section).__name__}")
