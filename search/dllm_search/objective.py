"""Scores a strategy on the examples of a task with a model; what has been decoded once is never decoded again.

Knows the evaluation of the core; leaves what to score, and on how many examples, to the search.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dllm_decode.config import Strategy
from dllm_search.score import Score

if TYPE_CHECKING:
    from dllm_decode.lm import DiffusionLM
    from dllm_decode.tasks.base import Task


class Objective(Protocol):
    """What the search asks of a task and a model."""

    def __call__(self, strategy: Strategy, split: str, examples: int) -> Score:
        """Return the score on the first `examples` examples of a split."""
        ...


class TaskObjective:
    """The objective of a task and a model, through the evaluation's kept outcomes."""

    def __init__(
        self, lm: DiffusionLM, task: Task, *, batch_size: int = 64, seed: int = 0, cache: bool | Path = True
    ) -> None:
        """Keep what every evaluation shares; `seed` is that of the decoding noise."""
        self.lm, self.task, self.batch_size, self.seed, self.cache = lm, task, batch_size, seed, cache
        self.decoded = 0
        """Forward passes that this process paid for, outcomes kept from earlier left out."""
        self.last: dict[str, Any] = {}
        """The run record of the last evaluation."""
        self._scores: dict[tuple[str, str, int], Score] = {}

    def __call__(self, strategy: Strategy, split: str, examples: int) -> Score:
        """Return the score; raises `DecodeError` where a part breaks its contract."""
        from dllm_decode.evaluation import evaluate

        key = (strategy.digest(), split, examples)
        if key not in self._scores:
            done = evaluate(
                self.lm,
                self.task,
                strategy,
                split=split,
                limit=examples,
                batch_size=self.batch_size,
                seed=self.seed,
                cache=self.cache,
            )
            self.last = done.record.to_dict()
            self.decoded += round(done.record.forward_passes * (done.record.n - done.record.resumed))
            self._scores[key] = Score(
                tuple(outcome.correct for outcome in done.outcomes),
                tuple(outcome.forward_passes for outcome in done.outcomes),
                tuple(outcome.tokens for outcome in done.outcomes),
            )
        return self._scores[key]
