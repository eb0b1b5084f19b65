"""A task made of prompts and a Python function that judges answers. Knows nothing of how answers come about."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

from dllm_decode.data.prompt import prompt_text
from dllm_decode.errors import ConfigError
from dllm_decode.tasks.base import SPLITS, Example, Task

Judge = Callable[[str, str], bool]
"""(prompt, answer) -> whether the answer is good."""


def function_task(
    judge: Judge, prompts: Sequence[str], gen_length: int = 64, name: str | None = None
) -> Task:
    """Return a task of the given prompts; they go to the tuning and the test split in turns.

    Outcomes are kept under a name that holds a hash of the function's code, so a changed judge judges anew; one whose
    verdict depends on anything else wants `cache=False`.

    Args:
        judge: Called with a prompt and the decoded answer.
        prompts: At least two, all different.
        gen_length: Columns an answer gets, in tokens.
        name: In reports and file names; None is the function's.

    Raises:
        ConfigError: Too few prompts, prompts that repeat, or an answer length below 1.
    """
    texts = list(prompts)
    if len(texts) < 2 or len(set(texts)) != len(texts):
        raise ConfigError(
            f"prompts: a task needs at least two, all different, one for each split; got {len(texts)}, "
            f"{len(set(texts))} of them different"
        )
    if gen_length < 1:
        raise ConfigError(f"gen_length: should be at least 1, got {gen_length}")
    own = name or re.sub(r"[^a-z0-9]+", "-", getattr(judge, "__name__", "judge").lower()).strip("-") or "judge"
    fields: dict[str, Any] = {
        "name": f"{own}-{_code(judge)}",
        "description": f"{len(texts)} prompts judged by a Python function",
        "gen_length": gen_length,
    }
    return type("FunctionTask", (_FunctionTask,), fields)(judge, texts)  # type: ignore[no-any-return]


class _FunctionTask(Task):
    def __init__(self, judge: Judge, prompts: list[str]) -> None:
        self._judge = judge
        self._splits = {
            split: [
                Example(f"{split}-{place:05d}", prompt, "", {}) for place, prompt in enumerate(prompts[start::2])
            ]
            for start, split in enumerate(SPLITS)
        }

    def examples(self, split: str, limit: int | None = None) -> list[Example]:
        self.refuse_split(split)
        return self._splits[split][:limit]

    def score(self, example: Example, text: str) -> bool:
        return bool(self._judge(prompt_text(example.prompt), text))


def _code(judge: Judge) -> str:
    """Return 6 hex digits of the function's code."""
    code = getattr(judge, "__code__", None)
    if code is not None:
        content = repr((code.co_code, code.co_consts, code.co_names, getattr(judge, "__defaults__", None)))
        content = re.sub(r" at 0x[0-9a-f]+", "", content)
    else:
        try:
            content = inspect.getsource(type(judge))
        except (OSError, TypeError):
            content = repr(type(judge))
    return hashlib.sha256(content.encode()).hexdigest()[:6]
