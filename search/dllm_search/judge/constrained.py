"""Judges strategies by least cost at a quality not worse than the baseline's, looking at no more examples than needed.

Knows outcomes per example, their order, and when to stop; leaves what is tried to the sampler, and the final choice,
on more examples, to `select`.
"""

from __future__ import annotations

import math
import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState
from scipy import stats

from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.judgement import Judgement
from dllm_search.judge.score import Score

LOST = 4.0
"""Loss of an example that the baseline gets right and the strategy does not; above any cost."""
DEAREST = 2.0
"""The most that cost adds to the loss of an example, as a multiple of the baseline's mean cost."""
FIRST_LOOK = 16
"""Examples of the first look; each further one is twice as many, up to the batch size."""
WORSE = 0.02
"""Level of the Wilcoxon test against the best trial. A trial is looked at about five times; 0.02 each time keeps the
chance to stop an equal one below 0.1 (Pocock)."""
LOSES = 0.05
"""Level of the test that a strategy loses more than is allowed."""

DEARER = "worse than the best so far"
"""Why the pruner stops a trial."""

RowScore = Callable[[Strategy, Sequence[int]], Score]


def pruner() -> optuna.pruners.BasePruner:
    """Return the pruner that compares a trial with the best one, example by example."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.pruners.WilcoxonPruner(p_threshold=WORSE, n_startup_steps=FIRST_LOOK)


def losses(score: Score, baseline: Score, mean_cost: float) -> list[float]:
    """Return the loss of every example, the values that are compared in pairs.

    Right or wrong alone would leave the signed-rank test with almost nothing but ties, so cost tells right answers
    apart: a right answer's loss is its cost relative to the baseline's mean. A wrong answer has a loss that does not
    depend on its cost, since cheapness is no merit there: `LOST` where the baseline is right, 1 where it is wrong too.
    Grades lie between these in proportion.

    Args:
        score: Of the strategy.
        baseline: Of the baseline on the same examples in the same order.
        mean_cost: The baseline's mean forward passes.
    """
    # Where time is the cost it was measured once for all examples, and forward passes share it out.
    share = score.work if score.measured is None else score.measured * mean_cost / max(score.forward_passes, 1e-9)
    found = []
    for right, expected, forwards in zip(score.correct, baseline.correct, score.forwards, strict=True):
        cost = min(share * forwards / max(mean_cost, 1e-9), DEAREST)
        short = max(expected - right, 0)
        found.append(LOST * short + (1 - short) * (right * cost + (1 - right)))
    return found


def loses_too_much(lost: int, gained: int, n: int, max_drop: float) -> bool:
    """Say whether a strategy drops more than is allowed, judged by the pairs seen so far.

    One-sided exact McNemar test after the losses that are allowed on all n examples have been forgiven. Examples not
    seen yet count as ties, so that looking at the hard ones first does not make a strategy seem worse than it is.

    Args:
        lost: Examples seen that only the baseline gets right.
        gained: Examples seen that only the strategy gets right.
        n: All examples of a trial, seen or not.
        max_drop: The allowed drop of accuracy, as a fraction of 1.
    """
    counted = lost - math.floor(max_drop * n + 1e-9)
    if counted <= gained:
        return False
    return bool(stats.binomtest(counted, counted + gained, 0.5, alternative="greater").pvalue < LOSES)


def viewing_order(finished: Sequence[FrozenTrial], baseline: Score, seed: int) -> list[int]:
    """Return the places of all examples, in the order in which a trial looks at them.

    Those that most earlier trials lost come first, since they tell soonest; ties are in an order fixed by the seed.
    What the baseline gets wrong comes last: it cannot be lost.
    """
    shuffled = list(range(baseline.n))
    random.Random(seed).shuffle(shuffled)
    lost: Counter[int] = Counter()
    for trial in finished:
        lost.update(row for row, value in trial.intermediate_values.items() if value >= LOST)
    return sorted(shuffled, key=lambda row: (not baseline.correct[row], -lost[row]))


@dataclass(slots=True)
class ConstrainedJudge:
    """Looks at a strategy's examples in rising numbers, and stops as soon as it cannot be the result."""

    score_rows: RowScore
    """Scores a strategy on the tuning examples at given places; knows what it has scored before."""
    baseline: Score
    """Of the quality to keep, on all examples of a trial."""
    digest: str
    """The baseline's strategy; as a trial it is looked at whole, so that others can be compared with it."""
    max_drop: float
    """The allowed drop of accuracy, as a fraction of 1."""
    seed: int = 0
    batch_size: int = 64
    spared: float = 0.0
    """Forward passes that stopping early has saved, taken at each strategy's own mean."""

    def __call__(self, trial: optuna.Trial, strategy: Strategy) -> Judgement:
        """Return the cost of the strategy, or why it was stopped."""
        finished = trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        order = viewing_order(finished, self.baseline, self.seed)
        seen: list[int] = []
        for rows in looks(order, self.batch_size):
            self._report(trial, strategy, rows)
            seen += rows
            score = self.score_rows(strategy, seen)
            lost, gained = self._changes(score, seen)
            shortfall = (lost - gained) / self.baseline.n - self.max_drop
            if loses_too_much(lost, gained, self.baseline.n, self.max_drop):
                why = f"{lost} answers lost and {gained} gained"
                return self._stopped(score, max(shortfall, 1 / self.baseline.n), why)
            if len(seen) == len(order):
                break
            if trial.should_prune():
                return self._stopped(score, shortfall, DEARER)
            if strategy.digest() != self.digest and score.cost >= part(self.baseline, seen).cost:
                return self._stopped(score, shortfall, "costs as much as the baseline")
        whole = self.score_rows(strategy, range(self.baseline.n))
        return Judgement(whole, (whole.cost,), shortfall)

    def _report(self, trial: optuna.Trial, strategy: Strategy, rows: Sequence[int]) -> None:
        score = self.score_rows(strategy, rows)
        values = losses(score, part(self.baseline, rows), self.baseline.forward_passes)
        for row, value in zip(rows, values, strict=True):
            trial.report(value, row)

    def _changes(self, score: Score, rows: Sequence[int]) -> tuple[int, int]:
        """Return (lost, gained), of grades their sums in whole answers."""
        expected = [self.baseline.correct[row] for row in rows]
        pairs = list(zip(expected, score.correct, strict=True))
        lost = sum(max(old - new, 0) for old, new in pairs)
        return round(lost), round(sum(max(new - old, 0) for old, new in pairs))

    def _stopped(self, score: Score, shortfall: float, why: str) -> Judgement:
        self.spared += (self.baseline.n - score.n) * score.forward_passes
        return Judgement(score, None, shortfall, f"stopped after {score.n} examples: {why}")


def looks(order: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield the examples of each look, in order; few at first, then as many as fill a batch."""
    start, size = 0, min(FIRST_LOOK, batch_size)
    while start < len(order):
        yield list(order[start : start + size])
        start, size = start + size, min(2 * size, batch_size)


def part(score: Score, rows: Sequence[int]) -> Score:
    """Return a score's examples at the given places."""
    return Score(
        tuple(score.correct[row] for row in rows),
        tuple(score.forwards[row] for row in rows),
        tuple(score.tokens[row] for row in rows),
        score.measured,
        score.work,
    )
