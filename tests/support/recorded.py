"""Recorded verdicts and the rows they are about, read from a folder beside the data sets' files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dllm_decode.tasks.published import Row, Shape, shape
from tests.support.subprocess_runner import run_programs

# The records' names of the benchmarks that ours are called otherwise.
_NAMES = {"ARC-c": "arc-challenge", "gpqa_gen": "gpqa-gen", "mmlu_pro": "mmlu-pro"}


@dataclass(frozen=True)
class Case:
    """One recorded verdict, with the row it is about."""

    line: int
    shape: Shape
    judge: str
    row: Row
    text: str
    extracted: Any
    correct: bool
    label: str
    note: str


def cases(folder: Path) -> list[Case]:
    """Returns every recorded verdict of a folder."""
    lines = (folder / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    return [_case(number, json.loads(line), folder) for number, line in enumerate(lines, 1)]


def _case(line: int, record: Mapping[str, Any], folder: Path) -> Case:
    task = record["task"]
    found = shape(_NAMES.get(task, task) if record["shape"] == "opencompass" else task, record["shape"])
    judge = _judge(record)
    text = record["answer_after_stops"] if record.get("stops_applied") else record["answer"]
    label = " ".join(filter(None, (record["shape"], task, judge)))
    row = row_of(record["example"], folder.parent / "data")
    return Case(line, found, judge, row, text, record["extracted"], record["correct"], label, record["note"])


def _judge(record: Mapping[str, Any]) -> str:
    if record["shape"] == "opencompass":
        return ""
    return str(record["metric"] if record["filter"] in ("none", "create_test", "extract_code") else record["filter"])


def judged(recorded: Sequence[Case]) -> Iterator[tuple[Case, Any, bool]]:
    """Yields each case with what we extract and whether we call it right."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in recorded:
        groups.setdefault((case.shape.name, case.judge), []).append(case)
    for group in groups.values():
        found, judge = group[0].shape, group[0].judge
        rule = found.judges[judge] if judge else found.judge
        grades = found.grade([(case.row, case.text) for case in group], run_programs, judge)
        for case, grade in zip(group, grades, strict=True):
            extracted: Any = rule.extract(case.row, case.text)
            if isinstance(case.extracted, list):
                extracted = json.loads(extracted)
            yield case, extracted, grade == 1.0


def row_of(example: Mapping[str, Any], data: Path) -> Row:
    """Returns the row that a record's example names: a line of a file, or the fields themselves."""
    if "file" not in example:
        choices = dict(zip("ABCD", example.get("choices", ()), strict=False))
        return {"answer": example.get("gold"), **choices, **example}
    rows = read(data / example["file"])
    if "row" not in example:
        return next(row for row in rows if row["task_id"] == example["task_id"])
    return {**rows[example["row"]], **{name: example[name] for name in ("solution",) if name in example}}


@cache
def read(path: Path) -> list[Row]:
    """Returns the rows of a JSON file, plain or gzipped, an array or one object a line."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    rows: list[Row] = (
        json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines() if line.strip()]
    )
    return rows
