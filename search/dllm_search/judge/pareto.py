"""Accuracy up and cost down: where a sampler that looks for both should not look."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from optuna.trial import FrozenTrial, TrialState

from dllm_search.judge.judgement import Shortfall

WITHIN_REACH = 0.05
"""Accuracy below the reference, as a fraction of 1, from which a neighbour of a strategy may still hold its quality."""


def below_reach(references: Collection[str], beside: float | None = None) -> Shortfall:
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
