"""Which names of a program its tests mean: those that the reference answer defines, and no others.

A test that says `abs(f(1))` means Python's `abs` unless the reference defines one; so a program cannot replace it.
"""

from __future__ import annotations

import ast


def names_tested(tests: str, reference: str) -> tuple[str, ...]:
    """Return the names that tests use and that a reference answer defines or imports at its top level.

    Raises:
        SyntaxError: The tests or the reference are no Python.
    """
    return tuple(sorted(_used(tests) & _defined(reference)))


def _used(code: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}


def _defined(code: str) -> set[str]:
    found: set[str] = set()
    for node in ast.parse(code).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update(name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
    return found
