"""Short runs of `make soak` and `make fuzz`. In `make test`, the other tests run beside them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.network import ROOT
from tests.programs import environment


@pytest.mark.parametrize("words", [("tests.soak", "--seconds", "120"), ("tests.fuzz", "--seconds", "60")])
def test_for_minutes(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
