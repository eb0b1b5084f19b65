"""Reads worked examples from a file: our own lines, or the file in which an evaluator keeps them. Runs no code of it.

Forms: JSON lines with ``user`` and ``assistant``; an OpenCompass config (``dict(role='HUMAN', prompt=…)`` turns, or one text);
lm_eval's ``utils.py`` (the list that `list_fewshot_samples` returns) and task YAML (``fewshot_config.samples``).
"""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from dllm_decode.errors import DataError, yaml_problem
from dllm_decode.tasks.files import json_lines, read_text
from dllm_decode.tasks.published.shape import Row, Shape, Shot

_QUESTIONS = re.compile(r"(Question: .*?)\n(The correct answer is \([A-D]\))", re.DOTALL)


class _PlainLoader(yaml.SafeLoader):
    """Reads task YAML whose functions are named by tags that no other reader knows."""


_PlainLoader.add_multi_constructor("!", lambda *_: None)


def read_shots(path: Path, shape: Shape) -> list[Shot]:
    """Returns the worked examples that a file holds, in the words of a shape.

    Raises:
        DataError: The file cannot be read or holds none.
    """
    if path.suffix == ".py":
        shots = _of_python(path, shape)
    elif path.suffix in (".yaml", ".yml"):
        shots = _of_rows(_yaml_samples(path), shape)
    else:
        shots = [_of_line(path, number, line) for number, line in json_lines(path)]
    if not shots:
        raise DataError(f"{path}: no worked examples of {shape.name} found in it")
    return shots


def _of_line(path: Path, number: int, line: Row) -> Shot:
    if not (isinstance(line.get("user"), str) and isinstance(line.get("assistant"), str)):
        raise DataError(f"{path}, line {number}: expected texts `user` and `assistant`, got {', '.join(line)}")
    return Shot(line["user"], line["assistant"])


def _of_rows(rows: list[Any], shape: Shape) -> list[Shot]:
    make = shape.examples.shot if shape.examples else None
    return [make(row) for row in rows if isinstance(row, dict)] if make else []


def _yaml_samples(path: Path) -> list[Any]:
    try:
        task = yaml.load(read_text(path), _PlainLoader)
    except yaml.YAMLError as error:
        raise DataError(f"{path}: {yaml_problem(error)}") from error
    config = task.get("fewshot_config") if isinstance(task, dict) else None
    samples = config.get("samples") if isinstance(config, dict) else None
    return samples if isinstance(samples, list) else []


def _of_python(path: Path, shape: Shape) -> list[Shot]:
    try:
        tree = ast.parse(read_text(path))
    except SyntaxError as error:
        raise DataError(f"{path}, line {error.lineno}: not Python ({error.msg})") from error
    count = shape.examples.count if shape.examples else 0
    turns = [turn for node in ast.walk(tree) if (turn := _turn(node))]
    shots = [
        Shot(said, answered)
        for (role, said), (next_role, answered) in pairwise(turns)
        if (role, next_role) == ("HUMAN", "BOT")
    ][:count]
    if shots:
        return shots
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "list_fewshot_samples":
            return _of_rows(_returned(node), shape)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = _QUESTIONS.findall(node.value)
            if len(found) == count:
                return [Shot(user, assistant) for user, assistant in found]
    return []


def _turn(node: ast.AST) -> tuple[str, str] | None:
    """Returns role and text of a ``dict(role='HUMAN', prompt='…')``."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict"):
        return None
    values = {
        word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)
    }
    role, prompt = values.get("role"), values.get("prompt")
    return (role, prompt) if isinstance(role, str) and isinstance(prompt, str) else None


def _returned(function: ast.FunctionDef) -> list[Any]:
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.List):
            try:
                return list(ast.literal_eval(node.value))
            except ValueError:
                return []
    return []
