"""MMLU-Pro as lm-evaluation-harness asks and judges it: five examples of the row's category, ``answer is (X)``.

Source: lm_eval 0.4.13, group ``mmlu_pro``. The examples are the first five validation rows of the category, read from the user's
own file: `shot` makes one of a row.

Known defects, kept: the first "answer is" counts, also in the reasoning; a colon before the letter refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dllm_decode.tasks.published.fields import field, lettered
from dllm_decode.tasks.published.fields import text as field_text
from dllm_decode.tasks.published.lm_eval.matching import first
from dllm_decode.tasks.published.lm_eval.prompts import Form
from dllm_decode.tasks.published.shape import Examples, Judge, Row, Shape, Shot

_ANSWER_IS = re.compile(r"answer is \(?([ABCDEFGHIJ])\)?")


def _description(row: Row) -> str:
    return (
        f"The following are multiple choice questions (with answers) about {field_text(row, 'category')}. Think step by step "
        'and then finish your answer with "the answer is (X)" where X is the correct letter choice.\n'
    )


def _question(row: Row) -> str:
    options = lettered(field(row, "options"), "{}. {}")
    return (
        f"Question:\n{field_text(row, 'question')}\nOptions:\n{options}\nAnswer: Let's think step by step."
    )


def shot(row: Row) -> Shot:
    """Makes a worked example of a validation row's own reasoning."""
    return Shot(
        _question(row), field_text(row, "cot_content").removeprefix("A: Let's think step by step.").strip()
    )


def of_category(train: Sequence[Row], rows: Sequence[Row], count: int) -> list[list[Row]]:
    """Returns the first `count` validation rows of each row's own category."""
    return [[shown for shown in train if shown["category"] == row["category"]][:count] for row in rows]


def extract(text: str) -> str:
    """Returns the letter behind the first "answer is"."""
    return first(_ANSWER_IS, text)


def correct(row: Row, text: str) -> bool:
    """Compares with the right letter."""
    return extract(text) == field_text(row, "answer", "gold")


_FORM = Form(_question, _description)

MMLU_PRO = Shape(
    evaluator="lm-eval",
    task="mmlu_pro",
    messages=_FORM.messages,
    one_turn=_FORM.one_turn,
    prompt=_FORM.prompt,
    judges={"custom-extract": Judge(lambda _, text: extract(text), correct)},
    reference=lambda row: f"The answer is ({field_text(row, 'answer', 'gold')}).",
    examples=Examples(5, shot=shot, choose=of_category),
    stops=("Question:",),
    defects=("a colon before the letter refuses it: 'The answer is: C'",),
)
