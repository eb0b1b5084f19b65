"""What a study optimises, and what a trial's strategy is told to be worth.

Knows Optuna's directions and what a judge hands back; leaves judging to the modules of each objective.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

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
"""Scores a trial's strategy; raises `ConfigError` or `ContractError` where the strategy is to blame. The trial belongs to
a study that holds all earlier generations and nothing else, so that what is read there does not depend on who is how far."""

WITHIN_REACH = 0.05
"""Accuracy below the reference, as a fraction of 1, from which a neighbour of a strategy may still hold its quality."""


def below_reach(references: Collection[str], beside: float | None = None) -> Callable[[Sequence[FrozenTrial]], list[float]]:
    """Return how far each trial's accuracy is below the best reference of a history, less what tuning might make up for.

    The sampler looks elsewhere than there, instead of filling the cheap and useless end of the front.

    Args:
        references: Digests of the strategies whose quality is to be kept.
        beside: The accuracy of a reference that the study may not hold.
    """

    def shortfall(history: Sequence[FrozenTrial]) -> list[float]:
        scored = [trial.user_attrs for trial in history if trial.state == TrialState.COMPLETE]
        known = [noted["accuracy"] for noted in scored if noted["digest"] in references]
        best = max([*known, *([] if beside is None else [beside])], default=WITHIN_REACH)
        return [best - WITHIN_REACH - trial.user_attrs.get("accuracy", 1.0) for trial in history]

    return shortfall


def pareto_judge(score: Callable[[Strategy], Score]) -> Judge:
    """Return the judge of accuracy up and cost down."""

    def judge(trial: optuna.Trial, strategy: Strategy) -> Judgement:
        found = score(strategy)
        return Judgement(found, (found.accuracy, found.cost))

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
