"""Detects the kind of inverter that sent a report, and the scales that differ within a kind.

Three-phase inverters are recognised by their polled registers, which are above 500. All else is detected from values:
from identity registers if they are polled, otherwise by comparing powers with voltages and currents. A decision takes
several readings that agree. Fields whose scale is not decided are left out, and so are they in each reading that
contradicts the decision. Only the scales of nearly all single-phase inverters are assumed until values contradict them.

Sources: several projects of owners of these inverters. No I/O and no clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from inverter_capture.protocol.inverter_kinds import (
    HIGH_VOLTAGE,
    INVERTERS_MAX,
    LOW_VOLTAGE,
    PLANS_MAX,
    SINGLE_PHASE,
    THREE_PHASE,
    Kind,
)
from inverter_capture.protocol.layouts import Layout
from inverter_capture.protocol.reports import Report

READINGS_DECIDE = 3  # Number of consecutive readings that must agree for a decision

THREE_PHASE_FROM = 500  # Registers from this one on exist only in three-phase inverters

# Values of register 0.
SINGLE_PHASE_TYPES = frozenset((2, 3, 0x0103, 0x0104, 0x0200, 0x0300))
LOW_VOLTAGE_TYPES = frozenset((5, 0x0500))
HIGH_VOLTAGE_TYPES = frozenset((6, 7, 8, 0x0600, 0x0601, 0x0602))

# Values of the high byte of register 14 of three-phase inverters.
LOW_VOLTAGE_HARDWARE = frozenset((0x20, 0x21))
HIGH_VOLTAGE_HARDWARE = frozenset((0x31,))

LOW_VOLTAGE_WATTS_MAX = 20_000  # Larger inverters have high-voltage batteries
RATED_WATTS_MAX = 100_000  # The largest inverters

WHOLE_KWH_RELEASE = 0x1098
"""From this control firmware on, high-voltage inverters count the energies of a day in kWh instead of 0.1 kWh."""

SINGLE_PHASE_RANGES = {79: (4500, 6500), 182: (500, 1800), 183: (3800, 6400), 192: (4500, 6500)}
"""Ranges of registers of single-phase inverters, if not 0: grid frequency, battery temperature and voltage, and load
frequency."""
SETTING_RANGES = {182: (0, 11), 183: (0, 1)}
"""Ranges of the same registers of three-phase inverters: codes of grid standard and grid frequency."""
OPERATION_RANGES = SINGLE_PHASE_RANGES | {150: (900, 2800), 154: (900, 2800), 193: (4500, 6500)}
"""Ranges while a single-phase inverter operates, if not 0: also grid and inverter voltage in 0.1 V, and inverter
frequency. Powers are compared only in readings within these ranges."""

# Minimum powers to compare: reactive currents and rounding distort smaller ones.
BATTERY_WATTS_MIN = 200
GRID_WATTS_MIN = 500
CT_WATTS_MIN = 200
PV_CURRENT_MIN = 5  # Minimum current to compare, in 0.1 A

# With one BMS protocol, low-voltage batteries send limits, and perhaps the current, in 0.1 A.
DOUBTFUL_LIMIT = 1000  # Amperes
DOUBTFUL_PROTOCOL = 12

GROWTH_KWH = 20  # PV energy after which the growth of the PV counters shows whether they count kWh or 0.1 kWh
GROWTH_GAP = timedelta(minutes=15)  # Maximum time between readings for which the PV energy can be computed


class Detection(NamedTuple):
    """How to read a report."""

    kind: Kind
    factors: tuple[tuple[str, int | None], ...] = ()
    """By `doubt` of a quantity: the factor for its scale; None: not decided, its fields are left out."""
    common_only: bool = False
    """Whether readings contradict the kind, so that only the fields common to all three-phase inverters are certain."""
    high_words: bool = False
    """Whether the inverter sends high words of powers. Otherwise a number from 32768 to 65535 may be negative."""


class KindDetector:
    """Decides how to read each report, from the reports of its inverter before."""

    def __init__(self) -> None:
        self._inverters: dict[str, _Inverter] = {}
        self._reports = 0

    def detect(self, report: Report) -> Detection | None:
        """How to read a report with a layout; None when its values do not fit the polled registers."""
        serial, clock, data, layout, learnt = report
        assert layout is not None
        probe = _probe(layout, learnt)
        words = probe.words(data) if probe.may_not_fit else {}
        if words and not _fits(words, report, three_phase=probe.three_phase):
            return None
        inverter = self._inverters.get(serial)
        if inverter is None:
            if len(self._inverters) >= INVERTERS_MAX:
                # Forget the longest silent one.
                del self._inverters[min(self._inverters, key=lambda known: self._inverters[known].latest)]
            inverter = self._inverters[serial] = _Inverter()
        self._reports += 1
        inverter.latest = self._reports
        if probe.three_phase:
            return inverter.three_phase(words, clock)
        return inverter.single_phase(probe.single_phase(data))


_SINGLE_PHASE_PROBED = (79, 150, 154, 160, 166, 167, 169, 170, 171, 172, 175, 178, 182, 183, 190, 191, 192, 193)
_SIGNED = frozenset((160, 166, 167, 169, 170, 171, 172, 175, 178, 190, 191))
"""Currents and powers of single-phase inverters. All other registers are read as unsigned."""
_FITTING_PROBED = frozenset((0, 62, 63, *SINGLE_PHASE_RANGES))
_WIDE = ((607, 703), (619, 708), (625, 690), (636, 694), (643, 699), (653, 659))  # Low and high words of some powers
_THREE_PHASE_PROBED = frozenset(
    (0, 14, 15, 20, 21, 212, 213, 223, 529, 534, 535, *range(672, 680), *range(727, 731), *sum(_WIDE, ()))
)


class _Probe:
    """Reads the registers needed for detection from reports of one layout."""

    def __init__(self, layout: Layout, *, learnt: bool) -> None:
        self.three_phase = any(last >= THREE_PHASE_FROM for _, last in layout.ranges)
        self.may_not_fit = learnt or self.three_phase or 0 in layout
        self._registers = layout.in_order(_THREE_PHASE_PROBED if self.three_phase else _FITTING_PROBED)
        self._unpack = layout.struct(self._registers, ()).unpack_from
        self._measured = layout.in_order(_SINGLE_PHASE_PROBED)
        self._is_usual = self._measured == list(_SINGLE_PHASE_PROBED)  # All of them, in this order
        self._unpack_measured = layout.struct(self._measured, _SIGNED).unpack_from

    def words(self, data: bytes) -> dict[int, int]:
        """By register, for `_fits` and for three-phase inverters."""
        return dict(zip(self._registers, self._unpack(data), strict=True))

    def single_phase(self, data: bytes) -> tuple[int | None, ...]:
        """The numbers of _SINGLE_PHASE_PROBED; None for a register that is not polled."""
        words = self._unpack_measured(data)
        if self._is_usual:
            return words
        return tuple(map(dict(zip(self._measured, words, strict=True)).get, _SINGLE_PHASE_PROBED))


@lru_cache(PLANS_MAX)
def _probe(layout: Layout, learnt: bool) -> _Probe:
    return _Probe(layout, learnt=learnt)


def _fits(words: dict[int, int], report: Report, *, three_phase: bool) -> bool:
    """Whether the values fit the polled registers, or at least do not contradict them."""
    device = words.get(0)
    if three_phase:
        return device not in SINGLE_PHASE_TYPES
    if device in LOW_VOLTAGE_TYPES or device in HIGH_VOLTAGE_TYPES:
        return False
    if not report.learnt:
        return True
    clock = report.clock
    # In three-phase inverters, 62 and 63 hold year, month and day.
    if words.get(62) == (clock.year - 2000) << 8 | clock.month and words.get(63, 0) >> 8 == clock.day:
        return False
    if any(_in_range(words, register) for register in SINGLE_PHASE_RANGES):
        return True
    # Without a battery, both are 0 in single-phase inverters, too.
    are_settings = all(_in_range(words, register, SETTING_RANGES) for register in SETTING_RANGES)
    return not (are_settings and any(words[register] for register in SETTING_RANGES))


_Ranges = dict[int, tuple[int, int]]


def _in_range(words: dict[int, int], register: int, ranges: _Ranges = SINGLE_PHASE_RANGES) -> bool:
    """Whether a register is polled and its number is in the range."""
    low, high = ranges[register]
    return low <= words.get(register, -1) <= high


class _Question:
    """A question that several readings decide together."""

    __slots__ = ("_agreed", "_contradicted", "_rival", "_votes", "answer")

    def __init__(self, assumed: int | None = None) -> None:
        self.answer = assumed
        self._agreed = 0  # Number of readings that agree with the answer
        self._contradicted = False  # Whether the latest reading contradicts the answer
        self._rival: int | None = None  # The answer of the latest reading with one, if it differs
        self._votes = 0

    @property
    def certain(self) -> int | None:
        """The answer; None when there is none, or the latest reading contradicts it.

        Until READINGS_DECIDE readings agree with it, None also while the latest reading with an answer contradicts it.
        """
        doubtful = self._contradicted or (self._rival is not None and self._agreed < READINGS_DECIDE)
        return None if doubtful else self.answer

    @property
    def is_settled(self) -> bool:
        """Whether another reading that agrees, or has no answer, changes nothing."""
        return self._rival is None and self._agreed >= READINGS_DECIDE

    def vote(self, answer: int | None) -> None:
        """Take the answer of a reading; None: it has none."""
        self._contradicted = False
        if answer is None:
            return
        if answer == self.answer:
            self._agreed += 1
            self._rival = None
            return
        self._contradicted = True
        self._votes = self._votes + 1 if answer == self._rival else 1
        self._rival = answer
        if self._votes >= READINGS_DECIDE:
            self.decide(answer)

    def decide(self, answer: int) -> None:
        """Set the answer that many readings give together."""
        self.answer, self._agreed, self._contradicted, self._rival = answer, READINGS_DECIDE, False, None


_LOW, _HIGH = 0, 1
_ORDINARY, _TENTHS = 1, 10  # The scale of the register table; or ten times that
_DOUBTFUL = 0


class _Inverter:
    """The decisions about one inverter."""

    def __init__(self) -> None:
        self.latest = 0  # Number of its latest report, counting the reports of all inverters
        self._power = _Question(_ORDINARY)
        self._grid_power = _Question(_ORDINARY)
        self._battery_current = _Question(_ORDINARY)
        self._voltage = _Question()
        self._bms_current = _Question(_ORDINARY)
        self._energy_today = _Question()
        self._energy_total = _Question()
        self._is_settled = False  # Whether many readings have agreed on the ordinary scales, and the latest ones, too
        self._growth = _Growth()
        self._high_words = _Question(0)

    def single_phase(self, numbers: tuple[int | None, ...]) -> Detection:
        """`numbers`: of _SINGLE_PHASE_PROBED."""
        # fmt: off
        (
            grid_frequency, grid_voltage, inverter_voltage, grid_current, aux_power, grid_power_l1, grid_power,
            ct_power_l1, ct_power_l2, ct_power, inverter_power, load_power,
            battery_temperature, battery_voltage, battery_power, battery_current, load_frequency, inverter_frequency,
        ) = numbers
        # fmt: on
        current = _battery_current(battery_power, battery_voltage, battery_current)
        by_current = _power_by_current(grid_power_l1, grid_voltage, grid_current)
        by_load = _power_by_load(load_power, grid_power, inverter_power, aux_power) if grid_voltage else None
        by_phases = _power_by_phases(ct_power, ct_power_l1, ct_power_l2)
        if self._is_settled and _TENTHS not in (current, by_current, by_load, by_phases):
            # The usual case: no vote would change anything.
            return _ORDINARY_SINGLE_PHASE
        power = by_load if by_current is None else by_current if by_load in (None, by_current) else None
        operation = (
            *(grid_frequency, grid_voltage, inverter_voltage),
            *(battery_temperature, battery_voltage, load_frequency, inverter_frequency),
        )
        if grid_frequency == 0 or not _operates(operation):
            # An inverter that does not work, or has no grid, tells nothing.
            current = power = None
        self._battery_current.vote(current)
        self._power.vote(power)
        self._grid_power.vote(self._grid_sum(power, by_phases))
        questions = (self._battery_current, self._power, self._grid_power)
        self._is_settled = all(question.is_settled and question.answer == _ORDINARY for question in questions)
        if self._power.certain == self._grid_power.certain == self._battery_current.certain == _ORDINARY:
            return _ORDINARY_SINGLE_PHASE
        factors = {
            "power": self._power.certain,
            "grid power": self._grid_power.certain,
            "battery current": self._battery_current.certain,
        }
        return Detection(SINGLE_PHASE, tuple(factors.items()))

    def _grid_sum(self, power: int | None, by_phases: int | None) -> int | None:
        """The scale of the powers of both phases together: in some inverters only they are in 10 W."""
        if power is None:
            return None
        if by_phases is None:
            # No difference is visible: keep the answer, or use that of single powers.
            return self._grid_power.answer if power == _ORDINARY else power
        if by_phases == _ORDINARY:
            return power
        return _TENTHS if by_phases == _TENTHS and power == _ORDINARY else None

    def three_phase(self, words: dict[int, int], clock: datetime) -> Detection:
        self._voltage.vote(_only(_voltage_class(words)))
        self._vote_release(words)
        self._high_words.vote(_high_words(words))
        high_words = bool(self._high_words.certain)
        if self._voltage.answer is None:
            return Detection(THREE_PHASE, high_words=high_words)
        contradicted = self._voltage.certain is None
        if self._voltage.answer == _LOW:
            self._bms_current.vote(_bms_current(words))
            factor = self._bms_current.certain or None
            return Detection(LOW_VOLTAGE, () if factor else (("BMS current", None),), contradicted, high_words)
        self._watch_growth(words, clock)
        factors = (("energy today", self._energy_today.certain), ("energy total", self._energy_total.certain))
        return Detection(HIGH_VOLTAGE, factors, contradicted, high_words)

    def _vote_release(self, words: dict[int, int]) -> None:
        release = words.get(15)
        if release is not None:
            # Sources differ on whether newer firmware counts totals in kWh, too.
            newer = release >= WHOLE_KWH_RELEASE
            self._energy_today.vote(_TENTHS if newer else _ORDINARY)
            self._energy_total.vote(None if newer else _ORDINARY)

    def _watch_growth(self, words: dict[int, int], clock: datetime) -> None:
        """Decide by the growth of the counters what the firmware version leaves open."""
        if self._energy_today.answer is None or self._energy_total.answer is None:
            today, total = self._growth.receive(words, clock)
            if self._energy_today.answer is None and today is not None:
                self._energy_today.decide(today)
            if self._energy_total.answer is None and total is not None:
                self._energy_total.decide(total)


_ORDINARY_SINGLE_PHASE = Detection(SINGLE_PHASE)


class _Growth:
    """Compares the growth of the PV energy counters with the PV power."""

    __slots__ = ("_given", "_last", "_today", "_total")

    def __init__(self) -> None:
        self._last: datetime | None = None
        self._given = 0.0  # PV energy in kWh since the observation of both counters began
        self._today = self._total = 0

    def receive(self, words: dict[int, int], clock: datetime) -> tuple[int | None, int | None]:
        """The scales of the counters of the day and of the total; None: not known yet."""
        trackers = [words[register] for register in (*range(672, 676), *range(727, 731)) if register in words]
        if not {529, 534, 535} <= words.keys() or len(trackers) < 4:
            return None, None
        today, total = words[529], words[535] << 16 | words[534]
        last, self._last = self._last, clock
        passed = clock - last if last is not None else timedelta()
        if not timedelta() < passed <= GROWTH_GAP or today < self._today or total < self._total:
            self._today, self._total, self._given = today, total, 0
            return None, None
        # In 10 W.
        self._given += sum(trackers) / 100 * (passed / timedelta(hours=1))
        if self._given < GROWTH_KWH:
            return None, None
        answers = _scale((today - self._today) / self._given), _scale((total - self._total) / self._given)
        self._today, self._total, self._given = today, total, 0
        return answers


def _scale(counted: float) -> int | None:
    """The scale of a counter that grows by this number in a kWh."""
    return _ORDINARY if _near(counted, 10) else _TENTHS if _near(counted, 1) else None


_OPERATION_RANGES = [OPERATION_RANGES[register] for register in _SINGLE_PHASE_PROBED if register in OPERATION_RANGES]


def _operates(numbers: Iterable[int | None]) -> bool:
    """Whether a single-phase inverter operates, as far as the registers of OPERATION_RANGES tell, given in order."""
    for number, (low, high) in zip(numbers, _OPERATION_RANGES, strict=True):
        if number and not low <= number <= high:
            return False
    return True


def _battery_current(power: int | None, voltage: int | None, current: int | None) -> int | None:
    """The scale of the battery current."""
    if not power or not voltage or not current or abs(power) < BATTERY_WATTS_MIN:
        return None
    return _tenth_or_whole(abs(voltage * current / (power * 10_000)))


def _power_by_current(power: int | None, voltage: int | None, current: int | None) -> int | None:
    """The scale of single powers, from those at the grid port."""
    if power is None or not voltage or not current:
        return None
    apparent = voltage * current / 1000
    return _tenth_or_whole(power / apparent) if abs(apparent) >= GRID_WATTS_MIN else None


def _power_by_load(load: int | None, grid: int | None, inverter: int | None, aux: int | None) -> int | None:
    """The same from the load power = inverter power + grid power - auxiliary port power."""
    if load is None or grid is None or inverter is None or aux is None:
        return None
    difference = inverter - aux  # Never in 10 W
    return _tenth_or_whole((load - grid) / difference) if abs(difference) >= GRID_WATTS_MIN else None


def _power_by_phases(both: int | None, first: int | None, second: int | None) -> int | None:
    """The scale of the power of both phases, if that of each is ordinary; None: the powers are too small to compare."""
    phases = (first or 0) + (second or 0)
    if both is None or abs(phases) < CT_WATTS_MIN:
        return None
    return _tenth_or_whole(both / phases) or _DOUBTFUL


def _tenth_or_whole(ratio: float) -> int | None:
    # Reactive currents reduce powers, but hardly ever to a tenth.
    return _ORDINARY if 0.7 <= ratio <= 1.4 else _TENTHS if 0.08 <= ratio <= 0.12 else None


def _voltage_class(words: dict[int, int]) -> Iterable[int | None]:
    """The answers of all registers that distinguish low-voltage from high-voltage batteries."""
    device = words.get(0)
    if device in LOW_VOLTAGE_TYPES or device in HIGH_VOLTAGE_TYPES:
        yield _LOW if device in LOW_VOLTAGE_TYPES else _HIGH
    hardware = words.get(14, 0) >> 8
    if hardware in LOW_VOLTAGE_HARDWARE or hardware in HIGH_VOLTAGE_HARDWARE:
        yield _LOW if hardware in LOW_VOLTAGE_HARDWARE else _HIGH
    if LOW_VOLTAGE_WATTS_MAX < (words.get(21, 0) << 16 | words.get(20, 0)) / 10 <= RATED_WATTS_MAX:
        yield _HIGH
    for power, voltage, current in ((672, 676, 677), (673, 678, 679)):
        product = words.get(voltage, 0) * words.get(current, 0)
        if product and words[current] >= PV_CURRENT_MIN and power in words:
            # In W or in 10 W.
            ratio = words[power] * 100 / product
            yield _LOW if _near(ratio, 1) else _HIGH if _near(ratio, 0.1) else None


def _bms_current(words: dict[int, int]) -> int | None:
    if words.get(223) == DOUBTFUL_PROTOCOL or max(words.get(212, 0), words.get(213, 0)) >= DOUBTFUL_LIMIT:
        return _DOUBTFUL
    return _ORDINARY if 223 in words else None


def _high_words(words: dict[int, int]) -> int | None:
    """1 if a negative power has a high word with all bits set; None: no answer."""
    negative = any(words.get(low, 0) & 0x8000 and words.get(high) == 0xFFFF for low, high in _WIDE)
    return 1 if negative else None


def _only(answers: Iterable[int | None]) -> int | None:
    """The answer, if all that are not None agree."""
    found = {answer for answer in answers if answer is not None}
    return found.pop() if len(found) == 1 else None


def _near(value: float, expected: float) -> bool:
    return 0.7 * expected <= value <= 1.4 * expected
