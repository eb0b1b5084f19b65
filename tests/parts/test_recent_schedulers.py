"""Fréchet's bound, LocalLeap and the falling threshold: whole decodes on random models against plain loops."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from dllm_decode.data.stats import VocabStats
from dllm_decode.data.views import Proposal
from dllm_decode.strategy.strategy import Strategy
from dllm_strategies.frechet import FrechetScheduler
from dllm_strategies.leap import LocalLeapScheduler
from tests.support.plain_rules import PlainStep, Rule, assert_equal
from tests.support.random_model import canvas_of
from tests.support.views import step_view

PROMPTS = [[5, 7, 11], [9], [3, 3, 10, 4, 6]]
CASES = [*range(20), *(pytest.param(case, marks=pytest.mark.slow) for case in range(20, 200))]


@dataclass
class Frechet:
    margin: float

    def choose(self, step: PlainStep) -> dict[int, int]:
        taken: list[int] = []
        total = 0.0
        for rank, column in enumerate(step.ranked(), start=1):
            total += step.score[column]
            lower, rival = total - (rank - 1), 1 - step.score[column]
            if lower - rival > self.margin:
                taken = step.ranked()[:rank]
        return step.tokens_of(taken)


@dataclass
class Leap:
    threshold: float
    relaxed: float
    radius: int

    def choose(self, step: PlainStep) -> dict[int, int]:
        anchors = [c for c in step.open if step.score[c] >= self.threshold]
        near = {c for a in anchors for c in range(a - self.radius, a + self.radius + 1)}
        wanted = {c: self.relaxed if c in near else self.threshold for c in step.open}
        return step.tokens_of([c for c in step.open if step.score[c] >= min(wanted[c], self.threshold)])


@dataclass
class Falling:
    threshold: float
    fall: float
    suffix: int | None

    def choose(self, step: PlainStep) -> dict[int, int]:
        after = list(range(step.block.stop, len(step.tokens)))
        if self.suffix is None:
            after = []
        elif len(after) > self.suffix:
            after = [*after[: self.suffix], after[-1]]
        query = [*step.block, *after]
        share = (len(step.open) + len(after)) / len(query)
        wanted = self.threshold * (1 - self.fall * (1 - share))
        return step.tokens_of([c for c in step.open if step.score[c] >= wanted])


def frechet(drawn: random.Random) -> dict[str, Any]:
    return {"margin": drawn.uniform(0, 0.5)}


def leap(drawn: random.Random) -> dict[str, Any]:
    threshold = drawn.uniform(0.3, 0.6)
    return {"threshold": threshold, "relaxed": drawn.uniform(0.1, threshold), "radius": drawn.randint(1, 9)}


def falling(drawn: random.Random) -> dict[str, Any]:
    suffix = drawn.choice([None, 0, 1, 3, 96])
    return {"threshold": drawn.uniform(0.3, 0.6), "fall": drawn.uniform(0, 0.9), "suffix": suffix}


RULES: dict[str, tuple[Callable[[random.Random], dict[str, Any]], Callable[..., Rule]]] = {
    "frechet": (frechet, Frechet),
    "local-leap": (leap, Leap),
    "falling-threshold": (falling, Falling),
}


def compare(name: str, case: int) -> tuple[int, int]:
    """Decode one case both ways; return its forwards and its tokens."""
    drawn = random.Random(case)
    settings, rule = RULES[name]
    fields = settings(drawn)
    length, block, prompts = drawn.randint(5, 12), drawn.randint(2, 12), drawn.sample(PROMPTS, 2)
    strategy = Strategy.load(name, gen_length=length).override(
        {"block.length": block, **{f"scheduler.{field}": value for field, value in fields.items()}}
    )
    return assert_equal(strategy, prompts, length, block, case % 4, lambda: rule(**fields)), 2 * length


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", RULES)
def test_a_batch_decodes_as_the_plain_loop_does_row_by_row(name: str, case: int) -> None:
    compare(name, case)


@pytest.mark.parametrize("name", RULES)
def test_the_random_models_make_the_rules_commit_several_tokens_at_once(name: str) -> None:
    forwards, tokens = map(sum, zip(*(compare(name, case) for case in range(2)), strict=True))
    assert forwards < 0.9 * tokens


def chosen(scheduler: Any, scores: list[float]) -> list[int]:
    """The columns of a row with these scores, all open, that a scheduler commits."""
    score = torch.tensor([scores])
    canvas = canvas_of([[5]], len(scores))
    tokens = torch.full_like(score, 3, dtype=torch.int64)
    view = step_view(
        canvas, canvas.region, torch.ones_like(score, dtype=torch.bool), VocabStats(tokens, score)
    )
    return [int(column) for column in scheduler.build().select(view, Proposal(tokens, score))[0].nonzero()]


def test_frechets_bound_worked_by_hand() -> None:
    # 0.99 + 0.9 + 0.7 - 2 = 0.59, less 1 - 0.7 leaves 0.29; with the fourth, 0.19 - 0.4 is below any margin.
    assert chosen(FrechetScheduler(margin=0.25), [0.9, 0.6, 0.99, 0.7]) == [0, 2, 3]
    assert chosen(FrechetScheduler(margin=0.3), [0.9, 0.6, 0.99, 0.7]) == [0, 2]


def test_equal_scores_make_frechets_bound_the_factor_rule() -> None:
    # (m + 1) 0.1 < 1 - 0.35 holds up to five.
    assert chosen(FrechetScheduler(margin=0.35), [0.9] * 9) == [0, 1, 2, 3, 4]


def test_only_what_is_near_an_anchor_takes_less() -> None:
    scores = [0.8, 0.5, 0.8, 0.95, 0.8, 0.8, 0.8]
    assert chosen(LocalLeapScheduler(radius=2), scores) == [2, 3, 4, 5]
    assert chosen(LocalLeapScheduler(radius=2, threshold=0.96), scores) == []
