"""KLASS against a plain loop over rows and positions, on scripted distributions and in whole decodes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dllm_decode.data.stats import VocabStats
from dllm_decode.data.views import Proposal, StepView
from dllm_decode.decoding.decoded import decode
from dllm_decode.strategy.strategy import Strategy
from dllm_strategies.klass import KlassScheduler, remember
from tests.support.random_model import SPECIAL, VOCABULARY, FunctionModel, canvas_of, random_logits
from tests.support.views import step_view

ROWS, WIDTH, STEPS = 3, 5, 9


def view_of(distributions: Tensor, open_: Tensor, step: int, first: int = 0) -> tuple[StepView, Proposal]:
    """A step with (B, W, V) distributions of a window `first` columns into the region; scores are their maxima."""
    rows, width = open_.shape
    canvas = canvas_of([[5]] * rows, first + width)
    window = slice(1 + first, 1 + first + width)
    score, tokens = distributions.max(-1)
    stats = VocabStats(tokens, score, log_probabilities=distributions.log())
    return step_view(canvas, window, open_, stats, step=step), Proposal(tokens, score)


def divergence(now: Tensor, before: Tensor) -> float:
    """KL in nats of two (V,) distributions, both floored."""
    return sum(
        float(p) * (math.log(max(float(p), 1e-12)) - math.log(max(float(q), 1e-12)))
        for p, q in zip(now, before, strict=True)
    )


class Loop:
    """One row of the rule; a step in which the row has nothing open is none of its own."""

    def __init__(self, config: KlassScheduler) -> None:
        self.config, self.before, self.still = config, None, [0] * WIDTH

    def select(self, now: Tensor, open_: Tensor) -> list[int]:
        """Return the columns to commit of (W, V) distributions."""
        if bool(open_.any()):
            for column in range(WIDTH):
                moved = math.inf if self.before is None else divergence(now[column], self.before[column])
                self.still[column] = self.still[column] + 1 if moved < self.config.epsilon else 0
            self.before = now
        enough = [c for c in range(WIDTH) if open_[c] and self.still[c] >= self.config.history]
        return [c for c in enough if float(now[c].max()) >= self.config.threshold]


def wandering(seed: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    """(S, B, W, V) distributions of which some move in a step, and (S, B, W) bool open; rows sometimes wait."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    logits = (drawn(ROWS, WIDTH, vocabulary) - 0.5) * 12
    distributions, opens = [], []
    open_ = drawn(ROWS, WIDTH) < 0.8
    for _ in range(STEPS):
        moves = drawn(ROWS, WIDTH, 1) < 0.3
        logits = logits + (drawn(ROWS, WIDTH, vocabulary) - 0.5) * torch.where(moves, 4, 0.05)
        open_ = open_ & (drawn(ROWS, WIDTH) < 0.95)
        distributions.append(logits.softmax(-1))
        opens.append(open_ & (drawn(ROWS, 1) < 0.8))
    return torch.stack(distributions), torch.stack(opens)


@pytest.mark.parametrize("history", [1, 2, 3])
@pytest.mark.parametrize("top", [None, 11])
def test_the_batched_rule_equals_the_loop_and_keeping_the_whole_vocabulary_is_exact(
    history: int, top: int | None
) -> None:
    taken = 0
    for seed in range(10):
        config = KlassScheduler(threshold=0.4, epsilon=0.01, history=history, top=top)
        scheduler, loops = config.build(), [Loop(config) for _ in range(ROWS)]
        distributions, opens = wandering(seed, 11)
        for step in range(STEPS):
            view, proposal = view_of(distributions[step], opens[step], step)
            chosen = scheduler.select(view, proposal)
            for row, loop in enumerate(loops):
                expected = loop.select(distributions[step, row], opens[step, row])
                assert chosen[row].nonzero().flatten().tolist() == expected
                taken += len(expected)
    assert taken > 20


def test_a_row_alone_equals_the_row_among_others_that_take_more_steps() -> None:
    for seed in range(5):
        distributions, opens = wandering(seed, 11)
        together = KlassScheduler(threshold=0.3).build()
        alone = [KlassScheduler(threshold=0.3).build() for _ in range(ROWS)]
        for step in range(STEPS):
            chosen = together.select(*view_of(distributions[step], opens[step], step))
            for row, scheduler in enumerate(alone):
                if opens[step, row].any():
                    one = slice(row, row + 1)
                    own = view_of(distributions[step, one], opens[step, one], step)
                    assert torch.equal(chosen[one], scheduler.select(*own))


def still(steps: int, *, moves_at: int = -1) -> list[Tensor]:
    """(1, 2, 4) distributions: column 0 never moves, column 1 moves once."""
    calm = torch.tensor([0.97, 0.01, 0.01, 0.01])
    found = []
    for step in range(steps):
        other = torch.tensor([0.91, 0.07, 0.01, 0.01]) if step >= moves_at >= 0 else calm
        found.append(torch.stack([calm, other])[None])
    return found


def decisions(
    config: KlassScheduler, steps: list[Tensor], firsts: list[int] | None = None
) -> list[list[int]]:
    """What is committed in each step of one row with two open columns; `firsts` is where the window begins."""
    scheduler, open_ = config.build(), torch.ones(1, 2, dtype=torch.bool)
    found = []
    for step, now in enumerate(steps):
        view, proposal = view_of(now, open_, step, firsts[step] if firsts else 0)
        found.append(scheduler.select(view, proposal)[0].nonzero().flatten().tolist())
    return found


def test_nothing_is_stable_in_a_blocks_first_steps_and_a_move_starts_the_count_again() -> None:
    # KL of the move: 0.91 ln(0.91/0.97) + 0.07 ln(0.07/0.01) = 0.078 nats, above 0.01.
    found = decisions(KlassScheduler(history=2), still(6, moves_at=3))
    assert found == [[], [], [0, 1], [0], [0], [0, 1]]


def test_the_count_starts_again_in_every_block() -> None:
    found = decisions(KlassScheduler(history=1), still(5), firsts=[0, 0, 2, 2, 2])
    assert found == [[], [0, 1], [], [0, 1], [0, 1]]


def test_a_window_that_moves_keeps_the_count_of_the_columns_it_keeps() -> None:
    # One column on in the third step and back in the last: the first column of each was there before, or was not.
    found = decisions(KlassScheduler(history=1), still(5), firsts=[0, 0, 1, 1, 0])
    assert found == [[], [0, 1], [0], [0, 1], [1]]


def test_a_stable_position_below_the_threshold_waits() -> None:
    found = decisions(KlassScheduler(history=1, threshold=0.95), still(3, moves_at=0))
    assert found == [[], [0], [0]]


def test_keeping_the_largest_entries_never_overstates_the_divergence() -> None:
    generator = torch.Generator().manual_seed(0)
    before, now = (torch.randn(4, 6, 40, generator=generator).log_softmax(-1) for _ in range(2))
    exact = remember(before, None).divergence(now)
    last = torch.zeros_like(exact)
    for top in (1, 4, 16, 39):
        coarse = remember(before, top).divergence(now)
        assert bool((coarse <= exact + 1e-5).all()) and bool((coarse >= last - 1e-5).all())
        last = coarse
    assert torch.allclose(remember(before, 39).divergence(now), exact, atol=1e-5)
    assert torch.equal(remember(before, 40).divergence(now), exact)


def test_probabilities_of_zero_give_a_finite_divergence() -> None:
    before, now = torch.tensor([[[1.0, 0.0, 0.0]]]).log(), torch.tensor([[[0.0, 1.0, 0.0]]]).log()
    for top in (None, 1, 2):
        moved = float(remember(before, top).divergence(now))
        assert moved == pytest.approx(-math.log(1e-12), rel=1e-4)


def settling(tokens: Tensor, valid: Tensor | None) -> Tensor:
    """Logits that are sharp and do not move, whatever is decided."""
    logits = torch.zeros(*tokens.shape, VOCABULARY, dtype=torch.float64)
    logits[..., 4] = 9.0
    return logits


def run(logits_of: Any, strategy: Strategy, prompts: list[list[int]]) -> tuple[Tensor, Tensor]:
    done = decode(FunctionModel(logits_of), canvas_of(prompts, strategy.gen_length), strategy)
    assert not done.canvas.undecided.any()
    return done.canvas.tokens[:, -strategy.gen_length :], done.forward_passes


def test_a_settled_model_costs_three_forwards_a_block() -> None:
    strategy = Strategy.load("klass", gen_length=32).override({"block.length": 8})
    _, passes = run(settling, strategy, [[5, 6]])
    assert passes.tolist() == [4 * 3]


@pytest.mark.parametrize("top", [None, 4])
@pytest.mark.parametrize("layering", ["single", "chlg", "scaffold"])
@pytest.mark.parametrize(
    "block",
    [{"name": "fixed", "length": 6}, {"name": "multi", "length": 4}, {"name": "adaptive", "length": 5}],
)
def test_rows_stand_alone_under_every_block_policy_and_layering(
    block: dict[str, Any], layering: str, top: int | None
) -> None:
    scheduler = {"name": "klass", "threshold": 0.2, "epsilon": 0.3, "history": 1, "top": top}
    strategy = Strategy.load("klass", gen_length=12, layering=layering, block=block, scheduler=scheduler)
    prompts = [[5], [7, 3, 9, 4], [3, 3, 10]]
    tokens, passes = run(random_logits, strategy.check(), prompts)
    assert not (tokens == SPECIAL.mask).any()
    assert int(passes.max()) <= strategy.max_forwards()
    for row, prompt in enumerate(prompts):
        alone, cost = run(random_logits, strategy, [prompt])
        assert torch.equal(alone[0], tokens[row])
        assert cost[0] == passes[row]
