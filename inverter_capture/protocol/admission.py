"""Which inverters are read: whoever forges reports can make up any number of serial numbers.

- The first few serial numbers are admitted at once, others slowly. Admitted ones keep their places while they report;
  one that has been silent for a day gives its place to a new one when all are taken.
- With a list of serial numbers, those are admitted and no others.
- Each inverter has one sender: the address that its reports come from. Another becomes the sender once the first has
  been silent, since dongles get new addresses.

No I/O and no clock: times are in nanoseconds, of a clock that nobody sets; for a file, those of its packets.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

from inverter_capture.protocol.inverter_kinds import INVERTERS_MAX
from inverter_capture.protocol.times import SECOND

NEW_MAX = 8
"""So many new inverters are admitted at once, ..."""
NEW_SECONDS = 15 * 60
"""... and one more each time that has passed."""
SILENT_SECONDS = 24 * 3600
"""After so long without a report an inverter loses its place when another needs it. At night some are silent."""
SENDER_SECONDS = 15 * 60
"""After so long without a report from the sender another address becomes the sender."""


class Verdict(Enum):
    """What is to be said of a report."""

    KNOWN = "of a known inverter, from its sender"
    NEW = "of an inverter that is new"
    MOVED = "of a known inverter that has another sender now"
    SECOND_SENDER = "of a known inverter, from another address than its sender's"
    NOT_NAMED = "refused: the inverter is not in the list"
    TOO_MANY = "refused: too many inverters are new"

    @property
    def admitted(self) -> bool:
        """Whether the report is to be read."""
        return self not in (Verdict.NOT_NAMED, Verdict.TOO_MANY)


class Admission:
    """Judges each report by who sent it. Remembers no more than INVERTERS_MAX inverters."""

    def __init__(self, serials: Collection[str] = (), *, live: bool) -> None:
        """`serials` are the only ones to admit; none: any. Not `live`: what a file holds need not wait."""
        self.serials = frozenset(serials)
        self._live = live
        self._inverters: dict[str, _Inverter] = {}
        """By serial number, the one that has been silent for longest first."""
        self._new_left: float = NEW_MAX
        self._counted_at: int | None = None

    def judge(self, serial: str, sender: bytes, time: int) -> Verdict:
        """Whether a report heard at this time is to be read. `sender` is the address that it came from."""
        if self.serials and serial not in self.serials:
            return Verdict.NOT_NAMED
        inverter = self._inverters.pop(serial, None)
        if inverter is None:
            if not self._has_room(time):
                return Verdict.TOO_MANY
            self._inverters[serial] = _Inverter(sender, time)
            return Verdict.NEW
        # The latest to report stands last.
        self._inverters[serial] = inverter
        inverter.latest = time
        if sender == inverter.sender:
            inverter.sent = time
            return Verdict.KNOWN
        if time - inverter.sent < SENDER_SECONDS * SECOND:
            return Verdict.SECOND_SENDER
        inverter.sender, inverter.sent = sender, time
        return Verdict.MOVED

    def is_sender(self, serial: str, address: bytes) -> bool:
        """Whether an inverter's reports come from this address, as far as is known."""
        inverter = self._inverters.get(serial)
        return inverter is None or inverter.sender == address

    def _has_room(self, time: int) -> bool:
        """Whether a new inverter may come; it then does."""
        if not self._live or self.serials:
            longest = 0
        else:
            longest = SILENT_SECONDS * SECOND
            if self._counted_at is not None:
                self._new_left += (time - self._counted_at) / (NEW_SECONDS * SECOND)
            self._new_left = min(self._new_left, NEW_MAX)
            self._counted_at = time
            if self._new_left < 1:
                return False
        if len(self._inverters) >= INVERTERS_MAX:
            silent = next(iter(self._inverters))
            if time - self._inverters[silent].latest < longest:
                return False
            del self._inverters[silent]
        self._new_left -= 1
        return True


class _Inverter:
    __slots__ = ("latest", "sender", "sent")

    def __init__(self, sender: bytes, time: int) -> None:
        self.sender = sender
        self.sent = time
        """When the sender has last sent a report."""
        self.latest = time
        """When a report has last come from anywhere."""
