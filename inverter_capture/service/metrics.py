"""The metrics for Prometheus, as OpenMetrics text: the newest reading of each inverter and the counters. No I/O.

The format: https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

from inverter_capture import __version__
from inverter_capture.backends.status import BackendStatus, Status
from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.times import SECOND
from inverter_capture.service.recent_readings import Recent

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
STALE_SECONDS = 900
"""Seconds without a reading after which an inverter's values are left out: databases would store them as new."""

_SUFFIXES = {"counter": "_total", "info": "_info"}  # Suffixes of sample names, by metric type


class _Families:
    """Metric families by name: the samples of a family must be adjacent, after its TYPE and HELP."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def add(self, name: str, type: str, help: str, value: float, **labels: str) -> None:
        """Add a sample. `name` is the family's, without the suffix of its type."""
        if name not in self._lines:
            self._lines[name] = [f"# TYPE {name} {type}\n", f"# HELP {name} {_escape(help)}\n"]
        inner = ",".join(f'{label}="{_escape(text)}"' for label, text in labels.items())
        sample = f"{name}{_SUFFIXES.get(type, '')}"
        self._lines[name].append(f"{sample}{{{inner}}} {value}\n" if inner else f"{sample} {value}\n")

    def text(self) -> str:
        """All families as OpenMetrics text."""
        return "".join(line for lines in self._lines.values() for line in lines) + "# EOF\n"


def metrics_text(status: Status, recent: list[Recent], now: float, monotonic: float) -> str:
    """All metrics. `now`: seconds since the epoch; `monotonic`: seconds of the monotonic clock."""
    families = _Families()
    _add_service(families, status)
    names: list[str] = []
    for backend in status.backends:
        names.append(backend.name)
        count = names.count(backend.name)
        _add_backend(families, backend, backend.name if count == 1 else f"{backend.name} ({count})")
    for each in recent:
        _add_inverter(families, each, now, monotonic)
    return families.text()


def _add_service(families: _Families, status: Status) -> None:
    def add(name: str, type: str, help: str, value: float, **labels: str) -> None:
        families.add(f"inverter_capture_{name}", type, help, value, **labels)

    add("build", "info", "The program.", 1, version=__version__)
    add("start_time_seconds", "gauge", "When the service was started.", status.started / SECOND)
    add("capturing", "gauge", "Whether packets can be captured.", int(status.capturing), device=status.device)
    add("packets", "counter", "Packets captured.", status.packets)
    text = "Packets that the kernel dropped before they could be read."
    add("dropped_packets", "counter", text, status.dropped_packets)
    add("reports", "counter", "Reports whose registers are known.", status.reports)
    add("unknown_reports", "counter", "Reports whose registers are not known.", status.unknown)
    add("readings", "counter", "Readings decoded.", status.readings)
    add("held_back_values", "counter", "Values held back as implausible.", status.held_back)


def _add_backend(families: _Families, backend: BackendStatus, name: str) -> None:
    """`name`: unique, although two backends may write to one server."""

    def add(metric: str, type: str, help: str, value: float) -> None:
        families.add(f"inverter_capture_backend_{metric}", type, help, value, backend=name)

    add("connected", "gauge", "Whether the latest attempt succeeded.", int(backend.connected))
    add("waiting", "gauge", "Readings that wait for delivery.", backend.waiting)
    add("delivered", "counter", "Readings delivered.", backend.delivered)
    add("dropped", "counter", "Readings lost.", backend.dropped)
    if backend.failing_since is not None:
        since = "Since when nothing can be delivered; absent while all is well."
        add("failing_since_seconds", "gauge", since, backend.failing_since)


def _add_inverter(families: _Families, recent: Recent, now: float, monotonic: float) -> None:
    reading = recent.reading
    silent = monotonic - recent.received
    text = "When the last report of the inverter was received."
    families.add("inverter_last_report_seconds", "gauge", text, round(now - silent), serial=reading.serial)
    if silent > STALE_SECONDS:
        return
    values = reading.values
    for field in reading.fields:
        if field.id in values:
            title = f"{field.title} ({field.unit})" if field.unit else field.title
            families.add(*_metric(field), title, values[field.id], serial=reading.serial)


def _metric(field: Field) -> tuple[str, str]:
    """Name and type of a field's metric. Only total counters, which never decrease, have the type counter."""
    name = f"inverter_{field.id}"
    if field.quantity.state_class == "total_increasing" and name.endswith("_total"):
        return name.removesuffix("_total"), "counter"
    return name, "gauge"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
