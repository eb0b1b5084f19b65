"""What lm-evaluation-harness's filters and its exact match share: ``[invalid]``, and what a comparison ignores.

Source: lm_eval 0.4.13.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Sequence

from dllm_decode.tasks.published.shape import Row

INVALID = "[invalid]"
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def bare(text: str) -> str:
    """Returns the text in lower case, without ASCII punctuation."""
    return text.lower().translate(_PUNCTUATION)


def first(pattern: re.Pattern[str], text: str) -> str:
    """Returns the first match's group, without outer blanks, ``[invalid]`` if none."""
    found = pattern.search(text)
    return found[1].strip() if found else INVALID


def drawn(train: Sequence[Row], rows: Sequence[Row], count: int) -> list[list[Row]]:
    """Draws `count` training rows for each question in turn, one generator for all: the order of questions matters."""
    generator = random.Random(1234)
    return [generator.sample(list(train), count) for _ in rows]
