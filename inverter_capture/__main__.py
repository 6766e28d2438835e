"""What the command `inverter-capture` and `python -m inverter_capture` run."""

import sys

from inverter_capture.service.signals import hold_reload


def main() -> int:
    """Run a command. Returns the exit code."""
    if sys.argv[1:2] == ["run"]:
        # Before all that takes a router a second to load: procd may ask for a reload at any time.
        hold_reload()
    from inverter_capture.commands.arguments import main as run_command

    return run_command()


if __name__ == "__main__":
    sys.exit(main())
