"""Counters, as every stage keeps them."""

from __future__ import annotations


class Counts:
    """Numbers that begin at 0 and only rise. Subclasses name them in `__slots__`."""

    __slots__: tuple[str, ...] = ()

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)
