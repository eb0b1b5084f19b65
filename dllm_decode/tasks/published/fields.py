"""Reads a row's fields, however the file at hand spells them: the hub's columns, the authors' own, a common copy.

Knows spellings; leaves wording and judging to the shapes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dllm_decode.errors import DataError
from dllm_decode.tasks.published.shape import Row, first_rows

LETTERS = "ABCDEFGHIJKLMNOP"


def field(row: Row, *names: str) -> Any:
    """Returns the first of these fields that the row has.

    Raises:
        DataError: It has none of them.
    """
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise DataError(
        f"a row needs {' or '.join(map(repr, names))}, this one has {', '.join(map(repr, row)) or 'nothing'}"
    )


def text(row: Row, *names: str) -> str:
    """Returns the first of these fields that the row has, as text."""
    return str(field(row, *names))


def tests(row: Row) -> list[str]:
    """Returns the assertions of an MBPP row."""
    return [str(line) for line in field(row, "test_list", "test")]


def rows_2_to_4(train: Sequence[Row], rows: Sequence[Row], count: int) -> list[list[Row]]:
    """Returns MBPP's rows 2, 3 and 4, the published examples, for every row asked; the first ones where they are not there."""
    published = [row for row in train if row.get("task_id") in (2, 3, 4)]
    return first_rows(published or train, rows, count)


_INSTRUCTION = re.compile(r"^Please choose the correct answer to the question: (.*?)\n\n(Answer1: .*)\n\nAnswer format", re.S)


def arc(row: Row) -> tuple[str, list[str], str]:
    """Returns question, options and the right option's letter (A first) of an ARC row in any of three forms.

    The forms are the hub's (``choices.text``, ``answerKey``), AllenAI's own file (``question.stem``) and the instruction
    form of LLM-Adapters (``Answer1: … Answer2: …``). Labels 1, 2, 3, 4 become A, B, C, D.
    """
    if "instruction" in row:
        match = _INSTRUCTION.match(text(row, "instruction"))
        if match is None:
            raise DataError(f"not a question in instruction form: {row['instruction']!r:.80}")
        options = re.split(r"\s?Answer\d: ", match[2])[1:]
        return match[1], options, LETTERS[int(text(row, "answer").removeprefix("answer")) - 1]
    question = field(row, "question")
    if isinstance(question, dict):
        labels = [choice["label"] for choice in question["choices"]]
        options = [choice["text"] for choice in question["choices"]]
        return question["stem"], options, LETTERS[labels.index(row["answerKey"])]
    choices = field(row, "choices")
    if isinstance(choices, dict):
        return question, list(choices["text"]), LETTERS[list(choices["label"]).index(row["answerKey"])]
    return question, list(choices), text(row, "answer", "answerKey", "gold")


def lettered(options: Sequence[str], form: str) -> str:
    """Returns the options one a line, `form` saying how a letter stands before its option, e.g. ``{}. {}``."""
    return "\n".join(form.format(letter, option) for letter, option in zip(LETTERS, options, strict=False))
