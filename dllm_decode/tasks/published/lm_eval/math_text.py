r"""Minerva's normal form of a mathematical answer as lm-evaluation-harness has it, and equality by value.

Source: lm_eval 0.4.13, task ``minerva_math``. It differs from OpenCompass's `normal`: only what follows the last ``=`` counts,
unit words go as whole words first and never out of a command (``\left`` keeps its ft), and only true thousands lose commas.
"""

from __future__ import annotations

import re
from typing import Any

from dllm_decode.tasks.published.needs import need, time_limit
from dllm_decode.tasks.published.opencompass.math_text import REMOVED, REPLACED

_WHOLE_WORDS = [re.compile(rf"(?<!\\)\b{word}\b") for word in REMOVED if word.isalpha()]
_COMMAND = re.compile(r"(\\[a-zA-Z]+)")
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+")
SECONDS = 5.0


def shortened(text: str) -> str:
    """Returns the answer without units and LaTeX's dress."""
    text = text.split("=")[-1]
    for word in _WHOLE_WORDS:
        text = word.sub("", text)
    for old, new in REPLACED:
        # OpenCompass alone reads `\le` as `<`.
        text = text if old == "\\le" else text.replace(old, new)
    text = _without_units(text)
    text = re.sub(r".*?\$(.*?)\$.*", r"$\1$", text)
    for command in ("text", "textbf", "overline"):
        text = re.sub(rf"\\{command}\{{(.*?)\}}", r"\1", text)
    text = re.sub(r"\\boxed\{(.*)\}", r"\1", text)
    text = re.sub(r"frac([^{])(.)", r"frac{\1}{\2}", text)
    text = re.sub(r"sqrt(\[[^\]]*\])(\w)", r"sqrt\1{\2}", text)
    text = re.sub(r"sqrt([^{\[])", r"sqrt{\1}", text).replace("$", "")
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text


def _without_units(text: str) -> str:
    """Removes every unit, in the rule's order; a word is never taken out of a command's name."""
    for expression in REMOVED:
        if expression.isalpha():
            pieces = _COMMAND.split(text)
            pieces[::2] = [piece.replace(expression, "") for piece in pieces[::2]]
            text = "".join(pieces)
        else:
            text = text.replace(expression, "")
    return text


def same_value(a: str, b: str) -> bool:
    """Says whether two answers are equal as text, or sympy shows within five seconds that their difference is 0."""
    if a and a == b:
        return True
    sympy, latex = need("sympy", "mathematical equality"), need("sympy.parsing.latex", "mathematical equality")
    try:
        with time_limit(SECONDS):
            difference: Any = latex.parse_latex(a) - latex.parse_latex(b)
            return bool(sympy.simplify(difference) == 0)
    except ImportError:
        raise
    except Exception:  # What sympy cannot read or subtract, it raises about in a dozen ways: then they are not equal.
        return False
