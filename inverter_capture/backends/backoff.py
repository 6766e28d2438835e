"""How long to wait before the next attempt to deliver."""

from __future__ import annotations

import random

FIRST_SECONDS = 1.0
"""The wait after the first failure."""
LONGEST_SECONDS = 60.0
"""The longest wait while a server cannot be reached."""
LASTING_SECONDS = 300.0
"""The wait after a failure that lasts until somebody changes a setting, here or at the server."""
ASKED_SECONDS_MAX = 300.0
"""The longest wait that a server can ask for."""
JITTER = 0.5
"""The share of a wait that is shortened at random, so that clients that failed together do not return together."""
RESTART_SECONDS = 5.0
"""The wait of a backend's thread after an error in inverter-capture itself."""


class Backoff:
    """Waits that double with each failure."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self._chance = chance or random.Random()
        self._failures = 0

    def reset(self) -> None:
        """Begin with the shortest wait again, after a success."""
        self._failures = 0

    def passing(self, asked: float | None = None) -> float:
        """Seconds to wait after a failure that may pass by itself. `asked` are those that the server asks for."""
        wait = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return max(self._jittered(wait), min(asked or 0.0, ASKED_SECONDS_MAX))

    def lasting(self) -> float:
        """Seconds to wait after a failure that lasts until somebody changes a setting."""
        return self._jittered(LASTING_SECONDS)

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 - JITTER * self._chance.random())
