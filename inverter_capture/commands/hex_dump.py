"""Frames as hex with their register numbers, and readings without the serial number: for bug reports."""

from __future__ import annotations

from inverter_capture.protocol import registers
from inverter_capture.protocol.packets_to_readings import Decoded, Unknown

ROW_LENGTH = 16
"""Bytes in a row: eight registers."""


class Anonymiser:
    """Replaces serial numbers, each always by the same made-up one."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def serial(self, serial: str) -> str:
        """The made-up serial number, as long as the real one."""
        return self._names.setdefault(serial, f"ANON{len(self._names) + 1:0{registers.SERIAL_LENGTH - 4}d}")

    def event(self, event: Decoded | Unknown) -> Decoded | Unknown:
        """The same event without the real serial number anywhere in it."""
        real = event.frame.serial
        serial = self.serial(real)
        data = event.frame.data.replace(real.encode(), serial.encode())
        if isinstance(event, Unknown):
            return event._replace(frame=event.frame._replace(serial=serial, data=data))
        reading = event.reading and event.reading._replace(serial=serial)
        return event._replace(frame=event.frame._replace(serial=serial, data=data), reading=reading)


def hex_dump(data: bytes) -> str:
    """A frame in rows: offset, first register where one is known, bytes or 16-bit words, what they are."""
    lines = [f"Frame of {len(data)} bytes", f"{'offset':>6}  {'register':>8}"]
    for start, end, label in _header_parts():
        lines.append(f"{start:6}  {'':8}  {data[start:end].hex(' ')}  {label}")
    at = registers.HEADER_LENGTH
    for block in sorted(registers.LAYOUTS.get(len(data), ()), key=lambda block: block.offset):
        lines += _rows(data, at, block.offset, None)
        end = block.offset + 2 * (block.last - block.first + 1)
        lines += _rows(data, block.offset, end, block.first)
        at = end
    lines += _rows(data, at, len(data), None)
    return "\n".join(lines) + "\n"


def _header_parts() -> list[tuple[int, int, str]]:
    length_end = registers.LENGTH_OFFSET + 2
    serial_end = registers.SERIAL_OFFSET + registers.SERIAL_LENGTH
    return [
        (0, 1, "start"),
        (1, registers.LENGTH_OFFSET, "unknown"),
        (registers.LENGTH_OFFSET, length_end, "length of what follows"),
        (registers.SERIAL_OFFSET, serial_end, "serial number"),
        (serial_end, registers.CLOCK_OFFSET, "unknown"),
        (registers.CLOCK_OFFSET, registers.HEADER_LENGTH, "year month day hour minute second"),
    ]


def _rows(data: bytes, start: int, end: int, register: int | None) -> list[str]:
    lines = []
    for at in range(start, end, ROW_LENGTH):
        row = data[at : min(at + ROW_LENGTH, end)]
        number = "" if register is None else str(register + (at - start) // 2)
        text = row.hex(" ") if register is None else row.hex(" ", 2)
        lines.append(f"{at:6}  {number:>8}  {text}" + ("  unknown" if register is None else ""))
    return lines
