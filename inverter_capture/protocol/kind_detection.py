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


class Told(NamedTuple):
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

    def tell(self, report: Report) -> Told | None:
        """How to read a report with a layout; None when its values do not fit the polled registers."""
        layout = report.layout
        assert layout is not None
        probe = _probe(layout, report.learnt)
        words = probe.read(report.data)
        if not _fits(words, report, three_phase=probe.three_phase):
            return None
        inverter = self._inverters.get(report.serial)
        if inverter is None:
            if len(self._inverters) >= INVERTERS_MAX:
                # Forget the longest silent one.
                del self._inverters[min(self._inverters, key=lambda serial: self._inverters[serial].latest)]
            inverter = self._inverters[report.serial] = _Inverter()
        self._reports += 1
        inverter.latest = self._reports
        return inverter.three_phase(words, report.clock) if probe.three_phase else inverter.single_phase(words)


class _Probe:
    """Reads the registers needed for detection from reports of one layout."""

    def __init__(self, layout: Layout, *, learnt: bool) -> None:
        self.three_phase = any(last >= THREE_PHASE_FROM for _, last in layout.ranges)
        wanted = _THREE_PHASE_PROBED if self.three_phase else _SINGLE_PHASE_PROBED
        if learnt and not self.three_phase:
            wanted |= _LEARNT_PROBED
        self._registers = layout.in_order(wanted)
        self._struct = layout.struct(self._registers, _SIGNED)

    def read(self, data: bytes) -> dict[int, int]:
        """By register."""
        return dict(zip(self._registers, self._struct.unpack_from(data), strict=True))


_SIGNED = frozenset((160, 166, 167, 169, 170, 171, 172, 175, 178, 190, 191))
"""Currents and powers of single-phase inverters. All other registers are read as unsigned."""
_SINGLE_PHASE_PROBED = frozenset((0, *_SIGNED, *OPERATION_RANGES))
_LEARNT_PROBED = frozenset((62, 63, *SINGLE_PHASE_RANGES))
_WIDE = ((607, 703), (619, 708), (625, 690), (636, 694), (643, 699), (653, 659))  # Low and high words of some powers
_THREE_PHASE_PROBED = frozenset(
    (0, 14, 15, 20, 21, 212, 213, 223, 529, 534, 535, *range(672, 680), *range(727, 731), *sum(_WIDE, ()))
)


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

    def vote(self, answer: int | None) -> None:
        """Take the answer of a reading; None: it has none."""
        self._contradicted = answer not in (None, self.answer)
        if answer is None:
            return
        if answer == self.answer:
            self._agreed += 1
            self._rival = None
            return
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
        self._growth = _Growth()
        self._high_words = _Question(0)

    def single_phase(self, words: dict[int, int]) -> Told:
        # An inverter that does not work, or has no grid, tells nothing.
        works = _works(words)
        power = _power(words) if works else None
        self._battery_current.vote(_battery_current(words) if works else None)
        self._power.vote(power)
        self._grid_power.vote(self._grid_sum(words, power))
        if self._power.certain == self._grid_power.certain == self._battery_current.certain == _ORDINARY:
            return _ORDINARY_SINGLE_PHASE
        factors = {
            "power": self._power.certain,
            "grid power": self._grid_power.certain,
            "battery current": self._battery_current.certain,
        }
        return Told(SINGLE_PHASE, tuple(factors.items()))

    def _grid_sum(self, words: dict[int, int], power: int | None) -> int | None:
        """The scale of the powers of both phases together: in some inverters only they are in 10 W."""
        if power is None:
            return None
        phases = words.get(170, 0) + words.get(171, 0)
        if abs(phases) >= CT_WATTS_MIN and 172 in words:
            told = _tenth_or_whole(words[172] / phases)
            if told == _ORDINARY:
                return power
            return told if power == _ORDINARY else None
        # No difference is visible: keep the answer, or use that of single powers.
        return self._grid_power.answer if power == _ORDINARY else power

    def three_phase(self, words: dict[int, int], clock: datetime) -> Told:
        self._voltage.vote(_only(_voltage_class(words)))
        self._vote_release(words)
        self._high_words.vote(_high_words(words))
        high_words = bool(self._high_words.certain)
        if self._voltage.answer is None:
            return Told(THREE_PHASE, high_words=high_words)
        contradicted = self._voltage.certain is None
        if self._voltage.answer == _LOW:
            self._bms_current.vote(_bms_current(words))
            factor = self._bms_current.certain or None
            return Told(LOW_VOLTAGE, () if factor else (("BMS current", None),), contradicted, high_words)
        self._watch_growth(words, clock)
        factors = (("energy today", self._energy_today.certain), ("energy total", self._energy_total.certain))
        return Told(HIGH_VOLTAGE, factors, contradicted, high_words)

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


_ORDINARY_SINGLE_PHASE = Told(SINGLE_PHASE)


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


def _battery_current(words: dict[int, int]) -> int | None:
    power, product = words.get(190, 0), words.get(183, 0) * words.get(191, 0)
    if abs(power) < BATTERY_WATTS_MIN or not product:
        return None
    return _tenth_or_whole(abs(product / (power * 10_000)))


def _works(words: dict[int, int]) -> bool:
    """Whether the inverter works and has a grid, as far as the registers tell."""
    for register, (low, high) in OPERATION_RANGES.items():
        word = words.get(register)
        if word and not low <= word <= high:
            return False
    return words.get(79) != 0


def _power(words: dict[int, int]) -> int | None:
    """The scale of single powers, from the power at the grid port and the load power."""
    voltage = words.get(150)
    if not voltage:
        return None
    tells = []
    apparent = voltage * words.get(160, 0) / 1000
    if abs(apparent) >= GRID_WATTS_MIN and 167 in words:
        tells.append(_tenth_or_whole(words[167] / apparent))
    # Load power = inverter power + grid power - auxiliary port power. Inverter power is never in 10 W.
    inverter = words.get(175, 0) - words.get(166, 0)
    if abs(inverter) >= GRID_WATTS_MIN and words.keys() >= _LOAD_POWERS:
        tells.append(_tenth_or_whole((words[178] - words[169]) / inverter))
    return _only(tells)


_LOAD_POWERS = frozenset((166, 169, 175, 178))


def _tenth_or_whole(ratio: float) -> int | None:
    # Reactive currents reduce powers, but hardly ever to a tenth.
    return _ORDINARY if _near(ratio, 1) else _TENTHS if 0.08 <= ratio <= 0.12 else None


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
