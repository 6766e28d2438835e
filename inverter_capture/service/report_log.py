"""Says in the log what its reader should know about the reports, once for each change."""

from __future__ import annotations

import logging

from inverter_capture.config.timezone import distance_text, remedy
from inverter_capture.protocol.clock import ClockWatch
from inverter_capture.protocol.guard import Held
from inverter_capture.protocol.inverter_kinds import INVERTERS_MAX, Kind
from inverter_capture.protocol.layouts import LAYOUTS, Layout
from inverter_capture.protocol.packets import address_text
from inverter_capture.protocol.packets_to_readings import Decoded, Decoder, Event, Unknown
from inverter_capture.protocol.readings import CLOCK_SET_AFTER, Reading
from inverter_capture.protocol.reports import Report
from inverter_capture.protocol.times import SECOND

DEFAULT_INTERVAL_SECONDS = 5 * 60
"""How often reports are expected, until the interval between some has been observed."""
MISSED_REPORTS = 6
"""Silence is worth a warning when it has lasted as many intervals, ..."""
QUIET_SECONDS_MIN = 10 * 60
"""... and at least this long."""
BURST_SECONDS = 20
"""Reports that follow each other faster are a backlog, or two dongles', and tell nothing about the interval."""
INTERVALS_MAX = 9
"""Intervals that are remembered; the middle one counts."""
CLOCK_SET_SECONDS = 60
"""When `advance` is called later than its deadline by more than this, the system's clock has been set meanwhile."""
DAY_SECONDS = 24 * 3600


_log = logging.getLogger(__name__)


class ReportLog:
    """Watches what a decoder finds. Times are in nanoseconds since the epoch, as the events bring them."""

    def __init__(self, decoder: Decoder, started: int, *, live: bool) -> None:
        """`live`: the events come as they happen, so clocks can be compared and silence means something."""
        self._decoder = decoder
        self._live = live
        self._clock = ClockWatch()
        self._clock_errors: set[str] = set()
        self._senders: dict[str, bytes] = {}
        self._layouts: dict[str, Layout] = {}
        self._unknown: dict[tuple[str, int], int] = {}
        self._implausible: set[str] = set()
        self._held: set[tuple[str, str]] = set()
        self._serials: set[str] = set()
        self._kinds: dict[str, Kind] = {}
        self._foreign: set[str] = set()
        self._foreign_reports = 0
        self._ahead = 0
        self._last_report = started
        self._intervals: list[int] = []
        self._quiet = False
        self._heard_before = False

    @property
    def deadline(self) -> int | None:
        """When `advance` is to be called if nothing happens before."""
        return None if self._quiet or not self._live else self._last_report + self._quiet_seconds * SECOND

    @property
    def _quiet_seconds(self) -> int:
        """How long a silence is worth a warning."""
        intervals = sorted(self._intervals)
        interval = intervals[(len(intervals) - 1) // 2] if intervals else DEFAULT_INTERVAL_SECONDS
        return max(QUIET_SECONDS_MIN, MISSED_REPORTS * interval)

    def observe(self, event: Event) -> None:
        """Say what is new about an event."""
        if isinstance(event, Decoded | Unknown):
            self._heard(event.time)
            if not self._knows(event.report.serial):
                return
        if isinstance(event, Decoded):
            self._decoded(event)
        elif isinstance(event, Unknown):
            self._unknown_length(event)

    def held(self, values: list[Held]) -> None:
        """Say which field's values are held back, the first time for each."""
        for value in values:
            if value.serial in self._serials and (value.serial, value.field) not in self._held:
                self._held.add((value.serial, value.field))
                _log.warning(
                    "inverter %s: %s = %s is held back, for %s; it is left out until later readings confirm it",
                    value.serial,
                    value.field,
                    value.value,
                    value.why,
                )

    def advance(self, time: int) -> None:
        """Say so when there has been no report for long."""
        if not 0 <= time - self._last_report <= (self._quiet_seconds + CLOCK_SET_SECONDS) * SECOND and not self._quiet:
            # `advance` would have been called before: the clock has been set.
            self._last_report = time
        deadline = self.deadline
        if deadline is not None and time >= deadline:
            self._quiet = True
            _log.warning(
                "no report for %d minutes: is the dongle on, do its packets pass [pcap] device and [pcap] filter?",
                self._quiet_seconds // 60,
            )

    def _knows(self, serial: str) -> bool:
        if serial not in self._serials and len(self._serials) < INVERTERS_MAX:
            self._serials.add(serial)
        return serial in self._serials

    def _heard(self, time: int) -> None:
        if self._quiet:
            self._quiet = False
            _log.info("reports again, after %d minutes without", (time - self._last_report) // (60 * SECOND))
        interval = (time - self._last_report) // SECOND
        if self._heard_before and BURST_SECONDS <= interval <= DAY_SECONDS:
            self._intervals = [*self._intervals, interval][-INTERVALS_MAX:]
        self._heard_before = True
        self._last_report = time

    def _decoded(self, event: Decoded) -> None:
        serial, sender = event.report.serial, event.flow.source
        if self._senders.get(serial) != sender:
            self._senders[serial] = sender
            _log.info(
                "inverter %s: %d-byte reports from %s to %s port %d",
                serial,
                len(event.report.data),
                address_text(sender),
                address_text(event.flow.destination),
                event.flow.destination_port,
            )
        if event.report.learnt:
            self._learnt(event.report)
        if event.reading is None:
            if self._decoder.readings.counts.foreign > self._foreign_reports:
                self._not_fitting(event)
            else:
                self._from_the_future(event)
            return
        self._kind(event.reading)
        for field in sorted(self._decoder.readings.implausible.keys() - self._implausible):
            self._implausible.add(field)
            _log.warning("inverter %s: %s is out of its range and left out, as often as that happens", serial, field)
        if self._live and event.time > CLOCK_SET_AFTER * SECOND:
            self._compare_clocks(event, event.reading)

    def _learnt(self, report: Report) -> None:
        layout = report.layout
        if layout is None or self._layouts.get(report.serial) == layout:
            return
        self._layouts[report.serial] = layout
        _log.info(
            "inverter %s: a layout of %d bytes, learnt from the server (registers %s)",
            report.serial,
            layout.length,
            layout,
        )
        known = LAYOUTS.get(layout.length)
        if known not in (None, layout):
            _log.warning(
                "inverter %s: reports of %d bytes usually hold other registers (%s); what the server says counts",
                report.serial,
                layout.length,
                known,
            )

    def _kind(self, reading: Reading) -> None:
        kind, before = reading.kind, self._kinds.get(reading.serial)
        if kind is before:
            return
        self._kinds[reading.serial] = kind
        if kind.experimental and (before is None or not before.experimental):
            _log.warning(
                "inverter %s: %s; such inverters are read experimentally, since no report of one is on record: check "
                "the values, and please report what `inverter-capture decode --raw --anonymise CAPTURE` shows",
                reading.serial,
                kind.name,
            )
        elif kind.experimental:
            _log.info("inverter %s: %s", reading.serial, kind.name)

    def _not_fitting(self, event: Decoded) -> None:
        serial = event.report.serial
        self._foreign_reports = self._decoder.readings.counts.foreign
        if serial not in self._foreign:
            self._foreign.add(serial)
            _log.warning(
                "inverter %s: the values in its reports are not those of the registers that the server asks for; such "
                "reports are not decoded: please report what `inverter-capture decode --raw --anonymise CAPTURE` shows",
                serial,
            )

    def _compare_clocks(self, event: Decoded, reading: Reading) -> None:
        serial = event.report.serial
        error = self._clock.check(event.report, reading, event.time)
        if error is not None and serial not in self._clock_errors:
            self._clock_errors.add(serial)
            _log.warning(
                "inverter %s: its clock is %s this system's in the configured time zone; %s",
                serial,
                distance_text(error.ahead),
                remedy(error),
            )

    def _from_the_future(self, event: Decoded) -> None:
        if not self._ahead:
            _log.warning(
                "inverter %s: its report says %s, more than a day ahead of this system's clock; such reports are left "
                "out: set the inverter's clock, or this system's",
                event.report.serial,
                event.report.clock,
            )
        self._ahead += 1

    def _unknown_length(self, event: Unknown) -> None:
        serial, length = event.report.serial, len(event.report.data)
        reported = self._unknown.get((serial, length))
        if reported is None or event.time - reported >= DAY_SECONDS * SECOND:
            self._unknown[serial, length] = event.time
            _log.warning(
                "inverter %s: reports of %d bytes, whose registers are not known (%d so far). They are decoded once "
                "the dongle has connected anew, for then the server tells them; please report what "
                "`inverter-capture decode --raw --anonymise CAPTURE` shows",
                serial,
                length,
                self._decoder.counts.unknown,
            )
