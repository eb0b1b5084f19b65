"""The data sets' own answers, put in the ways that a recorded count names, and wrong answers made of them."""

from __future__ import annotations

import io
import json
import random
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dllm_decode.tasks.published import Row, Shape, shape
from dllm_decode.tasks.published.fields import arc
from dllm_decode.tasks.published.opencompass import gsm8k, math
from tests.support.recorded import read
from tests.support.subprocess_runner import run_programs

Put = Callable[[Row], str]


def _commas(row: Row) -> str:
    return f"{int(gsm8k.gold(row)):,}"


def _text(row: Row) -> str:
    _, options, letter = arc(row)
    return options["ABCDE".index(letter)]


def _whole(row: Row) -> str:
    return str(row["prompt"] + row["canonical_solution"])


_GSM8K: dict[str, Put] = {
    "gold text as in the file": lambda row: row["answer"],
    "'The answer is N' without commas": lambda row: f"The answer is {gsm8k.gold(row)}",
    "'The answer is N' with thousands commas": lambda row: f"The answer is {_commas(row)}",
    "'#### N' with thousands commas": lambda row: f"#### {_commas(row)}",
}
_MATH: dict[str, Put] = {
    "\\boxed{gold}": lambda row: f"\\boxed{{{math.gold(row)}}}",
    "The answer is $gold$.": lambda row: f"The answer is ${math.gold(row)}$.",
    "gold alone": math.gold,
    "Final Answer form, $gold$": (
        lambda row: f"Final Answer: The final answer is ${math.gold(row)}$. I hope it is correct."
    ),
    "\\boxed{gold} in dollars": lambda row: f"$\\boxed{{{math.gold(row)}}}$",
}
_ARC: dict[str, Put] = {
    "letter": lambda row: arc(row)[2],
    "letter. text": lambda row: f"{arc(row)[2]}. {_text(row)}",
    "The answer is letter.": lambda row: f"The answer is {arc(row)[2]}.",
    "text only": _text,
    "' X.'": lambda row: f" {arc(row)[2]}.",
    "'X. text'": lambda row: f"{arc(row)[2]}. {_text(row)}",
}
_HUMANEVAL: dict[str, Put] = {
    "canonical body as it is": lambda row: row["canonical_solution"],
    "canonical body": lambda row: row["canonical_solution"],
    "prompt + body, fenced": lambda row: f"```python\n{_whole(row)}\n```",
    "prompt + body, no fence": _whole,
    "whole function in a fence": lambda row: f"```python\n{_whole(row)}\n```",
    "body then closing fence": lambda row: f"{row['canonical_solution']}```",
}
_MBPP: dict[str, Put] = {
    "few-shot form": lambda row: f"[BEGIN]\n '{row['code']}' \n[DONE] \n\n ",
    "[BEGIN] code [DONE], no quotes": lambda row: f"[BEGIN]\n{row['code']}\n[DONE]",
    "fenced": lambda row: f"```python\n{row['code']}\n```",
    "bare": lambda row: row["code"],
    "code": lambda row: row["code"],
    "newline, code, closing fence": lambda row: f"\n{row['code']}\n```",
    "code, closing fence": lambda row: f"{row['code']}\n```",
}
FILES = {
    "gsm8k": "gsm8k_test.jsonl",
    "math": "math500.json",
    "arc-challenge": "arc_challenge_test_llmadapters.json",
    "humaneval": "HumanEval.jsonl.gz",
    "mbpp": "mbpp_test.jsonl",
}
_TASKS = {
    "gsm8k": ("gsm8k", _GSM8K),
    "math": ("math", _MATH),
    "minerva_math_algebra": ("math", _MATH),
    "ARC-c": ("arc-challenge", _ARC),
    "arc_challenge_chat": ("arc-challenge", _ARC),
    "humaneval": ("humaneval", _HUMANEVAL),
    "humaneval_instruct": ("humaneval", _HUMANEVAL),
    "mbpp": ("mbpp", _MBPP),
    "mbpp_instruct": ("mbpp", _MBPP),
}


@dataclass(frozen=True)
class Count:
    """One recorded count of gold answers accepted, and what makes ours."""

    label: str
    shape: Shape
    judge: str
    rows: list[Row]
    put: Put
    accepted: int
    rejected: list[Any]

    def ours(self) -> list[int]:
        """Returns the numbers of the rows whose gold answer we refuse."""
        grades = self.shape.grade([(row, self.put(row)) for row in self.rows], run_programs, self.judge)
        return [number for number, grade in enumerate(grades) if grade != 1.0]

    def agrees(self, refused: list[int]) -> bool:
        """Says whether these refused rows are the recorded ones, by their own ids, as far as they are listed."""
        listed = [entry[0] if isinstance(entry, list) else entry for entry in self.rejected if entry != "..."]
        names = [self.rows[number].get("task_id", number) for number in refused]
        return len(self.rows) - len(refused) == self.accepted and names[: len(listed)] == listed


def counts(folder: Path) -> Iterator[Count]:
    """Yields every recorded count of a folder."""
    for label, recorded in json.loads((folder / "gold.json").read_text("utf-8")).items():
        head, _, way = label.partition(": ")
        evaluator, task, *rule = head.partition(" (")[0].split(" ")
        ours, ways = _TASKS[task]
        found = shape(ours if evaluator == "opencompass" or "minerva" in task else task, evaluator)
        judge = next((name for name in found.judges if name in rule), "")
        rows = found.prepare(read(folder.parent / "data" / FILES[ours]))
        assert len(rows) == recorded["of"], label
        yield Count(label, found, judge, rows, ways[way], recorded["accepted"], recorded["rejected"])


def changed_digit(text: str) -> str | None:
    """Returns the text with its last digit another one; None where it has no digit."""
    places = [place for place, letter in enumerate(text) if letter in "0123456789"]
    if not places:
        return None
    return text[: places[-1]] + str((int(text[places[-1]]) + 1) % 10) + text[places[-1] + 1 :]


_SWAPS = {
    "+": "-",
    "-": "+",
    "*": "+",
    "/": "*",
    "//": "*",
    "%": "//",
    "<": ">",
    ">": "<",
    "<=": ">",
    ">=": "<",
    "==": "!=",
    "!=": "==",
}


def changed_operator(code: str, seed: int) -> str | None:
    """Returns the code with one operator swapped; None where it has none."""
    tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    places = [token for token in tokens if token.type == tokenize.OP and token.string in _SWAPS]
    if not places:
        return None
    chosen = random.Random(seed).choice(places)
    lines = code.splitlines(keepends=True)
    row, column = chosen.start[0] - 1, chosen.start[1]
    line = lines[row]
    lines[row] = line[:column] + _SWAPS[chosen.string] + line[column + len(chosen.string) :]
    return "".join(lines)
