"""Packs a Python package for a router: python -X no_debug_ranges pack.py PACKAGE SITE-PACKAGES

SITE-PACKAGES/PACKAGE then holds two files: `modules`, the bytecode of all modules, and an `__init__.pyc` that loads
them from there, see modules.py. The bytecode is for the version of Python that runs this, and has neither docstrings
nor assertions; line numbers it has. The same modules give the same two files, with the same PYTHONHASHSEED.
"""

from __future__ import annotations

import bz2
import marshal
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path

STAND_IN = Path(__file__).with_name("modules.py")


def main() -> None:
    if len(sys.argv) != 3 or "no_debug_ranges" not in sys._xoptions:
        sys.exit("usage: python -X no_debug_ranges pack.py PACKAGE SITE-PACKAGES")
    package = Path(sys.argv[1])
    target = Path(sys.argv[2]) / package.name
    target.mkdir(parents=True)
    header = MAGIC_NUMBER + bytes(12)
    (target / "__init__.pyc").write_bytes(header + _bytecode(STAND_IN, f"{package.name}/modules.py"))
    (target / "modules").write_bytes(bz2.compress(marshal.dumps(_modules(package))))


def _modules(package: Path) -> dict[str, tuple[bool, bytes]]:
    """Of each module by its full name: whether it is a package, and its code."""
    modules = {}
    for path in sorted(package.rglob("*.py")):
        file = path.relative_to(package.parent)
        is_package = path.stem == "__init__"
        name = ".".join((file.parent if is_package else file.with_suffix("")).parts)
        modules[name] = is_package, _bytecode(path, str(file))
    return modules


def _bytecode(path: Path, name: str) -> bytes:
    return marshal.dumps(compile(path.read_bytes(), name, "exec", dont_inherit=True, optimize=2))


if __name__ == "__main__":
    main()
