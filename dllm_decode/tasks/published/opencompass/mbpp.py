"""MBPP as OpenCompass asks and judges it: three worked examples as turns, eighteen patterns to find the code.

Source: the OpenCompass forks of ML-GSAI/LLaDA (b7e6c3565f19) and TH-AI-Lab-PKU/SAID (a2d7f60dca8b), config
``mbpp_gen_830460``. The examples are MBPP's rows 2, 3 and 4: see `dllm_decode.tasks.published.shots`.

Known defects, kept: code is cut at the word DONE, and a BEGIN inside another word begins it; code that ends with a
single-quoted string loses the quote; a fence inside the marks loses everything; a value equal to everything passes every
assertion; a row's setup code is never run. The released scorer dies as a whole where code calls ``os._exit``; here that
answer is wrong. Four of the 500 test problems refuse their own code: 44, 217 and 337 end with a single-quoted string, 367
needs its setup code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from dllm_decode.tasks.published.fields import rows_2_to_4, tests
from dllm_decode.tasks.published.fields import text as field_text
from dllm_decode.tasks.published.opencompass.turns import asked
from dllm_decode.tasks.published.shape import Examples, Judge, Message, Row, Shape, Shot

SECONDS = 9.0


def _patterns() -> Iterator[str]:
    # Blanks are taken whole (`*+`): to give some back finds nothing more, and takes minutes in a canvas of newlines.
    begins, ends = (r"\[BEGIN\]", "BEGIN"), (r"\[DONE\]", "DONE")
    for opened, closed in (("'", r"'\s*+"), ("'", ""), ("", "")):
        for end in ends:
            for begin in begins:
                yield rf"{begin}\s*+{opened}(.*){closed}{end}"
    yield from (r"```python\s*+(.*)```", r"```\s*+(.*)```", r"```python\s*+(.*)", r"```\s*+(.*)")
    yield from (r"\[BEGIN\]\s*+'(.*)", r"\[BEGIN\](.*)", r"'(.*)'\s*+\[DONE\]")


_PATTERNS = [re.compile(pattern, re.DOTALL) for pattern in _patterns()]
_DONE = re.compile(r"'?\s*\[?DONE")


def question(row: Row) -> str:
    """Returns the user's turn for one problem."""
    lines = "\n".join(tests(row))
    return (
        f"You are an expert Python programmer, and here is your task: {field_text(row, 'prompt', 'text')} "
        f"Your code should pass these tests:\n\n {lines}  \n"
    )


def reference(row: Row) -> str:
    """Returns the row's code in the form of the worked examples."""
    return f"[BEGIN]\n '{field_text(row, 'code')}' \n[DONE] \n\n "


def shot(row: Row) -> Shot:
    """Makes a worked example of a training row."""
    return Shot(question(row), reference(row))


def messages(row: Row, shots: Sequence[Shot] = ()) -> list[Message]:
    """Returns the shots as turns, then the problem; the template's final ``[BEGIN]`` is never sent."""
    return asked(question(row), shots)


def extract(text: str) -> str:
    """Returns what the first pattern that matches anywhere holds, cut at a fence and at DONE."""
    found = next((match[1] for match in (p.search(text) for p in _PATTERNS) if match), text)
    found = _DONE.split(found.split("```")[0])[0].replace("\\_", "_").strip()
    return found.removeprefix("'").removesuffix("'")


def program(row: Row, text: str) -> str:
    """Returns the extract and the row's assertions."""
    return "\n".join([extract(text), *tests(row)])


MBPP = Shape(
    evaluator="opencompass",
    task="mbpp",
    messages=messages,
    judges={"pass@1": Judge(lambda _, text: extract(text), program=program, seconds=SECONDS)},
    reference=reference,
    examples=Examples(
        count=3,
        digest="ee8ed452b0dfca1ec8bdc093e9f04659b81c5f694421898e1caf197d93bffa54",
        installed="opencompass:configs/datasets/mbpp/mbpp_gen_830460.py",
        shot=shot,
        choose=rows_2_to_4,
    ),
    defects=(
        "code with the word DONE or BEGIN in it is cut there",
        "code that ends with a single-quoted string loses its last quote",
        "code in a fence inside the marks is lost",
        "a value equal to everything passes every assertion",
    ),
)
