"""MMLU-Pro as OpenCompass asks and judges it: one turn without examples, the letter behind ``ANSWER:``.

Source: the OpenCompass forks of ML-GSAI/LLaDA (b7e6c3565f19) and TH-AI-Lab-PKU/SAID (a2d7f60dca8b), config
``mmlu_pro_0shot_cot_gen_08c1de``. Options ``N/A`` are left out, the others keep the letters of their places. Fourteen
categories, reported as the unweighted mean of their accuracies.

Known defects, kept: the first ``ANSWER:`` counts, also in the reasoning; a word's first letter is an option
("Answer: Because" is B); a lower-case letter is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dllm_decode.tasks.published.fields import LETTERS, field
from dllm_decode.tasks.published.fields import text as field_text
from dllm_decode.tasks.published.opencompass.turns import asked
from dllm_decode.tasks.published.shape import Judge, Message, Row, Shape, Shot

_ANSWER = re.compile(r"ANSWER\s*:\s*([A-P])", re.IGNORECASE)
_HEAD = (
    "Answer the following multiple choice question. The last line of your response should be of the following format: "
    "'ANSWER: $LETTER' (without quotes) where LETTER is one of Options(e.g. one of ABCDEFGHIJKLMNOP). Think step by step "
    "before answering.\n\n"
)


def messages(row: Row, shots: Sequence[Shot] = ()) -> list[Message]:
    """Returns the one turn; this shape has no worked examples."""
    placed = zip(LETTERS, field(row, "options"), strict=False)
    options = "\n".join(f"{letter}. {option}" for letter, option in placed if option != "N/A")
    return asked(f"{_HEAD}Question:\n\n{field_text(row, 'question')}\n\nOptions:\n\n{options}", shots)


def extract(text: str) -> str:
    """Returns the letter behind the first ``ANSWER:`` as written, empty where there is none."""
    found = _ANSWER.search(text)
    return found[1] if found else ""


def correct(row: Row, text: str) -> bool:
    """Compares with the right letter, case included."""
    return extract(text) == field_text(row, "answer", "gold")


MMLU_PRO = Shape(
    evaluator="opencompass",
    task="mmlu-pro",
    messages=messages,
    judges={"letter": Judge(lambda _, text: extract(text), correct)},
    reference=lambda row: f"ANSWER: {field_text(row, 'answer', 'gold')}",
    defects=(
        "the first letter of a word behind the colon is taken as the option",
        "a right letter in lower case is refused",
    ),
)
