"""The base class of the backends, each of which delivers readings to one destination."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import tzinfo
from typing import Any

from inverter_capture.backends.status import BackendStatus
from inverter_capture.protocol.readings import Reading
from inverter_capture.text import counted, local_time_text

TURNS_MAX = 6  # Failures and recoveries in a row that are logged one by one
STABLE_SECONDS = 3600  # After so long without another one the next is logged again

_log = logging.getLogger(__name__)


class Backend(ABC):
    """Delivers readings in a thread of its own, so that no backend can stop, slow or starve another.

    Order of calls: `start`, `put`, `stop`, `join`. A failed delivery raises no exception: it is logged once, and
    `status` shows it.
    """

    stop_seconds: float
    """Seconds granted for the last readings when the service stops. procd kills the service after five."""
    on_change: Callable[[], None] = staticmethod(lambda: None)
    """Called when `status` has changed, in any thread. Must return at once."""
    on_earlier: Callable[[Reading], None] = staticmethod(lambda _: None)
    """Called with the newest reading that an earlier run of the service has published, for each inverter, as far as the
    destination can tell. In any thread, before or after the first `put`. Must return at once."""
    ended = False  # Whether the destination is closed for good

    def __init__(self, name: str) -> None:
        """`name`: for the log; unique among the backends of one configuration."""
        self.name = name
        self._changed = threading.Condition()  # Held while the state is changed, or read by another thread
        self._stopping = False
        self._importing = False  # Whether readings come from a file
        self._problem = ""  # Why nothing can be delivered. Empty when no problem is known.
        self._failing_since: float | None = None  # Start of the problem, in seconds since the epoch
        self._logged: set[str] = set()  # Kinds of problems logged since the last delivery
        self._turns = 0  # How often a failure has followed deliveries, or deliveries a failure, without a stable hour
        self._turned_at = 0.0  # Monotonic time of the latest
        self._notified: BackendStatus | None = None  # The status at the last call of `on_change`
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def _run(self) -> None:
        """Deliver until `stop`, in the thread."""

    @abstractmethod
    def _counts(self) -> tuple[int, int, int]:
        """Number of readings delivered, waiting and dropped since `start`."""

    def start(self) -> None:
        """Start to deliver."""
        self._thread.start()

    @abstractmethod
    def put(self, *readings: Reading) -> None:
        """Queue readings for delivery. Returns at once. A full queue drops its oldest readings and counts them.

        During an import, waits instead while the queue is full, until the import ends or the backend is stopped.
        """

    def begin_import(self) -> None:
        """Start an import: the following readings come from a file, which can wait."""
        with self._changed:
            self._importing = True

    def end_import(self) -> None:
        """End the import: deliver the readings that were collected. May be called from any thread. Returns at once."""
        with self._changed:
            self._importing = False
            self._changed.notify_all()

    def wait_until_empty(self, seconds: float) -> bool:
        """Wait at most this time until all readings are delivered. Returns whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._counts()[1], seconds)

    def retry(self) -> None:  # noqa: B027 (for backends that wait)
        """If the backend waits after a failure, make it try again now. Returns at once."""

    def stop(self) -> None:
        """Ask the backend to make a last attempt to deliver the queued readings, and to finish. Returns at once."""
        with self._changed:
            self._stopping = True
            self._importing = False
            self._changed.notify_all()

    def join(self, seconds: float) -> int:
        """Wait at most this time for the backend to finish. Returns the number of readings lost since `start`."""
        self._thread.join(seconds)
        with self._changed:
            _, waiting, dropped = self._counts()
            return waiting + dropped

    def _wait_for_room(self, has_room: Callable[[], bool]) -> None:
        """During an import, wait until there is room. The caller holds `_changed`."""
        if self._importing and not has_room():
            self._changed.notify_all()
            self._changed.wait_for(lambda: has_room() or not self._importing)

    @abstractmethod
    def reconfigure(self, section: Any, zone: tzinfo | None) -> None:
        """Apply changed settings and keep the queued readings. Returns at once.

        `zone` is the inverter's time zone, None the system's.
        """

    def status(self) -> BackendStatus:
        """The current state and counters. May be called from any thread. Returns at once."""
        with self._changed:
            counts = self._counts()
            return BackendStatus(self.name, self._is_connected(), *counts, self._problem, self._failing_since)

    def _is_connected(self) -> bool:
        return self._failing_since is None

    def _fail(self, problem: str, more: str = "") -> None:
        """Record why nothing can be delivered. Each kind of problem is logged once, with `more`, until a delivery."""
        with self._changed:
            begins = self._failing_since is None
            if begins:
                self._failing_since = time.time()
            self._problem = problem
        # The text in parentheses, such as an explanation of a server, may hold numbers and times that change.
        kind = problem.partition(" (")[0]
        if self._is_unstable(turned=begins):
            if begins and self._turns == TURNS_MAX + 1:
                when = "from now on logged only after an hour without a change"
                _log.error("%s: %s%s; failure number %d, %s", self.name, problem, more, self._failures, when)
        elif kind not in self._logged:
            self._logged.add(kind)
            _log.error("%s: %s%s", self.name, problem, more)
        self._notify_if_changed()

    def _recover(self) -> None:
        """Record a delivery. Logged after a failure."""
        with self._changed:
            since, self._failing_since, self._problem = self._failing_since, None, ""
        self._logged.clear()
        was_unstable, failures = self._turns > TURNS_MAX, self._failures
        if self._is_unstable(turned=since is not None):
            return
        if was_unstable:
            count = counted(failures, "failure")
            _log.info("%s: delivering for an hour without a failure, after %s; %s", self.name, count, self._backlog())
        elif since is not None:
            began = local_time_text(since)
            _log.info("%s: delivering again, after a failure since %s; %s", self.name, began, self._backlog())

    def _is_unstable(self, *, turned: bool) -> bool:
        """Whether failures and deliveries follow each other too soon to log each. `turned`: one follows just now."""
        now = time.monotonic()
        if now - self._turned_at >= STABLE_SECONDS:
            self._turns = 0
        if turned:
            self._turns += 1
            self._turned_at = now
        return self._turns > TURNS_MAX

    @property
    def _failures(self) -> int:
        """Failures since the last hour without a change."""
        return (self._turns + 1) // 2

    def _backlog(self) -> str:
        with self._changed:
            _, waiting, dropped = self._counts()
        return f"waiting: {counted(waiting, 'reading')}, dropped: {counted(dropped, 'reading')}"

    def _notify_if_changed(self) -> None:
        """Call `on_change` if the status has changed. Backends call this wherever it may have."""
        status = self.status()
        if status != self._notified:
            self._notified = status
            self.on_change()

    def note_status(self) -> None:  # noqa: B027 (for backends that publish it)
        """Note that the status of the service has changed. May be called from any thread. Returns at once."""

    def check(self) -> str | None:
        """Test the connection and the permissions without delivering a reading. Returns the problem, or None.

        Only for a backend that is not started.
        """
        return None
