"""ARC-Challenge as OpenCompass asks and judges it: one turn, about fifty patterns to find the letter.

Source: the OpenCompass forks of ML-GSAI/LLaDA (b7e6c3565f19) and TH-AI-Lab-PKU/SAID (a2d7f60dca8b), config
``ARC_c_gen_1e0de5``. Its path names the *development* file of ARC-Challenge, not the test file. Questions without exactly
four options are left out (1,165 of the 1,172 test rows stay).

Known defects, kept: any capital A to D anywhere is an answer when nothing better is found, so "Beyond doubt" is B; a
letter at the very end wins over "The answer is"; a ``1`` in the text makes all that follows it the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from dllm_decode.tasks.published.fields import arc, lettered
from dllm_decode.tasks.published.opencompass.letters import first_option
from dllm_decode.tasks.published.opencompass.turns import asked
from dllm_decode.tasks.published.shape import Judge, Message, Row, Shape, Shot


def prepare(rows: Sequence[Row]) -> list[Row]:
    """Keeps the questions with four options."""
    return [row for row in rows if len(arc(row)[1]) == 4]


def messages(row: Row, shots: Sequence[Shot] = ()) -> list[Message]:
    """Returns the one turn; this shape has no worked examples."""
    question, options, _ = arc(row)
    return asked(f"Question: {question}\n{lettered(options, '{}. {}')}\nAnswer:", shots)


def extract(text: str) -> str:
    """Returns the letter, empty where there is none."""
    return first_option(text)


def correct(row: Row, text: str) -> bool:
    """Compares the letter with the right one."""
    return extract(text) == arc(row)[2]


ARC_CHALLENGE = Shape(
    evaluator="opencompass",
    task="arc-challenge",
    messages=messages,
    judges={"letter": Judge(lambda _, text: extract(text), correct)},
    reference=lambda row: f"The answer is {arc(row)[2]}.",
    prepare=prepare,
    defects=(
        "any capital A to D anywhere is an answer when nothing better is found",
        "a 1 in the text makes all that follows it the answer",
    ),
)
