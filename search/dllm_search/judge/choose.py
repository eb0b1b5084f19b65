"""Chooses a strategy from what was tried: the cheapest whose quality holds on more examples than the search saw.

Knows scores, not tasks. The best of many tries on few examples looks better than it is, so the choice is made again, on
more examples of the tuning split and in pairs with the baseline; the test split is never looked at here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from dllm_decode.errors import ContractError
from dllm_decode.evaluate.statistics import PairedComparison, compare_paired
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.candidate import Candidate
from dllm_search.judge.score import Score

MARGIN = 0.01
"""The loss of accuracy, as a fraction of 1, that counts as none."""

CAUTION = 0.99
"""Confidence of the interval that is the proof, because the best of several was looked for."""
AREA_CANDIDATES = 5
"""How many strategies with the largest areas are measured on more examples."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A candidate judged beside the baseline on the larger set."""

    candidate: Candidate
    score: Score
    against: PairedComparison
    margin: float = MARGIN
    """The loss that counts as none, as a fraction of 1."""
    confidence: float = CAUTION
    """Of the interval that is the proof."""

    @property
    def proven(self) -> bool:
        """Whether a loss above the margin is excluded, with room for the best of several having been looked for."""
        return self.against.interval_at(self.confidence)[0] > -self.margin

    @property
    def equal(self) -> bool:
        """Whether it got at least as many right as the baseline, which may be luck."""
        return self.against.difference >= 0

    @property
    def near(self) -> bool:
        """Whether it lost less than the margin, which says little about the true loss."""
        return self.against.difference > -self.margin

    @property
    def verdict(self) -> str:
        """What the larger set says, in words."""
        if self.proven:
            return "holds, proven"
        return (
            "holds, unproven"
            if self.equal
            else "within the margin, unproven"
            if self.near
            else "does not hold"
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and everything that was looked at on the way."""

    chosen: Candidate
    baseline: Candidate
    bolder: Candidate | None
    """One cheaper than the chosen that got as many right as the baseline, without proof."""
    verified: tuple[Verified, ...]
    """In the order in which they were judged, cheapest first."""
    failed: tuple[tuple[Candidate, str], ...] = ()
    """Those with a part that broke its contract on the larger set, and what it did."""


def proof_at(strict: bool) -> float:
    """Return the confidence of the interval that is the proof: where only proof counts, the 95 % one."""
    return 0.95 if strict else CAUTION


def pareto_front(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return those that no other beats in both accuracy and cost, cheapest first."""
    front: list[Candidate] = []
    ordered = sorted(
        candidates, key=lambda c: (c.score.cost, -c.score.accuracy, c.strategy.digest())
    )
    for candidate in ordered:
        if not front or candidate.score.accuracy > front[-1].score.accuracy:
            front.append(candidate)
    return front


def best_reference(candidates: Sequence[Candidate]) -> Candidate:
    """Return the most accurate, the cheaper and then the first among equals."""
    return min(candidates, key=lambda c: (-c.score.accuracy, c.score.cost))


def holds_on_few(score: Score, baseline: Score, margin: float = MARGIN) -> bool:
    """Say whether a strategy may hold the baseline's quality and costs less, judged by few examples.

    A good strategy may look worse than it is, so one standard error of a paired difference, taken as if a tenth of
    the examples differed, is forgiven.
    """
    slack = margin + math.sqrt(0.1 / baseline.n)
    return score.cost < baseline.cost and score.accuracy >= baseline.accuracy - slack


def shortlist(
    candidates: Iterable[Candidate], baseline: Candidate, margin: float = MARGIN, *, whole: bool = False
) -> list[Candidate]:
    """Return the candidates worth judging on more examples, cheapest first.

    They are those that may hold the quality and, unless the `whole` list is asked for, lie on the front or, because a
    point on the front may be there by luck, on the front of what is left without it.
    """
    fit = [candidate for candidate in candidates if holds_on_few(candidate.score, baseline.score, margin)]
    if whole:
        return sorted(fit, key=lambda c: (c.score.cost, -c.score.accuracy))
    first = pareto_front(fit)
    second = pareto_front(candidate for candidate in fit if candidate not in first)
    return sorted([*first, *second], key=lambda c: (c.score.cost, -c.score.accuracy))


def choose(
    candidates: Sequence[Candidate],
    baseline: Candidate,
    score: Callable[[Strategy], Score],
    on_verified: Callable[[Verified], None] | None = None,
    *,
    margin: float = MARGIN,
    strict: bool = False,
    reserve: Iterable[Candidate] = (),
) -> Choice:
    """Return the cheapest candidate whose quality is proven on more examples.

    Without one it is the baseline if `strict`, else the cheapest that got at least as many right as the baseline, else
    the cheapest that lost less than the margin, else the baseline.

    Args:
        candidates: Everything tried, with scores on the few examples of the search.
        baseline: The quality to keep.
        score: Scores a strategy on the larger set, of which the search's examples are the beginning.
        on_verified: Told of every candidate that was judged.
        margin: The loss that counts as none, as a fraction of 1.
        strict: Take nothing without proof, and let the 95 % interval be the proof.
        reserve: Further candidates in the order in which they are judged, if none of the first is proven.
    """
    reference = score(baseline.strategy)
    verified: list[Verified] = []
    failed: list[tuple[Candidate, str]] = []
    confidence = proof_at(strict)
    proven = None
    # Where only proof counts, giving up on the fronts would leave the baseline though something cheaper holds.
    for candidate in chain(shortlist(candidates, baseline, margin, whole=strict), reserve):
        try:
            found = score(candidate.strategy)
        except ContractError as error:
            failed.append((candidate, str(error)))
            continue
        judged = Verified(candidate, found, compare_paired(reference.correct, found.correct), margin, confidence)
        verified.append(judged)
        if on_verified is not None:
            on_verified(judged)
        if judged.proven:
            proven = candidate
            break
    equal = next((judged.candidate for judged in verified if judged.equal), None)
    near = next((judged.candidate for judged in verified if judged.near), None)
    chosen = proven or (baseline if strict else equal or near or baseline)
    return Choice(chosen, baseline, None if equal is chosen else equal, tuple(verified), tuple(failed))


def choose_area(
    candidates: Sequence[Candidate],
    baseline: Candidate,
    score: Callable[[Strategy], Score],
    area: Callable[[Score, Score], float],
    on_verified: Callable[[Verified], None] | None = None,
) -> Choice:
    """Return the candidate with the largest area on more examples, of the few with the largest on the search's.

    Args:
        candidates: Everything tried, with scores on the few examples of the search.
        baseline: Where every curve begins; chosen if no area is larger than its own.
        score: Scores a strategy on the larger set, of which the search's examples are the beginning.
        area: Score and baseline's score -> area.
        on_verified: Told of every candidate that was judged.
    """
    reference = score(baseline.strategy)
    best, largest, verified, failed = baseline, area(reference, reference), [], []
    for candidate in sorted(candidates, key=lambda c: -area(c.score, baseline.score))[:AREA_CANDIDATES]:
        try:
            found = score(candidate.strategy)
        except ContractError as error:
            failed.append((candidate, str(error)))
            continue
        judged = Verified(candidate, found, compare_paired(reference.correct, found.correct))
        verified.append(judged)
        if on_verified is not None:
            on_verified(judged)
        if area(found, reference) > largest:
            best, largest = candidate, area(found, reference)
    return Choice(best, baseline, None, tuple(verified), tuple(failed))
