"""MBPP as lm-evaluation-harness asks and judges it: `MBPP` and `MBPP_INSTRUCT`.

Source: lm_eval 0.4.13, tasks ``mbpp`` and ``mbpp_instruct``, with `code_eval` of huggingface/evaluate (a7dd338386a4). The three
examples are MBPP's rows 2, 3 and 4: see `dllm_decode.tasks.published.shots`.

Known defects, kept: `MBPP_INSTRUCT` puts three backticks before the text and reads a word behind them as the language, so a
``def`` or ``import`` at the very start is lost (1 of 500 gold answers passes so; 499 where a newline comes first); `MBPP` runs
the text as it is, so a fence is refused. Problem 367 refuses its own code: it
needs the row's setup code, which is never run.
"""

from __future__ import annotations

import re

from dllm_decode.tasks.published.fields import rows_2_to_4, tests
from dllm_decode.tasks.published.fields import text as field_text
from dllm_decode.tasks.published.lm_eval.prompts import Form
from dllm_decode.tasks.published.shape import Examples, Judge, Row, Shape, Shot

SECONDS = 3.0
INSTALLED = "lm_eval:tasks/mbpp/utils.py"
_FENCED = re.compile(r"```\w*\n?(.*?)\n?```", re.DOTALL)


def extract_instruct(text: str) -> str:
    """Returns the first fenced block behind three backticks put before the text, empty where there is none."""
    block = _FENCED.search("```" + text)
    return block[1] if block else ""


def program(row: Row, text: str) -> str:
    """Returns the text and the row's assertions."""
    return "\n".join([text, *tests(row)])


def program_instruct(row: Row, text: str) -> str:
    """Returns the extract and the row's assertions."""
    return program(row, extract_instruct(text))


def _question(row: Row) -> str:
    return field_text(row, "text", "prompt")


_FORM = Form(
    lambda row: f"You are an expert Python programmer, and here is your task: {_question(row)} Your code should pass these "
    "tests:\n\n" + "\n".join(tests(row)) + "\n[BEGIN]\n"
)
_INSTRUCT = Form(
    lambda row: f"You are an expert Python programmer, and here is your task:\n{_question(row)}\nYour code should pass these "
    "tests:\n" + "\n".join(tests(row)),
    begun=lambda _: "\n```python\n",
)

def shot(row: Row) -> Shot:
    """Makes a worked example of a training row."""
    return Shot(_FORM.question(row), field_text(row, "code") + "\n[DONE]")


def shot_instruct(row: Row) -> Shot:
    """Makes a worked example of a training row, for the instruct form."""
    return Shot(_INSTRUCT.question(row), f"\n```python\n{field_text(row, 'code')}\n```")


MBPP = Shape(
    evaluator="lm-eval",
    task="mbpp",
    messages=_FORM.messages,
    one_turn=_FORM.one_turn,
    prompt=_FORM.prompt,
    judges={"pass_at_1": Judge(lambda _, text: text, program=program, seconds=SECONDS)},
    reference=lambda row: field_text(row, "code"),
    examples=Examples(
        count=3,
        digest="13b2ce3afbc87a51daf162d9484688dccec6852bc274f90f0fded1c7102e0d76",
        installed=INSTALLED,
        shot=shot,
        choose=rows_2_to_4,
    ),
    stops=("[DONE]",),
    defects=("code in a fence is refused",),
)
MBPP_INSTRUCT = Shape(
    evaluator="lm-eval",
    task="mbpp_instruct",
    messages=_INSTRUCT.messages,
    one_turn=_INSTRUCT.one_turn,
    prompt=_INSTRUCT.prompt,
    judges={
        "pass_at_1": Judge(lambda _, text: extract_instruct(text), program=program_instruct, seconds=SECONDS)
    },
    reference=lambda row: f"\n{field_text(row, 'code')}\n```",
    examples=Examples(
        count=3,
        digest="b397a3ef8da40e04fa28a33f99764bf68dcc93393dcb7b27a3108219b229c4e1",
        installed=INSTALLED,
        shot=shot_instruct,
        choose=rows_2_to_4,
    ),
    defects=("a def or import at the very start is read as the fence's language and lost",),
)
