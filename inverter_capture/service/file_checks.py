"""Checks of a capture file: why it gives no readings, and whether its clocks fit the time zone."""

from __future__ import annotations

import os
from contextlib import suppress

from inverter_capture.capture.dongle_search import DongleSearch
from inverter_capture.capture.events import events_of
from inverter_capture.capture.file import FileCapture
from inverter_capture.capture.libpcap import CaptureError
from inverter_capture.config.schema import PcapConfig
from inverter_capture.config.timezone import distance_text, named_zone, remedy
from inverter_capture.protocol.clock import ClockError, FileClocks
from inverter_capture.protocol.packets_to_readings import Decoded, Decoder
from inverter_capture.text import REPORT_IT, counted

SURVEYED_READINGS = 100  # Readings whose clocks are compared before an import begins
UNKNOWN = f"reports of unknown length, which are not decoded: {{}}; {REPORT_IT}"
LONGER = "capture for at least ten minutes"


def why_nothing(decoder: Decoder, paths: list[str], *, filtered: bool) -> str:
    """Why decoded capture files give no readings, with counts, and what to try.

    `filtered`: whether only packets that pass the user's filter were read.
    """
    total = sum(map(_packets, paths)) if all(map(os.path.isfile, paths)) else None
    packets, counts = decoder.packets.counts, decoder.counts
    messages = decoder.message_counts.messages
    reports = counts.known + counts.unknown + counts.refused
    numbers = [] if total is None else [f"{counted(total, 'packet')} in all"]
    which = "through the filter" if filtered else "like those of a dongle"
    numbers.append(f"{counted(packets.packets, 'packet')} {which}")
    numbers.append(counted(decoder.streams.counts.streams, "stream"))
    numbers += [counted(messages, "message"), counted(reports, "report")]
    if total == 0:
        remedy = f"{LONGER}, where the dongle's traffic passes"
    elif not packets.packets:
        here = "the filter, which must let both directions through" if filtered else "that the dongle's traffic passes"
        remedy = f"check {here}{'' if filtered else ' where it was captured'}, and {LONGER}"
    elif packets.cut:
        remedy = "capture whole packets (`tcpdump -s 0`)"
    elif not messages:
        remedy = f"check that this is a dongle's connection, and that both directions are captured, and {LONGER}"
    elif not reports:
        remedy = LONGER
    elif counts.refused:
        remedy = "check [pcap] serials"
    else:
        remedy = REPORT_IT
    return f"no reading: {', '.join(numbers)}: {remedy}"


def _packets(path: str) -> int:
    """The number of packets in a capture file."""
    packets = 0
    with suppress(CaptureError), FileCapture(path, "") as capture:
        while not capture.ended:
            packets += len(capture.wait())
    return packets


def clock_error(config: PcapConfig) -> ClockError | None:
    """The error of all clocks at the beginning of a capture file, which is read for this. None for a pipe.

    Raises CaptureError.
    """
    if not os.path.isfile(config.device):
        return None
    clocks = FileClocks()
    decoder = Decoder(named_zone(config.timezone))
    with FileCapture(config.device, config.filter or DongleSearch()) as capture:
        for events in events_of(capture, decoder):
            for event in events:
                if isinstance(event, Decoded) and event.reading:
                    clocks.add(event.report, event.reading, event.time)
            if clocks.right or clocks.readings >= SURVEYED_READINGS:
                break
    return clocks.error


def explain_clocks(error: ClockError, action: str) -> str:
    """The message and remedy for clocks that are wrong throughout a file. `action`: how to set the time zone {}."""
    return f"the inverter's clock is {distance_text(error.ahead)} the capture's throughout: {remedy(error, action)}"
