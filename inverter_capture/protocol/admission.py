"""Decides which inverters are read, since forged reports can contain any number of serial numbers.

- The first few serial numbers are admitted at once, others slowly. Admitted ones keep their places while they report.
  When all places are taken, a new one gets the place of one that has been silent for a day.
- With a list of serial numbers, only those are admitted.
- Each inverter has one sender: the address that its reports come from. When the sender has been silent, another address
  becomes the sender, since dongles get new addresses.

No I/O and no clock: times are in nanoseconds of the monotonic clock; for a file, those of its packets.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

from inverter_capture.protocol.inverter_kinds import INVERTERS_MAX
from inverter_capture.protocol.times import SECOND

NEW_MAX = 8  # Number of new inverters that are admitted at once
NEW_SECONDS = 15 * 60  # Seconds after which one more is admitted
SILENT_SECONDS = 24 * 3600
"""Seconds without a report after which another inverter may take the place. At night some inverters are silent."""
SENDER_SECONDS = 15 * 60  # Seconds without a report from the sender after which another address becomes it


class Verdict(Enum):
    """The decision about a report."""

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
    """Decides about each report by its serial number and sender. Remembers at most INVERTERS_MAX inverters."""

    def __init__(self, serials: Collection[str] = (), *, live: bool) -> None:
        """`serials`: the only ones to admit; empty: all. `live`: new ones are admitted slowly, unlike in a file."""
        self.serials = frozenset(serials)
        self._live = live
        self._inverters: dict[str, _Inverter] = {}  # By serial number, the longest silent one first
        self._new_left: float = NEW_MAX
        self._counted_at: int | None = None

    def judge(self, serial: str, sender: bytes, time: int) -> Verdict:
        """Decide about a report captured at this time. `sender`: its source address."""
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
        """Whether this address is the inverter's sender, or the inverter has none."""
        inverter = self._inverters.get(serial)
        return inverter is None or inverter.sender == address

    def _has_room(self, time: int) -> bool:
        """Whether a new inverter is admitted. Makes room for it."""
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
        self.sent = time  # Time of the last report from the sender
        self.latest = time  # Time of the last report from any address
