"""What may be said of accuracies measured on few examples: intervals, paired comparisons, accuracy under parallelism.

Knows counts and right/wrong outcomes only. Imports no torch.
"""

from __future__ import annotations

import math
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


def mean_interval(scores: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return an interval of the mean of scores from 0 to 1: Wilson's where all are right or wrong, else `graded_interval`.

    Raises:
        ValueError: There are no scores.
    """
    if all(score in (0, 1) for score in scores):
        return wilson_interval(int(sum(scores)), len(scores), confidence)
    low, high = graded_interval(scores, confidence)
    return max(low, 0.0), min(high, 1.0)


def graded_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return an interval of the mean of grades, or of differences of grades: Student's, and never narrower than a bound.

    Values that hardly vary make Student's interval as narrow as one likes, though n examples cannot exclude that a share of
    1 - (α/2)^(1/n) of all others is one apart. That far the interval reaches on either side.

    Raises:
        ValueError: There are no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("an interval needs at least one value")
    mean = sum(values) / n
    unseen = 1 - ((1 - confidence) / 2) ** (1 / n)
    spread = float(numpy.std(values, ddof=1)) / math.sqrt(n) if n > 1 else 1.0
    reach = max(float(stats.t.ppf((1 + confidence) / 2, max(n - 1, 1))) * spread, unseen)
    return mean - reach, mean + reach


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Two strategies judged on the same examples; differences are `other - baseline`, in fractions of 1."""

    n: int
    gained: int
    """Examples that only `other` gets right, or that it gets a better grade for."""
    lost: int
    """Examples that only `baseline` gets right, or that it gets a better grade for."""
    difference: float
    interval: tuple[float, float]
    """95 % interval of the difference; see `interval_at`."""
    p_value: float
    """Of no difference, two-sided: McNemar's exact test, or for grades Wilcoxon's signed ranks."""
    grades: tuple[float, ...] = ()
    """(n,) differences, where any score is neither right nor wrong."""

    def interval_at(self, confidence: float) -> tuple[float, float]:
        """Return the interval of the difference at a confidence: `paired_interval`, or of grades `graded_interval`."""
        return _difference_interval(self.n, self.gained, self.lost, self.grades, confidence)


def compare_paired(baseline: Sequence[float], other: Sequence[float]) -> PairedComparison:
    """Compare scores, or right and wrong, of the same examples in the same order.

    Raises:
        ValueError: The sequences are empty or differ in length.
    """
    n = len(baseline)
    if n == 0 or n != len(other):
        raise ValueError(f"outcomes must be of the same examples, got {n} and {len(other)}")
    differences = [float(new) - float(old) for old, new in zip(baseline, other, strict=True)]
    gained = sum(one > 0 for one in differences)
    lost = sum(one < 0 for one in differences)
    graded = any(score not in (0, 1) for score in (*baseline, *other))
    if not gained + lost:
        p_value = 1.0
    elif graded:
        p_value = float(stats.wilcoxon(differences).pvalue)
    else:
        p_value = float(stats.binomtest(gained, gained + lost).pvalue)
    grades = tuple(differences) if graded else ()
    interval = _difference_interval(n, gained, lost, grades, 0.95)
    return PairedComparison(n, gained, lost, sum(differences) / n, interval, p_value, grades)


def _difference_interval(
    n: int, gained: int, lost: int, grades: Sequence[float], confidence: float
) -> tuple[float, float]:
    if not grades:
        return paired_interval(n, gained, lost, confidence)
    low, high = graded_interval(grades, confidence)
    return max(low, -1.0), min(high, 1.0)


def paired_interval(n: int, gained: int, lost: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return an interval of the difference of two accuracies measured on the same examples, in fractions of 1.

    Clopper-Pearson intervals of both shares of discordant pairs, put together by variance recovery (MOVER; Zou and
    Donner, Statistics in Medicine 2008) with the correlation that two cells of a multinomial have. Without a discordant
    pair it is the exact bound: 31 points at 8 examples, 0.6 at 500 (one-sided, 95 %). A bootstrap has no width there.

    Args:
        n: Examples.
        gained: Those that only the other strategy gets right.
        lost: Those that only the baseline gets right.
        confidence: Two-sided.
    """
    share_gained, share_lost = gained / n, lost / n
    gained_low, gained_high = _exact_interval(gained, n, confidence)
    lost_low, lost_high = _exact_interval(lost, n, confidence)
    odds = share_gained * share_lost / max((1 - share_gained) * (1 - share_lost), 1e-300)
    correlation = -math.sqrt(min(odds, 1.0))

    def spread(up: float, down: float) -> float:
        return math.sqrt(max(up * up + down * down - 2 * correlation * up * down, 0.0))

    difference = share_gained - share_lost
    low = difference - spread(share_gained - gained_low, lost_high - share_lost)
    high = difference + spread(gained_high - share_gained, share_lost - lost_low)
    return max(low, -1.0), min(high, 1.0)


def fewest_examples(loss: float, confidence: float = 0.95) -> int:
    """Return how many examples can exclude a loss at all: so many that all agree, in a two-sided interval.

    Args:
        loss: In fractions of 1, above 0.
        confidence: Two-sided.
    """
    return math.ceil(math.log((1 - confidence) / 2) / math.log1p(-min(loss, 1 - 1e-12)))


def _exact_interval(count: int, n: int, confidence: float) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of a share."""
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(stats.beta.ppf(tail, count, n - count + 1))
    high = 1.0 if count == n else float(stats.beta.ppf(1 - tail, count + 1, n - count))
    return low, high


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
