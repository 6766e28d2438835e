"""`python -m tests.dongle FILE` writes the capture of the simulated day."""

from __future__ import annotations

import sys

from tests.dongle.day import day_capture, expected_day


def main() -> int:
    """The command."""
    if len(sys.argv) != 2:
        print("usage: python -m tests.dongle FILE", file=sys.stderr)
        return 2
    capture = day_capture()
    with open(sys.argv[1], "wb") as file:
        file.write(capture)
    print(f"{sys.argv[1]}: {len(capture)} bytes, {len(expected_day())} readings", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
