"""The `discover` command: finds the dongles that send reports, on a device or in a capture file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from inverter_capture.capture.device import ANY, LiveCapture, device_problem
from inverter_capture.capture.dongle_filter import DongleFilter
from inverter_capture.capture.dongle_search import DongleSearch
from inverter_capture.capture.events import events_of
from inverter_capture.capture.file import FileCapture
from inverter_capture.capture.libpcap import CaptureError
from inverter_capture.commands.discover_report import Survey
from inverter_capture.output.progress import ProgressBar, StatusLine
from inverter_capture.protocol.packets_to_readings import Decoder
from inverter_capture.protocol.times import SECOND
from inverter_capture.service.file_checks import why_nothing
from inverter_capture.service.signals import on_signals

NOTHING_CAPTURED = (
    "no report was captured. Does the dongle's traffic pass here? Try the bridge of its network, or any, for at least "
    "ten minutes; a switch chip or hardware offload can carry traffic past the router's own processor"
)
HEARD = "a dongle was heard at {}, but no report yet: listen for at least ten minutes"

Progress = Callable[[dict[str, Any]], object]


def discover(source: str, seconds: int, progress: Progress) -> tuple[Survey, str]:
    """Look for dongles on a device, for `seconds` or until Ctrl-C, or in a capture file.

    `progress` is called on a device when the counts have changed, at most once a second. Returns what was found, and
    the problem, which is empty if there is none. Raises CaptureError when the source cannot be read at all.
    """
    is_file = source != ANY and (os.path.exists(source) or "/" in source or source == "-")
    survey = Survey(source, file=is_file)
    if is_file:
        return survey, _read(source, survey)
    _listen(source, seconds, survey, progress)
    heard = ", ".join(survey.counts["candidates"])
    problem = f'"{source}": {HEARD.format(heard) if heard else NOTHING_CAPTURED}'
    return survey, "" if survey.found else problem


def _read(path: str, survey: Survey) -> str:
    """Survey a capture file. Returns why there is no report, or why the file was not read to its end; or nothing."""
    decoder = Decoder()
    problem = ""
    with FileCapture(path, DongleSearch()) as capture, ProgressBar(lambda: capture.position, capture.size, path):
        try:
            for events in events_of(capture, decoder):
                survey.add(events)
        except CaptureError as error:
            problem = str(error)
    survey.add(decoder.close())
    if not problem and not survey.found:
        problem = f'"{path}": {why_nothing(decoder, [path], filtered=False)}'
    return problem


def _listen(device: str, seconds: int, survey: Survey, progress: Progress) -> None:
    """Survey a device for this time, or until SIGINT or SIGTERM."""
    if problem := device_problem(device):
        raise CaptureError(device, problem)
    decoder = Decoder(live=True)
    line = StatusLine()
    stopped = False
    with LiveCapture(device, DongleFilter()) as capture:

        def stop() -> None:
            nonlocal stopped
            stopped = True
            capture.wake()

        with on_signals(stop):
            end = time.monotonic() + seconds
            shown, show_at = 0, 0.0
            for events in events_of(capture, decoder, lambda: time.time_ns() + SECOND):
                survey.add(events)
                now, packets = time.monotonic(), decoder.packets.counts.packets
                if stopped or now >= end:
                    break
                line.show(f"listening on {device}, {end - now:.0f} s to go (Ctrl-C to end): {survey.status}")
                if packets > shown and now >= show_at:
                    shown, show_at = packets, now + 1
                    progress({"packets": packets, **survey.counts})
        survey.add(decoder.receive(*capture.drain()))
    line.clear()
    survey.add(decoder.close())
