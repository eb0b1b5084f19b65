"""Gives a benchmark's programs to the runner: what the model wrote in one process, the published tests in another."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from dllm_decode.programs import ByTests, Limits, run
from dllm_decode.tasks.published.shape import Judge


def grades(rule: Judge, pairs: Sequence[tuple[Mapping[str, Any], str]]) -> list[bool]:
    """Return whether each answer's program passes its row's tests.

    Raises:
        ConfigError: There is no leave to run programs.
    """
    return [verdict.passed for verdict in run([_job(rule, row, text) for row, text in pairs])]


def _job(rule: Judge, row: Mapping[str, Any], text: str) -> ByTests:
    assert rule.program is not None
    tests, names, setup = _tests(row)
    # An evaluator runs answer and tests as one program, which the tests end; here they are kept apart.
    program = rule.program(row, text).rstrip("\n").removesuffix(tests)
    return ByTests(program, tests, names, setup=setup, limits=Limits(seconds=rule.seconds))


def _tests(row: Mapping[str, Any]) -> tuple[str, list[str], str]:
    """Return a row's tests, the names they use of the program, and trusted code whose names they use."""
    if "entry_point" in row:
        name = str(row["entry_point"])
        return f"{row['test']}\ncheck({name})", [name], str(row["prompt"])
    lines = row["test_list"] if "test_list" in row else row["test"]
    tests = "\n".join(map(str, lines))
    return tests, sorted(_used(tests) & _defined(str(row["code"]))), ""


def _used(program: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Name)}


def _defined(program: str) -> set[str]:
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in ast.parse(program).body if isinstance(node, kinds)}
