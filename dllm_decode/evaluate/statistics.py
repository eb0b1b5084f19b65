"""What may be said of accuracies measured on few examples: intervals, paired comparisons, accuracy under parallelism.

Knows counts and right/wrong outcomes only. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[numpy.float64]

QUALITY_FLOOR = 5.0
"""Accuracy points below the slowest point's accuracy at which AUP stops counting."""
QUALITY_DECAY = 3.0
"""How fast AUP discounts accuracy below the best method's."""


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, as fractions of 1.

    Raises:
        ValueError: `n` is 0 or `correct` does not lie in 0..n.
    """
    interval = stats.binomtest(correct, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Two strategies judged on the same examples; differences are `other - baseline`, in fractions of 1."""

    n: int
    gained: int
    """Examples that only `other` gets right."""
    lost: int
    """Examples that only `baseline` gets right."""
    difference: float
    interval: tuple[float, float]
    """95 % bootstrap interval of the difference (percentiles)."""
    p_value: float
    """Exact two-sided McNemar test of no difference."""


def compare_paired(
    baseline: Sequence[bool], other: Sequence[bool], *, resamples: int = 10_000, seed: int = 0
) -> PairedComparison:
    """Compare right/wrong outcomes of the same examples in the same order.

    Resampling n examples with replacement is drawing the numbers of gained, lost and equal examples from a
    multinomial, which is how it is done here.

    Raises:
        ValueError: The sequences are empty or differ in length.
    """
    n = len(baseline)
    if n == 0 or n != len(other):
        raise ValueError(f"outcomes must be of the same examples, got {n} and {len(other)}")
    gained = sum(new and not old for old, new in zip(baseline, other, strict=True))
    lost = sum(old and not new for old, new in zip(baseline, other, strict=True))
    shares = [gained / n, lost / n, (n - gained - lost) / n]
    draws = numpy.random.default_rng(seed).multinomial(n, shares, size=resamples)  # (resamples, 3) int64
    interval = percentile_interval((draws[:, 0] - draws[:, 1]) / n)
    p_value = float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return PairedComparison(n, gained, lost, (gained - lost) / n, interval, p_value)


def aup(points: Sequence[tuple[float, float]], best: float, *, discount_first: bool = False) -> float:
    """Return AUP, accuracy under parallelism: the area under accuracy over tokens per forward, low ones discounted.

    With points sorted by ρ and those below y₁ - 5 left out: ρ₁y₁ + Σ ½(ρᵢ - ρᵢ₋₁)(yᵢW(yᵢ) + yᵢ₋₁W(yᵢ₋₁)),
    W(y) = min(exp(-3(1 - y/best)), 1). The definition is d3LLM's; its code refuses a curve whose last point is below
    y₁ - 5, which is left out here like any other.

    Args:
        points: (tokens per forward, accuracy in percent) of one method at several speeds.
        best: The best accuracy of all methods on the task, in percent.
        discount_first: Weight the first rectangle by W(y₁) as well. As defined it counts in full, so that a method
            that is only ever fast and wrong scores well.

    Raises:
        ValueError: There are no points.
    """
    if not points:
        raise ValueError("accuracy under parallelism needs at least one point")
    rho, accuracy = numpy.array(points, dtype=float).T[:, None]  # (1, P) each
    return float(_aup_of_rows(rho, accuracy, best, discount_first)[0])


@dataclass(frozen=True, slots=True)
class PointOutcomes:
    """What every example came to at one speed of a method; the same examples in the same order at every speed."""

    correct: Sequence[bool]
    tokens: Sequence[int]
    """Tokens up to EOS."""
    forward_passes: Sequence[int]

    def point(self) -> tuple[float, float]:
        """Return (tokens per forward, accuracy in percent)."""
        forwards = sum(self.forward_passes)
        rho = sum(self.tokens) / forwards if forwards else 0.0
        return rho, 100 * sum(self.correct) / len(self.correct)


def aup_draws(
    curve: Sequence[PointOutcomes],
    best: float,
    *,
    resamples: int = 2_000,
    seed: int = 0,
    discount_first: bool = False,
) -> FloatArray:
    """Return (resamples,) float64 bootstrap values of AUP: a resample draws the same examples at every speed.

    Two methods judged on the same n examples get the same draws from the same seed, so the differences of their
    draws are those of a paired bootstrap. `best` stays as given.

    Raises:
        ValueError: No points, or points of different numbers of examples.
    """
    sizes = {len(one.correct) for one in curve} | {len(one.tokens) for one in curve}
    sizes |= {len(one.forward_passes) for one in curve}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"points must be of the same examples, got {sorted(sizes)} of them")
    (n,) = sizes
    # How often each example is drawn, (resamples, n) int64; a mean over a resample is then one product.
    counts = numpy.random.default_rng(seed).multinomial(n, numpy.full(n, 1 / n), size=resamples)
    correct = counts @ numpy.array([one.correct for one in curve], dtype=float).T  # (resamples, points)
    tokens = counts @ numpy.array([one.tokens for one in curve], dtype=float).T
    forwards = counts @ numpy.array([one.forward_passes for one in curve], dtype=float).T
    rho = numpy.divide(tokens, forwards, out=numpy.zeros_like(tokens), where=forwards > 0)
    return _aup_of_rows(rho, 100 * correct / n, best, discount_first)


def _aup_of_rows(rho: FloatArray, accuracy: FloatArray, best: float, discount_first: bool) -> FloatArray:
    """Return (R,) float64, `aup` of every row of (R, P) tokens per forward and accuracies in percent."""
    order = numpy.lexsort((accuracy, rho), axis=1)
    rho, accuracy = (numpy.take_along_axis(values, order, axis=1) for values in (rho, accuracy))
    weight = numpy.exp(-QUALITY_DECAY * (1 - accuracy / best)).clip(max=1) if best > 0 else 0 * accuracy
    weighted = accuracy * weight
    kept = accuracy >= accuracy[:, :1] - QUALITY_FLOOR
    area = rho[:, 0] * (weighted if discount_first else accuracy)[:, 0]
    before, height = rho[:, 0], weighted[:, 0]
    for point in range(1, rho.shape[1]):
        inside = kept[:, point]
        area = area + inside * 0.5 * (rho[:, point] - before) * (weighted[:, point] + height)
        before = numpy.where(inside, rho[:, point], before)
        height = numpy.where(inside, weighted[:, point], height)
    return area


def percentile_interval(draws: FloatArray) -> tuple[float, float]:
    """Return the central 95 % interval of (R,) float64 bootstrap draws."""
    low, high = numpy.percentile(draws, [2.5, 97.5])
    return float(low), float(high)
