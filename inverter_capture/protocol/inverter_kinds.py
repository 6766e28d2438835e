"""The kinds of inverters: each has a register table of its own, and words for its codes.

The tables of three-phase inverters are loaded when the first of them is heard: most routers never need their memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache

from inverter_capture.protocol import codes, registers
from inverter_capture.protocol.codes import Codes
from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.layouts import Layout

INVERTERS_MAX = 64
"""Maximum number of inverters that are remembered. Forged reports can contain any number of serial numbers."""

PLANS_MAX = 32
"""Forged poll maps can make up any number of layouts. What was worked out for no more of them is kept."""


class Kind:
    """A kind of inverter. There is one object of each, so that they can be compared with `is`."""

    def __init__(
        self, name: str, load: Callable[[], tuple[tuple[Field, ...], Codes]], *, experimental: bool = False
    ) -> None:
        self.name = name
        """What people call it."""
        self.experimental = experimental
        """No report of this kind is on record: all of its table is from others' work."""
        self._load = load

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @cached_property
    def _loaded(self) -> tuple[tuple[Field, ...], Codes]:
        return self._load()

    @property
    def fields(self) -> tuple[Field, ...]:
        """Its register table."""
        return self._loaded[0]

    @property
    def codes(self) -> Codes:
        """The words for its states, warnings, faults and settings."""
        return self._loaded[1]

    @cached_property
    def fields_by_id(self) -> dict[str, Field]:
        """Its register table by field id."""
        return {field.id: field for field in self.fields}

    def fields_in(self, layout: Layout) -> tuple[Field, ...]:
        """The fields that reports of a layout hold, in the table's order."""
        return _fields_in(self, layout)


@lru_cache(PLANS_MAX)
def _fields_in(kind: Kind, layout: Layout) -> tuple[Field, ...]:
    found: dict[str, Field] = {}
    for field in kind.fields:
        if field.derived is not None:
            present = all(name in found for name in field.derived.of)
        elif field.quantity.wide:
            present = field.registers[0] in layout
        else:
            present = all(register in layout for register in field.registers)
        if present:
            found[field.id] = field
    return tuple(found.values())


def _low_voltage() -> tuple[tuple[Field, ...], Codes]:
    from inverter_capture.protocol import codes_three_phase, registers_three_phase

    return registers_three_phase.LV_FIELDS, codes_three_phase.LOW_VOLTAGE


def _high_voltage() -> tuple[tuple[Field, ...], Codes]:
    from inverter_capture.protocol import codes_three_phase, registers_three_phase

    return registers_three_phase.HV_FIELDS, codes_three_phase.HIGH_VOLTAGE


def _either_voltage() -> tuple[tuple[Field, ...], Codes]:
    from inverter_capture.protocol import codes_three_phase, registers_three_phase

    return registers_three_phase.COMMON_FIELDS, codes_three_phase.EITHER


SINGLE_PHASE = Kind("single-phase", lambda: (registers.FIELDS, codes.SINGLE_PHASE))
LOW_VOLTAGE = Kind("three-phase, low-voltage battery", _low_voltage, experimental=True)
HIGH_VOLTAGE = Kind("three-phase, high-voltage battery", _high_voltage, experimental=True)
THREE_PHASE = Kind("three-phase", _either_voltage, experimental=True)
"""One of the two, while it is not known which."""

KINDS: dict[str, Kind] = {kind.name: kind for kind in (SINGLE_PHASE, LOW_VOLTAGE, HIGH_VOLTAGE, THREE_PHASE)}
"""By name."""
