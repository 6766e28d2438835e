"""Broken input for everything that reads what others wrote: `python -m tests.fuzz`."""


class Failure(Exception):
    """A bound that does not hold."""
