"""What a module's source imports and touches, read with ``ast`` and never imported.

:func:`read_module` lists them as dotted names resolved through the module's own imports, so that
``from trio import sleep as nap`` and ``trio.sleep`` are both ``trio.sleep``.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import translate
from functools import cache

import attrs

__all__ = ["Touch", "cycles", "matching", "read_module"]

BUILTINS = frozenset({"open", "print", "input", "exec", "eval", "__import__", "breakpoint"})
PATH_METHODS = frozenset({"read_text", "read_bytes", "write_text", "write_bytes"})


@attrs.frozen
class Touch:
    """One dotted name that a module uses, and where.

    ``name`` of a builtin starts with ``builtins.``, of a method of an unknown object with
    ``unknown.``, and of an awaiting construct it is ``await``. ``imported`` is True at the import
    itself.
    """

    name: str
    line: int
    imported: bool


def read_module(source: str, module: str, *, is_package: bool = False) -> list[Touch]:
    """Return everything that ``source`` imports or touches, in the order of its lines."""
    tree = ast.parse(source)
    reader = _Reader(module if is_package else module.rpartition(".")[0])
    reader.collect_imports(tree)
    reader.visit(tree)
    return sorted(reader.touches, key=lambda touch: (touch.line, touch.name))


def matching(touches: list[Touch], patterns: Mapping[str, str]) -> Iterator[tuple[Touch, str, str]]:
    """Yield each touch that a pattern forbids, with the pattern and its reason.

    A pattern ``a.b`` covers ``a.b`` and everything below it; ``*`` stands for any characters.
    """
    covers = _any_of(tuple(patterns))
    for touch in touches:
        if not covers(touch.name):
            continue
        for pattern, reason in patterns.items():
            if _any_of((pattern,))(touch.name):
                yield touch, pattern, reason
                break


@cache
def _any_of(patterns: tuple[str, ...]) -> Callable[[str], object]:
    """Return what tells whether a name is one that some of the patterns cover."""
    both = (each for pattern in patterns for each in (pattern, f"{pattern}.*"))
    return re.compile("|".join(map(translate, both)) or "(?!)").match


def cycles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Return one cycle of imports through each module that is the first of its own, if any."""
    found = []
    for start in sorted(imports):
        path = _path(imports, start, start)
        if path and start == min(path):
            found.append(path)
    return found


def _path(imports: Mapping[str, set[str]], start: str, goal: str) -> list[str]:
    stack = [[start]]
    seen: set[str] = set()
    while stack:
        path = stack.pop()
        for target in sorted(imports.get(path[-1], set())):
            if target == goal:
                return [*path, goal]
            if target not in seen:
                seen.add(target)
                stack.append([*path, target])
    return []


class _Reader(ast.NodeVisitor):
    """Collects touches; ``package`` is what a relative import starts from."""

    def __init__(self, package: str) -> None:
        self.touches: list[Touch] = []
        self._package = package
        self._aliases: dict[str, str] = {}

    def collect_imports(self, tree: ast.AST) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._touch(alias.name, node, imported=True)
                    if alias.asname:
                        self._aliases[alias.asname] = alias.name
                    else:
                        root = alias.name.partition(".")[0]
                        self._aliases[root] = root
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                for alias in node.names:
                    name = f"{base}.{alias.name}"
                    self._touch(name, node, imported=True)
                    self._aliases[alias.asname or alias.name] = name

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._resolve(node)
        if name is not None:
            self._touch(name, node)
            return
        if node.attr in PATH_METHODS:
            self._touch(f"unknown.{node.attr}", node)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self._aliases:
            self._touch(self._aliases[node.id], node)
        elif node.id in BUILTINS:
            self._touch(f"builtins.{node.id}", node)

    def visit_Call(self, node: ast.Call) -> None:
        name = self._resolve(node.func)
        if name is not None:
            for keyword in node.keywords:
                self._touch(f"{name}({keyword.arg}=)", node)
        self.generic_visit(node)

    def visit_Await(self, node: ast.Await) -> None:
        self._touch("await", node)
        self.generic_visit(node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        self._touch("await", node)
        self.generic_visit(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        self._touch("await", node)
        self.generic_visit(node)

    def _resolve(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return self._aliases.get(node.id)
        if isinstance(node, ast.Attribute):
            base = self._resolve(node.value)
            return None if base is None else f"{base}.{node.attr}"
        return None

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self._package.split(".")
        parts = parts[: len(parts) - (node.level - 1)]
        return ".".join([*parts, node.module] if node.module else parts)

    def _touch(self, name: str, node: ast.AST, *, imported: bool = False) -> None:
        line = getattr(node, "lineno", 0)
        self.touches.append(Touch(name, line, imported))
