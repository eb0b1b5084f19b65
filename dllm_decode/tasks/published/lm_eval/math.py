r"""MATH as lm-evaluation-harness asks and judges it: four examples, two metrics.

Source: lm_eval 0.4.13, task ``minerva_math`` and its parts, with math-verify 0.9.0, sympy 1.14 and antlr 4.11. The four
examples are fixed and not copied here: see `dllm_decode.tasks.published.shots`.

Known defects, kept. exact_match wants the examples' own closing sentence, so a boxed answer alone is refused; sympy's parser
stops at what it cannot read, so "3, 5, 7" is 3. math_verify takes ``1,-2`` in any order, ``3, pi/2`` for ``(3, pi/2)``, 52 for
``52_8``, one base or one power of a unit for another, and .0000673 for .0000672; it refuses ``9.``, ``9\%``, ``5 points`` in a
box and a bare name.
"""

from __future__ import annotations

import re

from dllm_decode.tasks.published.fields import text as field_text
from dllm_decode.tasks.published.lm_eval.math_text import SECONDS, same_value, shortened
from dllm_decode.tasks.published.lm_eval.prompts import Form
from dllm_decode.tasks.published.needs import can_limit, need, time_limit
from dllm_decode.tasks.published.opencompass.math import boxed
from dllm_decode.tasks.published.shape import Examples, Judge, Row, Shape, Shot

INVALID = "[invalidanswer]"
_HOUR = 3600
_CLOSED = re.compile(r"Final Answer: The final answer is(.*?). I hope it is correct.")


def gold(row: Row) -> str:
    """Returns the inside of the solution's last box; the row's answer where it has no solution."""
    if "solution" in row:
        worked = field_text(row, "solution")
        if "\\boxed " in worked:
            return worked.split("\\boxed ")[-1].split("$")[0]
        return boxed(worked) or ""
    return field_text(row, "answer", "ground_truth_answer")


def solution(row: Row) -> str:
    """Returns the row's solution; a sentence with the boxed answer where it has none, as MATH-500's copies may."""
    if "solution" in row:
        return field_text(row, "solution")
    return f"The result is $\\boxed{{{gold(row)}}}$."


def extract(text: str) -> str:
    """Returns the closing sentence's answer in its normal form; the normal form of "invalid answer" where there is none."""
    found = _CLOSED.search(text + "I hope it is correct.")
    return shortened(found[1].strip() if found else INVALID)


def exact_match(row: Row, text: str) -> bool:
    """Compares as text, then by value."""
    return same_value(extract(text), shortened(gold(row)))


def math_verify(row: Row, text: str) -> bool:
    """Compares by math-verify what it finds in the solution and in the answer."""
    library = need("math_verify", "mathematical equality")
    # Its own limits, five seconds a step, are the clock's and work in the main thread only: ours stands for them.
    seconds = _HOUR if can_limit() else None
    try:
        with time_limit(3 * SECONDS):
            wanted, found = (library.parse(said, parsing_timeout=seconds) for said in (solution(row), text))
            return bool(library.verify(wanted, found, timeout_seconds=seconds))
    except TimeoutError:
        return False


_FORM = Form(lambda row: f"Problem:\n{field_text(row, 'problem', 'question')}\n\nSolution:")


def reference(row: Row) -> str:
    """Returns the solution and the examples' closing sentence, which their own solutions already have."""
    worked = solution(row)
    if worked.endswith("I hope it is correct."):
        return worked
    return f"{worked}\nFinal Answer: The final answer is ${gold(row)}$. I hope it is correct."


def shot(row: Row) -> Shot:
    """Makes a worked example of a training row."""
    return Shot(_FORM.question(row), reference(row))


MINERVA_MATH = Shape(
    evaluator="lm-eval",
    task="minerva_math",
    messages=_FORM.messages,
    one_turn=_FORM.one_turn,
    prompt=_FORM.prompt,
    judges={
        "exact_match": Judge(lambda _, text: extract(text), exact_match),
        "math_verify": Judge(lambda *_: None, math_verify),
    },
    reference=reference,
    examples=Examples(
        count=4,
        digest="4ca26966348c42d68ad0389d67133b4c9791df286020fe5125b75e5fde54cdbe",
        installed="lm_eval:tasks/minerva_math/utils.py",
        shot=shot,
    ),
    stops=("Problem:",),
    defects=(
        "exact_match refuses an answer that lacks the examples' closing sentence",
        "exact_match reads an answer only as far as sympy's parser does: '3, 5, 7' is 3",
        "math_verify takes 1,-2 in any order, 3, pi/2 for (3, pi/2), 52 for 52_8 and what differs in the seventh decimal",
        "math_verify refuses 9., 9\\% and a bare name",
    ),
)
