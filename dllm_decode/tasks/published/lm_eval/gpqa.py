"""GPQA diamond as lm-evaluation-harness asks and judges it without examples, with chain of thought.

Source: lm_eval 0.4.13, task ``gpqa_diamond_cot_zeroshot``. Options are incorrect 1, 2, 3 and correct, shuffled by Python's global
generator inside `process_docs`, so its order is a run's own; here the generator is seeded with 1234. (With the data in
memory the released code shuffles at each access, so that prompt and target disagree; here they agree.)

Known defects, kept: the strict rule takes the rest of the line less its last character, so any word behind the letter
makes a right answer wrong; the flexible one takes the first letter of a word behind a colon, the last bracket even where
it is refuted, and of options that differ in punctuation only the last.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from dllm_decode.tasks.published.fields import text as field_text
from dllm_decode.tasks.published.lm_eval.matching import INVALID, bare, first
from dllm_decode.tasks.published.lm_eval.prompts import Form
from dllm_decode.tasks.published.options import prepare_with, shuffled
from dllm_decode.tasks.published.shape import Judge, Row, Shape

_ANSWER_IS = re.compile(r"The answer is (.*).")
_BRACKET = re.compile(r"\([A-Z]\)")
_COLON = re.compile(r":\s*([A-D])")


def cleaned(text: str) -> str:
    """Returns a field as the task shows it: `` [title]`` becomes a full stop, two blanks one."""
    return text.strip().replace(" [title]", ". ").replace("  ", " ")


def _options(row: Row) -> list[str]:
    return [cleaned(field_text(row, letter)) for letter in "ABCD"]


def strict(text: str) -> str:
    """Returns what follows the first "The answer is " on its line, less the last character."""
    return first(_ANSWER_IS, text)


def flexible(row: Row, text: str) -> str:
    """Returns the last letter in brackets, or of the last option quoted, or the last behind a colon; in brackets."""
    if found := _BRACKET.findall(text):
        return str(found[-1])
    # Of options that are equal without punctuation the later letter stays.
    letters = {bare(option): letter for letter, option in zip("ABCD", _options(row), strict=True)}
    longest_first = sorted((re.escape(option) for option in letters), key=len, reverse=True)
    if found := [option for option in re.findall("|".join(longest_first), bare(text)) if option]:
        return f"({letters[found[-1]]})"
    found = _COLON.findall(text)
    return f"({found[-1]})" if found else INVALID


def _judge(extract: Callable[[Row, str], str]) -> Judge:
    return Judge(extract, lambda row, text: bare(extract(row, text)) == bare(field_text(row, "answer")))


def _question(row: Row) -> str:
    options = "\n".join(f"({letter}) {option}" for letter, option in zip("ABCD", _options(row), strict=True))
    question = field_text(row, "question")
    return f"What is the correct answer to this question:{question}\nChoices:\n{options}\nLet's think step by step: "


def _orders(count: int) -> list[list[int]]:
    return shuffled(count, 1234, (1, 2, 3, 0))


_FORM = Form(_question)

GPQA = Shape(
    evaluator="lm-eval",
    task="gpqa_diamond_cot_zeroshot",
    messages=_FORM.messages,
    one_turn=_FORM.one_turn,
    prompt=_FORM.prompt,
    judges={
        "strict-match": _judge(lambda _, text: strict(text)),
        "flexible-extract": _judge(flexible),
    },
    reference=lambda row: f"The answer is ({row['answer']}).",
    prepare=prepare_with(_orders),
    stops=("</s>",),
    defects=(
        "strict-match refuses a right letter with any word behind it",
        "flexible-extract takes the first letter of a word behind a colon",
    ),
)
