"""Logs what changes in the reports: inverters, senders, clocks, layouts, silence. Each change is logged once."""

from __future__ import annotations

import logging
from collections import deque

from inverter_capture.config.timezone import distance_text, remedy
from inverter_capture.protocol.admission import Verdict
from inverter_capture.protocol.clock import ClockWatch
from inverter_capture.protocol.guard import Held
from inverter_capture.protocol.inverter_kinds import INVERTERS_MAX, Kind
from inverter_capture.protocol.layouts import LAYOUTS, Layout
from inverter_capture.protocol.packets import Flow, address_text
from inverter_capture.protocol.packets_to_readings import Decoded, Decoder, Event, Unknown
from inverter_capture.protocol.readings import CLOCK_SET_AFTER, Reading
from inverter_capture.protocol.reports import Report
from inverter_capture.protocol.times import SECOND
from inverter_capture.text import REPORT_IT

DEFAULT_INTERVAL_SECONDS = 5 * 60  # Expected seconds between reports until intervals have been observed
MISSED_REPORTS = 6  # A silence is logged after this many intervals without a report, and ...
QUIET_SECONDS_MIN = 10 * 60  # ... after at least this many seconds
BURST_SECONDS = 20  # Shorter intervals, in seconds, do not count: those reports are a backlog, or come from two dongles
SILENCE_INTERVALS = 9  # Number of intervals of which the median is taken
CLOCK_SET_SECONDS = 60  # Seconds after `deadline`: a later call of `advance` means that the system's clock was set
DAY_SECONDS = 24 * 3600
KIND_SECONDS = 60  # Minimum seconds between two log lines of a kind that forged packets can cause
REFUSED_SECONDS = 3600  # Minimum seconds between two log lines about refused reports
UNKNOWN_MAX = 256  # Maximum number of unknown lengths that are remembered
HELD_SHOWN_MAX = 3  # Maximum number of held back values in one log line

# Parts of log lines.
FOREIGN = "the values in its reports are not those of the registers that the server asks for; they are not decoded"
AHEAD = "such reports are left out: set the inverter's clock, or this system's"
EXPERIMENTAL = "such inverters are read experimentally, since no report of one is on record"
CONNECTED_AGAIN = "They are decoded after the dongle has connected again: the server tells it the registers then"

_log = logging.getLogger(__name__)


class ReportLog:
    """Observes the events of a decoder. Times are in nanoseconds since the epoch, as in the events."""

    def __init__(self, decoder: Decoder, started: int, *, live: bool) -> None:
        """`live`: events arrive as they happen, so clocks are compared and silence is logged."""
        self._decoder = decoder
        self._live = live
        self._clock = ClockWatch()
        self._layouts: dict[str, Layout] = {}
        self._unknown: dict[tuple[str, int], int] = {}
        self._implausible: set[str] = set()
        self._serials: dict[str, None] = {}  # Serial numbers of the inverters, in the order of their last reports
        self._not_named: set[str] = set()
        self._logged: set[tuple[str, str]] = set()
        """What has been logged of an inverter: its serial number, and the kind of line."""
        self._logged_at: dict[str, int] = {}  # The time of the last line of each kind
        self._kinds: dict[str, Kind] = {}
        self._last_report = started
        self._intervals: deque[int] = deque(maxlen=SILENCE_INTERVALS)
        self._quiet = False
        self._heard_before = False

    @property
    def deadline(self) -> int | None:
        """The time to call `advance` unless there is an event before; None: never."""
        return None if self._quiet or not self._live else self._last_report + self._quiet_seconds * SECOND

    @property
    def _quiet_seconds(self) -> int:
        """Seconds without a report after which the silence is logged."""
        intervals = sorted(self._intervals)
        interval = intervals[(len(intervals) - 1) // 2] if intervals else DEFAULT_INTERVAL_SECONDS
        return max(QUIET_SECONDS_MIN, MISSED_REPORTS * interval)

    def observe(self, event: Event) -> None:
        """Log what is new in an event."""
        if isinstance(event, Decoded):
            self._heard(event)
            self._decoded(event)
        elif isinstance(event, Unknown):
            self._heard(event)
            self._unknown_length(event)

    def judged(self, verdict: Verdict, report: Report, flow: Flow, time: int) -> None:
        """Log changes of the senders of reports. `time`: when this report was captured."""
        serial, sender = report.serial, address_text(flow.source)
        if verdict in (Verdict.NEW, Verdict.MOVED):
            self._logged.discard((serial, "second sender"))
            server = f"{address_text(flow.destination)} port {flow.destination_port}"
            _log.info("inverter %s: %d-byte reports from %s to %s", serial, len(report.data), sender, server)
        elif verdict is Verdict.SECOND_SENDER:
            text = f"reports come from a second address, {sender}: the dongle has a new one, or somebody forges reports"
            self._warn_once(serial, "second sender", time, f"{text}; the guard does not learn from them for now")
        elif verdict is Verdict.NOT_NAMED:
            known = serial in self._not_named or len(self._not_named) >= INVERTERS_MAX
            if not known and self._may_log("not named", time):
                self._not_named.add(serial)
                _warn(serial, f"not read, since [pcap] serials does not name it (from {sender})")
        elif verdict is Verdict.TOO_MANY and self._may_log("too many", time, REFUSED_SECONDS):
            refused = f"from {sender}; {self._decoder.counts.refused + 1} reports were refused so far"
            text = f"not read for now, since too many inverters are new ({refused}): name yours in [pcap] serials"
            _warn(serial, text)

    def held(self, values: list[Held], time: int) -> None:
        """Log the first held back value of each field. `time`: when the values were captured."""
        new = [value for value in values if (value.serial, f"held {value.field}") not in self._logged]
        if not new or not self._may_log("held", time):
            return
        self._logged.update((value.serial, f"held {value.field}") for value in new)
        shown = ", ".join(f"{value.field} = {value.value} ({value.why})" for value in new[:HELD_SHOWN_MAX])
        more = f" and {len(new) - HELD_SHOWN_MAX} more" if len(new) > HELD_SHOWN_MAX else ""
        _warn(new[0].serial, f"held back: {shown}{more}; left out until later readings confirm it")

    def advance(self, time: int) -> None:
        """Log a silence. `time`: the current time."""
        if not 0 <= time - self._last_report <= (self._quiet_seconds + CLOCK_SET_SECONDS) * SECOND and not self._quiet:
            # `advance` would have been called before: the clock has been set.
            self._last_report = time
        deadline = self.deadline
        if deadline is not None and time >= deadline:
            self._quiet = True
            what = "check that the dongle is on, and its packets pass [pcap] device and filter"
            _log.warning("no report for %d minutes: %s", self._quiet_seconds // 60, what)

    def _may_log(self, kind: str, time: int, seconds: int = KIND_SECONDS) -> bool:
        """Whether a line of this kind may be logged now; otherwise a later report logs it. Not limited for files."""
        before = self._logged_at.get(kind)
        if self._live and before is not None and 0 <= time - before < seconds * SECOND:
            return False
        self._logged_at[kind] = time
        return True

    def _warn_once(self, serial: str, kind: str, time: int, text: str) -> None:
        if (serial, kind) not in self._logged and self._may_log(kind, time):
            self._logged.add((serial, kind))
            _warn(serial, text)

    def _remember(self, serial: str) -> None:
        """Put an inverter last. Beyond INVERTERS_MAX, forget the longest silent one."""
        self._serials.pop(serial, None)
        self._serials[serial] = None
        if len(self._serials) <= INVERTERS_MAX:
            return
        gone = next(iter(self._serials))
        del self._serials[gone]
        self._layouts.pop(gone, None)
        self._kinds.pop(gone, None)
        self._unknown = {key: when for key, when in self._unknown.items() if key[0] != gone}
        self._logged = {key for key in self._logged if key[0] != gone}

    def _heard(self, event: Decoded | Unknown) -> None:
        time = event.time
        self._remember(event.report.serial)
        if self._quiet:
            self._quiet = False
            _log.info("reports arrive again, after %d minutes without", (time - self._last_report) // (60 * SECOND))
        interval = (time - self._last_report) // SECOND
        if self._heard_before and BURST_SECONDS <= interval <= DAY_SECONDS:
            self._intervals.append(interval)
        self._heard_before = True
        self._last_report = time

    def _decoded(self, event: Decoded) -> None:
        time, _, report, reading, is_ahead = event
        serial = report.serial
        if report.learnt:
            self._learnt(report, time)
        if reading is None:
            if is_ahead:
                clock = f"its report says {report.clock}, more than a day ahead of this system's clock"
                self._warn_once(serial, "ahead", time, f"{clock}; {AHEAD}")
            else:
                self._warn_once(serial, "foreign", time, f"{FOREIGN}: {REPORT_IT}")
            return
        self._kind(reading, time)
        implausible = self._decoder.readings.implausible
        if len(implausible) > len(self._implausible):
            # All reports of a batch are decoded first: only the fields that this one lacks can be its own.
            absent = {field.id for field in reading.fields}.difference(reading.ids)
            fields = sorted(absent & implausible.keys() - self._implausible)
            if fields and self._may_log("implausible", time):
                self._implausible.update(fields)
                _warn(serial, f"values out of range are left out (logged once): {', '.join(fields)}")
        if self._live and time > CLOCK_SET_AFTER * SECOND:
            error = self._clock.check(report, reading, time)
            if error is not None:
                clock = f"its clock is {distance_text(error.ahead)} this system's in the configured time zone"
                self._warn_once(serial, "clock", time, f"{clock}; {remedy(error)}")

    def _learnt(self, report: Report, time: int) -> None:
        layout = report.layout
        if layout is None or self._layouts.get(report.serial) == layout:
            return
        # The first layout of an inverter is always logged: there is one for each new inverter.
        if report.serial in self._layouts and not self._may_log("layout", time):
            return
        self._layouts[report.serial] = layout
        length, known = layout.length, LAYOUTS.get(layout.length)
        text = "inverter %s: a layout of %d bytes, learnt from the server (registers %s)"
        _log.info(text, report.serial, length, layout)
        if known not in (None, layout):
            other = f"reports of {length} bytes usually hold other registers ({known})"
            _warn(report.serial, f"{other}; what the server says counts")

    def _kind(self, reading: Reading, time: int) -> None:
        kind, before = reading.kind, self._kinds.get(reading.serial)
        if kind is before or (before is not None and not self._may_log("kind", time)):
            return
        self._kinds[reading.serial] = kind
        if kind.experimental and (before is None or not before.experimental):
            _warn(reading.serial, f"{kind.name}; {EXPERIMENTAL}: check the values, and {REPORT_IT}")
        elif kind.experimental:
            _log.info("inverter %s: %s", reading.serial, kind.name)

    def _unknown_length(self, event: Unknown) -> None:
        serial, length = event.report.serial, len(event.report.data)
        reported = self._unknown.get((serial, length))
        due = reported is None or event.time - reported >= DAY_SECONDS * SECOND
        if due and self._may_log("unknown length", event.time):
            if len(self._unknown) >= UNKNOWN_MAX:
                del self._unknown[min(self._unknown, key=self._unknown.__getitem__)]
            self._unknown[serial, length] = event.time
            text = f"reports of {length} bytes, whose registers are not known ({self._decoder.counts.unknown} so far)"
            _warn(serial, f"{text}. {CONNECTED_AGAIN}; {REPORT_IT}")


def _warn(serial: str, text: str) -> None:
    _log.warning("inverter %s: %s", serial, text)
