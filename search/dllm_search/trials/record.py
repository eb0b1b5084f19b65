"""What a study keeps of a trial: its place, its strategy, and the outcome of every example.

Knows how a score becomes JSON and is read again; leaves when a trial is written to `driver`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.candidate import Candidate
from dllm_search.judge.judgement import Judgement
from dllm_search.judge.score import Score

SLOT, LABEL, REASON, STOPPED = "slot", "label", "reason", "stopped"
"""Attributes of a trial: its place in the study, the baseline that it is, why it was refused, why it was stopped."""

OUTCOMES, SHORTFALL = "outcomes", "shortfall"
"""Attributes of a scored trial: outcomes per example, and how far the strategy is from being allowed."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of one trial."""

    number: int
    candidate: Candidate | None
    """None if the combination was refused."""
    repeat: bool = False
    """Whether the same strategy had been scored by an earlier trial."""
    reason: str = ""
    """Why it was refused, or stopped early."""


def in_order(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the finished trials in the order of their slots, each slot once.

    Writing a trial again because the answer of a server was lost may put one slot into the study twice. Both say the
    same, so the first one counts.
    """
    found: dict[int, FrozenTrial] = {}
    for trial in trials:
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            found.setdefault(trial.user_attrs.get(SLOT, trial.number), trial)
    return [found[slot] for slot in sorted(found)]


def judged(history: Sequence[FrozenTrial]) -> dict[str, FrozenTrial]:
    """Return the first trial of every strategy that was scored or stopped early, by digest, in order of slots."""
    found: dict[str, FrozenTrial] = {}
    for trial in history:
        if "digest" in trial.user_attrs:
            found.setdefault(trial.user_attrs["digest"], trial)
    return found


def pack(strategy: Strategy, judgement: Judgement) -> dict[str, Any]:
    """Return what a trial notes of its strategy and of what became of it, so that nobody decodes the same again."""
    score = judgement.score
    means = ("accuracy", "forward_passes", "tokens_per_forward", "n", "measured", "work")
    graded = any(one not in (0, 1) for one in score.correct)
    correct = list(score.correct) if graded else "".join("1" if one else "0" for one in score.correct)
    return {
        "digest": strategy.digest(),
        "strategy": strategy.to_yaml(),
        **{name: getattr(score, name) for name in means},
        OUTCOMES: {"correct": correct, "forwards": list(score.forwards), "tokens": list(score.tokens)},
        SHORTFALL: judgement.shortfall,
        **({STOPPED: judgement.reason} if judgement.values is None else {}),
    }


def unpack(trial: FrozenTrial) -> Judgement:
    """Return the judgement that a scored or stopped trial keeps."""
    noted = trial.user_attrs
    values = None if trial.values is None or trial.state == TrialState.PRUNED else tuple(trial.values)
    return Judgement(unpack_score(noted), values, noted[SHORTFALL], noted.get(STOPPED, ""))


def unpack_score(noted: Mapping[str, Any]) -> Score:
    """Return the score that `pack` made JSON of."""
    kept = noted[OUTCOMES]
    given = kept["correct"]
    correct = tuple(one == "1" for one in given) if isinstance(given, str) else tuple(map(float, given))
    forwards, tokens = tuple(kept["forwards"]), tuple(kept["tokens"])
    return Score(correct, forwards, tokens, noted.get("measured"), noted.get("work", 1.0))


def candidate_of(trial: FrozenTrial) -> Candidate:
    """Return the strategy and the score that a trial keeps."""
    strategy = Strategy.from_yaml(trial.user_attrs["strategy"], f"trial {trial.number}")
    return Candidate(strategy, unpack_score(trial.user_attrs), trial.user_attrs.get(LABEL, ""))


def shortfalls_as_noted(history: Sequence[FrozenTrial]) -> list[float]:
    """Return how far each trial is from being allowed, as it was judged."""
    return [float(trial.user_attrs.get(SHORTFALL, 0.0)) for trial in history]
