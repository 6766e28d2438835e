"""An inverter's reports: what it measured at a moment, the message that says so, and what should be decoded from it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.inverter_kinds import SINGLE_PHASE, Kind
from tests.dongle.house import SOUTH_AFRICA, House
from tests.dongle.messages import Ranges
from tests.dongle.profiles import Profile
from tests.dongle.reports import OTHER_REGISTERS, encode, lowest_bit, registers_in, words_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Report(NamedTuple):
    """One reading of one inverter."""

    serial: str
    moment: datetime
    """In UTC, to the second."""
    clock: datetime
    """The inverter's wall clock."""
    words: dict[int, int]
    """By register. The inverter knows them all; a report holds those of its ranges."""
    measured: dict[str, int | float]
    """By field id, what the house knows. Other fields follow from the words."""
    ranges: Ranges
    kind: Kind

    def message(self, number: int = 0) -> bytes:
        """The bytes that the dongle sends."""
        return encode(self.serial, self.clock, self.words, self.ranges, number=number)

    @property
    def values(self) -> dict[str, int | float]:
        """Every field that the report holds, in the order of the table."""
        sent = set(registers_in(self.ranges))
        values: dict[str, int | float] = {}
        for field in self.kind.fields:
            needed = field.registers[:1] if field.quantity.wide else field.registers
            if sent.issuperset(needed) and (value := self._value(field, values)) is not None:
                values[field.id] = value
        return without_silent_bms(values)

    def _value(self, field: Field, values: dict[str, int | float]) -> int | float | None:
        if field.derived is not None:
            return derived(field, values)
        return self.measured[field.id] if field.id in self.measured else shown(field, self.words)

    def expected(self) -> dict[str, Any]:
        """The reading as the JSON contract has it."""
        return {
            "timestamp": (self.moment - EPOCH) // timedelta(seconds=1) * 1_000_000_000,
            "time": self.moment.isoformat(),
            "serial": self.serial,
            "values": self.values,
        }

    def to_json(self) -> str:
        """The same as one line."""
        return json.dumps(self.expected())


class Inverter:
    """A house's inverter, which reports when asked."""

    def __init__(self, profile: Profile, start: datetime, seed: int = 1, zone: tzinfo = SOUTH_AFRICA) -> None:
        """As House."""
        self.profile = profile
        self.zone = zone
        self._house = House(profile, start, seed, zone)

    def report(self, moment: datetime) -> Report:
        """What it says at an aware moment, cut to the second. Moments must not go back."""
        moment = moment.astimezone(UTC).replace(microsecond=0)
        measured = self._house.at(moment)
        clock = moment.astimezone(self.zone).replace(tzinfo=None)
        profile = self.profile
        words = OTHER_REGISTERS | self._nameplate() | words_of(measured, profile.kind.fields)
        return Report(profile.serial, moment, clock, words, measured, profile.ranges, profile.kind)

    def _nameplate(self) -> dict[int, int]:
        """Rated power, in tenths of a watt; and the battery's capacity as it was set, or the hardware."""
        rated = 10 * self.profile.inverter_power
        if self.profile.kind is SINGLE_PHASE:
            return {16: rated & 0xFFFF, 17: rated >> 16, 204: self.profile.battery_capacity}
        return {14: 0x2010, 15: 0x1098, 20: rated & 0xFFFF, 21: rated >> 16}


def shown(field: Field, words: dict[int, int]) -> int | float | None:
    """What a field shows of its registers, or nothing: of a sensor that is not fitted, or what is not plausible."""
    raw = 0
    for position, register in enumerate(field.registers):
        raw += words.get(register, 0) << 16 * position
    if field.quantity.mask:
        raw = (raw & field.quantity.mask) >> lowest_bit(field.quantity.mask)
    bits = 16 * len(field.registers)
    if field.quantity.signed and raw >> bits - 1:
        raw -= 1 << bits
    if raw == field.quantity.absent:
        return None
    value = raw * field.quantity.factor + field.quantity.bias * field.divisor
    return plausible(field, value if field.divisor == 1 else value / field.divisor)


def without_silent_bms(values: dict[str, int | float]) -> dict[str, int | float]:
    """The values without those of a battery management system that says 0 of its voltages and state of charge."""
    telling = [name for name in values if name.startswith("bms_") and name.endswith(("_voltage", "_soc"))]
    if not telling or any(values[name] for name in telling):
        return values
    return {name: value for name, value in values.items() if not name.startswith("bms_")}


def derived(field: Field, values: dict[str, int | float]) -> int | float | None:
    """What follows from other fields, or nothing when one of them is absent."""
    rule = field.derived
    if rule is None or not set(rule.of) <= values.keys():
        return None
    if rule.unless_zero and not any(values.get(name) for name in rule.unless_zero):
        return None
    if rule.rest:
        return plausible(field, max(0, values[rule.of[0]] - values[rule.of[1]]))
    return plausible(field, sum(values[name] for name in (*rule.of, *rule.also) if name in values))


def plausible(field: Field, value: float) -> int | float | None:
    """The value, if it is within its bounds."""
    if (field.quantity.minimum is not None and value < field.quantity.minimum) or (
        field.quantity.maximum is not None and value > field.quantity.maximum
    ):
        return None
    return value


def parse_zone(text: str) -> tzinfo:
    """An IANA name, or an offset such as +02:00. Raises ValueError or zoneinfo's own errors."""
    if text[:1] in "+-":
        return datetime.strptime(text, "%z").tzinfo or UTC
    return ZoneInfo(text)
