"""Finds the option that an answer chose, by OpenCompass's rule for multiple choice.

Source: `first_option_postprocess` of the OpenCompass forks of ML-GSAI/LLaDA (b7e6c3565f19) and TH-AI-Lab-PKU/SAID
(a2d7f60dca8b), with the options ABCD. The first pattern that matches *and* holds one of A, B, C, D wins; it yields
the first of A, B, C, D (in that order) that its group holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_L = "([ABCD])"
_STOP = r"[。\.]?$"

# Before a letter, in this order.
_CHINESE_BEFORE = (
    r"答案是?\s*|答案是?\s*：\s*|答案是?\s*:\s*|答案选项应?该?是\s*|答案选项应?该?为\s*|答案应该?是\s*|答案应该?选\s*"
    r"|答案选项为?\s*：\s*|答案选项是?\s*:\s*|答案为\s*|答案选\s*|选择?\s*|故选?\s*"
).split("|")

# Around a letter (an @), in this order.
_CHINESE_AROUND = (
    r"只有选?项?\s?@\s?是?对|只有选?项?\s?@\s?是?错|只有选?项?\s?@\s?不?正确|只有选?项?\s?@\s?错误"
    r"|说法不?对选?项?的?是\s?@|说法不?正确选?项?的?是\s?@|说法错误选?项?的?是\s?@"
    r"|@\s?是正确的|@\s?是正确答案|选项\s?@\s?正确|所以答\s?@"
)


def _patterns() -> Iterator[str]:
    yield from (before + _L for before in _CHINESE_BEFORE)
    yield from (around.replace("@", _L) for around in _CHINESE_AROUND.split("|"))
    yield from (rf"{word}\s?([ABCD][.。$]?$)" for word in ("所以", "所有"))
    yield rf"[\s，：:,]{_L}[。，,\.]?$"
    yield rf"[\s，,：:][故即]{_L}{_STOP}"
    yield rf"[\s，,：:]因此{_L}{_STOP}"
    yield rf"[是为。]\s?{_L}{_STOP}"
    yield rf"因此\s?{_L}{_STOP}"
    yield rf"显然\s?{_L}{_STOP}"
    yield from (rf"{said}\s?(\S+)(?:。|$)" for said in ("答案是", "答案应该是", "答案为"))
    # Its letters are any case too; a lower-case one holds none of A to D, and the search goes on.
    yield rf"(?i)ANSWER\s*:\s*{_L}"
    yield rf"[Tt]he answer is:?\s+\(?{_L}\)?"
    for said in ("answer is", "answer is option", "correct answer is", "correct answer is option"):
        yield rf"[Tt]he {said}:?\s+\(?{_L}\)?"
        yield rf"[Tt]he {said}:?\s+\(?\*?\*?{_L}\*?\*?\)?"
    for said in ("answer", "option", "answer option"):
        yield rf"[Tt]he correct {said} is:?.*?boxed{{{_L}}}"
    yield rf"[Tt]he answer to the question is:?\s+\(?{_L}\)?"
    yield rf"^选项\s?{_L}"
    yield rf"^{_L}\s?选?项"
    yield r"(\s|^)[ABCD][\s。，,：:\.$]"
    yield r"1.\s?(.*?)$"
    yield rf"{_L}:"
    yield _L


_PATTERNS = [re.compile(pattern, re.DOTALL) for pattern in _patterns()]


def first_option(text: str) -> str:
    """Returns the letter that the answer chose, empty where there is none."""
    text = text.strip()
    for pattern in _PATTERNS:
        match = pattern.search(text)
        if match is None:
            continue
        held = match[1] or match[0]
        for letter in "ABCD":
            if letter in held:
                return letter
    return ""
