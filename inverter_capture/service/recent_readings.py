"""The recent readings of each inverter, in memory: the newest one, and the values of a day for a chart."""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_left
from collections import deque
from typing import NamedTuple

from inverter_capture.protocol.inverter_kinds import INVERTERS_MAX
from inverter_capture.protocol.readings import Reading
from inverter_capture.protocol.times import SECOND

CHART_FIELDS = ("pv_power", "load_power", "grid_power", "battery_power", "battery_soc")
"""Fields in watts, the last in percent. Every kind has them; some are absent while the kind is uncertain."""
SLOT_SECONDS = 120  # Resolution of the chart in seconds: the last reading of each slot is kept
CHART_SECONDS = 24 * 3600
DUE_INTERVALS = 5  # Number of intervals of which the median is taken: one lost or additional report does not change it

_LARGEST = 2**31 - 1
_ABSENT = -(2**31)  # In a chart: the value is absent or out of range


class Chart:
    """The values of an inverter for a day, by time."""

    def __init__(self) -> None:
        self._times = array("q")  # Seconds since the epoch
        self._columns = [array("i") for _ in CHART_FIELDS]

    def add(self, reading: Reading) -> None:
        """Add a reading, which may be older than others."""
        seconds = reading.time // SECOND
        start = seconds - seconds % SLOT_SECONDS
        first = bisect_left(self._times, start)
        last = bisect_left(self._times, start + SLOT_SECONDS)
        self._times[first:last] = array("q", [seconds])
        values = reading.values
        for column, field in zip(self._columns, CHART_FIELDS, strict=True):
            value = values.get(field, _ABSENT)
            column[first:last] = array("i", [round(value) if abs(value) <= _LARGEST else _ABSENT])
        old = bisect_left(self._times, self._times[-1] - CHART_SECONDS)
        for column in (self._times, *self._columns):
            del column[:old]

    def columns(self) -> dict[str, list[int | None]]:
        """The times in seconds since the epoch, and the values of each field at these times."""
        found: dict[str, list[int | None]] = {"time": list(self._times)}
        for field, column in zip(CHART_FIELDS, self._columns, strict=True):
            found[field] = [None if value == _ABSENT else value for value in column]
        return found


class Recent(NamedTuple):
    """The recent readings of one inverter."""

    reading: Reading  # The reading received last
    received: float  # Time of its arrival, in seconds of the monotonic clock
    interval: float | None  # Median seconds between readings; None before the second reading
    chart: dict[str, list[int | None]]  # As of `Chart.columns`; empty when no chart is kept


class _Inverter:
    def __init__(self, chart: Chart | None) -> None:
        self.reading: Reading | None = None
        self.received = 0.0
        self.intervals: deque[float] = deque(maxlen=DUE_INTERVALS)
        self.chart = chart


class RecentReadings:
    """The recent readings of at most INVERTERS_MAX inverters: the longest silent one is forgotten first."""

    def __init__(self, *, chart: bool) -> None:
        """`chart`: whether to keep the values of a day, which take 20 KB for each inverter."""
        self._chart = chart
        self._lock = threading.Lock()
        self._inverters: dict[str, _Inverter] = {}  # By serial number, in the order of their last readings

    def take(self, reading: Reading) -> None:
        """Take a reading that was received now."""
        now = time.monotonic()
        with self._lock:
            inverter = self._inverters.pop(reading.serial, None) or _Inverter(Chart() if self._chart else None)
            self._inverters[reading.serial] = inverter
            if len(self._inverters) > INVERTERS_MAX:
                del self._inverters[next(iter(self._inverters))]
            if inverter.reading is not None:
                inverter.intervals.append(now - inverter.received)
            inverter.reading, inverter.received = reading, now
            if inverter.chart is not None:
                inverter.chart.add(reading)

    def all(self) -> list[Recent]:
        """All inverters in the order of their serial numbers. May be called from any thread."""
        with self._lock:
            return [
                Recent(
                    inverter.reading,
                    inverter.received,
                    sorted(inverter.intervals)[len(inverter.intervals) // 2] if inverter.intervals else None,
                    {} if inverter.chart is None else inverter.chart.columns(),
                )
                for _, inverter in sorted(self._inverters.items())
                if inverter.reading is not None
            ]
