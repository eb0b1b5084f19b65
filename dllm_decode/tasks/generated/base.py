"""Tasks that draw their examples: two fixed splits, and training examples without end.

Knows seeds and how prompts are kept apart; leaves wording and judging to each task. Imports no torch.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from functools import cache
from typing import ClassVar

from dllm_decode.data.prompt import prompt_text
from dllm_decode.errors import DataError
from dllm_decode.tasks.base import SPLITS, Example, Task

_SPLIT_SEED = 20_260_101
_PATIENCE = 10_000
"""Draws in a row without a new prompt after which a task is said to have no more."""


class GeneratedTask(Task):
    """A task whose examples can be drawn without end."""

    split_size: ClassVar[int] = 1000
    """Examples in each of the two fixed splits."""

    @abstractmethod
    def sample(self, rng: random.Random) -> Example:
        """Draw one example; where many answers are right, the reference is a random one of them."""

    def examples(self, split: str, limit: int | None = None) -> list[Example]:
        """Return the first `limit` examples of a split; splits are seeded by the task's name and share no prompt.

        Raises:
            DataError: `split` is not ``tune`` or ``test``, or the task draws too few different prompts.
        """
        self.refuse_split(split)
        return list(_splits(type(self))[split][:limit])


@cache
def _splits(task_type: type[GeneratedTask]) -> dict[str, tuple[Example, ...]]:
    task = task_type()
    seen: set[str] = set()
    splits = {}
    for split in SPLITS:
        rng = random.Random(f"{_SPLIT_SEED}/{task.name}/{split}")
        chosen: list[Example] = []
        for _ in range(task.split_size):
            example = _new_example(task, rng, seen)
            seen.add(prompt_text(example.prompt))
            number = f"{split}-{len(chosen):05d}"
            chosen.append(Example(number, example.prompt, example.reference, example.meta))
        splits[split] = tuple(chosen)
    return splits


def _new_example(task: GeneratedTask, rng: random.Random, seen: set[str] | frozenset[str]) -> Example:
    for _ in range(_PATIENCE):
        example = task.sample(rng)
        if prompt_text(example.prompt) not in seen:
            return example
    raise DataError(
        f"task {task.name!r}: {_PATIENCE} draws in a row gave no new prompt after {len(seen)} different ones, and its two "
        f"splits take {2 * task.split_size}; set split_size to {len(seen) // 2} or less"
    )


def held_out_prompts(task: Task) -> frozenset[str]:
    """Return every prompt of the task's two splits, as texts."""
    return frozenset(prompt_text(example.prompt) for split in SPLITS for example in task.examples(split))


def training_examples(tasks: Iterable[GeneratedTask], seed: int) -> Iterator[Example]:
    """Yield training examples without end, the tasks in turn, none with a prompt of either split."""
    queue = [(task, random.Random(f"{seed}/{task.name}/train"), held_out_prompts(task)) for task in tasks]
    while True:
        for task, rng, held_out in queue:
            yield _new_example(task, rng, held_out)
