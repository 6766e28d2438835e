"""Registers to values, by a function that is generated from the register table, as `dataclasses` generates methods.

There is one function for each kind of inverter and layout: a loop over the table would take several times as long. The
source of such a function, `FieldValues.source`, looks like this:

    def values_of(report):
        [r108, r183, r186, r187, r188, r189] = registers(report)
        pv_power = r186 + r187 + r188 + r189
        numbers = (r108 / 10, r183 / 100, r186, r187, r188, r189, pv_power)
        absent = ()
        if r108 > 10000 or r183 > 10000: return checked(numbers, absent)
        if absent: return without(numbers, absent)
        return ids, numbers, []
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import compress
from math import inf
from typing import Any

from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.inverter_kinds import PLANS_MAX, THREE_PHASE
from inverter_capture.protocol.kind_detection import Detection
from inverter_capture.protocol.layouts import Layout
from inverter_capture.protocol.quantities import Quantity

_Numbers = tuple[int | float, ...]
_Found = tuple[tuple[str, ...], _Numbers, list[str]]
"""The ids of the fields that have a plausible and certain value, these values, and the ids of the implausible ones."""


class FieldValues:
    """Reads the values of all fields with a certain scale from reports of one layout."""

    def __init__(self, detection: Detection, layout: Layout) -> None:
        fields = _certain_fields(detection, layout)
        words = {field.id: _words(field, layout) for field in fields}
        self._wide = [] if detection.high_words else [field.id for field in fields if _has_high_word(field, words)]
        """Fields with a high word that older firmware may leave 0."""
        self._bounds = [
            (field.id, -inf if low is None else low, inf if high is None else high, _of_no_sensor(field.quantity))
            for field in fields
            for low, high in [(field.quantity.minimum, field.quantity.maximum)]
            if low is not None or high is not None
        ]
        """Field id, minimum, maximum, and the value that stands for a missing sensor."""
        self._derived = [(field.id, set(field.derived.of)) for field in fields if field.derived is not None]
        """Derived fields, and the fields that they need."""
        registers = layout.in_order({word for each in words.values() for word in each})
        # The sign is in the highest word. A mask takes bits without one.
        numbers = [field for field in fields if field.registers and not field.quantity.mask]
        signed = {words[field.id][-1] for field in numbers if field.quantity.signed}
        self.source = "\n    ".join(_statements(fields, words, registers, are_certain=not self._wide))
        self._ids = tuple(words)
        self._present: dict[tuple[str, ...], tuple[tuple[str, ...], list[bool]]] = {}
        """By the ids of absent fields: those of the others, and whether each field is among them."""
        names: dict[str, Any] = {
            "registers": layout.struct(registers, signed).unpack_from,
            "ids": self._ids,
            "without": self._without,
            "checked": self._checked,
        }
        # The text is made of the table's ids and of numbers: no text from a packet gets into it.
        exec(self.source, names)
        self.read: Callable[[bytes], _Found] = names["values_of"]
        """From a report."""

    def _without(self, numbers: _Numbers, absent: tuple[str, ...]) -> _Found:
        """Leave out absent fields."""
        found = self._present.get(absent)
        if found is None:
            ids = tuple(name for name in self._ids if name not in absent)
            found = self._present[absent] = ids, [name in ids for name in self._ids]
        ids, are_present = found
        return ids, tuple(compress(numbers, are_present)), []

    def _checked(self, numbers: _Numbers, absent: tuple[str, ...]) -> _Found:
        """Leave out absent fields, values that are not plausible or certain, and those derived from them."""
        values = dict(zip(self._ids, numbers, strict=True))
        for name in absent:
            del values[name]
        implausible = []
        for name, low, high, no_sensor in self._bounds:
            value = values.get(name, no_sensor)
            if value is not None and not low <= value <= high:
                values.pop(name, None)
                if value != no_sensor:
                    implausible.append(name)
        for name in self._wide:
            # A large value may be a negative one whose high word is missing.
            if 0x8000 <= values[name] <= 0xFFFF:
                del values[name]
        for name, parts in self._derived:
            if not values.keys() >= parts:
                values.pop(name, None)
        return tuple(values), tuple(values.values()), implausible


@lru_cache(PLANS_MAX)
def field_values(detection: Detection, layout: Layout) -> FieldValues:
    """Cached."""
    return FieldValues(detection, layout)


def _certain_fields(detection: Detection, layout: Layout) -> list[Field]:
    """The fields in a layout whose scale is certain, with that scale."""
    factors = dict(detection.factors)
    found: dict[str, Field] = {}
    for field in detection.kind.fields_in(layout):
        factor = factors.get(field.quantity.doubt, 1)
        if factor is None or (detection.common_only and field.id not in THREE_PHASE.fields_by_id):
            continue
        if field.derived is not None and not all(name in found for name in field.derived.of):
            continue
        found[field.id] = field if factor == 1 else field._replace(quantity=field.quantity.times(factor))
    return list(found.values())


_Words = dict[str, list[int]]  # By field id, the registers that a report holds of it, the low word first


def _words(field: Field, layout: Layout) -> list[int]:
    return [register for register in field.registers if not field.quantity.wide or register in layout]


def _has_high_word(field: Field, words: _Words) -> bool:
    return field.quantity.wide and len(words[field.id]) > 1


def _statements(fields: list[Field], words: _Words, registers: list[int], *, are_certain: bool) -> list[str]:
    """The lines of the function. Unless `are_certain`, it always asks for the check of each value."""
    numbers: dict[str, str] = {}
    """By field id, what stands for the number that is to be divided: a register or a variable."""
    statements = [
        "def values_of(report):",
        f"[{', '.join(f'r{register}' for register in registers)}] = registers(report)",
    ]
    values = []
    excesses = [] if are_certain else ["True"]
    for field in fields:
        quantity = field.quantity
        number = _expression(field, words[field.id], numbers)
        if not number.isidentifier():
            statements.append(f"{field.id} = {number}")
            number = field.id
        numbers[field.id] = number
        values.append(number if field.divisor == 1 else f"{number} / {field.divisor}")
        if quantity.maximum is not None:
            excesses.append(f"{number} > {quantity.maximum * quantity.divisor}")
        if quantity.minimum is not None and (quantity.signed or quantity.minimum > min(0, quantity.bias)):
            excesses.append(f"{number} < {quantity.minimum * quantity.divisor}")
    statements += [f"numbers = ({', '.join(values)}{',' * (len(values) == 1)})", "absent = ()"]
    for field in fields:
        if field.derived is not None and field.derived.unless_zero:
            sensors = [numbers[name] for name in field.derived.unless_zero if name in numbers]
            statements.append(_absent_unless(sensors, [field.id]))
    for group in ("BMS", "BMS 2"):
        names = [field.id for field in fields if field.group == group]
        telling = [numbers[name] for name in names if name.endswith(("_voltage", "_soc"))]
        if telling:
            # Zeros everywhere: there is no battery management system.
            statements.append(_absent_unless(telling, names))
    if excesses:
        statements.append(f"if {' or '.join(excesses)}: return checked(numbers, absent)")
    return [*statements, "if absent: return without(numbers, absent)", "return ids, numbers, []"]


def _absent_unless(telling: list[str], names: list[str]) -> str:
    """A line that leaves out fields when all the telling numbers are 0, or there are none."""
    return f"if not ({' or '.join(telling) or 0}): absent += {tuple(names)}"


def _expression(field: Field, words: list[int], numbers: dict[str, str]) -> str:
    """The number of a field, from its registers, or from the numbers of other fields if it is derived."""
    if field.derived is not None:
        parts = [numbers[name] for name in (*field.derived.of, *field.derived.also) if name in numbers]
        return f"max(0, {' - '.join(parts)})" if field.derived.rest else " + ".join(parts)
    quantity = field.quantity
    if mask := quantity.mask:
        # A mask takes one word.
        return f"(r{words[0]} & {mask:#06x}) >> {(mask & -mask).bit_length() - 1}"
    low, *others = words
    expression = f"r{low}" + "".join(f" + r{word} * {1 << 16 * place}" for place, word in enumerate(others, 1))
    if quantity.factor != 1:
        expression = f"({expression}) * {quantity.factor}"
    return f"{expression} + {quantity.bias * quantity.divisor}" if quantity.bias else expression


def _of_no_sensor(quantity: Quantity) -> float | None:
    """The value of the raw number that stands for a missing sensor."""
    if quantity.absent is None:
        return None
    return quantity.absent * quantity.factor / quantity.divisor + quantity.bias
