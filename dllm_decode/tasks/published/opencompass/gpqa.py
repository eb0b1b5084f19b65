r"""GPQA diamond as OpenCompass asks and judges it: `GPQA` with five examples in the message, `GPQA_GEN` without.

Source: the OpenCompass forks of ML-GSAI/LLaDA (b7e6c3565f19) and TH-AI-Lab-PKU/SAID (a2d7f60dca8b). Their example files
import ``gpqa_fewshot_gen`` (`GPQA`); ``gpqa_gen`` points to the simple-evals form (`GPQA_GEN`). The five examples are not
copied here: see `dllm_decode.tasks.published.shots`. `GPQA`'s options are shuffled once a row, in file order, by
Python's generator seeded with 0; `GPQA_GEN`'s are rotated. GPQA has no other split to take examples of one's own from.

Known defects, kept: ``{A}`` to ``{D}`` inside a question, as in ``\mathbf{A}``, become the option's text; the examples
show options as ``(A)``, the question as ``A.``; `GPQA_GEN` takes a word's first letter ("Answer: Because" is B) and calls
a lower-case letter wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dllm_decode.tasks.published.fields import lettered
from dllm_decode.tasks.published.fields import text as field_text
from dllm_decode.tasks.published.opencompass.turns import asked
from dllm_decode.tasks.published.options import prepare_with, shuffled
from dllm_decode.tasks.published.shape import Examples, Judge, Message, Row, Shape, Shot

_SAID = re.compile(r"The correct answer is \((.*?)\)", re.IGNORECASE | re.DOTALL)
_ANSWER = re.compile(r"ANSWER\s*:\s*([A-D])", re.IGNORECASE)
_HEAD = (
    "\nHere are some example questions from experts. Answer the final question yourself, following the format of the "
    "previous questions exactly.\n"
)
_TAIL = (
    "\nWhen you're ready to answer, please use the format 'The correct answer is (X)' where X is the correct letter "
    "choice from 'ABCD'."
)
_GEN_HEAD = (
    "Answer the following multiple choice question. The last line of your response should be of the following format: "
    "'ANSWER: $LETTER' (without quotes) where LETTER is one of ABCD. Think step by step before answering.\n\n"
)


def _filled(row: Row) -> tuple[str, list[str]]:
    """Returns question and options after the plain replacement of ``{A}`` to ``{D}``, which reaches into the texts."""
    parts = [field_text(row, "question"), *(field_text(row, letter) for letter in "ABCD")]
    # Column after column: an option's text may itself hold the mark of a later one.
    for letter in "ABCD":
        parts = [part.replace(f"{{{letter}}}", field_text(row, letter)) for part in parts]
    return parts[0], parts[1:]


def messages(row: Row, shots: Sequence[Shot] = ()) -> list[Message]:
    """Returns the one turn: the examples, then the question."""
    question, options = _filled(row)
    examples = "".join(f"{shot.user}\n{shot.assistant}\n\n" for shot in shots)
    return asked(f"{_HEAD}{examples}Question:\n{question}\nChoices:\n{lettered(options, '{}. {}')}{_TAIL}")


def extract(text: str) -> str:
    """Returns what stands in the first ``The correct answer is (…)``, one blank where there is none."""
    found = _SAID.search(text)
    return found[1].strip() if found else " "


def correct(row: Row, text: str) -> bool:
    """Compares with the right letter."""
    return extract(text) == field_text(row, "answer")


def messages_gen(row: Row, shots: Sequence[Shot] = ()) -> list[Message]:
    """Returns the simple-evals form's one turn; it has no worked examples."""
    question, options = _filled(row)
    return asked(f"{_GEN_HEAD}{question}\n\n{lettered(options, '{}) {}')}", shots)


def extract_gen(text: str) -> str | None:
    """Returns the letter behind the first ``ANSWER:``, as written."""
    found = _ANSWER.search(text)
    return found[1] if found else None


def correct_gen(row: Row, text: str) -> bool:
    """Compares with the right letter, case included."""
    return extract_gen(text) == field_text(row, "answer")


def _rotated(count: int) -> list[list[int]]:
    return [[(place + number) % 4 for place in range(4)] for number in range(1, count + 1)]


GPQA = Shape(
    evaluator="opencompass",
    task="gpqa",
    messages=messages,
    judges={"letter": Judge(lambda _, text: extract(text), correct)},
    reference=lambda row: f"The correct answer is ({row['answer']})",
    prepare=prepare_with(lambda count: shuffled(count, 0, range(4))),
    examples=Examples(
        count=5,
        digest="21bfd768844dbbc3713148420cf47e49dee3d06c48dafb1f3506ce7acf37b8c1",
        installed="opencompass:configs/datasets/gpqa/gpqa_fewshot_gen.py",
    ),
    defects=("{A} to {D} inside a question become the option's text",),
)
GPQA_GEN = Shape(
    evaluator="opencompass",
    task="gpqa-gen",
    messages=messages_gen,
    judges={"letter": Judge(lambda _, text: extract_gen(text), correct_gen)},
    reference=lambda row: f"ANSWER: {row['answer']}",
    prepare=prepare_with(_rotated),
    defects=(
        "{A} to {D} inside a question become the option's text",
        "the first letter of a word behind the colon is taken as the option",
    ),
)
