"""Who sends frames, and how to configure the program for them: what `discover` says. Pure: frames in, text out."""

from __future__ import annotations

from inverter_capture.capture.dongle_filter import Endpoint
from inverter_capture.config.timezone import distance_text, fitting_zones, remedy
from inverter_capture.config.toml_file import assign
from inverter_capture.protocol.clock import ClockError, ClockWatch, off_by_quarters
from inverter_capture.protocol.layouts import LAYOUTS
from inverter_capture.protocol.packets import address_text
from inverter_capture.protocol.packets_to_readings import Decoded, Unknown
from inverter_capture.protocol.times import SECOND

LAG_SECONDS_MAX = 120
"""A frame captured this soon after its own time is a live one, and the clock and time zone are right."""
BURST_SECONDS = 60
"""Frames that follow each other faster belong to one burst, and say nothing about how often frames come."""
INTERVALS_MAX = 1000


class Survey:
    """Takes the frames that a decoder finds in the system's time zone; describes who sends them."""

    def __init__(self, device: str, *, file: bool) -> None:
        self._device = device
        self._file = file
        self._senders: dict[Endpoint, _Sender] = {}

    @property
    def found(self) -> bool:
        """Whether there has been any frame."""
        return bool(self._senders)

    @property
    def status(self) -> str:
        """What has been found so far, in a few words."""
        frames = sum(sender.frames for sender in self._senders.values())
        hosts = ", ".join(sorted({address_text(endpoint.host) for endpoint in self._senders}))
        return f"{frames} {_plural(frames, 'frame')} from {hosts}" if frames else "no frame yet"

    def add(self, event: Decoded | Unknown) -> None:
        """Take notice of a frame."""
        endpoint = Endpoint(event.flow.source, event.flow.destination_port)
        self._senders.setdefault(endpoint, _Sender(endpoint)).add(event)

    def report(self) -> str:
        """Who sends what, and the [pcap] section to paste."""
        senders = list(self._senders.values())
        zones = [sender.timezone for sender in senders if sender.timezone]
        filters = [sender.endpoint.filter for sender in senders]
        section = ["[pcap]", assign("device", self._device)]
        if self._file:
            section.append(assign("file", True))
        joined = filters[0] if len(filters) == 1 else " or ".join(f"({text})" for text in filters)
        section.append(assign("filter", joined))
        if zones:
            section.append(assign("timezone", zones[0]))
        return "\n".join([*(sender.report() for sender in senders), *section]) + "\n"


class _Sender:
    """What one host sends to one server port."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.frames = 0
        self._servers: set[str] = set()
        self._serials: dict[str, None] = {}
        self._lengths: dict[int, int] = {}
        self._intervals: list[int] = []
        self._last_captured: int | None = None
        self._watch = ClockWatch()
        self._error: ClockError | None = None
        self._newest: Decoded | None = None

    @property
    def timezone(self) -> str | None:
        """The time zone to set, when it is certain that the system's is not the inverter's."""
        zones = fitting_zones(self._error.utc_offset, self._error.moment) if self._error else []
        return zones[0] if zones else None

    def add(self, event: Decoded | Unknown) -> None:
        self.frames += 1
        self._servers.add(address_text(event.flow.destination))
        self._serials[event.report.serial] = None
        length = len(event.report.data)
        self._lengths[length] = self._lengths.get(length, 0) + 1
        interval = None if self._last_captured is None else (event.time - self._last_captured) // SECOND
        if interval is not None and interval >= BURST_SECONDS and len(self._intervals) < INTERVALS_MAX:
            self._intervals.append(interval)
        self._last_captured = event.time
        if isinstance(event, Decoded) and event.reading is not None:
            self._error = self._watch.check(event.report, event.reading, event.time) or self._error
            newest = self._newest and self._newest.reading
            if newest is None or event.reading.time > newest.time:
                self._newest = event

    def report(self) -> str:
        lengths = " and ".join(
            f"{length} bytes" + ("" if length in LAYOUTS else " (unknown: not decoded)")
            for length in sorted(self._lengths)
        )
        rows = {
            "serial": ", ".join(self._serials),
            "server": f"{', '.join(sorted(self._servers))} port {self.endpoint.server_port}",
            "frames": f"{self.frames} {_plural(self.frames, 'frame')} of {lengths}{self._how_often()}",
            "clock": self._clock(),
        }
        lines = [f"{address_text(self.endpoint.host)} sends frames"]
        return "\n".join(lines + [f"  {name:8}{text}" for name, text in rows.items()]) + "\n"

    def _how_often(self) -> str:
        if not self._intervals:
            return ""
        minutes, seconds = divmod(sorted(self._intervals)[len(self._intervals) // 2], 60)
        return f", one every {minutes} min" + (f" {seconds} s" if seconds else "")

    def _clock(self) -> str:
        if self._newest is None or self._newest.reading is None:
            return "unknown"
        ahead = (self._newest.reading.time - self._newest.time) // SECOND
        shown = f"{self._newest.report.clock:%Y-%m-%d %H:%M:%S}"
        if abs(ahead) <= LAG_SECONDS_MAX:
            return f"{shown}, right in this system's time zone"
        if self._error is not None:
            return f"{shown}, {distance_text(self._error.ahead)} this system's clock: {remedy(self._error)}"
        off = f"{shown}, {distance_text(ahead)} this system's clock"
        if off_by_quarters(self._newest.reading, self._newest.time):
            return (
                f"{off}: the time zone may be another, or the frame an old one that the dongle had kept; capture longer"
            )
        return f"{off}: set the inverter's clock, unless the frame is an old one that the dongle had kept"


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"
