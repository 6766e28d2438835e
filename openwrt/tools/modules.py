"""Stands in for the package's `__init__` on a router, where all its modules lie in one compressed file.

Flash is scarce there: so they take a quarter of what a file of bytecode for each would. The file is made by pack.py.
"""

from __future__ import annotations

import sys
from bz2 import decompress
from importlib.machinery import ModuleSpec
from marshal import loads
from types import CodeType, ModuleType


class _Modules:
    """Finds and loads the modules of the file: `import` asks it after all others."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            self._modules: dict[str, tuple[bool, bytes]] = loads(decompress(file.read()))

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name in self._modules:
            return ModuleSpec(name, self, is_package=self._modules[name][0])  # type: ignore[arg-type] # as good as one
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """As usual."""

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)
        del self._modules[module.__name__]  # to free the memory

    def get_code(self, name: str) -> CodeType:
        """The code of a module that is not loaded yet; `python -m` asks for it, too."""
        code: CodeType = loads(self._modules[name][1])
        return code


_modules = _Modules(__file__.removesuffix("__init__.pyc") + "modules")
sys.meta_path.append(_modules)
exec(_modules.get_code(__name__))
