"""IFEval as lm-evaluation-harness asks and judges it: the prompt as it is, strict and loose checks of its instructions.

Source: lm_eval 0.4.13, task ``ifeval``. Its metrics are OpenCompass's four under other names; by instruction a prompt is graded
with its share of instructions followed, while the published figure counts instructions over all prompts.
"""

from __future__ import annotations

import json

from dllm_decode.tasks.published.fields import text as field_text
from dllm_decode.tasks.published.instructions import loose, strict
from dllm_decode.tasks.published.lm_eval.prompts import Form
from dllm_decode.tasks.published.opencompass.ifeval import share
from dllm_decode.tasks.published.shape import Judge, Row, Shape


def extract(row: Row, text: str) -> str:
    """Returns the strict verdict of each instruction, as a JSON list."""
    return json.dumps(strict(row, text))


_FORM = Form(lambda row: field_text(row, "prompt"))

IFEVAL = Shape(
    evaluator="lm-eval",
    task="ifeval",
    messages=_FORM.messages,
    one_turn=_FORM.one_turn,
    prompt=_FORM.prompt,
    judges={
        "prompt_level_strict_acc": Judge(extract, lambda row, text: all(strict(row, text))),
        "prompt_level_loose_acc": Judge(extract, lambda row, text: all(loose(row, text))),
        "inst_level_strict_acc": Judge(extract, lambda row, text: share(strict(row, text))),
        "inst_level_loose_acc": Judge(extract, lambda row, text: share(loose(row, text))),
    },
    reference=None,
    defects=("a keyword matches inside words", "a language is a detector's guess"),
)
