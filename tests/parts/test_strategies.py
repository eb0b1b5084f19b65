"""The reference strategies on small cases worked by hand, and their budgets as properties."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dllm_decode.decoding.decoded import decode
from dllm_decode.decoding.events import StepEvent
from dllm_decode.errors import ConfigError
from dllm_decode.strategy.strategy import Strategy
from dllm_strategies.grid import corrected_budgets, released_budgets
from tests.support.random_model import SPECIAL, VOCABULARY, FunctionModel, canvas_of

PROMPT = [5, 6, 7]


def model_with(probabilities: Sequence[float], tokens: Sequence[int] | None = None) -> FunctionModel:
    """A model that proposes `tokens[i]` at generated position i with probability `probabilities[i]`, always."""
    rows = torch.zeros(len(probabilities), VOCABULARY, dtype=torch.float64)
    for position, probability in enumerate(probabilities):
        token = tokens[position] if tokens else 3 + position % 7
        rows[position, token] = math.log(probability * (VOCABULARY - 1) / (1 - probability))

    def logits_of(canvas: Tensor, valid: Tensor | None) -> Tensor:
        batch, length = canvas.shape
        logits = torch.zeros(batch, length, VOCABULARY, dtype=torch.float64)
        logits[:, length - len(rows) :] = rows
        return logits

    return FunctionModel(logits_of)


def order_of(model: FunctionModel, strategy: Strategy) -> tuple[list[list[int]], int]:
    """Decode one row; return the generated positions committed in each step, and the number of model calls."""
    steps: list[list[int]] = []

    def note(event: StepEvent) -> None:
        columns = event.chosen[0].nonzero().flatten() + event.window.start - len(PROMPT)
        steps.append(columns.tolist())

    decoded = decode(model, canvas_of([PROMPT], strategy.gen_length), strategy, on_step=note)
    assert decoded.forward_passes.tolist() == [decoded.model_calls] == [model.calls]
    return steps, decoded.model_calls


def test_lladas_rule_commits_the_most_probable_first_and_ties_go_to_the_smallest_column() -> None:
    strategy = Strategy.load("llada", steps=3, gen_length=5)
    steps, calls = order_of(model_with([0.3, 0.9, 0.5, 0.5, 0.5]), strategy)
    assert steps == [[1, 2], [3, 4], [0]]
    assert calls == 3


def test_steps_beyond_the_positions_are_not_paid_for() -> None:
    _, calls = order_of(model_with([0.5] * 4), Strategy.load("llada", steps=40, gen_length=4))
    assert calls == 4


def test_blocks_are_finished_from_left_to_right_and_the_last_one_may_be_shorter() -> None:
    strategy = Strategy.load("llada", gen_length=5, steps=3).override(
        {"block": {"name": "fixed", "length": 2}}
    )
    steps, _ = order_of(model_with([0.1, 0.2, 0.3, 0.4, 0.9]), strategy)
    assert steps == [[0, 1], [2, 3], [4]]


def test_fewer_steps_than_blocks_is_refused_with_the_way_out() -> None:
    strategy = Strategy.load("llada", gen_length=8, steps=3).override(
        {"block": {"name": "fixed", "length": 2}}
    )
    with pytest.raises(ConfigError, match="at least 4 steps"):
        strategy.check()


def test_said_decodes_the_scaffold_then_the_easy_detail_from_the_forward_that_judged_it() -> None:
    strategy = Strategy.load("said", steps=2, gen_length=8).override({"layering.detail.hard_steps": 1})
    steps, calls = order_of(model_with([0.5, 0.9, 0.6, 0.85, 0.7, 0.3, 0.2, 0.4]), strategy)
    assert steps == [[2, 4], [0, 6], [1, 3], [5, 7]]
    assert calls == 4  # two for the scaffold, one for the judgement and the easy detail, one for the hard


def test_the_first_hard_step_reuses_the_judging_forward_where_nothing_is_easy() -> None:
    strategy = Strategy.load("said", steps=1, gen_length=8).override({"layering.detail.hard_steps": 2})
    steps, calls = order_of(model_with([0.5, 0.1, 0.5, 0.2, 0.5, 0.3, 0.5, 0.4]), strategy)
    assert steps == [[0, 2, 4, 6], [5, 7], [1, 3]]
    assert calls == 3


def test_the_released_gpqa_setting_costs_eight_forwards_against_sixty_four() -> None:
    strategy = Strategy.load("said", steps=4, gen_length=64)
    assert strategy.max_forwards() == 8
    _, calls = order_of(model_with([0.5, 0.9, 0.5, 0.4] * 16), strategy)
    assert calls == 8


def test_the_judgement_uses_the_plain_probability_even_where_ends_are_ignored() -> None:
    strategy = Strategy.load("said", steps=1, gen_length=4).override(
        {"confidence.ignore_ends": True, "layering.detail.hard_steps": 2}
    )
    # Position 1 proposes EOS with 0.9: easy for the judgement, 0 for the confidence.
    steps, _ = order_of(model_with([0.5, 0.9, 0.5, 0.2], tokens=[4, SPECIAL.eos or 0, 4, 4]), strategy)
    assert steps == [[0, 2], [1], [3]]


def test_chlg_takes_any_number_of_confidence_layers() -> None:
    strategy = Strategy.load("llada", gen_length=6).override(
        {
            "layering": {
                "name": "chlg",
                "threshold": 0.9,
                "hard_steps": 1,
                "between": [{"threshold": 0.5, "steps": 2}],
            }
        }
    )
    steps, calls = order_of(model_with([0.95, 0.6, 0.7, 0.1, 0.2, 0.8]), strategy)
    assert steps == [[0], [2, 5], [1], [3, 4]]
    assert calls == 4


def test_confidence_layers_must_fall() -> None:
    with pytest.raises(ConfigError, match="should fall"):
        Strategy.load("llada").override(
            {"layering": {"name": "chlg", "threshold": 0.5, "between": [{"threshold": 0.6}]}}
        )


def test_a_threshold_commits_what_reaches_it_and_always_the_best() -> None:
    strategy = Strategy.load("fast-dllm", gen_length=5).override({"scheduler.threshold": 0.8})
    steps, calls = order_of(model_with([0.5, 0.81, 0.9, 0.3, 0.4]), strategy)
    assert steps == [[1, 2], [0], [4], [3]]
    assert calls == 4


def test_block_wise_said_goes_from_the_coarse_grid_to_the_odd_positions() -> None:
    strategy = Strategy.load("said-block", gen_length=8, steps=4).override({"block.length": 8})
    steps, calls = order_of(model_with([0.5] * 8), strategy)
    assert steps == [[0, 4], [2, 6], [1, 3], [5, 7]]
    assert calls == 4


def test_block_wise_said_with_chlg_cuts_the_last_grid_by_confidence() -> None:
    strategy = Strategy.load("said-block-chlg", gen_length=8, steps=4).override(
        {"block.length": 8, "layering.detail.hard_steps": 1}
    )
    steps, _ = order_of(model_with([0.5, 0.9, 0.5, 0.1, 0.5, 0.95, 0.5, 0.1]), strategy)
    assert steps == [[0, 4], [2, 6], [1, 5], [3, 7]]


def test_released_budgets_are_the_published_ones() -> None:
    assert released_budgets(4, 3, 2) == [1, 1, 2]  # GSM8K: four tokens a step throughout
    assert released_budgets(16, 3, 2) == [11, 3, 2]  # HumanEval, MBPP
    assert released_budgets(128, 3, 2) == [95, 31, 2]
    assert released_budgets(128, 1, 2) == [128]


def test_the_released_budget_of_128_steps_commits_nothing_in_63_forwards() -> None:
    strategy = Strategy.load("said-block", gen_length=128, steps=128).override(
        {"block.length": 128, "layering.exact": True}
    )
    _, calls = order_of(model_with([0.5] * 128), strategy)
    assert calls == 128 - 63


@given(st.integers(3, 80), st.integers(1, 5), st.integers(1, 6), st.integers(8, 64))
def test_corrected_budgets_keep_the_sum_and_give_no_stage_more_steps_than_positions(
    steps: int, stages: int, rec_steps: int, width: int
) -> None:
    sizes = [width // stages] * stages
    if steps < stages or (stages == 2 and steps <= rec_steps):
        return
    budgets = corrected_budgets(released_budgets(steps, stages, rec_steps), steps, sizes)
    assert sum(budgets) == min(steps, sum(sizes))
    assert all(1 <= budget <= size for budget, size in zip(budgets, sizes, strict=True))


def test_a_grid_of_two_stages_without_steps_for_the_first_is_refused() -> None:
    strategy = Strategy.load("said-block", gen_length=16, steps=2).override({"layering.stage_count": 2})
    with pytest.raises(ConfigError, match="rec_steps"):
        strategy.check()


def test_guidance_moves_the_logits_away_from_the_unconditional_ones() -> None:
    def logits_of(canvas: Tensor, valid: Tensor | None) -> Tensor:
        given = (canvas[:, :1] == PROMPT[0]).double()  # 1 where the prompt is seen, 0 in the masked half
        logits = torch.zeros(*canvas.shape, VOCABULARY, dtype=torch.float64)
        logits[..., 4] = 1.0 + given  # l = 2, u = 1
        logits[..., 5] = 1.9 - 0.4 * given  # l = 1.5, u = 1.9
        logits[..., 6] = 2.5
        return logits

    for weight, winner in ((0.25, 6), (1.0, 4)):  # token 4: u + (w + 1)(l - u) = 2.25, then 3.0, against 2.5
        strategy = Strategy.load("llada", gen_length=2).override(
            {"logits": [{"name": "guidance", "weight": weight}]}
        )
        canvas = canvas_of([PROMPT], 2)
        decoded = decode(FunctionModel(logits_of), canvas, strategy)
        assert decoded.canvas.tokens[0, -2:].tolist() == [winner] * 2
        assert decoded.model_calls == 2  # the two halves are one call


def test_an_end_token_with_nothing_open_before_it_ends_the_row_at_no_cost() -> None:
    eos = SPECIAL.eos or 0
    strategy = Strategy.load("llada", gen_length=8).override({"stop": ["eos"]})
    model = model_with([0.9, 0.8, 0.7, 0.6, 0.1, 0.1, 0.1, 0.1], tokens=[4, 4, eos, 4, 4, 4, 4, 4])
    canvas = canvas_of([PROMPT], 8)
    decoded = decode(model, canvas, strategy)
    assert decoded.canvas.tokens[0, 3:].tolist() == [4, 4, eos, eos, eos, eos, eos, eos]
    assert decoded.model_calls == 3


def test_an_end_token_with_open_positions_before_it_does_not_end_the_row() -> None:
    eos = SPECIAL.eos or 0
    strategy = Strategy.load("llada", gen_length=4).override({"stop": ["eos"]})
    model = model_with([0.1, 0.9, 0.5, 0.4], tokens=[4, eos, 5, 6])
    canvas = canvas_of([PROMPT], 4)
    decoded = decode(model, canvas, strategy)
    assert decoded.model_calls == 4
    assert decoded.canvas.tokens[0, 3:].tolist() == [4, eos, 5, 6]


def test_a_row_that_ended_early_costs_what_it_costs_alone() -> None:
    eos = SPECIAL.eos or 0

    def logits_of(canvas: Tensor, valid: Tensor | None) -> Tensor:
        logits = torch.zeros(*canvas.shape, VOCABULARY, dtype=torch.float64)
        logits[..., 4] = 3.0 - 0.1 * torch.arange(canvas.shape[1])
        logits[0, 4, eos] = 9.0  # the first row's second generated token is an end
        return logits

    strategy = Strategy.load("llada", gen_length=8).override(
        {"stop": ["eos"], "block": {"name": "fixed", "length": 4}}
    )
    decoded = decode(FunctionModel(logits_of), canvas_of([PROMPT, PROMPT], 8), strategy)
    assert decoded.forward_passes.tolist() == [2, 8]
    assert decoded.model_calls == 8
