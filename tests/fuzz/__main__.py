"""Feeds every parser with broken input: `python -m tests.fuzz --seconds N [--seed S]`.

Each gets the same share of the time. Nothing may raise what it does not document, and memory may not grow. All input is
made from a few whole examples; a failure prints the inputs of its round, and the same seed makes the same inputs.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import time
from typing import Protocol

from tests.arguments import read_arguments
from tests.fuzz import Failure
from tests.fuzz.packets import Packets
from tests.fuzz.servers import Answers, Broker
from tests.fuzz.texts import TOML, UCI, Texts, read_toml, read_uci

A_DAY = 24 * 3600
WARM_UP = 0.3
"""The part of the time after which all that is made once has been made; then memory is measured."""
OBJECTS_GROWTH_MAX = 20_000
RESIDENT_GROWTH_MAX = 16 * 1024 * 1024
"""By how many small objects, and resident bytes, memory may grow. Plans of some learnt layouts are kept."""


class Target(Protocol):
    """A parser."""

    inputs: list[object]
    """Of the latest round."""

    def round(self) -> None:
        """Feed it with some inputs."""

    def close(self) -> None:
        """Let go of all that it holds."""


def memory() -> tuple[int, int]:
    """Small objects, and resident bytes."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return sys.getallocatedblocks(), int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Run:
    """Rounds of all targets."""

    def __init__(self, seed: int) -> None:
        self.targets: dict[str, Target] = {
            "packets": Packets(random.Random(f"packets {seed}")),
            "TOML": Texts(random.Random(f"TOML {seed}"), TOML, read_toml),
            "UCI": Texts(random.Random(f"UCI {seed}"), UCI, read_uci),
            "HTTP answers": Answers(random.Random(f"HTTP {seed}")),
            "MQTT packets": Broker(random.Random(f"MQTT {seed}")),
        }
        self.counts = dict.fromkeys(self.targets, 0)
        self._spent = dict.fromkeys(self.targets, 0.0)
        self._before: tuple[int, int] | None = None

    def follow(self, seconds: float) -> None:
        """Raises whatever goes wrong, with its round's inputs printed."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            if self._before is None and passed > WARM_UP * seconds:
                self._before = memory()
            name = min(self._spent, key=self._spent.__getitem__)
            target = self.targets[name]
            before = time.monotonic()
            try:
                target.round()
            except BaseException:
                for given in target.inputs:
                    print(given, file=sys.stderr)
                print(f"fuzz: above are the last inputs of {name}", file=sys.stderr)
                raise
            self._spent[name] += time.monotonic() - before
            self.counts[name] += len(target.inputs)

    def growth(self) -> tuple[int, int]:
        """Objects and bytes, since the warm-up. Raises Failure when there are too many."""
        for target in self.targets.values():
            target.close()
        assert self._before is not None
        objects, resident = (now - before for now, before in zip(memory(), self._before, strict=True))
        if objects > OBJECTS_GROWTH_MAX or resident > RESIDENT_GROWTH_MAX:
            raise Failure(f"memory has grown by {objects} objects, {resident} bytes")
        return objects, resident


def main() -> int:
    """Run, and print what was done."""
    seconds, seed = read_arguments("fuzz", "Feed every parser with broken input.", 60)
    run = Run(seed)
    run.follow(seconds)
    objects, resident = run.growth()
    for name, count in run.counts.items():
        print(f"fuzz: {name}: {count}")
    total = sum(run.counts.values())
    print(
        f"fuzz: {total} inputs, {total / seconds * A_DAY / 1e6:,.0f} million a day; "
        f"memory has grown by {objects} objects, {resident // 1024} KiB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
