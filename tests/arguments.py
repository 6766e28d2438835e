"""The arguments of `python -m tests.fuzz` and `python -m tests.soak`: how long, and with which chances."""

from __future__ import annotations

import argparse
import random


def read_arguments(name: str, description: str, seconds: float) -> tuple[float, int]:
    """Seconds and seed, which are also printed. `seconds` is the default."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.{name}", description=description)
    parser.add_argument("--seconds", type=float, default=seconds)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of an earlier run, to repeat it")
    arguments = parser.parse_args()
    print(f"{name}: seed {arguments.seed}, {arguments.seconds:g} s", flush=True)
    return arguments.seconds, arguments.seed
