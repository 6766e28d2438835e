"""The `decode` command: prints the readings in capture files."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, tzinfo

from inverter_capture.capture.dongle_search import DongleSearch
from inverter_capture.capture.events import events_of
from inverter_capture.capture.file import FileCapture
from inverter_capture.capture.libpcap import CaptureError, FilterError
from inverter_capture.commands.hex_dump import Anonymiser, dump
from inverter_capture.output.formats import formatter
from inverter_capture.output.progress import ProgressBar
from inverter_capture.output.terminal import has_colour, is_terminal, width
from inverter_capture.protocol.clock import FileClocks
from inverter_capture.protocol.packets_to_readings import Decoded, Decoder, Event
from inverter_capture.protocol.times import SECOND
from inverter_capture.service.file_checks import UNKNOWN, explain_clocks, why_nothing


class DecodeCommand:
    """Decodes capture files in their order as one capture, and prints the readings."""

    def __init__(
        self,
        zone: tzinfo | None,
        format: str,
        *,
        filter: str = "",
        raw: bool = False,
        anonymise: bool = False,
    ) -> None:
        self._filter = filter or DongleSearch()
        self._raw = raw
        self._anonymiser = Anonymiser() if anonymise else None
        self._formatter = formatter(format, zone=zone, colour=has_colour(sys.stdout), width=width(sys.stdout))
        self._decoder = Decoder(zone)
        self._bar: ProgressBar | None = None
        self._clears_bar = is_terminal(sys.stdout)
        self._clocks = FileClocks()

    def run(self, paths: Sequence[str]) -> list[str]:
        """Print all readings. Returns the problems, one line each. Raises FilterError, OSError for standard output."""
        problems: list[str] = []
        sys.stdout.write(self._formatter.header)
        if isinstance(self._filter, DongleSearch) and len(paths) > 1:
            self._search(paths, self._filter)
        for path in paths:
            try:
                self._read(path)
            except FilterError:
                raise
            except CaptureError as error:
                problems.append(str(error))
        self._print(self._decoder.close())
        sys.stdout.flush()
        counts = self._decoder.counts
        if counts.unknown and not self._raw:
            problems.append(UNKNOWN.format(counts.unknown))
        elif not self._clocks.readings and not counts.unknown and not problems:
            problems.append(why_nothing(self._decoder, list(paths), filtered=isinstance(self._filter, str)))
        return problems

    @property
    def warning(self) -> str:
        """What is wrong with the clocks throughout; empty when nothing is."""
        error = self._clocks.error
        return explain_clocks(error, "use --timezone {}") if error else ""

    def _search(self, paths: Sequence[str], search: DongleSearch) -> None:
        """Find the dongles in all files first: a dongle found in one file is decoded in all."""
        for path in paths:
            # A pipe can be read only once. Errors are reported when the file is decoded.
            if path != "-" and os.path.isfile(path):
                with suppress(CaptureError), FileCapture(path, search) as capture, _bar(capture):
                    capture.search()
        search.is_over = True

    def _read(self, path: str) -> None:
        with FileCapture(path, self._filter) as capture, _bar(capture) as self._bar:
            for events in events_of(capture, self._decoder):
                self._print(events)

    def _print(self, events: list[Event]) -> None:
        texts = []
        for event in events:
            if isinstance(event, Decoded) and event.reading:
                self._clocks.add(event.report, event.reading, event.time)
            texts.append(self._text(self._anonymiser.event(event) if self._anonymiser else event))
        if text := "".join(texts):
            if self._bar is not None and self._clears_bar:
                self._bar.clear()
            sys.stdout.write(text)

    def _text(self, event: Event) -> str:
        text = self._formatter.format(event.reading) if isinstance(event, Decoded) and event.reading else ""
        if self._raw:
            captured = datetime.fromtimestamp(event.time // SECOND, UTC)
            # Addresses can identify the owner, too.
            flow = "" if self._anonymiser else f", from {event.flow}"
            text += f"captured {captured:%Y-%m-%d %H:%M:%S} UTC{flow}\n{dump(event)}\n"
        return text


def _bar(capture: FileCapture) -> ProgressBar:
    return ProgressBar(lambda: capture.position, capture.size, capture.path)
