"""Hex dumps of messages, with register numbers and optionally without serial numbers, for bug reports.

Only reports and poll maps are shown completely. Other messages may contain secrets, as the login does.
"""

from __future__ import annotations

from inverter_capture.protocol.layouts import REGISTERS_OFFSET
from inverter_capture.protocol.messages import (
    CLOCK_LENGTH,
    CLOCK_OFFSET,
    HEADER_LENGTH,
    LENGTH_OFFSET,
    NUMBER_OFFSET,
    SERIAL_LENGTH,
    SERIAL_OFFSET,
    STATUS_OFFSET,
    TYPE_NAMES,
    Message,
    dongle_serial,
)
from inverter_capture.protocol.packets_to_readings import Decoded, Event, Heard, MapHeard, Unknown
from inverter_capture.protocol.poll_maps import PollMap
from inverter_capture.protocol.reports import Report

ROW_LENGTH = 16  # Bytes per row: eight registers

_SERIAL_END = SERIAL_OFFSET + SERIAL_LENGTH
_PARTS = (
    (0, STATUS_OFFSET, "start, direction, type"),
    (STATUS_OFFSET, NUMBER_OFFSET, "status, unknown"),
    (NUMBER_OFFSET, LENGTH_OFFSET, "message number"),
    (LENGTH_OFFSET, HEADER_LENGTH, "length of what follows"),
    (SERIAL_OFFSET, _SERIAL_END, "serial number"),
    (_SERIAL_END, CLOCK_OFFSET, "unknown"),
    (CLOCK_OFFSET, CLOCK_OFFSET + CLOCK_LENGTH, "year month day hour minute second"),
    (CLOCK_OFFSET + CLOCK_LENGTH, REGISTERS_OFFSET, "unknown"),
)
"""The parts of a report before its registers: start and end offset, and description."""


class Anonymiser:
    """Replaces serial numbers of inverters and dongles, each always by the same invented one."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def serial(self, serial: str) -> str:
        """The invented serial number, of the same length. Inverters' and dongles' are numbered separately."""
        if serial not in self._names:
            number = 1 + sum(len(name) == len(serial) for name in self._names)
            self._names[serial] = f"ANON{number:0{len(serial) - 4}d}"
        return self._names[serial]

    def event(self, event: Event) -> Event:
        """The event with all serial numbers that `dump` and the formats show replaced."""
        if isinstance(event, Heard):
            if serial := dongle_serial(event.message):
                self.serial(serial)
            return event
        if isinstance(event, MapHeard):
            return event
        serial = self.serial(event.report.serial)
        data = event.report.data
        for real, made_up in self._names.items():
            data = data.replace(real.encode(), made_up.encode())
        report = event.report._replace(serial=serial, data=data)
        if isinstance(event, Unknown):
            return event._replace(report=report)
        return event._replace(report=report, reading=event.reading and event.reading._replace(serial=serial))


def dump(event: Event) -> str:
    """The hex dump of an event's message, as lines."""
    if isinstance(event, Decoded | Unknown):
        return _report(event.report)
    if isinstance(event, MapHeard):
        return _poll_map(event.message, event.poll_map)
    return _heading(event.message) + (", body not shown\n" if len(event.message.data) > HEADER_LENGTH else "\n")


def _heading(message: Message) -> str:
    name = TYPE_NAMES.get(message.type, f"unknown type {message.type:02x}")
    sender = "the dongle" if message.from_dongle else "the server"
    return f"{name} number {message.number} from {sender}, {len(message.data)} bytes"


def _report(report: Report) -> str:
    layout = report.layout
    source = "unknown" if layout is None else "learnt from the server" if report.learnt else "known"
    lines = [f"{_heading(Message(report.data))}, layout {source}", f"{'offset':>6}  {'register':>8}"]
    for start, end, label in _PARTS:
        lines.append(f"{start:6}  {'':8}  {report.data[start:end].hex(' ')}  {label}")
    if layout is None:
        lines += _rows(report.data, REGISTERS_OFFSET, len(report.data), None)
    else:
        for block in layout.blocks:
            lines += _rows(report.data, block.offset, block.end, block.first)
    return "\n".join(lines) + "\n"


def _poll_map(message: Message, poll_map: PollMap) -> str:
    lines = [f"{_heading(message)}: reports of {poll_map.layout.length} bytes", "flags  registers"]
    for entry in poll_map.entries:
        registers = str(entry.first) if entry.length == 1 else f"{entry.first}-{entry.last}"
        lines.append(f"{entry.flags[0]} {entry.flags[1]}    {registers}" + ("  in the report" * entry.in_report))
    return "\n".join(lines) + "\n"


def _rows(data: bytes, start: int, end: int, register: int | None) -> list[str]:
    lines = []
    for at in range(start, end, ROW_LENGTH):
        row = data[at : min(at + ROW_LENGTH, end)]
        number = "" if register is None else str(register + (at - start) // 2)
        text = row.hex(" ") if register is None else row.hex(" ", 2)
        lines.append(f"{at:6}  {number:>8}  {text}" + ("  unknown" if register is None else ""))
    return lines
