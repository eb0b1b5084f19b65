"""The area under accuracy over parallelism that one strategy makes with the baseline."""

from __future__ import annotations

from dllm_decode.evaluate.statistics import aup
from dllm_search.judge.score import Score


def area(score: Score, baseline: Score) -> float:
    """Return AUP of the curve from the baseline through one strategy, in points times tokens per forward.

    A strategy is one speed. Joined to the baseline it is a curve, whose area grows with tokens per forward as long as
    the accuracy stays within AUP's five points of the baseline's, and not at all beyond.
    """
    # Tokens per plain forward: one that runs the model twice is no more parallel for it.
    points = [(one.tokens_per_forward / one.work, 100 * one.accuracy) for one in (baseline, score)]
    return aup(points, 100 * baseline.accuracy)
