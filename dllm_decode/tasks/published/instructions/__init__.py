"""IFEval's instructions: one check an instruction, and an answer's grades under them.

Source: google-research's instruction_following_eval as lm_eval 0.4.13 and the OpenCompass forks of ML-GSAI/LLaDA
(b7e6c3565f19) and TH-AI-Lab-PKU/SAID (a2d7f60dca8b) carry it. Strict: the answer as it is. Loose: any of eight variants,
without its first line, its last line, both or none, each with and without ``*``. An empty answer follows nothing.

Known defects, kept: "a number of words" counts runs of word characters, so "isn't" is two; a keyword is a pattern and
matches inside words; ``** bold **`` at a line's start is no bullet, ``* *`` is; a language is a detector's guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dllm_decode.errors import DataError, unknown_name
from dllm_decode.tasks.published.fields import field
from dllm_decode.tasks.published.instructions import form, words
from dllm_decode.tasks.published.shape import Row

CHECKS: Mapping[str, Callable[..., bool]] = {**words.CHECKS, **form.CHECKS}


def _follows(text: str, instruction: str, arguments: Mapping[str, Any]) -> bool:
    if instruction not in CHECKS:
        raise DataError(unknown_name("instruction", instruction, CHECKS))
    # The hub's rows name every instruction's arguments, most of them null.
    given = {name: value for name, value in arguments.items() if value is not None}
    return bool(text.strip()) and CHECKS[instruction](text, **given)


def _variants(text: str) -> list[str]:
    lines = text.split("\n")
    cuts = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*cuts, *(cut.replace("*", "") for cut in cuts)]


def _instructions(row: Row) -> list[tuple[str, Mapping[str, Any]]]:
    return list(zip(field(row, "instruction_id_list"), field(row, "kwargs"), strict=True))


def strict(row: Row, text: str) -> list[bool]:
    """Says of each of the row's instructions whether the answer as it is follows it."""
    return [_follows(text, name, arguments) for name, arguments in _instructions(row)]


def loose(row: Row, text: str) -> list[bool]:
    """Says of each of the row's instructions whether any variant of the answer follows it."""
    variants = _variants(text)
    return [
        any(_follows(variant, name, arguments) for variant in variants)
        for name, arguments in _instructions(row)
    ]
