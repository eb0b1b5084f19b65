"""Scores a strategy on the examples of a task with a model; what has been decoded once is never decoded again.

Knows the evaluation of the core; leaves what to score, and on how many examples, to the search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from dllm_decode.errors import DataError
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.score import Score

if TYPE_CHECKING:
    from dllm_decode.evaluate.evaluate import Evaluation
    from dllm_decode.generation.chat import Chat
    from dllm_decode.model import DiffusionLM
    from dllm_decode.tasks.base import Task


class Objective(Protocol):
    """What the search asks of a task and a model."""

    def __call__(self, strategy: Strategy, split: str, examples: int) -> Score:
        """Return the score on the first `examples` examples of a split."""
        ...


class RowObjective(Objective, Protocol):
    """An objective that scores any examples, in any order; early stopping needs one."""

    def rows(self, strategy: Strategy, split: str, rows: Sequence[int]) -> Score:
        """Return the score on the examples at these places of a split, in this order."""
        ...


@dataclass(slots=True)
class Spent:
    """What a search has paid for, in forward passes of single examples."""

    decoded: int = 0
    """Decoded by this process."""
    kept: int = 0
    """Not decoded, because outcomes were kept from earlier runs."""


class TaskObjective:
    """The objective of a task and a model, through the evaluation's kept outcomes."""

    def __init__(
        self,
        lm: DiffusionLM,
        task: Task,
        *,
        batch_size: int = 64,
        seed: int = 0,
        cache: bool | Path = True,
        chat: Chat = "auto",
        skip_long: bool = False,
        evaluate: Callable[..., Evaluation] | None = None,
    ) -> None:
        """Keep what every evaluation shares.

        Args:
            lm: The model.
            task: The task.
            batch_size: Rows of a forward, at most.
            seed: Of the decoding noise.
            cache: As in `evaluate`.
            chat: As in `evaluate`.
            skip_long: As in `evaluate`; places are then among the examples that are left.
            evaluate: What decodes and scores, called as the core's `evaluate`, e.g. that with an executor bound to it; it
                may be called by several threads at once. None is the core's own, in this process.
        """
        self.lm, self.task, self.batch_size, self.seed, self.cache = lm, task, batch_size, seed, cache
        self.chat: Chat = chat
        self.evaluate, self.skip_long = evaluate, skip_long
        self._places: dict[str, list[int]] = {}
        """Split -> places in the fixed order of the examples that are not left out, as far as they were looked at."""
        self._looked: dict[str, int | None] = {}
        self.spent = Spent()
        self._counting = Lock()
        self._known: dict[tuple[str, str], dict[int, tuple[float, int, int]]] = {}
        """(digest, split) -> place of an example -> whether it is correct or its grade, forward passes, tokens."""

    def __call__(self, strategy: Strategy, split: str, examples: int) -> Score:
        """Return the score; raises `DecodeError` where a part breaks its contract."""
        return self.rows(strategy, split, range(self.available(split, examples)))

    def available(self, split: str, examples: int) -> int:
        """Return how many of the first so many examples of a split there are, those that are left out not counted.

        Raises:
            ConfigError: Some are over the model's context, and they are not to be left out.
            DataError: All are.
        """
        there = len(self.task.examples(split, examples))
        left = sum(place < there for place in self._fitting(split, examples))
        if not left:
            raise DataError(f"task {self.task.name!r}: all {there} examples are over the model's context")
        return left

    def _fitting(self, split: str, examples: int | None) -> list[int]:
        """Return the places of a split's examples that fit the model's context, at least those of the first so many."""
        looked = self._looked.get(split, 0)
        if looked is not None and (examples is None or examples > looked):
            from dllm_decode.evaluate.executors import over_long

            listed, length = self.task.examples(split, examples), self.task.gen_length
            long = set(over_long(self.lm, self.task, listed, length, self.chat, skip=self.skip_long))
            self._places[split] = [place for place in range(len(listed)) if place not in long]
            self._looked[split] = examples
        return self._places[split]

    def _placed(self, split: str, rows: Sequence[int]) -> list[int]:
        """Return the places in the split's fixed order of rows, which count what is left of it."""
        if not self.skip_long:
            return list(rows)
        places = self._fitting(split, max(rows, default=0) + 1)
        if max(rows, default=0) >= len(places):
            places = self._fitting(split, None)
        return [places[row] for row in rows]

    def rows(self, strategy: Strategy, split: str, rows: Sequence[int]) -> Score:
        """Return the score on the examples at these places, in this order; decodes only what is not known."""
        known = self._known.setdefault((strategy.digest(), split), {})
        rows = self._placed(split, rows)
        missing = [row for row in rows if row not in known]
        if missing or not known:
            done = self._decode(strategy, split, missing)
            passes = sum(outcome.forward_passes for outcome in done.outcomes)
            fresh = round(passes * (1 - done.record.resumed / done.record.n))
            with self._counting:
                self.spent.decoded += fresh
                self.spent.kept += passes - fresh
            for row, outcome in zip(missing, done.outcomes, strict=True):
                right = outcome.score if self.task.graded else outcome.correct
                known[row] = (right, outcome.forward_passes, outcome.tokens)
        correct, forwards, tokens = zip(*(known[row] for row in rows), strict=True)
        return Score(correct, forwards, tokens)

    def _decode(self, strategy: Strategy, split: str, rows: Sequence[int]) -> Evaluation:
        """Decode and score examples: the one place where a search's work is done."""
        from dllm_decode.evaluate.evaluate import evaluate

        return (self.evaluate or evaluate)(
            self.lm,
            self.task,
            strategy,
            split=split,
            rows=rows,
            batch_size=self.batch_size,
            seed=self.seed,
            cache=self.cache,
            chat=self.chat,
        )
