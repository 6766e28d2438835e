"""The kinds of inverters, each with its register table and the words for its codes.

The tables of three-phase inverters are loaded with the first report of one, since most routers never need them.
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

PLANS_MAX = 32  # Maximum number of layouts whose fields are cached. Forged poll maps can contain any number of layouts.


_Table = tuple[tuple[Field, ...], Codes]


class Kind:
    """A kind of inverter. There is one object of each kind, so that they can be compared with `is`."""

    def __init__(self, name: str, load: Callable[[], _Table], *, experimental: bool = False) -> None:
        self.name = name  # The name for people
        self.experimental = experimental  # No report is on record: the table is from other projects
        self._load = load

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The register table."""
        return self._load()[0]

    @cached_property
    def codes(self) -> Codes:
        """The words for states, warnings, faults and settings."""
        return self._load()[1]

    @cached_property
    def fields_by_id(self) -> dict[str, Field]:
        """The register table by field id."""
        return {field.id: field for field in self.fields}

    def fields_in(self, layout: Layout) -> tuple[Field, ...]:
        """The fields in reports of a layout, in the order of the table."""
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


def _three_phase() -> tuple[_Table, _Table, _Table]:
    """The tables for low voltage, for high voltage, and for what both have in common."""
    from inverter_capture.protocol import codes_three_phase as words
    from inverter_capture.protocol import registers_three_phase as tables

    low, high = (tables.LV_FIELDS, words.LOW_VOLTAGE), (tables.HV_FIELDS, words.HIGH_VOLTAGE)
    return low, high, (tables.COMMON_FIELDS, words.EITHER)


SINGLE_PHASE = Kind("single-phase", lambda: (registers.FIELDS, codes.SINGLE_PHASE))
LOW_VOLTAGE = Kind("three-phase, low-voltage battery", lambda: _three_phase()[0], experimental=True)
HIGH_VOLTAGE = Kind("three-phase, high-voltage battery", lambda: _three_phase()[1], experimental=True)
THREE_PHASE = Kind("three-phase", lambda: _three_phase()[2], experimental=True)  # Which of the two is not known yet

KINDS: dict[str, Kind] = {kind.name: kind for kind in (SINGLE_PHASE, LOW_VOLTAGE, HIGH_VOLTAGE, THREE_PHASE)}  # By name
