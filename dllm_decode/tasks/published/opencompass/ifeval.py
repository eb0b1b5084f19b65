"""IFEval as OpenCompass asks and judges it: the prompt as it is, strict and loose checks of its instructions.

Source: the OpenCompass forks of ML-GSAI/LLaDA (b7e6c3565f19) and TH-AI-Lab-PKU/SAID (a2d7f60dca8b), config
``IFEval_gen_353ae7``. Four accuracies are reported: by prompt and by instruction, strict and loose. The first judge is a
prompt's strict verdict; the two by instruction grade a prompt with its share of instructions followed, while the
published figure counts instructions over all prompts. The instructions' own defects: `instructions`.
"""

from __future__ import annotations

from collections.abc import Sequence

from dllm_decode.tasks.published.fields import text as field_text
from dllm_decode.tasks.published.instructions import loose, strict
from dllm_decode.tasks.published.opencompass.turns import asked
from dllm_decode.tasks.published.shape import Judge, Message, Row, Shape, Shot


def messages(row: Row, shots: Sequence[Shot] = ()) -> list[Message]:
    """Returns the one turn; this shape has no worked examples."""
    return asked(field_text(row, "prompt"), shots)


def extract(row: Row, text: str) -> str:
    """Returns ``strict``, ``loose`` or ``none``: the strictest grade under which all instructions are followed."""
    return "strict" if all(strict(row, text)) else "loose" if all(loose(row, text)) else "none"


def correct(row: Row, text: str) -> bool:
    """Says whether the answer as it is follows every instruction."""
    return all(strict(row, text))


def share(followed: Sequence[bool]) -> float:
    """Returns the share of instructions followed."""
    return sum(followed) / len(followed)


JUDGES = {
    "prompt-strict": Judge(extract, correct),
    "prompt-loose": Judge(extract, lambda row, text: all(loose(row, text))),
    "instruction-strict": Judge(extract, lambda row, text: share(strict(row, text))),
    "instruction-loose": Judge(extract, lambda row, text: share(loose(row, text))),
}

IFEVAL = Shape(
    evaluator="opencompass",
    task="ifeval",
    messages=messages,
    judges=JUDGES,
    reference=None,
    defects=("a keyword matches inside words", "a language is a detector's guess"),
)
