"""The sections of the configuration and their settings: each with its type, default and help.

TOML, UCI and all descriptions of the settings are derived from this. A new setting is a line in its section; a new
backend is a class, and a line each in `Config` and `SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from inverter_capture.config.timezone import TIMEZONE
from inverter_capture.config.values import (
    BOOLEAN,
    BROKER,
    BYTES,
    CLIENT_ID,
    DURATION,
    KEEPALIVE,
    LISTEN,
    MEASUREMENT,
    NAME,
    PATH,
    SECONDS,
    SERIALS,
    TAGS,
    TEXT,
    TOPIC,
    TOPIC_OR_OFF,
    URL,
    VERIFY,
    SettingError,
    ValueType,
    choice,
)
from inverter_capture.output.formats import FORMATS

REQUIRED = object()  # Instead of a default: the setting is required

_INFLUXDB2_PATH = "/api/v2/write"


class Setting(NamedTuple):
    """One setting of a section."""

    type: ValueType
    default: Any  # The default as after the check, or REQUIRED
    secret: bool  # Whether the value is never shown, neither in messages nor in the section's repr
    help: str  # The description, in one line that is correct for every format


def setting(type: ValueType, default: Any = REQUIRED, *, secret: bool = False, help: str) -> Any:
    """Declare a setting as an attribute of a SectionConfig."""
    return Setting(type, default, secret, help)


class SectionConfig:
    """The settings of one section as read-only attributes. Subclasses declare them with `setting`.

    Not dataclasses: importing those costs a router 1.5 MB.
    """

    settings: ClassVar[dict[str, Setting]] = {}

    def __init_subclass__(cls) -> None:
        cls.settings = {name: value for name, value in vars(cls).items() if isinstance(value, Setting)}

    def __init__(self, **values: Any) -> None:
        """`values`: checked ones, None for an invalid one. Raises TypeError for missing and unknown settings."""
        missing = [name for name, spec in self.settings.items() if spec.default is REQUIRED and name not in values]
        if missing or not values.keys() <= self.settings.keys():
            raise TypeError(f"{type(self).__name__} takes {', '.join(self.settings)}, not {', '.join(values)}")
        vars(self).update({name: values.get(name, spec.default) for name, spec in self.settings.items()})

    def check(self) -> Iterator[SettingError]:
        """Each contradiction between the values, with the setting to change."""
        yield from ()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in vars(self).items() if not self.settings[name].secret)
        return f"{type(self).__name__}({', '.join(shown)})"


class PcapConfig(SectionConfig):
    """The capture of packets."""

    device: str = setting(NAME, help="Network device to capture on, or any; with file, the path of a capture file")
    filter: str = setting(
        TEXT,
        "",
        help="Packets to read, in tcpdump's syntax, such as host 192.168.1.50; if empty, the dongles are found",
    )
    file: bool = setting(BOOLEAN, False, help="Whether device is the path of a capture file, which is read once")
    timezone: str = setting(
        TIMEZONE,
        "local",
        help="Time zone of the inverter's clock, such as Europe/Paris (OpenWrt: package zoneinfo-europe), or local",
    )
    guard: bool = setting(
        BOOLEAN, True, help="Whether implausible values are held back until later readings confirm them"
    )
    serials: list[str] = setting(SERIALS, [], help="Serial numbers of the inverters to read; if empty, any")

    def check(self) -> Iterator[SettingError]:
        # The service would wait for this device for ever.
        if "/" in (self.device or "") and self.file is False:
            reason = 'contains "/", as only the path of a capture file does'
            yield SettingError(reason, "correct it", setting="device", instead=("file", True))
        if self.filter:
            from inverter_capture.capture.libpcap import FILTER_REMEDY, FilterError, check_filter

            try:
                check_filter(self.filter)
            except FilterError as error:
                # A capture on a device tries again later whether a name server knows the name.
                if self.file or not error.passing:
                    yield SettingError(error.reason, FILTER_REMEDY, setting="filter")


class InfluxDb2Config(SectionConfig):
    """A database that takes InfluxDB's line protocol over HTTP."""

    host: str = setting(URL, help="Server address, with http:// or https:// and the port")
    org: str = setting(TEXT, "", help="Organisation that owns the bucket")
    bucket: str = setting(TEXT, "", help="Bucket for the readings")
    token: str = setting(TEXT, "", secret=True, help="API token with write permission")
    db: str = setting(TEXT, "", help="Database for the readings, on servers that have databases instead of buckets")
    path: str = setting(PATH, _INFLUXDB2_PATH, help="Path of the server's write endpoint")
    authentication: str = setting(
        choice("token", "bearer", "basic", "none"),
        "token",
        help="How the token is sent: token, bearer, basic (the token is user:password) or none",
    )
    measurement: str = setting(MEASUREMENT, "inverter", help="InfluxDB measurement name")
    tags: dict[str, str] = setting(TAGS, {}, help="Tags that each line has in addition to the serial number")
    schema: str = setting(choice("wide", "narrow"), "wide", help="One line per reading (wide) or per value (narrow)")
    timeout: float = setting(SECONDS, 10.0, help="Timeout for the server's answer, in seconds")
    verify: bool | str = setting(
        VERIFY, True, help="Whether to verify the server's certificate, or the path of a readable CA certificate file"
    )
    buffer: int = setting(
        BYTES, 4 * 1024 * 1024, help="Memory limit for readings that wait for delivery, in bytes or as in 4 MiB"
    )

    def check(self) -> Iterator[SettingError]:
        if self.path == _INFLUXDB2_PATH and self.authentication == "token" and self.db == "":
            for name in ("org", "bucket"):
                if getattr(self, name) == "":
                    yield SettingError(setting=name, missing=True)
        for name in ("group", "name", "unit"):
            if self.schema == "narrow" and name in (self.tags or ()):
                reason = f"the narrow schema writes a tag {name} of its own"
                yield SettingError(reason, "choose another name", setting="tags")
        if self.authentication in (None, "none") or self.token is None:
            return
        if not self.token:
            yield SettingError(setting="token", missing=True, instead=("authentication", "none"))
        elif self.authentication == "basic":
            if ":" not in self.token:
                yield SettingError("not user:password, as basic authentication needs", "add both", setting="token")
        elif not all("!" <= letter <= "~" for letter in self.token):
            reason = "contains a character that HTTP cannot carry"
            yield SettingError(reason, "copy it again, without spaces", setting="token")


class MqttConfig(SectionConfig):
    """An MQTT broker, and Home Assistant behind it."""

    url: str = setting(
        BROKER,
        help="Broker address with mqtt://, mqtts://, ws://, wss:// or unix://, and the port unless it is the usual one",
    )
    username: str = setting(TEXT, "", help="User name for the broker")
    password: str = setting(TEXT, "", secret=True, help="Password of that user")
    verify: bool | str = setting(
        VERIFY, True, help="Whether to verify the broker's certificate, or the path of a readable CA certificate file"
    )
    certificate: str = setting(TEXT, "", help="Path of a readable client certificate, for brokers that require one")
    key: str = setting(TEXT, "", help="Path of the client certificate's private key, if it is in a separate file")
    base_topic: str = setting(TOPIC, "inverter-capture", help="Prefix of the topics that readings are published to")
    discovery_prefix: str = setting(
        TOPIC_OR_OFF, "homeassistant", help="Prefix of Home Assistant's discovery topics, or false for no discovery"
    )
    client_id: str = setting(CLIENT_ID, "", help="MQTT client ID; if empty, it is derived from this system")
    keepalive: int = setting(KEEPALIVE, 30, help="MQTT keep-alive interval, in seconds")
    stale_after: float = setting(
        DURATION,
        900.0,
        help="Time without a reading after which an inverter is unavailable, in seconds or as in 15 min",
    )
    field_topics: bool = setting(BOOLEAN, False, help="Whether each value is also published to a topic of its own")

    def check(self) -> Iterator[SettingError]:
        if self.password and self.username == "":
            yield SettingError("a password alone cannot be sent", setting="username", missing=True)
        if self.key and self.certificate == "":
            yield SettingError("the certificate that the key is for", setting="certificate", missing=True)
        if self.certificate and self.url and not self.url.startswith(("mqtts://", "wss://")):
            remedy = "begin with mqtts:// or wss://, or remove certificate"
            yield SettingError("a client certificate needs TLS", remedy, setting="url")


class ConsoleConfig(SectionConfig):
    """Readings on standard output."""

    format: str = setting(choice(*FORMATS), "table", help=f"Output format: {', '.join(FORMATS)}")


class MetricsConfig(SectionConfig):
    """Metrics for Prometheus, over HTTP."""

    listen: str = setting(
        LISTEN,
        "",
        help="Address and port to serve metrics for Prometheus on, such as 127.0.0.1:9101; if empty, none are served",
    )


class LogConfig(SectionConfig):
    """The service's log."""

    level: str = setting(
        choice("error", "warning", "info", "debug"),
        "info",
        help="Lowest severity that is logged: error, warning, info or debug",
    )


class Config(NamedTuple):
    """The whole configuration."""

    pcap: PcapConfig
    influxdb2: tuple[InfluxDb2Config, ...]
    mqtt: tuple[MqttConfig, ...]
    console: tuple[ConsoleConfig, ...]
    metrics: MetricsConfig
    log: LogConfig


class Section(NamedTuple):
    """A section of the configuration."""

    name: str  # The same in every format
    type: type[SectionConfig]
    repeated: bool = False  # Whether it is a backend section, of which there can be any number

    @property
    def settings(self) -> dict[str, Setting]:
        """The settings by name."""
        return self.type.settings


SECTIONS: dict[str, Section] = {
    section.name: section
    for section in (
        Section("pcap", PcapConfig),
        Section("influxdb2", InfluxDb2Config, repeated=True),
        Section("mqtt", MqttConfig, repeated=True),
        Section("console", ConsoleConfig, repeated=True),
        Section("metrics", MetricsConfig),
        Section("log", LogConfig),
    )
}
"""The sections by name. The names are also those of Config's attributes."""
