"""What a task is: examples to decode and a judge of the decoded text.

Knows the two splits and what an example holds. Where examples come from is its children's: `generated.base` draws them,
`dataset` reads them. Imports no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from dllm_decode.data.prompt import Prompt
from dllm_decode.errors import DataError

SPLITS = ("tune", "test")


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt, one correct answer to it, and what the judge needs to accept any other.

    Attributes:
        id: Stable and unique within the task, e.g. ``test-00017`` or ``file.jsonl:12``.
        prompt: What stands before the answer: a text, or messages for the model's chat template. Of an infill task, the
            whole text, with ``[MASK]`` for every position that is to be decided.
        reference: One correct answer; a task may accept others. Empty where the task knows none.
        meta: JSON-able facts that `Task.score` reads.
    """

    id: str
    prompt: Prompt
    reference: str
    meta: Mapping[str, Any]


class Task(ABC):
    """A family of examples in two fixed splits, and a judge of answers to them."""

    name: ClassVar[str]
    description: ClassVar[str]
    gen_length: ClassVar[int]
    """Canvas positions an answer gets, in tokens."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer: the judge sees what stands before the first of them."""
    infill: ClassVar[bool] = False
    """Whether prompts are whole texts with masks inside; the judge then sees the whole text."""
    graded: ClassVar[bool] = False
    """Whether scores lie between 0 and 1 rather than being right or wrong."""

    @abstractmethod
    def examples(self, split: str, limit: int | None = None) -> list[Example]:
        """Return the first `limit` examples of a fixed split; ``tune`` and ``test`` share no prompt.

        Raises:
            DataError: There is no such split, or its data cannot be had.
        """

    @abstractmethod
    def score(self, example: Example, text: str) -> bool | float:
        """Say whether `text` is a correct answer to `example`, or how good it is, from 0 to 1."""

    def score_many(self, pairs: Sequence[tuple[Example, str]]) -> Sequence[bool | float]:
        """Score many answers; a task whose judge is slow overrides this."""
        return [self.score(example, text) for example, text in pairs]

    def load(self, path: Path) -> list[Example]:
        """Read examples from other people's file.

        Raises:
            DataError: The task has no file format, or the file breaks it.
        """
        raise DataError(
            f"{path}: task {self.name!r} reads no data files; leave --data out to use its own examples"
        )

    def over(self, path: str | Path) -> Self:
        """Return this task with both splits read from a file or folder instead of where they come from.

        Raises:
            DataError: The task makes its own examples.
        """
        raise DataError(
            f"{path}: task {self.name!r} makes its two splits itself; give a file without a split, or a split without a file"
        )

    def settings(self) -> Mapping[str, str]:
        """Return what of this object, besides its class, decides prompts or scores; part of every record."""
        return {}

    def origin(self, split: str) -> str:
        """Return what a split is, for records and for the names of kept outcomes."""
        return split

    def refuse_split(self, split: str) -> None:
        """Refuse a split that is not there.

        Raises:
            DataError: `split` is not ``tune`` or ``test``.
        """
        if split not in SPLITS:
            raise DataError(f"split: {split!r} is unknown; task {self.name!r} has {' and '.join(SPLITS)}")
