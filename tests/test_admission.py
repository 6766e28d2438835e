"""Which inverters are read, while somebody makes up serial numbers."""

from __future__ import annotations

from inverter_capture.protocol.admission import (
    NEW_MAX,
    NEW_SECONDS,
    SENDER_SECONDS,
    SILENT_SECONDS,
    Admission,
    Verdict,
)
from inverter_capture.protocol.inverter_kinds import INVERTERS_MAX
from tests.wire import SECOND

START = 1_750_000_000
INTERVAL = 300
REAL, OTHER = "2205164738", "E47R2K0193"
DONGLE, STRANGER = b"\xc0\xa8\x08\xca", b"\xc0\xa8\x08\x4d"


class Watched:
    """Admission, with times in seconds since the start."""

    def __init__(self, *serials: str, live: bool = True) -> None:
        self.admission = Admission(serials, live=live)

    def judge(self, serial: str, time: float, sender: bytes = DONGLE) -> Verdict:
        return self.admission.judge(serial, sender, round((START + time) * SECOND))

    def forge(self, first: float, last: float, step: float) -> list[float]:
        """Reports of ever new serial numbers. Returns when one was admitted."""
        times = [first + step * number for number in range(int((last - first) / step))]
        return [time for time in times if self.judge(f"F{round(time * 100):09}", time).admitted]


def test_the_first_few_are_admitted_at_once_and_others_slowly() -> None:
    watched = Watched()
    times = watched.forge(0, 3600, 1)
    assert times[:8] == list(range(8))
    assert len(times) == 8 + 3600 // NEW_SECONDS - 1
    # After a quiet week, the first few again and no more.
    week = 7 * 24 * 3600
    assert len(watched.forge(week, week + 60, 1)) == NEW_MAX


def test_an_inverter_that_reports_is_never_displaced() -> None:
    watched = Watched()
    assert watched.judge(REAL, 0) is Verdict.NEW
    days = 3
    forged = 0
    for time in range(INTERVAL, days * 24 * 3600, INTERVAL):
        forged += len(watched.forge(time + 1, time + 11, 1))
        assert watched.judge(REAL, time + 12) is Verdict.KNOWN
        assert len(watched.admission._inverters) <= INVERTERS_MAX
    # No places are left but those of the forged ones that have been silent for a day.
    assert forged <= NEW_MAX + days * 24 * 3600 // NEW_SECONDS


def test_an_inverter_that_is_silent_at_night_keeps_its_place() -> None:
    watched = Watched()
    watched.judge(REAL, 0)
    watched.forge(1, SILENT_SECONDS - 60, 30)
    assert watched.judge(REAL, SILENT_SECONDS - 1) is Verdict.KNOWN


def test_one_that_is_silent_for_longer_gives_its_place_to_a_new_one() -> None:
    watched = Watched()
    # All places are taken, at the pace at which that is possible.
    assert len(watched.forge(0, INVERTERS_MAX * NEW_SECONDS, NEW_SECONDS)) == INVERTERS_MAX
    full = INVERTERS_MAX * NEW_SECONDS
    assert watched.judge(REAL, full) is Verdict.TOO_MANY
    assert watched.judge(REAL, SILENT_SECONDS - 1) is Verdict.TOO_MANY
    assert watched.judge(REAL, SILENT_SECONDS + 1) is Verdict.NEW
    assert len(watched.admission._inverters) == INVERTERS_MAX


def test_a_list_admits_those_named_and_no_others() -> None:
    names = [f"{number:010}" for number in range(2 * NEW_MAX)]
    watched = Watched(*names)
    assert watched.judge(REAL, 0) is Verdict.NOT_NAMED
    # None has to wait.
    assert {watched.judge(name, 1) for name in names} == {Verdict.NEW}
    assert watched.judge(REAL, 2) is Verdict.NOT_NAMED
    watched.admission.serials = frozenset((REAL,))
    assert watched.judge(REAL, 3) is Verdict.NEW
    assert watched.judge(names[0], 4) is Verdict.NOT_NAMED


def test_what_a_file_holds_need_not_wait() -> None:
    watched = Watched(live=False)
    assert len(watched.forge(0, 3 * INVERTERS_MAX, 1)) == 3 * INVERTERS_MAX
    assert len(watched.admission._inverters) == INVERTERS_MAX


def test_another_address_becomes_the_sender_once_the_first_is_silent() -> None:
    watched = Watched()
    watched.judge(REAL, 0)
    assert watched.judge(REAL, 1, STRANGER) is Verdict.SECOND_SENDER
    for time in range(INTERVAL, 10 * INTERVAL, INTERVAL):
        assert watched.judge(REAL, time) is Verdict.KNOWN
        assert watched.judge(REAL, time + 1, STRANGER) is Verdict.SECOND_SENDER
        assert watched.admission.is_sender(REAL, DONGLE)
        assert not watched.admission.is_sender(REAL, STRANGER)
    last = 9 * INTERVAL
    assert watched.judge(REAL, last + SENDER_SECONDS - 1, STRANGER) is Verdict.SECOND_SENDER
    assert watched.judge(REAL, last + SENDER_SECONDS, STRANGER) is Verdict.MOVED
    assert watched.judge(REAL, last + SENDER_SECONDS + 1, STRANGER) is Verdict.KNOWN
    assert watched.judge(REAL, last + SENDER_SECONDS + 2, DONGLE) is Verdict.SECOND_SENDER
    # Another inverter has its own.
    assert watched.judge(OTHER, last, STRANGER) is Verdict.NEW
