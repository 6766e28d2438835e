"""Says in the log what its reader should know about the frames, once for each change."""

from __future__ import annotations

import logging

from inverter_capture.config.timezone import distance_text, remedy
from inverter_capture.protocol.clock import ClockWatch
from inverter_capture.protocol.guard import INVERTERS_MAX, Held
from inverter_capture.protocol.packets import address_text
from inverter_capture.protocol.packets_to_readings import Decoded, Decoder, Event, Skipped, Unknown
from inverter_capture.protocol.readings import CLOCK_SET_AFTER, Reading
from inverter_capture.protocol.times import SECOND

QUIET_SECONDS = 30 * 60
"""Dongles speak every five minutes; after this long without a frame something is wrong."""
CLOCK_SET_SECONDS = 60
"""Whoever looks so much later than asked for looks at a clock that was set meanwhile."""
DAY_SECONDS = 24 * 3600


_log = logging.getLogger(__name__)


class Observer:
    """Watches what a decoder finds. Times are in nanoseconds since the epoch, as the events bring them."""

    def __init__(self, decoder: Decoder, started: int, *, live: bool) -> None:
        """`live`: the events come as they happen, so clocks can be compared and silence means something."""
        self._decoder = decoder
        self._live = live
        self._clock = ClockWatch()
        self._clock_errors: set[str] = set()
        self._senders: dict[str, bytes] = {}
        self._unknown: dict[tuple[str, int], int] = {}
        self._implausible: set[str] = set()
        self._held: set[tuple[str, str]] = set()
        self._serials: set[str] = set()
        self._ahead = 0
        self._last_frame = started
        self._quiet = False

    @property
    def deadline(self) -> int | None:
        """When `advance` is to be called if nothing happens before."""
        return None if self._quiet or not self._live else self._last_frame + QUIET_SECONDS * SECOND

    def observe(self, event: Event) -> None:
        """Say what is new about an event."""
        if isinstance(event, Decoded | Unknown):
            self._heard(event.time)
            if not self._knows(event.frame.serial):
                return
        if isinstance(event, Decoded):
            self._decoded(event)
        elif isinstance(event, Unknown):
            self._unknown_length(event)
        elif isinstance(event, Skipped):
            _log.debug("%s: no frame: %s", event.flow, event.head.hex(" "))

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
        """Say so when there has been no frame for long."""
        if not 0 <= time - self._last_frame <= (QUIET_SECONDS + CLOCK_SET_SECONDS) * SECOND and not self._quiet:
            # Nobody waits that long without calling: the clock has been set.
            self._last_frame = time
        deadline = self.deadline
        if deadline is not None and time >= deadline:
            self._quiet = True
            _log.warning(
                "no frame for %d minutes: is the dongle on, and does its traffic pass [pcap] device and [pcap] filter?",
                QUIET_SECONDS // 60,
            )

    def _knows(self, serial: str) -> bool:
        if serial not in self._serials and len(self._serials) < INVERTERS_MAX:
            self._serials.add(serial)
        return serial in self._serials

    def _heard(self, time: int) -> None:
        if self._quiet:
            self._quiet = False
            _log.info("frames again, after %d minutes without", (time - self._last_frame) // (60 * SECOND))
        self._last_frame = time

    def _decoded(self, event: Decoded) -> None:
        serial, sender = event.frame.serial, event.flow.source
        if self._senders.get(serial) != sender:
            self._senders[serial] = sender
            _log.info(
                "inverter %s: %d-byte frames from %s to %s port %d",
                serial,
                len(event.frame.data),
                address_text(sender),
                address_text(event.flow.destination),
                event.flow.destination_port,
            )
        if event.reading is None:
            self._from_the_future(event)
            return
        for field in sorted(self._decoder.readings.implausible.keys() - self._implausible):
            self._implausible.add(field)
            _log.warning("inverter %s: %s is out of its range and left out, as often as that happens", serial, field)
        if self._live and event.time > CLOCK_SET_AFTER * SECOND:
            self._compare_clocks(event, event.reading)

    def _compare_clocks(self, event: Decoded, reading: Reading) -> None:
        serial = event.frame.serial
        error = self._clock.check(event.frame, reading, event.time)
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
                "inverter %s: its frame says %s, more than a day ahead of this system's clock; such frames are left "
                "out: set the inverter's clock, or this system's",
                event.frame.serial,
                event.frame.clock,
            )
        self._ahead += 1

    def _unknown_length(self, event: Unknown) -> None:
        serial, length = event.frame.serial, len(event.frame.data)
        reported = self._unknown.get((serial, length))
        if reported is None or event.time - reported >= DAY_SECONDS * SECOND:
            self._unknown[serial, length] = event.time
            _log.warning(
                "inverter %s: frames of %d bytes, which are unknown here and not decoded (%d so far); please report "
                "the frame that `inverter-capture decode --raw --anonymise CAPTURE` shows",
                serial,
                length,
                self._decoder.frame_counts.unknown,
            )
