"""Figures about the code of a checkout: `python -m hack.structure CHECKOUT`, started by hack/structure.

Packages are found by their `__init__.py`, so that any commit can be measured. Generated code and tests do not count.
"""

import argparse
import ast
import dataclasses
import pathlib
import statistics
import sys
from collections.abc import Iterator

_LEFT_OUT = {"tests", "hack", "_pb"}
_QUESTIONS = ("what", "which", "whether", "who", "where", "how")


@dataclasses.dataclass(frozen=True, slots=True)
class Module:
    """`functions` has the length of each function in lines, by its name."""

    path: pathlib.PurePath
    lines: int
    docstring: str
    functions: dict[str, int]

    @property
    def asks(self) -> bool:
        """Whether its docstring begins with a question word."""
        return self.docstring.lower().startswith(tuple(f"{word} " for word in _QUESTIONS))


def read(root: pathlib.Path) -> list[Module]:
    """Return every module of the checkout's packages, without `__init__.py`."""
    tops = [path.parent for path in sorted(root.glob("*/__init__.py")) if path.parent.name not in _LEFT_OUT]
    found = [path for top in tops for path in sorted(top.rglob("*.py"))]
    return [_module(root, path) for path in found if path.name != "__init__.py" and not _LEFT_OUT & {*path.parts}]


def _module(root: pathlib.Path, path: pathlib.Path) -> Module:
    text = path.read_text()
    tree = ast.parse(text)
    docstring = ast.get_docstring(tree) or ""
    return Module(path.relative_to(root), len(text.splitlines()), docstring, dict(_functions(tree)))


def _functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            yield node.name, node.end_lineno - node.lineno + 1


def packages(modules: list[Module]) -> dict[str, int]:
    """Count the modules directly in each package."""
    found: dict[str, int] = {}
    for module in modules:
        name = ".".join(module.path.parent.parts)
        found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items()))


def report(modules: list[Module]) -> Iterator[str]:
    """Yield the lines of the report."""
    yield from (f"{count:3} modules in {name}" for name, count in packages(modules).items())
    deepest = max(modules, key=lambda module: len(module.path.parts)).path.parent
    yield f"deepest folder: {deepest}, {len(deepest.parts)} levels"
    largest = max(modules, key=lambda module: module.lines)
    median = statistics.median(module.lines for module in modules)
    yield f"lines of a module: median {median:.0f}, largest {largest.lines} ({largest.path})"
    functions = [(lines, name, module.path) for module in modules for name, lines in module.functions.items()]
    longest, name, path = max(functions)
    median = statistics.median(lines for lines, _, _ in functions)
    yield f"lines of a function: median {median:.0f}, largest {longest} ({name} in {path})"
    asking = sum(module.asks for module in modules)
    yield f"docstrings that begin with a question word: {asking} of {len(modules)} modules"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="hack/structure", description="Prints how the code of a checkout is cut.")
    parser.add_argument("checkout", type=pathlib.Path)
    modules = read(parser.parse_args(arguments).checkout)
    if not modules:
        parser.error("there is no package in this folder: give the root of a checkout")
    print("\n".join(report(modules)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
