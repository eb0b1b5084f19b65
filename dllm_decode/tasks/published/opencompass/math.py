"""MATH and MATH-500 as OpenCompass asks and judges them: one turn, the last box, equality of normalised text.

Source: the OpenCompass forks of ML-GSAI/LLaDA (b7e6c3565f19) and TH-AI-Lab-PKU/SAID (a2d7f60dca8b), config
``math_0shot_gen_11c4b5``. Equality is textual after two normal forms (`math_text`), not mathematical.

Known defects, kept: an answer outside a box is read from the first sentence alone when none says "answer is", so a
decimal point ends it; words such as "and" or "sue" are removed inside other words; a short left side of an
equation is dropped, so ``x=3`` and ``y=3`` are equal; a ``j`` is read as an ``i``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

from dllm_decode.tasks.published.fields import text as field_text
from dllm_decode.tasks.published.opencompass.math_text import normal, stripped
from dllm_decode.tasks.published.opencompass.turns import asked
from dllm_decode.tasks.published.shape import Judge, Message, Row, Shape, Shot


def messages(row: Row, shots: Sequence[Shot] = ()) -> list[Message]:
    """Returns the one turn; this shape has no worked examples."""
    question = field_text(row, "problem", "question")
    return asked(f"{question}\nPlease reason step by step, and put your final answer within \\boxed{{}}.", shots)


def boxed(text: str) -> str | None:
    r"""Returns the inside of the last ``\boxed{}``; None where there is none or its braces never close."""
    start = text.rfind("\\boxed")
    start = text.rfind("\\fbox") if start < 0 else start
    if start < 0:
        return None
    depth = 0
    for end in range(start, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if text[end] == "}" and depth == 0:
            piece = text[start:end]
            return piece.removeprefix("\\boxed{") if piece.startswith("\\boxed{") else None
    return None


def gold(row: Row) -> str:
    """Returns the row's answer, or the inside of its solution's last box."""
    if "solution" in row and "answer" not in row and "ground_truth_answer" not in row:
        return boxed(field_text(row, "solution")) or ""
    return field_text(row, "answer", "ground_truth_answer", "gold")


def extract(text: str) -> str:
    """Returns the last box's inside, or else the normal form of the sentence that says the answer, or of the first."""
    candidate = boxed(text)
    if candidate:
        braced = re.match(r"\{(.*)\}$", candidate)
        candidate = braced[1] if braced else candidate
    if candidate:
        return candidate
    sentences = text.split(".")
    saying = (s for s in sentences if "final answer" in s.lower() or "answer is" in s.lower())
    return normal(next(saying, sentences[0]))


def equal(a: str, b: str) -> bool:
    """Compares two answers in their normal forms, whichever of them makes them equal."""
    # A half of `3/x` is no number: the released rule then leaves this form and tries the next.
    with suppress(ValueError):
        if stripped(a) == stripped(b) or normal(stripped(a)) == normal(stripped(b)):
            return True
    return normal(a) == normal(b) or a == b


def correct(row: Row, text: str) -> bool:
    """Compares the extract with the row's answer."""
    return equal(extract(text), gold(row))


MATH = Shape(
    evaluator="opencompass",
    task="math",
    messages=messages,
    judges={"equal": Judge(lambda _, text: extract(text), correct)},
    reference=lambda row: f"The answer is $\\boxed{{{gold(row)}}}$.",
    defects=(
        "without a box the answer ends at the first full stop, a decimal point too",
        "an equation's short left side is dropped: x=3 and y=3 are equal",
        "units and words are removed inside other words",
    ),
)
