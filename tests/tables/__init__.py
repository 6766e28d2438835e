"""The public register maps of these inverters as tables, and what follows from them. They check the package's own.

Each row is a field: its registers, scale, bias, sign and range; how sure it is; and what Home Assistant calls it.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from inverter_capture.protocol.layouts import Layout

FOLDER = Path(__file__).parent

Table = list[dict[str, str]]


def read_table(name: str) -> Table:
    """The rows of a table by its name, such as registers-single-phase."""
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


SINGLE_PHASE = read_table("registers-single-phase")
MORE = read_table("registers-single-phase-more")
LOW_VOLTAGE = read_table("registers-three-phase-lv")
HIGH_VOLTAGE = read_table("registers-three-phase-hv")

LEFT_OUT = ("inverter_clock", "bms2_soh")
"""Every report has a clock of its own; of what the other is, sources differ."""


def certain(table: Table) -> Table:
    """The rows that are fields."""
    return [row for row in table if row["confidence"] != "low" and row["id"] not in LEFT_OUT]


def mask_of(row: Mapping[str, str]) -> int:
    """The bits that are the field's; 0 for all of them."""
    first = row["note"].replace(";", ",").replace(":", ",").split(",")[0].split()
    if len(first) == 2 and first[0] == "mask":
        return int(first[1], 16)
    return {"grid_connected": 4, "generator_relay": 8}.get(row["id"], 0) if row["registers"] == "552" else 0


def expected(table: Table, layout: Layout, words: Mapping[int, int]) -> tuple[dict[str, int | float], set[str]]:
    """All values of registers by the table, and which fields are not plausible. Registers have no sign."""
    values: dict[str, int | float] = {}
    implausible = set()
    for row in certain(table):
        registers = [int(register) for register in row["registers"].split()]
        computed = row["note"].startswith("computed:")
        if computed:
            if not all(register in layout for register in registers[:4]):
                continue
            registers = [register for register in registers if register in layout]
        elif len(registers) == 2 and row["unit"] == "W" and row["state_class"] and registers[1] not in layout:
            # A high word that older firmware does not have.
            registers = registers[:1]
        if not all(register in layout for register in registers):
            continue
        if computed:
            raw = sum(words[register] for register in registers)
        else:
            raw = sum(words[register] << 16 * place for place, register in enumerate(registers))
            bits = 16 * len(registers)
            if row["signed"] == "yes" and raw >> bits - 1:
                raw -= 1 << bits
        mask = mask_of(row)
        if mask:
            raw = (raw & mask) // (mask & -mask)
        if (row["device_class"] == "temperature" and raw == 0) or (row["id"] == "bms_soh" and raw == 0xFFFF):
            continue
        value = raw * Fraction(row["scale"]) + int(row["bias"])
        if row["min"] and not int(row["min"]) <= value <= int(row["max"]):
            implausible.add(row["id"])
        else:
            values[row["id"]] = int(value) if row["scale"] in ("1", "10") else float(value)
    return values, implausible
