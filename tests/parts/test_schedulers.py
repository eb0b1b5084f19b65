"""Every scheduler against a plain per-row loop of its rule, over random scores and open positions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from dllm_decode.data.stats import VocabStats
from dllm_decode.data.views import Proposal, StepView
from dllm_decode.decoding.decoded import decode
from dllm_decode.parts.scheduler import SchedulerConfig
from dllm_decode.strategy.strategy import Strategy
from dllm_strategies.bounds import EntropyBoundedScheduler, FactorScheduler
from dllm_strategies.counting import (
    CosineScheduler,
    Curve,
    LinearDecayScheduler,
    TopKScheduler,
    cosine_quota,
    linear_quota,
)
from dllm_strategies.dream import BernoulliScheduler, DreamScheduler, dream_quota
from dllm_strategies.schedulers import EvenScheduler, QuotaThresholdScheduler, ThresholdScheduler
from dllm_strategies.segment import SegmentScheduler, best_of_runs
from tests.support.random_model import FunctionModel, canvas_of, random_logits
from tests.support.views import step_view

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
    stats = VocabStats(tokens, score, entropy=entropy)
    stage_open = open_.sum(1) + step  # as if every earlier step had committed one
    view = step_view(canvas, canvas.region, open_, stats, step=step, steps=steps, stage_open=stage_open)
    return view, Proposal(tokens, score)


def ranked(score: Tensor, open_: Tensor) -> list[int]:
    """Open columns of one row, best first, ties to the smallest column."""
    return sorted((c for c in range(WIDTH) if open_[c]), key=lambda c: (-float(score[c]), c))


def even(view: StepView, score: Tensor, row: int) -> list[int]:
    n, s = int(view.stage_open[row]), view.step
    quota = 1 if view.stage.steps is None else n // view.stage.steps + (s < n % view.stage.steps)
    return ranked(score[row], view.open[row])[:quota]


def along(quotas: list[int], view: StepView, score: Tensor, row: int) -> list[int]:
    """The best positions of a step that takes the next quota which is not zero; one a step where none are given."""
    paid = [quota for quota in quotas if quota] if view.stage.steps else [1] * int(view.stage_open[row])
    quota = paid[view.step] if view.step < len(paid) else 0
    best = ranked(score[row], view.open[row])
    # What the engine would do for a row that has walked its whole curve but was given open positions all the same.
    return best[:quota] if quota or not best else best[: (paid or [1])[-1]]


def cosine_quotas(n: int, steps: int) -> list[int]:
    left = [n] + [math.floor(n * math.cos(math.pi / 2 * (s + 1) / steps) + 1e-9) for s in range(steps)]
    return [before - after for before, after in pairwise(left)]


def linear_quotas(n: int, steps: int) -> list[int]:
    total = steps * (steps + 1) // 2
    exact = [Fraction(n * (steps - s), total) for s in range(steps)]
    quotas = [math.floor(share) for share in exact]
    largest = sorted(range(steps), key=lambda s: (quotas[s] - exact[s], s))
    for s in largest[: n - sum(quotas)]:
        quotas[s] += 1
    return quotas


def dream_quotas(n: int, steps: int) -> list[int]:
    times = torch.linspace(1, 1e-3, steps + 1)
    quotas = []
    for s in range(steps):
        now = torch.tensor(float(n - sum(quotas)))
        quotas.append(int(now) if s == steps - 1 else int(now * (1 - times[s + 1] / times[s])))
    return quotas


CURVES: dict[str, tuple[Curve, Callable[[int, int], list[int]]]] = {
    "cosine": (cosine_quota, cosine_quotas),
    "linear-decay": (linear_quota, linear_quotas),
    "dream": (dream_quota, dream_quotas),
}


def cosine(view: StepView, score: Tensor, row: int) -> list[int]:
    return along(cosine_quotas(int(view.stage_open[row]), view.stage.steps or 1), view, score, row)


def linear(view: StepView, score: Tensor, row: int) -> list[int]:
    return along(linear_quotas(int(view.stage_open[row]), view.stage.steps or 1), view, score, row)


def dream(view: StepView, score: Tensor, row: int) -> list[int]:
    return along(dream_quotas(int(view.stage_open[row]), view.stage.steps or 1), view, score, row)


def bernoulli(view: StepView, score: Tensor, row: int) -> list[int]:
    steps = view.stage.steps or int(view.stage_open[row])
    if view.step + 1 >= steps:
        return ranked(score[row], view.open[row])
    t, s = (1 - 0.999 * (view.step + i) / steps for i in (0, 1))
    draws = view.noise.uniform(2)[row]
    return [c for c in range(WIDTH) if view.open[row, c] and float(draws[c]) < 1 - s / t]


def quota_threshold(view: StepView, score: Tensor, row: int) -> list[int]:
    above = [c for c in range(WIDTH) if view.open[row, c] and score[row, c] > 0.7]
    quota = even(view, score, row)
    return above if len(above) >= len(quota) else quota


def segment(view: StepView, score: Tensor, row: int) -> list[int]:
    taken = {c for c in range(WIDTH) if view.open[row, c] and score[row, c] > 0.9}
    run: list[int] = []
    for column in range(WIDTH + 1):
        if column < WIDTH and view.open[row, column]:
            run.append(column)
        elif run:
            best = min(run, key=lambda c: (-float(score[row, c]), c))
            taken |= {best} if score[row, best] > 0.4 else set()
            run = []
    return sorted(taken)


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
    (LinearDecayScheduler(), linear),
    (DreamScheduler(), dream),
    (BernoulliScheduler(), bernoulli),
    (QuotaThresholdScheduler(threshold=0.7), quota_threshold),
    (SegmentScheduler(low=0.4, threshold=0.9), segment),
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


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_sums_to_the_positions_and_equals_the_loop_for_every_number_of_steps(name: str) -> None:
    curve, loop = CURVES[name]
    for steps in (1, 2, 3, 7, 16, 40):
        quotas = curve(torch.arange(34), steps)
        assert quotas.tolist() == [loop(n, steps) for n in range(34)]
        assert quotas.sum(1).tolist() == list(range(34))
        assert int(quotas.min()) >= 0


def test_cosine_quotas_worked_by_hand() -> None:
    # cos of 30, 60 and 90 degrees leaves floor(8.66) = 8, 5 and 0 of 10.
    assert cosine_quota(torch.tensor([10, 1, 0]), 3).tolist() == [[2, 3, 5], [1, 0, 0], [0, 0, 0]]


def test_dream_quotas_worked_by_hand() -> None:
    # Shares 0.24975, 0.33289, 0.49900 of what is left: int(2.4975), int(2.6631), int(2.994), the rest.
    assert dream_quota(torch.tensor([10, 4, 1, 0]), 4).tolist() == [
        [2, 2, 2, 4],
        [0, 1, 1, 2],
        [0, 0, 0, 1],
        [0, 0, 0, 0],
    ]


def test_dreams_schedule_with_a_step_a_token_takes_one_forward_fewer() -> None:
    for n in (2, 8, 64, 512):
        quotas = dream_quota(torch.tensor([n]), n)[0]
        assert quotas.tolist() == [0] + [1] * (n - 2) + [2]


def commits(strategy: Strategy, prompts: int = 1) -> tuple[list[int], list[int]]:
    """Decode rows of one prompt; return how many tokens each step committed in the first row, and each row's cost."""
    counts: list[int] = []
    done = decode(
        FunctionModel(random_logits),
        canvas_of([[5, 6]] * prompts, strategy.gen_length),
        strategy,
        on_step=lambda event: counts.append(int(event.chosen[0].sum())),
    )
    return counts, done.forward_passes.tolist()


@pytest.mark.parametrize(
    ("scheduler", "gen_length", "steps", "expected"),
    [
        ("cosine", 10, 3, [2, 3, 5]),
        ("cosine", 4, 8, [1, 1, 1, 1]),
        ("cosine", 1, 5, [1]),
        ("linear-decay", 10, 4, [4, 3, 2, 1]),
        ("linear-decay", 4, 4, [2, 1, 1]),
        ("dream", 10, 4, [2, 2, 2, 4]),
        ("dream", 4, 4, [1, 1, 2]),
        ("dream", 4, 9, [1, 1, 2]),
        ("dream", 1, 3, [1]),
        ("dream", 3, None, [1, 1, 1]),
        ("cosine", 3, None, [1, 1, 1]),
        ("linear-decay", 3, None, [1, 1, 1]),
    ],
)
def test_steps_that_would_commit_nothing_are_skipped_and_not_paid_for(
    scheduler: str, gen_length: int, steps: int | None, expected: list[int]
) -> None:
    strategy = Strategy.load("llada", gen_length=gen_length, steps=steps, scheduler=scheduler)
    assert commits(strategy) == (expected, [len(expected)])


@pytest.mark.parametrize("scheduler", ["cosine", "linear-decay", "dream", "bernoulli", "quota-threshold"])
def test_a_counting_scheduler_stays_within_its_steps_and_its_positions(scheduler: str) -> None:
    for gen_length in (1, 5, 12):
        for steps in (1, 2, 5, 30):
            strategy = Strategy.load("llada", gen_length=gen_length, steps=steps, scheduler=scheduler)
            counts, cost = commits(strategy, prompts=2)
            assert sum(counts) == gen_length
            assert max(cost) <= strategy.max_forwards() == min(steps, gen_length)


def test_bernoulli_commits_its_share_on_the_average_and_everything_in_the_last_step() -> None:
    sizes = torch.zeros(4)
    for seed in range(40):
        events: list[int] = []
        decode(
            FunctionModel(random_logits),
            canvas_of([[5, 6]], 40),
            Strategy.load("llada", gen_length=40, steps=4, scheduler="bernoulli"),
            seed=seed,
            on_step=lambda event, events=events: events.append(int(event.chosen.sum())),
        )
        sizes += torch.tensor(events)
    assert torch.allclose(sizes / 40, torch.full((4,), 10.0), atol=1.5)


def test_the_quota_is_kept_where_too_few_scores_are_above_the_threshold() -> None:
    view, _ = view_of(0, 0, 4)
    open_ = torch.zeros(ROWS, WIDTH, dtype=torch.bool)
    open_[:, :8] = True
    view = replace(view, open=open_, stage_open=open_.sum(1))  # eight open, four steps: a quota of two
    score = torch.full((ROWS, WIDTH), 0.1)
    score[0, 3] = 0.95  # one above: the quota's best two, ties to the smallest column
    score[1, [2, 5, 7]] = 0.95  # three above: all three
    score[2, [4, 6]] = 0.9  # none above 0.9
    chosen = QuotaThresholdScheduler(threshold=0.9).select(view, Proposal(view.stats.token, score))
    assert [row.nonzero().flatten().tolist() for row in chosen[:3]] == [[0, 3], [2, 5, 7], [4, 6]]


def test_the_best_of_each_run_of_open_positions_worked_by_hand() -> None:
    open_ = torch.tensor([[1, 1, 1, 0, 1, 1, 0, 0, 1], [0, 1, 0, 1, 1, 1, 1, 1, 0]], dtype=torch.bool)
    score = torch.tensor(
        [[0.2, 0.7, 0.7, 1.0, 0.3, 0.1, 1.0, 1.0, 0.5], [1.0, 0.1, 1.0, 0.5, 0.6, 0.6, 0.6, 0.2, 1.0]]
    )
    best = best_of_runs(score, open_)
    assert [row.nonzero().flatten().tolist() for row in best] == [[1, 4, 8], [1, 4]]


def test_segments_are_halved_until_nothing_is_open() -> None:
    # Every score is above `low` and none above `threshold`: one commit a run, so runs halve or shrink.
    strategy = Strategy.load(
        "llada", gen_length=15, scheduler={"name": "segment", "low": 0.0, "threshold": 1.0}
    )
    counts, _ = commits(strategy)
    assert sum(counts) == 15
    assert counts[0] == 1
    assert counts[1] in (1, 2)  # one where the first of all stood at an end
    assert len(counts) < 15
