"""HumanEval as OpenCompass asks and judges it: the prompt, the first fenced block, and the row's own tests.

Source: the OpenCompass forks of ML-GSAI/LLaDA (b7e6c3565f19) and TH-AI-Lab-PKU/SAID (a2d7f60dca8b), config
``humaneval_gen_8e312c``; the tests are open-compass/human-eval's (8d2b96aee463).

Known defect, kept: leading blanks are stripped, so a bare body loses its first line's indent and never runs (0 of the
164 canonical bodies pass); a whole function does, fenced or not. A fence that is not closed is no fence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dllm_decode.tasks.published.fields import text as field_text
from dllm_decode.tasks.published.opencompass.turns import asked
from dllm_decode.tasks.published.shape import Judge, Message, Row, Shape, Shot

_FENCED = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
SECONDS = 3.0


def messages(row: Row, shots: Sequence[Shot] = ()) -> list[Message]:
    """Returns the one turn; this shape has no worked examples."""
    return asked(f"Complete the following python code:\n{field_text(row, 'prompt')}", shots)


def extract(text: str) -> str:
    """Returns the first fenced block, or else the whole text, without its leading blanks."""
    block = _FENCED.search(text)
    return (block[1] if block else text).lstrip()


def program(row: Row, text: str) -> str:
    """Returns prompt, extract, tests and the call of them."""
    check = f"check({field_text(row, 'entry_point')})"
    return "\n".join([field_text(row, "prompt") + extract(text), field_text(row, "test"), check])


def reference(row: Row) -> str:
    """Returns the whole function in a fence."""
    return f"```python\n{field_text(row, 'prompt')}{field_text(row, 'canonical_solution')}```"


HUMANEVAL = Shape(
    evaluator="opencompass",
    task="humaneval",
    messages=messages,
    judges={"pass@1": Judge(lambda _, text: extract(text), program=program, seconds=SECONDS)},
    reference=reference,
    defects=("leading blanks are stripped, so a right body without its head is refused",),
)
