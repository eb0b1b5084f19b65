"""A row's result and its cost do not depend on its batch mates, exactly, in float64."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from torch import Tensor

from dllm_decode import DiffusionLM
from dllm_decode.decoding.decoded import decode
from dllm_decode.errors import ConfigError
from dllm_decode.forward.denoiser import Denoiser
from dllm_decode.models.llama.llama import BidirectionalLlama
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.random_checkpoint import write_checkpoint
from tests.support.compositions import compositions
from tests.support.random_model import SPECIAL, RandomModel, canvas_of, random_llama

LENGTH = 14
PROMPTS = [[5], [7, 3, 9, 4, 8, 12, 6], [3, 3, 10], [15, 6, 7, 8, 9]]
FIXED = {"name": "fixed", "length": 5}
STRATEGIES: dict[str, tuple[str, dict[str, Any]]] = {
    "even counts": ("llada", {"steps": 6}),
    "one token a step in blocks": ("llada", {"block": FIXED}),
    "at a temperature": ("llada", {"steps": 6, "temperature": 0.8}),
    "random order": ("llada", {"steps": 6, "confidence": "random"}),
    "random order at a temperature": ("llada", {"steps": 6, "confidence": "random", "temperature": 1.5}),
    "threshold": ("fast-dllm", {"block": FIXED, "scheduler.threshold": 0.5}),
    "threshold at a temperature": (
        "fast-dllm",
        {"block": FIXED, "scheduler.threshold": 0.4, "temperature": 0.7},
    ),
    "scaffold and CHLG": ("said", {"steps": 4, "layering.detail.threshold": 0.4}),
    "CHLG at a temperature": (
        "said",
        {"steps": 3, "layering.detail.threshold": 0.3, "layering.detail.hard_steps": 8, "temperature": 0.5},
    ),
    "grids": ("said-block", {"steps": 9, "block": FIXED}),
    "grids with CHLG": ("said-block-chlg", {"steps": 9, "block": FIXED, "layering.detail.threshold": 0.4}),
    "guidance": ("llada", {"steps": 5, "logits": [{"name": "guidance", "weight": 1.3}]}),
    "ends ignored and forbidden": (
        "said",
        {
            "steps": 4,
            "confidence": {"name": "top-probability", "ignore_ends": True},
            "logits": [{"name": "forbid-eos"}],
        },
    ),
    "stop at the end token": ("llada", {"block": FIXED, "stop": [{"name": "eos"}]}),
    "wide in, narrow out": ("wino", {"block": FIXED, "scheduler.threshold": 0.2, "revise.0.threshold": 0.6}),
    "edits": ("edit", {"block": FIXED, "scheduler.threshold": 0.2, "revise.0.threshold": 0.3}),
    "early commit": ("prophet", {"steps": 7, "stop.0.threshold": 0.3}),
    "blocks of their own": ("adablock", {"block.length": 4, "block.threshold": 0.05, "scheduler.threshold": 0.4}),
    "several blocks at once": ("multi-block", {"block.length": 3, "scheduler.threshold": 0.4}),
    "several blocks, one token a step": ("multi-block", {"block.length": 3, "scheduler": "even"}),
    "threshold with a stop": ("fast-dllm", {"block": FIXED, "stop": [{"name": "eos"}]}),
}


def generated(
    strategy: Strategy, prompts: list[list[int]], row_ids: list[int], seed: int
) -> tuple[Tensor, Tensor]:
    """Decode the prompts; return (B, LENGTH) int64 tokens and (B,) int64 forward passes."""
    done = decode(
        RandomModel(),
        canvas_of(prompts, strategy.gen_length),
        strategy,
        seed=seed,
        row_ids=torch.tensor(row_ids),
    )
    return done.canvas.tokens[:, -strategy.gen_length :], done.forward_passes


def assert_rows_stand_alone(strategy: Strategy, prompts: list[list[int]], seed: int) -> None:
    """Decode together, alone, in pairs and in another order: the same rows and the same costs."""
    everyone = list(range(len(prompts)))
    tokens, passes = generated(strategy, prompts, everyone, seed)
    groups = [[row] for row in everyone] + [everyone[:2], everyone[1:], everyone[::-1]]
    for group in groups:
        same, cost = generated(strategy, [prompts[row] for row in group], group, seed)
        assert torch.equal(same, tokens[group])
        assert torch.equal(cost, passes[group])


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_row_alone_equals_the_row_in_any_batch(name: str) -> None:
    recipe, changes = STRATEGIES[name]
    strategy = Strategy.load(recipe).override({"gen_length": LENGTH, **changes})
    for seed in range(3):
        assert_rows_stand_alone(strategy, PROMPTS, seed)


@settings(max_examples=25, deadline=None)
@given(
    prompts=st.lists(st.lists(st.integers(3, 22), min_size=1, max_size=6), min_size=2, max_size=4),
    gen_length=st.integers(3, 12),
    length=st.integers(2, 12),
    extra_steps=st.integers(0, 6),
    recipe=st.sampled_from(["llada", "fast-dllm", "said", "said-block"]),
    confidence=st.sampled_from(["top-probability", "random"]),
    temperature=st.sampled_from([0.0, 0.7]),
    seed=st.integers(0, 2**40),
)
def test_rows_stand_alone_at_any_setting(
    prompts: list[list[int]],
    gen_length: int,
    length: int,
    extra_steps: int,
    recipe: str,
    confidence: str,
    temperature: float,
    seed: int,
) -> None:
    changes: dict[str, Any] = {
        "gen_length": gen_length,
        "confidence": confidence,
        "temperature": temperature,
        "steps": 3 * -(-gen_length // length) + extra_steps,
    }
    if recipe != "said":
        changes["block"] = {"name": "fixed", "length": length}
    assert_rows_stand_alone(Strategy.load(recipe).override(changes), prompts, seed)


def composed(data: dict[str, Any]) -> Strategy:
    """Return the strategy, or give this draw up where validation refuses it in one line."""
    try:
        return Strategy.parse(data).check()
    except ConfigError as error:
        assert str(error).count("\n") == 0
        reject()


def assert_ends_soundly(model: Denoiser, strategy: Strategy, seed: int) -> None:
    """Decode: everything is decided, nothing else touched, no mask left, the bound on forwards kept."""
    before = canvas_of(PROMPTS, strategy.gen_length)
    done = decode(model, canvas_of(PROMPTS, strategy.gen_length), strategy, seed=seed)
    assert not done.canvas.undecided.any()
    assert torch.equal(done.canvas.tokens[~before.undecided], before.tokens[~before.undecided])
    assert not (done.canvas.tokens == before.mask_id).any()
    assert int(done.forward_passes.max()) <= strategy.max_forwards()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=compositions(), seed=st.integers(0, 1000))
def test_any_composition_of_registered_parts_is_refused_clearly_or_ends_and_keeps_rows_apart(
    data: dict[str, Any], seed: int
) -> None:
    strategy = composed(data)
    assert_rows_stand_alone(strategy, PROMPTS[:3], seed)
    assert_ends_soundly(RandomModel(), strategy, seed)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=compositions(cached=True), seed=st.integers(0, 1000))
def test_any_composition_with_a_cache_is_refused_clearly_or_ends_within_its_bound(
    data: dict[str, Any], seed: int
) -> None:
    model = BidirectionalLlama(random_llama(), SPECIAL, None, torch.device("cpu"))
    assert_ends_soundly(model, composed(data), seed)


def test_absolute_parity_does_depend_on_the_padding_which_is_why_it_is_not_the_default() -> None:
    strategy = Strategy.load("said-paper").override({"gen_length": LENGTH, "steps": 3})
    prompts = [[5, 6], [7, 3, 9]]
    together, _ = generated(strategy, prompts, [0, 1], seed=0)
    alone, _ = generated(strategy, prompts[:1], [0], seed=0)
    assert not torch.equal(together[:1], alone)


def test_row_ids_and_not_positions_in_the_batch_choose_the_noise() -> None:
    strategy = Strategy.load("llada").override({"gen_length": LENGTH, "temperature": 1.0})
    same = [[4, 5], [4, 5], [4, 5]]
    tokens, _ = generated(strategy, same, [0, 1, 0], seed=0)
    assert torch.equal(tokens[0], tokens[2])
    assert not torch.equal(tokens[0], tokens[1])


def test_a_row_costs_the_forwards_it_would_cost_alone_and_not_its_slowest_mates() -> None:
    strategy = Strategy.load("fast-dllm").override(
        {"gen_length": LENGTH, "block": "whole", "scheduler.threshold": 0.3}
    )
    _, passes = generated(strategy, PROMPTS, list(range(len(PROMPTS))), seed=0)
    assert passes.min() < passes.max()


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("llada", {"temperature": 0.8}),
        ("said", {"steps": 4}),
        ("fast-dllm", {"scheduler.threshold": 0.2}),
        ("fast-dllm", {"block": FIXED, "scheduler.threshold": 0.1, "cache": "prefix"}),
        ("fast-dllm", {"block": FIXED, "scheduler.threshold": 0.1, "cache": "dual", "temperature": 0.5}),
        ("said-block-chlg", {"block": FIXED, "steps": 9, "layering.detail.threshold": 0.1, "cache": "dual"}),
        ("llada", {"block": FIXED, "steps": 7, "cache": "dual", "logits": ["guidance"]}),
    ],
)
def test_batch_size_changes_no_answer_of_a_loaded_model(
    recipe: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    lm = DiffusionLM.from_pretrained(write_checkpoint(tmp_path, num_hidden_layers=2), dtype="float64")
    prompts = [[5] * length + [9 + length] for length in (1, 8, 3, 12, 2)]
    strategy = Strategy.load(recipe).override({"gen_length": LENGTH, **changes})
    together = lm.generate(prompts, strategy, seed=3)
    for size in (1, 2, 3):
        apart = lm.generate(prompts, strategy, seed=3, batch_size=size)
        assert torch.equal(apart.tokens, together.tokens)
        assert torch.equal(apart.forward_passes, together.forward_passes)
