"""The `discover` command: listens on a device or reads a capture file, and says who sends frames."""

from __future__ import annotations

import os
import time

from inverter_capture.capture.device import ANY, LiveCapture, device_problem, takes_large_filters
from inverter_capture.capture.dongle_filter import Finder
from inverter_capture.capture.file import FileCapture
from inverter_capture.capture.libpcap import CaptureError
from inverter_capture.commands.discover_report import Survey
from inverter_capture.output.progress import ProgressBar, StatusLine
from inverter_capture.protocol.packets_to_readings import Decoded, Decoder, Event, Unknown
from inverter_capture.service.signals import on_signals

NOTHING_FOUND = (
    "no frame seen. Does the dongle's traffic pass here? Try the bridge of its network, or any, for at least "
    "ten minutes; a switch chip or hardware offload can carry traffic past the router's own processor"
)


def discover(source: str, seconds: int) -> tuple[str | None, str | None]:
    """The report on a device, after this time or Ctrl-C, or on a capture file; None when there was no frame.

    With it comes what is wrong with the file, if anything. Raises CaptureError when nothing can be read.
    """
    is_file = source != ANY and (os.path.exists(source) or "/" in source or source == "-")
    command = _Discover(source, is_file=is_file)
    if is_file:
        command.read_file()
    else:
        command.listen(seconds)
    return command.survey.report() if command.survey.found else None, command.problem


class _Discover:
    def __init__(self, source: str, *, is_file: bool) -> None:
        self.survey = Survey(source, file=is_file)
        self.problem: str | None = None
        self._source = source
        self._is_file = is_file
        self._decoder = Decoder(live=not is_file)
        self._finder = Finder()
        self._stopping = False

    def read_file(self) -> None:
        capture = FileCapture(self._source, self._filter_for)
        with ProgressBar(lambda: capture.position, capture.size, self._source):
            try:
                for packet in capture:
                    self._add(self._decoder.receive(packet), capture)
            except CaptureError as error:
                self.problem = str(error)
        self._add(self._decoder.close(), capture)
        capture.close()

    def listen(self, seconds: int) -> None:
        problem = device_problem(self._source)
        if problem:
            raise CaptureError(problem)
        capture = LiveCapture(self._source, self._filter_for)
        line = StatusLine()

        def stop() -> None:
            self._stopping = True
            capture.wake()

        with on_signals(stop):
            end = time.monotonic() + seconds
            while not self._stopping and (left := end - time.monotonic()) > 0:
                line.show(f"listening on {self._source}, {left:.0f} s to go (Ctrl-C to end): {self.survey.status}")
                for packet in capture.wait(min(left, 1.0)):
                    self._add(self._decoder.receive(packet), capture)
        line.clear()
        self._add(self._decoder.close(), capture)
        capture.close()

    def _filter_for(self, link_type: int) -> str:
        live = not self._is_file
        return self._finder.filter(link_type, live=live, small=live and not takes_large_filters())

    def _add(self, events: list[Event], capture: FileCapture | LiveCapture) -> None:
        if events and self._finder.heed(events):
            capture.refilter()
        for event in events:
            if isinstance(event, Decoded | Unknown):
                self.survey.add(event)
