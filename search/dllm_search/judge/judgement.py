"""What a trial's strategy is told to be worth, and what tells it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.score import Score

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of a trial's strategy."""

    score: Score
    """On the examples that were looked at."""
    values: tuple[float, ...] | None
    """What the study is told; None if the trial was stopped before all examples were looked at."""
    shortfall: float = 0.0
    """How far the strategy is from being allowed; the sampler holds it for infeasible above 0."""
    reason: str = ""
    """Why it was stopped."""


Judge: TypeAlias = "Callable[[optuna.Trial, Strategy], Judgement]"
"""Scores a trial's strategy; raises `ConfigError` or `ContractError` where the strategy is to blame. The trial belongs to
a study that holds all earlier generations and nothing else, so that what is read there does not depend on who is how far."""

Shortfall: TypeAlias = "Callable[[Sequence[FrozenTrial]], Sequence[float]]"
"""Settled trials -> how far each is from being allowed; the sampler looks elsewhere where that is above 0."""
