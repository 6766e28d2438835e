"""Chance and curves that come out the same on every machine and every Python.

Only `Random.random()` with an integer seed and plain arithmetic are used: the other methods of `random`, and the
sine of the C library, may differ in the last digit from one version to the next, and the bundled capture must not.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


class Dice:
    """A source of chance. The same numbers give the same sequence: a seed, and what the dice are for."""

    def __init__(self, *numbers: int) -> None:
        mixed = 0
        for number in numbers:
            mixed = (mixed * 1_000_003 + number + 1) % 2**64
        self._random = random.Random(mixed).random

    def between(self, low: float, high: float) -> float:
        """A number from low up to, but without, high."""
        return low + (high - low) * self._random()

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self._random() * (high - low + 1))

    def happens(self, probability: float) -> bool:
        """True as often as `probability` (0 to 1) says."""
        return self._random() < probability

    def one_of(self, items: Sequence[Item]) -> Item:
        """One of the items."""
        return items[self.whole(0, len(items) - 1)]

    def bytes(self, length: int) -> bytes:
        """Bytes without meaning."""
        return bytes(self.whole(0, 255) for _ in range(length))


def sine(degrees: float) -> float:
    """The sine, right to 0.002 (Bhaskara's formula)."""
    degrees %= 360
    half = degrees % 180
    product = half * (180 - half)
    value = 4 * product / (40500 - product)
    return value if degrees < 180 else -value


def hill(position: float, middle: float, width: float) -> float:
    """A smooth hill: 1 in the middle, one half at `width` from it, near 0 beyond."""
    distance = (position - middle) / width
    square = distance * distance
    return 1 / (1 + square * square)


def on_line(position: float, points: Sequence[tuple[float, float]]) -> float:
    """The height at a position on a line through points in rising order; level beyond its ends."""
    if position <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in itertools.pairwise(points):
        if position <= right:
            return low + (high - low) * (position - left) / (right - left)
    return points[-1][1]
