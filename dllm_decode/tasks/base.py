"""What a task is: examples to decode and a judge of the decoded text.

Knows splits, seeds and how other people's lines are read; leaves wording and judging to each task.
Imports no torch.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from dllm_decode.errors import DataError

SPLITS = ("tune", "test")
_SPLIT_SEED = 20_260_101


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt, one correct answer to it, and what the judge needs to accept any other.

    Attributes:
        id: Stable and unique within the task, e.g. ``test-00017`` or ``file.jsonl:12``.
        prompt: The text before the canvas's undecided positions.
        reference: One correct answer; a task may accept others.
        meta: JSON-able facts that `Task.score` reads.
    """

    id: str
    prompt: str
    reference: str
    meta: Mapping[str, Any]


class Task(ABC):
    """A family of examples that can be generated without end and score themselves."""

    name: ClassVar[str]
    description: ClassVar[str]
    gen_length: ClassVar[int]
    """Canvas positions an answer gets, in tokens."""
    split_size: ClassVar[int] = 1000
    """Examples in each of the two fixed splits."""

    @abstractmethod
    def sample(self, rng: random.Random) -> Example:
        """Draws one example; where many answers are right, the reference is a random one of them."""

    @abstractmethod
    def score(self, example: Example, text: str) -> bool:
        """Says whether `text` is a correct answer to `example`, whichever correct answer it is."""

    def score_many(self, pairs: Sequence[tuple[Example, str]]) -> list[bool]:
        """Scores many answers; a task whose judge is slow overrides this."""
        return [self.score(example, text) for example, text in pairs]

    def examples(self, split: str, limit: int | None = None) -> list[Example]:
        """Returns the first `limit` examples of a fixed split.

        The two splits are seeded by the task's name, hold unique prompts and share none.

        Raises:
            DataError: `split` is not ``tune`` or ``test``.
        """
        if split not in SPLITS:
            raise DataError(f"split: {split!r} is unknown; task {self.name!r} has {' and '.join(SPLITS)}")
        return list(_splits(type(self))[split][:limit])

    def load(self, path: Path) -> list[Example]:
        """Reads examples from other people's file.

        Raises:
            DataError: The task has no file format, or the file breaks it.
        """
        raise DataError(
            f"{path}: task {self.name!r} reads no data files; leave --data out to use its own examples"
        )


@cache
def _splits(task_type: type[Task]) -> dict[str, tuple[Example, ...]]:
    task = task_type()
    seen: set[str] = set()
    splits = {}
    for split in SPLITS:
        rng = random.Random(f"{_SPLIT_SEED}/{task.name}/{split}")
        chosen: list[Example] = []
        while len(chosen) < task.split_size:
            example = task.sample(rng)
            if example.prompt not in seen:
                seen.add(example.prompt)
                number = f"{split}-{len(chosen):05d}"
                chosen.append(Example(number, example.prompt, example.reference, example.meta))
        splits[split] = tuple(chosen)
    return splits


def held_out_prompts(task: Task) -> frozenset[str]:
    """Returns every prompt of the task's two splits."""
    return frozenset(example.prompt for split in SPLITS for example in task.examples(split))


def training_examples(tasks: Iterable[Task], seed: int) -> Iterator[Example]:
    """Yields training examples without end, the tasks in turn, none with a prompt of either split."""
    queue = [(task, random.Random(f"{seed}/{task.name}/train"), held_out_prompts(task)) for task in tasks]
    while True:
        for task, rng, held_out in queue:
            example = task.sample(rng)
            while example.prompt in held_out:
                example = task.sample(rng)
            yield example
