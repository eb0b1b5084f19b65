"""GSM8K as OpenCompass asks and judges it: four worked examples as turns, the last number of the answer counts.

Source: the OpenCompass forks of ML-GSAI/LLaDA (b7e6c3565f19) and TH-AI-Lab-PKU/SAID (a2d7f60dca8b), config
``gsm8k_gen_1d7fe4``. The four examples are not copied here: see `dllm_decode.tasks.published.shots`.

Known defect, kept: a thousands comma splits a number, so "The answer is 70,000" reads as 000. Of GSM8K's 1,319 gold
answers written with commas, 131 are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dllm_decode.tasks.published.fields import text as field_text
from dllm_decode.tasks.published.opencompass.turns import asked
from dllm_decode.tasks.published.shape import Examples, Judge, Message, Row, Shape, Shot

_NUMBER = re.compile(r"-?\d+\.\d+|-?\d+")
_NOTE = re.compile(r"<<.*?>>")


def gold(row: Row) -> str:
    """Returns the number behind ``####``, without thousands commas."""
    return field_text(row, "answer").split("#### ")[-1].strip().replace(",", "")


def question(row: Row) -> str:
    """Returns the user's turn for one question."""
    return f"Question: {field_text(row, 'question')}\nLet's think step by step\nAnswer:"


def shot(row: Row) -> Shot:
    """Makes a worked example of a training row: its own steps without the calculator's notes."""
    steps = _NOTE.sub("", field_text(row, "answer").split("#### ")[0]).strip()
    return Shot(question(row), f"{steps}\nThe answer is {gold(row)}\n")


def messages(row: Row, shots: Sequence[Shot] = ()) -> list[Message]:
    """Returns the shots as turns, then the question."""
    return asked(question(row), shots)


def extract(text: str) -> str:
    """Returns the last number before a second ``Question:``, ``NULL`` where there is none."""
    found = _NUMBER.findall(text.split("Question:")[0])
    return found[-1] if found else "NULL"


def correct(row: Row, text: str) -> bool:
    """Compares as text, then as numbers to within a millionth."""
    found, wanted = extract(text), gold(row)
    if found == wanted:
        return True
    return found != "NULL" and abs(float(found) - int(wanted)) < 1e-6


GSM8K = Shape(
    evaluator="opencompass",
    task="gsm8k",
    messages=messages,
    judges={"last-number": Judge(lambda _, text: extract(text), correct)},
    reference=lambda row: f"The answer is {gold(row)}",
    examples=Examples(
        count=4,
        digest="1050f47f0a93a02a147b204713b5d2db3dbd09b015589f32dc4b0f2fe241e976",
        installed="opencompass:configs/datasets/gsm8k/gsm8k_gen_1d7fe4.py",
        shot=shot,
    ),
    defects=("a thousands comma splits a number: 70,000 reads as 000",),
)
