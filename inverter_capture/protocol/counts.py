"""Counters of a stage."""

from __future__ import annotations


class Counts:
    """Counters that start at 0. Subclasses name them in `__slots__`."""

    __slots__: tuple[str, ...] = ()

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)
