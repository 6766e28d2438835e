"""Uses all of the program that imports something, with a part of the standard library: see test_feed.py.

python -I -S exercise.py FILE CAPTURE DIRECTORY...: FILE lists the modules that are not there, the directories hold the
program and the libraries. A configuration on standard input names servers, none of which is there.
"""

import sys


class Lacking:
    """Comes before all that finds modules, and lets none be found that is lacking."""

    def __init__(self, file: str) -> None:
        with open(file) as lines:
            self._names = set(lines.read().split())
        assert not self._names & set(sys.modules), self._names & set(sys.modules)

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in self._names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def import_all() -> None:
    """Imports what is imported anywhere in the program, but for type checkers: in functions, too."""
    import ast
    import pkgutil
    from collections.abc import Iterator
    from importlib import import_module
    from pathlib import Path

    import inverter_capture

    def imported(tree: ast.AST) -> Iterator[str]:
        for node in ast.iter_child_nodes(tree):
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                continue
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.module is not None
                yield node.module
            yield from imported(node)

    for module in pkgutil.walk_packages(inverter_capture.__path__, "inverter_capture."):
        if module.name != "inverter_capture.__main__":
            file = import_module(module.name).__file__
            assert file is not None
            for name in imported(ast.parse(Path(file).read_text(encoding="utf-8"))):
                import_module(name)


def use(capture: str) -> None:
    from contextlib import redirect_stdout
    from io import StringIO

    from inverter_capture.commands.arguments import main

    for form in ("table", "json", "csv", "line-protocol"):
        with redirect_stdout(StringIO()) as out:
            assert main(["decode", capture, "--format", form, "--timezone", "UTC"]) == 0
        assert len(out.getvalue().splitlines()) > 200
    # What it says on standard error tells whether it got as far as the servers.
    assert main(["check", "--connect", "/dev/stdin"]) == 1
    print("done")


if __name__ == "__main__":
    sys.meta_path.insert(0, Lacking(sys.argv[1]))
    sys.path[:0] = sys.argv[3:]
    import_all()
    use(sys.argv[2])
