"""Every scheduler against a plain per-row loop of its rule, over random scores and open positions."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from random_model import canvas_of
from torch import Tensor

from dllm_decode.config import SchedulerConfig
from dllm_decode.numerics import Noise
from dllm_decode.state import Block, Proposal, Stage, StepView, VocabStats
from dllm_strategies.bounds import EntropyBoundedScheduler, FactorScheduler
from dllm_strategies.counting import CosineScheduler, LinearDecayScheduler, TopKScheduler, linear_quota
from dllm_strategies.schedulers import EvenScheduler, ThresholdScheduler

ROWS, WIDTH, STEPS = 6, 12, 4


def view_of(seed: int, step: int, steps: int | None) -> tuple[StepView, Proposal]:
    """A view and proposal with random scores, some equal, and random open positions, none in the last row."""
    generator = torch.Generator().manual_seed(seed)
    open_ = torch.rand(ROWS, WIDTH, generator=generator) < 0.6
    open_[-1] = False
    score = (torch.rand(ROWS, WIDTH, generator=generator) * 20).round() / 20
    entropy = torch.rand(ROWS, WIDTH, generator=generator) * 0.2
    tokens = torch.full((ROWS, WIDTH), 3)
    canvas = canvas_of([[5]] * ROWS, WIDTH)
    window = slice(1, 1 + WIDTH)
    block = Block(canvas.undecided, window, steps, 1)
    noise = Noise(0, torch.arange(ROWS), torch.zeros(ROWS, dtype=torch.int64), torch.arange(-WIDTH, 0))
    stats = VocabStats(tokens, score, entropy=entropy)
    stage_open = open_.sum(1) + step  # as if every earlier step had committed one
    stage = Stage("all", open_, steps)
    view = StepView(canvas, block, stage, step, open_, stage_open, noise.row_ids, noise, stats)
    return view, Proposal(tokens, score)


def ranked(score: Tensor, open_: Tensor) -> list[int]:
    """Open columns of one row, best first, ties to the smallest column."""
    return sorted((c for c in range(WIDTH) if open_[c]), key=lambda c: (-float(score[c]), c))


def even(view: StepView, score: Tensor, row: int) -> list[int]:
    n, s = int(view.stage_open[row]), view.step
    quota = 1 if view.stage.steps is None else n // view.stage.steps + (s < n % view.stage.steps)
    return ranked(score[row], view.open[row])[:quota]


def cosine(view: StepView, score: Tensor, row: int) -> list[int]:
    n = int(view.stage_open[row])
    steps = view.stage.steps or max(n, 1)
    stay = math.floor(n * math.cos(math.pi / 2 * min(1, (view.step + 1) / steps)) + 1e-9)
    best = ranked(score[row], view.open[row])
    return best[: max(0, len(best) - stay)]


def top_k(view: StepView, score: Tensor, row: int) -> list[int]:
    return ranked(score[row], view.open[row])[:3]


def threshold(view: StepView, score: Tensor, row: int) -> list[int]:
    return [c for c in ranked(score[row], view.open[row]) if float(score[row, c]) >= torch.tensor(0.6).item()]


def factor(view: StepView, score: Tensor, row: int) -> list[int]:
    best = ranked(score[row], view.open[row])
    most = max(
        (m for m in range(1, len(best) + 1) if (m + 1) * (1 - float(score[row, best[m - 1]])) < 1.3),
        default=0,
    )
    return best[:most]


def entropy_bounded(view: StepView, score: Tensor, row: int) -> list[int]:
    assert view.stats.entropy is not None
    taken: list[int] = []
    total = largest = 0.0
    for column in ranked(score[row], view.open[row]):
        entropy = float(view.stats.entropy[row, column])
        total, largest = total + entropy, max(largest, entropy)
        if total - largest > 0.25:
            break
        taken.append(column)
    return taken


CASES: list[tuple[SchedulerConfig, Callable[[StepView, Tensor, int], list[int]]]] = [
    (EvenScheduler(), even),
    (CosineScheduler(), cosine),
    (TopKScheduler(k=3), top_k),
    (ThresholdScheduler(threshold=0.6), threshold),
    (FactorScheduler(factor=1.3), factor),
    (EntropyBoundedScheduler(gamma=0.25), entropy_bounded),
]


@pytest.mark.parametrize(("scheduler", "truth"), CASES, ids=[case[0].name for case in CASES])
@pytest.mark.parametrize("steps", [STEPS, None])
def test_the_batched_rule_equals_the_loop(
    scheduler: SchedulerConfig, truth: Callable[[StepView, Tensor, int], list[int]], steps: int | None
) -> None:
    for seed in range(20):
        for step in range(STEPS):
            view, proposal = view_of(seed, step, steps)
            chosen = scheduler.build().select(view, proposal)
            for row in range(ROWS):
                assert sorted(truth(view, proposal.score, row)) == chosen[row].nonzero().flatten().tolist()


def test_linear_quotas_fall_sum_to_the_positions_and_are_rounded_by_largest_remainder() -> None:
    quotas = linear_quota(torch.tensor([10, 7, 3, 0]), 4)
    assert quotas.tolist() == [[4, 3, 2, 1], [3, 2, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]]
    many = linear_quota(torch.arange(200), 13)
    assert many.sum(1).tolist() == list(range(200))


def test_linear_decay_takes_its_quota_of_the_best() -> None:
    view, proposal = view_of(0, 1, STEPS)
    chosen = LinearDecayScheduler().build().select(view, proposal)
    quota = linear_quota(view.stage_open, STEPS)[:, 1]
    for row in range(ROWS):
        expected = ranked(proposal.score[row], view.open[row])[: int(quota[row])]
        assert sorted(expected) == chosen[row].nonzero().flatten().tolist()
