"""Wrong answers to real examples: another example's answer, an empty one, the gold with one digit or operator changed.

`python -m tests.support.wrong DATA` prints how many of each are refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dllm_decode.tasks.published import Row, shape
from dllm_decode.tasks.published.fields import arc
from dllm_decode.tasks.published.opencompass import gsm8k, math
from tests.support.gold import FILES, changed_digit, changed_operator
from tests.support.recorded import read
from tests.support.subprocess_runner import run_programs

Pairs = list[tuple[Row, str]]

SHAPES = (
    ("opencompass", "gsm8k"),
    ("opencompass", "math"),
    ("opencompass", "arc-challenge"),
    ("opencompass", "humaneval"),
    ("opencompass", "mbpp"),
    ("lm-eval", "gsm8k"),
    ("lm-eval", "math"),
    ("lm-eval", "arc-challenge"),
    ("lm-eval", "humaneval"),
    ("lm-eval", "mbpp"),
)
_GOLD = {
    "gsm8k": gsm8k.gold,
    "math": math.gold,
    "arc-challenge": lambda row: arc(row)[2],
    "humaneval": lambda row: row["canonical_solution"],
    "mbpp": lambda row: row["code"],
}


def wrong_answers(evaluator: str, task: str, rows: Sequence[Row]) -> Iterator[tuple[str, Pairs]]:
    """Yields each kind of wrong answer with the pairs of it; rows whose neighbour has the same answer are left out."""
    found, gold = shape(task, evaluator), _GOLD[task]
    rows = found.prepare(rows)
    right = found.reference
    assert right is not None
    neighbours = zip(rows, [*rows[1:], rows[0]], strict=True)
    yield "another's answer", [(row, right(other)) for row, other in neighbours if gold(row) != gold(other)]
    yield "empty", [(row, "") for row in rows]
    if task in ("humaneval", "mbpp"):
        field = "canonical_solution" if task == "humaneval" else "code"
        changed = [(row, changed_operator(row[field].replace("\r", ""), seed)) for seed, row in enumerate(rows)]
        yield "one operator changed", [(row, right({**row, field: code})) for row, code in changed if code]
    elif task != "arc-challenge":
        field = "answer" if task == "gsm8k" else "ground_truth_answer"
        changed = [(row, changed_digit(row[field])) for row in rows]
        yield "one digit changed", [(row, right({**row, field: text})) for row, text in changed if text]


def main(data: Path) -> None:
    """Prints, for each shape and kind, how many wrong answers are refused."""
    for evaluator, task in SHAPES:
        found = shape(task, evaluator)
        for kind, pairs in wrong_answers(evaluator, task, read(data / FILES[task])):
            for judge in found.judges:
                grades = found.grade(pairs, run_programs, judge)
                accepted = [number for number, grade in enumerate(grades) if grade]
                label = f"{found.name} {judge}, {kind}"
                print(f"{len(pairs) - len(accepted):5} of {len(pairs):5} refused  {label}  {accepted[:12]}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
