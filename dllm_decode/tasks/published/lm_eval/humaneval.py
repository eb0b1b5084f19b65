"""HumanEval as lm-evaluation-harness asks and judges it: `HUMANEVAL` and `HUMANEVAL_INSTRUCT`.

Source: lm_eval 0.4.13, tasks ``humaneval`` and ``humaneval_instruct``, with `code_eval` of huggingface/evaluate (a7dd338386a4).
Both continue the function; the instruct form's answer is already begun.

Known defects, kept: the answer continues the prompt, so one that writes the whole function in a fence is refused (0 of the
164 canonical ones pass in the instruct form, though its prompt asks for it).
"""

from __future__ import annotations

from dllm_decode.tasks.published.fields import text as field_text
from dllm_decode.tasks.published.lm_eval.prompts import Form
from dllm_decode.tasks.published.shape import Judge, Row, Shape

SECONDS = 3.0
_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")


def extract(row: Row, text: str) -> str:
    """Returns the prompt and the text behind it."""
    return field_text(row, "prompt") + text


def extract_instruct(row: Row, text: str) -> str:
    """Returns the prompt and the text behind it up to the first fence."""
    return field_text(row, "prompt") + text.split("```")[0]


def _ended(row: Row, code: str) -> str:
    return f"{code}\n{field_text(row, 'test')}\ncheck({field_text(row, 'entry_point')})"


def program(row: Row, text: str) -> str:
    """Returns the whole function, the tests and the call of them."""
    return _ended(row, extract(row, text))


def program_instruct(row: Row, text: str) -> str:
    """Returns the whole function, the tests and the call of them."""
    return _ended(row, extract_instruct(row, text))


_FORM = Form(lambda row: field_text(row, "prompt"))
_INSTRUCT = Form(
    lambda row: "Write a solution to the following problem and make sure that it passes the tests:\n"
    f"```python\n{field_text(row, 'prompt')}\n```\n",
    begun=lambda row: f"Here is the completed function:\n```python\n{field_text(row, 'prompt')}\n",
)

HUMANEVAL = Shape(
    evaluator="lm-eval",
    task="humaneval",
    messages=_FORM.messages,
    one_turn=_FORM.one_turn,
    prompt=_FORM.prompt,
    judges={"pass@1": Judge(extract, program=program, seconds=SECONDS)},
    reference=lambda row: field_text(row, "canonical_solution"),
    stops=_STOPS,
    defects=("an answer that writes the whole function in a fence is refused",),
)
HUMANEVAL_INSTRUCT = Shape(
    evaluator="lm-eval",
    task="humaneval_instruct",
    messages=_INSTRUCT.messages,
    one_turn=_INSTRUCT.one_turn,
    prompt=_INSTRUCT.prompt,
    judges={"pass@1": Judge(extract_instruct, program=program_instruct, seconds=SECONDS)},
    reference=lambda row: field_text(row, "canonical_solution") + "```",
    stops=_STOPS,
    defects=("an answer that opens its own fence is cut at it, and the prompt alone is run",),
)
