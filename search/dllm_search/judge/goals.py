"""What a study optimises, and what a trial's strategy is told to be worth.

Knows Optuna's directions and what a judge hands back; leaves judging to the modules of each objective.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import optuna

from dllm_decode.evaluate.statistics import aup
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.score import Score

Direction = Literal["minimize", "maximize"]

AXES: dict[str, tuple[tuple[Direction, ...], tuple[str, ...]]] = {
    "pareto": (("maximize", "minimize"), ("accuracy", "cost")),
    "constrained": (("minimize",), ("cost",)),
    "aup": (("maximize",), ("aup",)),
}
"""Objective -> the directions of a study's values, and what they are called."""


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


Judge = Callable[[optuna.Trial, Strategy], Judgement]
"""Scores a trial's strategy; raises `DecodeError` where a part breaks its contract."""


def pareto_judge(score: Callable[[Strategy], Score], floor: Callable[[], float]) -> Judge:
    """Return the judge of accuracy up and cost down; what is less accurate than `floor` counts as infeasible."""

    def judge(trial: optuna.Trial, strategy: Strategy) -> Judgement:
        found = score(strategy)
        return Judgement(found, (found.accuracy, found.cost), floor() - found.accuracy)

    return judge


def area_judge(score: Callable[[Strategy], Score], baseline: Score) -> Judge:
    """Return the judge of the area under accuracy over parallelism."""

    def judge(trial: optuna.Trial, strategy: Strategy) -> Judgement:
        found = score(strategy)
        return Judgement(found, (area(found, baseline),))

    return judge


def area(score: Score, baseline: Score) -> float:
    """Return AUP of the curve from the baseline through one strategy, in points times tokens per forward.

    A strategy is one speed. Joined to the baseline it is a curve, whose area grows with tokens per forward as long as
    the accuracy stays within AUP's five points of the baseline's, and not at all beyond.
    """
    points = [(one.tokens_per_forward, 100 * one.accuracy) for one in (baseline, score)]
    return aup(points, 100 * baseline.accuracy)
