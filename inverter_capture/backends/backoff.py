"""How long to wait before the next attempt."""

from __future__ import annotations

import random

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0
"""Between attempts while a server cannot be reached. It may be off all night; back, it is to be found soon."""
LASTING_SECONDS = 300.0
"""Between attempts when only an operator can mend what is wrong."""
ASKED_SECONDS_MAX = 300.0
"""The longest wait that a server can ask for."""
JITTER = 0.5
"""Up to this share of a wait is left out by chance: those who failed together need not return together."""


class Backoff:
    """Waits that double with each failure."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self._chance = chance or random.Random()
        self._failures = 0

    def reset(self) -> None:
        """An attempt was successful."""
        self._failures = 0

    def passing(self, asked: float | None = None) -> float:
        """Seconds to wait after a failure that may pass; `asked` by the server."""
        wait = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return max(self._jittered(wait), min(asked or 0.0, ASKED_SECONDS_MAX))

    def lasting(self) -> float:
        """Seconds to wait after a failure that an operator must mend."""
        return self._jittered(LASTING_SECONDS)

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 - JITTER * self._chance.random())
