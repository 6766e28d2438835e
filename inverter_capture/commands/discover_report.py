"""The text that `discover` prints: the dongles that send reports, and the configuration for them. No I/O."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from inverter_capture.capture.dongle_filter import Endpoint
from inverter_capture.config.timezone import OPENWRT_FILE, distance_text, fitting_zones, remedy
from inverter_capture.config.toml_file import assign
from inverter_capture.config.uci import set_commands
from inverter_capture.protocol.clock import ClockError, ClockWatch, off_by_quarters
from inverter_capture.protocol.messages import dongle_serial
from inverter_capture.protocol.packets import address_text
from inverter_capture.protocol.packets_to_readings import Decoded, Event, Heard, MapHeard, Unknown
from inverter_capture.protocol.times import SECOND
from inverter_capture.service.report_log import BURST_SECONDS
from inverter_capture.text import counted

LAG_SECONDS_MAX = 120  # Maximum seconds from a report's time to its capture when the clock and the time zone are right
INTERVALS_MAX = 1000  # Maximum number of intervals per dongle of which the median is taken
SURVEYED_MAX = 64  # Maximum number of pairs of a host and a server port that are surveyed
SERIALS_MAX = 8  # Maximum number of serial numbers per dongle
LAYOUT_TEXTS = {
    "known": "known layout",
    "learnt": "layout learnt from the poll map",
    "unknown": "unknown layout: not decoded without a poll map",
}


class Survey:
    """Collects the events of a decoder in the system's time zone, and describes the dongles that send reports."""

    def __init__(self, source: str, *, file: bool) -> None:
        """`source`: a device, or with `file` the path of a capture file."""
        self._source = source
        self._file = file
        self._dongles: dict[Endpoint, _Dongle] = {}

    @property
    def found(self) -> bool:
        """Whether there was a report."""
        return bool(self._reporting)

    @property
    def counts(self) -> dict[str, Any]:
        """The number of reports, and the addresses of all hosts that speak as a dongle does."""
        hosts = sorted({address_text(dongle.endpoint.host) for dongle in self._dongles.values()})
        return {"reports": sum(dongle.reports for dongle in self._reporting), "candidates": hosts}

    @property
    def status(self) -> str:
        """The counts, for a status line."""
        reports, hosts = self.counts.values()
        senders = f" from {', '.join(hosts)}" if hosts else ""
        return (counted(reports, "report") if reports else "no report yet") + senders

    def add(self, events: Iterable[Event]) -> None:
        """Add events of a decoder."""
        for event in events:
            from_server = isinstance(event, MapHeard | Heard) and not event.message.from_dongle
            flow = event.flow.reversed() if from_server else event.flow
            endpoint = Endpoint(flow.source, flow.destination_port)
            dongle = self._dongles.get(endpoint)
            if dongle is None and len(self._dongles) < SURVEYED_MAX:
                dongle = self._dongles[endpoint] = _Dongle(endpoint)
            if dongle is not None:
                dongle.add(event)

    @property
    def _reporting(self) -> list[_Dongle]:
        return [dongle for dongle in self._dongles.values() if dongle.reports]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the section pcap for the dongles found; none without a dongle."""
        zones = [dongle.timezone for dongle in self._reporting if dongle.timezone]
        filters = [dongle.endpoint.filter for dongle in self._reporting]
        if not filters:
            return {}
        settings: dict[str, Any] = {"device": self._source} | ({"file": True} if self._file else {})
        settings["filter"] = filters[0] if len(filters) == 1 else " or ".join(f"({text})" for text in filters)
        return settings | ({"timezone": zones[0]} if zones else {})

    def report(self) -> str:
        """The dongles, and the settings to paste: for `uci` on OpenWrt, otherwise as TOML."""
        if os.path.exists(OPENWRT_FILE):
            settings = self.settings
            if settings.pop("file", False):
                # The file was only copied to the router to look at it.
                del settings["device"]
            pasted = set_commands(settings)
        else:
            pasted = ["[pcap]", *(assign(name, value) for name, value in self.settings.items())]
        texts = [
            f"{address_text(dongle.endpoint.host)} is a dongle\n"
            + "".join(f"  {name:10}{text}\n" for name, text in dongle.rows(file=self._file).items())
            for dongle in self._reporting
        ]
        return "\n".join([*texts, *pasted]) + "\n"

    def as_json(self) -> dict[str, Any]:
        """The dongles and the settings."""
        return {"dongles": [dongle.as_json() for dongle in self._reporting], "settings": self.settings}


class _Dongle:
    """The events between one host and one server port."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.reports = 0
        self._servers: set[str] = set()
        self._serials: dict[str, str] = {}
        self._inverters: dict[str, str] = {}  # The kind of inverter by serial number; empty until it is known
        self._lengths: dict[int, str] = {}
        self._map_heard = False
        self._intervals: list[int] = []
        self._last_captured: int | None = None
        self._watch = ClockWatch()
        self._error: ClockError | None = None
        self._newest: Decoded | None = None

    @property
    def timezone(self) -> str | None:
        """The time zone to set; None unless the inverter's is certainly not the system's."""
        zones = fitting_zones(self._error.utc_offset, self._error.moment) if self._error else []
        return zones[0] if zones else None

    def add(self, event: Event) -> None:
        if isinstance(event, Decoded | Unknown):
            self._add_report(event)
        elif isinstance(event, MapHeard):
            self._map_heard = True
        elif serial := dongle_serial(event.message):
            _note(self._serials, serial)

    def _add_report(self, event: Decoded | Unknown) -> None:
        self.reports += 1
        self._servers.add(address_text(event.flow.destination))
        kind = event.reading.kind.name if isinstance(event, Decoded) and event.reading is not None else ""
        _note(self._inverters, event.report.serial, kind)
        layout = "unknown" if event.report.layout is None else "learnt" if event.report.learnt else "known"
        self._lengths[len(event.report.data)] = layout
        interval = None if self._last_captured is None else (event.time - self._last_captured) // SECOND
        if interval is not None and interval >= BURST_SECONDS and len(self._intervals) < INTERVALS_MAX:
            self._intervals.append(interval)
        self._last_captured = event.time
        if isinstance(event, Decoded) and event.reading is not None:
            self._error = self._watch.check(event.report, event.reading, event.time) or self._error
            newest = self._newest and self._newest.reading
            if newest is None or event.reading.time > newest.time:
                self._newest = event

    def as_json(self) -> dict[str, Any]:
        """What is known of the dongle: serial numbers, the kind of each inverter, the layout of each length of report.

        `interval` and `ahead`, by which the inverter's clock is ahead, are in seconds, and None while they are unknown.
        """
        return {
            "host": address_text(self.endpoint.host),
            "dongles": list(self._serials),
            "inverters": self._inverters,
            "servers": sorted(self._servers),
            "port": self.endpoint.server_port,
            "reports": self.reports,
            "lengths": self._lengths,
            "interval": self._interval,
            "poll_map": self._map_heard,
            "ahead": self._ahead,
        }

    def rows(self, *, file: bool) -> dict[str, str]:
        """What is known of the dongle, by headings."""
        lengths = " and ".join(
            f"{length} bytes ({LAYOUT_TEXTS[layout]})" for length, layout in sorted(self._lengths.items())
        )
        return {
            "dongle": ", ".join(self._serials) or "serial number unknown: it is sent when the dongle connects",
            "inverter": ", ".join(serial + (f" ({kind})" if kind else "") for serial, kind in self._inverters.items()),
            "server": f"{', '.join(sorted(self._servers))} port {self.endpoint.server_port}",
            "reports": f"{counted(self.reports, 'report')} of {lengths}{self._how_often()}",
            "poll map": "heard" if self._map_heard else "not heard: the server sends it when the dongle connects",
            "clock": self._clock(file=file),
        }

    @property
    def _interval(self) -> int | None:
        return sorted(self._intervals)[len(self._intervals) // 2] if self._intervals else None

    def _how_often(self) -> str:
        if self._interval is None:
            return ""
        minutes, seconds = divmod(self._interval, 60)
        return f", one every {minutes} min" + (f" {seconds} s" if seconds else "")

    @property
    def _ahead(self) -> int | None:
        """How far the clock is ahead of this system's, in seconds; 0 when a report's delay explains it."""
        if self._newest is None or self._newest.reading is None:
            return None
        ahead = (self._newest.reading.time - self._newest.time) // SECOND
        return ahead if abs(ahead) > LAG_SECONDS_MAX else 0

    def _clock(self, *, file: bool) -> str:
        if self._newest is None or self._newest.reading is None:
            return "unknown"
        shown = f"{self._newest.report.clock:%Y-%m-%d %H:%M:%S}"
        ahead = self._ahead
        if not ahead:
            return f"{shown}, right in this system's time zone"
        if self._error is not None:
            return f"{shown}, {distance_text(self._error.ahead)} this system's clock: {remedy(self._error)}"
        off = f"{shown}, {distance_text(ahead)} this system's clock"
        if off_by_quarters(self._newest.reading, self._newest.time):
            remedy_text = "a longer capture would tell" if file else "capture longer"
            return f"{off}: the time zone may be another, or the report is an old one; {remedy_text}"
        return f"{off}: set the inverter's clock, unless the report is an old one that the dongle had kept"


def _note(known: dict[str, str], serial: str, what: str = "") -> None:
    """Remember a serial number, at most SERIALS_MAX: more would be forged."""
    if serial in known or len(known) < SERIALS_MAX:
        known[serial] = what or known.get(serial, "")
