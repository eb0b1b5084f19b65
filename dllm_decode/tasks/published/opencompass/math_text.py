r"""Two normal forms of a mathematical answer, as text: `stripped` and `normal`.

Source: the MATH evaluator of the OpenCompass forks of ML-GSAI/LLaDA (b7e6c3565f19) and TH-AI-Lab-PKU/SAID
(a2d7f60dca8b). The order of the steps is part of the rule. `normal` follows Minerva's published normal form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_SQRT_WORD = re.compile(r"\\sqrt(\w+)")

# Replaced one after the other; an empty second part removes the first.
_STRIPPED_BEFORE = (
    ("\\!", ""), ("\\ ", ""), ("\\\\", "\\"), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", ""),
    ("\\right", ""),
)  # fmt: skip
_STRIPPED_AFTER = (
    ("^{\\circ}", ""), ("^\\circ", ""), ("\\$", ""), ("$", ""), ("\\text", ""), ("x\\in", ""), ("\\%", ""), ("%", ""),
    (" .", " 0."), ("{.", "{0."), ("\\cdot", ""), ("infinity", "\\infty"),
)  # fmt: skip
REPLACED = (
    ("an ", ""), ("a ", ""), (".$", "$"), ("\\$", ""), ("\\ ", ""), (" ", ""), ("mbox", "text"), (",\\text{and}", ","),
    ("\\text{and}", ","), ("\\text{m}", "\\text{}"), ("\\le", "<"),
)  # fmt: skip
REMOVED = (
    "square ways integers dollars mph inches ft hours km units \\ldots sue points feet minutes digits cents degrees cm gm"
    " pounds meters meals edges students childrentickets multiples \\text{s} \\text{.} \\text{\ns} \\text{}^2 \\text{}^3"
    ' \\text{\n} \\text{} \\mathrm{th} ^\\circ ^{\\circ} \\; ,\\! {,} " \\dots'
).split(" ")  # fmt: skip


def _replace(text: str, pairs: Sequence[tuple[str, str]]) -> str:
    for old, new in pairs:
        text = text.replace(old, new)
    return text


def _brace_fractions(text: str) -> str:
    r"""Braces the two single characters behind each ``\frac``; leaves the whole text where one has fewer."""
    head, *pieces = text.split("\\frac")
    braced = head
    for piece in pieces:
        if piece.startswith("{"):
            braced += "\\frac" + piece
        elif len(piece) < 2:
            return text
        else:
            second = piece[1:] if piece[1] == "{" else f"{{{piece[1]}}}{piece[2:]}"
            braced += f"\\frac{{{piece[0]}}}{second}"
    return braced


def stripped(text: str) -> str:
    """Returns the answer without dollars, units, degrees and blanks, its fractions braced.

    Raises:
        ValueError: One side of a single slash is no whole number.
    """
    text = _replace(text.strip().replace("\n", "").rstrip("."), _STRIPPED_BEFORE)
    text = re.sub(r"\\text{.*?}$", "", text).strip() or text
    text = _replace(text, _STRIPPED_AFTER)
    if "\\infty" not in text:
        text = text.replace("inf", "\\infty")
    text = _replace(text, (("+\\inity", "\\infty"), ("and", ""), ("\\mathbf", "")))
    text = re.sub(r"\\mbox{.*?}", "", text)
    if "j" in text and "i" not in text:
        text = text.replace("j", "i")
    text = re.sub(r"(\d+)\.0+$", r"\1", re.sub(r"(\d+)\.0+([^\d])", r"\1\2", text))
    if not text:
        return text
    text = "0" + text if text.startswith(".") else text
    if text.count("=") == 1 and len(text.split("=")[0]) <= 2:
        text = text.split("=")[1]
    text = _brace_fractions(_SQRT_WORD.sub(r"\\sqrt{\1}", text).replace(" ", ""))
    if text.count("/") == 1:
        above, below = (int(side) for side in text.split("/"))
        if text == f"{above}/{below}":
            return f"\\frac{{{above}}}{{{below}}}"
    return text


def normal(text: str) -> str:
    """Returns the answer without units and LaTeX's dress, and only what follows "final answer is"."""
    text = _replace(text, REPLACED)
    for word in (*REMOVED, "\n", "\r", "\f"):
        text = text.replace(word, "")
    text = re.sub(r"\\text\{\((.*?)\)\}", r"\1", text)
    for command in ("text", "textbf", "overline"):
        text = re.sub(rf"\\{command}\{{(.*?)\}}", r"\1", text)
    text = re.sub(r"\\boxed\{(.*)\}", r"\1", text)
    for said in (r"finalansweris(.*)", r"answer?is:?(.*)", r"oxed\{(.*?)\}", r"\$(.*?)\$"):
        if found := re.findall(said, text):
            text = found[-1]
    text = text.strip()
    if "rac" in text and "\\frac" not in text:
        text = text.replace("rac", "\\frac")
    text = re.sub(r"frac([^{])(.)", r"frac{\1}{\2}", text)
    text = re.sub(r"sqrt([^{])", r"sqrt{\1}", text).replace("$", "")
    return text.replace(",", "") if text.replace(",", "").isdigit() else text
