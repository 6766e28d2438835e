"""The time to wait before the next attempt to deliver: exponential backoff with jitter."""

from __future__ import annotations

import random

FIRST_SECONDS = 1.0  # Seconds to wait after the first failure
LONGEST_SECONDS = 60.0  # Maximum seconds to wait while a server cannot be reached
LASTING_SECONDS = 300.0  # Seconds to wait after a failure that lasts until a setting is changed, here or on the server
ASKED_SECONDS_MAX = 300.0  # Maximum seconds to wait on request of the server (Retry-After)
JITTER = 0.5
"""Maximum part of a wait that is subtracted at random, so that clients do not all reconnect at the same moment."""
RESTART_SECONDS = 5.0  # Seconds that a thread waits after an unexpected exception


class Backoff:
    """Waiting times that double with each failure."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self._chance = chance or random.Random()
        self._failures = 0

    def reset(self) -> None:
        """Start again with the shortest wait. To be called after a success."""
        self._failures = 0

    def passing(self, asked: float | None = None) -> float:
        """Seconds to wait after a temporary failure. `asked`: seconds that the server asks for."""
        wait = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return max(self._jittered(wait), min(asked or 0.0, ASKED_SECONDS_MAX))

    def lasting(self) -> float:
        """Seconds to wait after a failure that lasts until a setting is changed."""
        return self._jittered(LASTING_SECONDS)

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 - JITTER * self._chance.random())
