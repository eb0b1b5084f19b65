"""GSM8K as lm-evaluation-harness asks and judges it: `GSM8K`, `GSM8K_COT` and `GSM8K_COT_ZEROSHOT`.

Source: lm_eval 0.4.13, tasks ``gsm8k``, ``gsm8k_cot`` and ``gsm8k_cot_zeroshot``. `GSM8K`'s five examples are drawn from the
training rows, other ones for each question (`lm_eval.matching.drawn`); `GSM8K_COT`'s eight are fixed and not copied here: see
`dllm_decode.tasks.published.shots`.

Known defects, kept: 18.0 is not 18; the strict rule of the two "cot" tasks wants one character behind the number, so a
number that ends the text is refused or loses its last digit; to the flexible rule ``...`` is a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from dllm_decode.tasks.published.fields import text as field_text
from dllm_decode.tasks.published.lm_eval.matching import INVALID, drawn, first
from dllm_decode.tasks.published.lm_eval.prompts import Form
from dllm_decode.tasks.published.shape import Examples, Judge, Row, Shape, Shot

_HASHES = re.compile(r"#### (-?[0-9.,]+)")
_ANSWER_IS = re.compile(r"The answer is (-?[0-9.,]+).")
_ANY_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")


def compared(text: str) -> str:
    """Returns what is compared: without commas, dollars, all up to the last ``#### `` and one last full stop."""
    text = text.replace(",", "").replace("$", "").split("#### ")[-1]
    return re.sub(r"\.$", "", text).lower()


def flexible(text: str) -> str:
    """Returns the last number, ``[invalid]`` where there is none."""
    found = _ANY_NUMBER.findall(text)
    return found[-1].strip() if found else INVALID


def _judge(extract: Callable[[str], str]) -> Judge:
    def correct(row: Row, text: str) -> bool:
        return compared(extract(text)) == compared(field_text(row, "answer"))

    return Judge(lambda _, text: extract(text), correct)


def _gold(row: Row) -> str:
    return field_text(row, "answer").split("####")[-1].strip()


def _cot_shot(row: Row) -> Shot:
    # The harness's own file holds whole answers as `target`; a training row's own steps carry the calculator's notes.
    steps = re.sub(r"<<.*?>>", "", field_text(row, "answer").split("####")[0]).strip() if "answer" in row else ""
    return Shot(_COT.question(row), row.get("target") or f"{steps}\nThe answer is {_gold(row)}.")


_FORM = Form(lambda row: f"Question: {field_text(row, 'question')}\nAnswer:")
_COT = Form(lambda row: f"Q: {field_text(row, 'question')}\nA:")
_ZEROSHOT = Form(lambda row: f"Q: {field_text(row, 'question')}\nA: Let's think step by step.")
_COT_JUDGES = {"strict-match": _judge(lambda text: first(_ANSWER_IS, text)), "flexible-extract": _judge(flexible)}
_ENDS = ("</s>", "<|im_end|>")
_COT_DEFECTS = ("strict-match wants one character behind the number: 'The answer is 18' reads as 1", "18.0 is not 18")

GSM8K = Shape(
    evaluator="lm-eval",
    task="gsm8k",
    messages=_FORM.messages,
    one_turn=_FORM.one_turn,
    prompt=_FORM.prompt,
    judges={"strict-match": _judge(lambda text: first(_HASHES, text)), "flexible-extract": _judge(flexible)},
    reference=lambda row: field_text(row, "answer"),
    examples=Examples(
        count=5,
        digest="dfb55a6395d6289a064aa437065e1d0272d1b1d3c40cb2be6e9bec687398f106",
        shot=lambda row: Shot(_FORM.question(row), field_text(row, "answer")),
        choose=drawn,
    ),
    stops=("Question:", *_ENDS),
    defects=("18.0 is not 18",),
)
GSM8K_COT = Shape(
    evaluator="lm-eval",
    task="gsm8k_cot",
    messages=_COT.messages,
    one_turn=_COT.one_turn,
    prompt=_COT.prompt,
    judges=_COT_JUDGES,
    reference=lambda row: f"The answer is {_gold(row)}.",
    examples=Examples(
        count=8,
        digest="b48fb8151d106a54de8e1c2aa3873c6500b76c8221c59bc4f9b23c46cddd8c22",
        installed="lm_eval:tasks/gsm8k/gsm8k-cot.yaml",
        shot=_cot_shot,
    ),
    stops=("Q:", *_ENDS),
    defects=_COT_DEFECTS,
)
GSM8K_COT_ZEROSHOT = Shape(
    evaluator="lm-eval",
    task="gsm8k_cot_zeroshot",
    messages=_ZEROSHOT.messages,
    one_turn=_ZEROSHOT.one_turn,
    prompt=_ZEROSHOT.prompt,
    judges=_COT_JUDGES,
    reference=lambda row: f"The answer is {_gold(row)}.",
    stops=("Q:", *_ENDS),
    defects=_COT_DEFECTS,
)
