"""`python -m tests.dongle FILE` writes the capture of the simulated day."""

from __future__ import annotations

import argparse
import sys

from tests.dongle.day import day_capture, expected_day


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.dongle", description="Write the capture of the simulated day."
    )
    parser.add_argument("file", metavar="FILE")
    path = parser.parse_args().file
    capture = day_capture()
    with open(path, "wb") as file:
        file.write(capture)
    print(f"{path}: {len(capture)} bytes, {len(expected_day())} readings", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
