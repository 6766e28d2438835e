#!/bin/sh
# Tests the installed package: test.sh PACKAGE VERSION

[ "$1" = inverter-capture ] || exit 0

inverter-capture --version | grep -Fx "inverter-capture ${2%-r*}" || exit 1

# Fails when a module is missing that the package's dependencies should have brought.
python3 - <<'PYTHON'
from importlib import import_module
from pkgutil import walk_packages

import inverter_capture

for module in walk_packages(inverter_capture.__path__, "inverter_capture."):
    if module.name != "inverter_capture.__main__":
        import_module(module.name)
PYTHON
