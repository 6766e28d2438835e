"""Registers to values, by a function that is generated from the register table, as `dataclasses` generates methods.

There is one function for each kind of inverter and layout: a loop over the table would take several times as long. The
source of such a function, `FieldValues.source`, looks like this:

    def values_of(report):
        [r108, r183, r186, r187, r188, r189] = registers(report)
        values = blank.copy()
        values["pv_production_today"] = r108 / 10
        values["battery_voltage"] = r183 / 100
        values["pv_power_1"] = r186
        values["pv_power_2"] = r187
        values["pv_power_3"] = r188
        values["pv_power_4"] = r189
        pv_power = r186 + r187 + r188 + r189
        values["pv_power"] = pv_power
        if r108 > 10000 or r183 > 10000: return values, leave_out(values)
        return values, []
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import inf
from typing import Any

from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.inverter_kinds import PLANS_MAX, THREE_PHASE
from inverter_capture.protocol.kind_detection import Told
from inverter_capture.protocol.layouts import Layout
from inverter_capture.protocol.quantities import Quantity

Values = dict[str, int | float]  # By field id, in the order of the register table


class FieldValues:
    """Reads the values of all fields with a certain scale from reports of one layout."""

    def __init__(self, told: Told, layout: Layout) -> None:
        fields = _certain_fields(told, layout)
        words = {field.id: _words(field, layout) for field in fields}
        self._wide = [] if told.high_words else [field.id for field in fields if _has_high_word(field, words)]
        """Fields with a high word that older firmware may leave 0."""
        self._bounds = [
            (field.id, -inf if low is None else low, inf if high is None else high, _absent(field.quantity))
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
        names: dict[str, Any] = {
            "registers": layout.struct(registers, signed).unpack_from,
            # A copy has all keys in the table's order, and need not grow.
            "blank": dict.fromkeys(words, 0),
            "leave_out": self._leave_out,
        }
        # The text is made of the table's ids and of numbers: no text from a packet gets into it.
        exec(self.source, names)
        self.read: Callable[[bytes], tuple[Values, list[str]]] = names["values_of"]
        """From a report: the values that are plausible and certain, and the ids of fields with values outside their
        bounds."""

    def _leave_out(self, values: Values) -> list[str]:
        """Remove values that are not plausible or certain, and those derived from them. The ids of the implausible."""
        implausible = []
        for name, low, high, absent in self._bounds:
            value = values.get(name, absent)
            if value is not None and not low <= value <= high:
                values.pop(name, None)
                if value != absent:
                    implausible.append(name)
        for name in self._wide:
            # A large value may be a negative one whose high word is missing.
            if 0x8000 <= values[name] <= 0xFFFF:
                del values[name]
        for name, parts in self._derived:
            if not values.keys() >= parts:
                values.pop(name, None)
        return implausible


@lru_cache(PLANS_MAX)
def field_values(told: Told, layout: Layout) -> FieldValues:
    """Cached."""
    return FieldValues(told, layout)


def _certain_fields(told: Told, layout: Layout) -> list[Field]:
    """The fields in a layout whose scale is certain, with that scale."""
    factors = dict(told.factors)
    found: dict[str, Field] = {}
    for field in told.kind.fields_in(layout):
        factor = factors.get(field.quantity.doubt, 1)
        if factor is None or (told.common_only and field.id not in THREE_PHASE.fields_by_id):
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
        "values = blank.copy()",
    ]
    excesses = [] if are_certain else ["True"]
    for field in fields:
        quantity = field.quantity
        number = _expression(field, words[field.id], numbers)
        if not number.isidentifier():
            statements.append(f"{field.id} = {number}")
            number = field.id
        numbers[field.id] = number
        statements.append(f'values["{field.id}"] = {number}' + (f" / {field.divisor}" if field.divisor != 1 else ""))
        if quantity.maximum is not None:
            excesses.append(f"{number} > {quantity.maximum * quantity.divisor}")
        if quantity.minimum is not None and (quantity.signed or quantity.minimum > min(0, quantity.bias)):
            excesses.append(f"{number} < {quantity.minimum * quantity.divisor}")
    for field in fields:
        if field.derived is not None and field.derived.unless_zero:
            sensors = " or ".join(numbers[name] for name in field.derived.unless_zero if name in numbers)
            statements.append(f'if not ({sensors or 0}): del values["{field.id}"]')
    for group in ("BMS", "BMS 2"):
        names = [field.id for field in fields if field.group == group]
        telling = " or ".join(numbers[name] for name in names if name.endswith(("_voltage", "_soc")))
        if telling:
            # Zeros everywhere: there is no battery management system.
            statements.append(f"for name in () if {telling} else {names}: del values[name]")
    if excesses:
        statements.append(f"if {' or '.join(excesses)}: return values, leave_out(values)")
    return [*statements, "return values, []"]


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


def _absent(quantity: Quantity) -> float | None:
    """The value of the raw number that stands for a missing sensor."""
    if quantity.absent is None:
        return None
    return quantity.absent * quantity.factor / quantity.divisor + quantity.bias
