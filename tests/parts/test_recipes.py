"""Every recipe decodes within the forwards it promises, and those of known cost cost what their descriptions say."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dllm_decode.decoding.decoded import decode
from dllm_decode.evaluate.evaluate import fit
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.strategy import Strategy
from tests.support.random_model import SPECIAL, VOCABULARY, FunctionModel, RandomModel, canvas_of

RECIPES = load_registry().names("recipe")
PROMPTS = [[5, 6, 7], [9], [3, 3]]


def agreeing(probability: float) -> FunctionModel:
    """A model that gives its token the same probability at every position, whatever the canvas."""
    logit = math.log(probability * (VOCABULARY - 1) / (1 - probability))

    def logits_of(tokens: Tensor, valid: Tensor | None) -> Tensor:
        logits = torch.zeros(*tokens.shape, VOCABULARY, dtype=torch.float64)
        logits[..., 4] = logit
        return logits

    return FunctionModel(logits_of)


def cost(recipe: str, probability: float, **changes: Any) -> int:
    """Forwards of the recipe as it stands, with a model that is as sure of everything."""
    strategy = Strategy.load(recipe, **changes)
    done = decode(agreeing(probability), canvas_of([[5]], strategy.gen_length), strategy)
    assert not done.canvas.undecided.any()
    assert int(done.forward_passes[0]) <= strategy.max_forwards()
    return int(done.forward_passes[0])


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_documents_its_cost_in_forwards(recipe: str) -> None:
    assert "forward" in Strategy.load(recipe).description


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_decodes_everything_and_only_that_within_its_bound(recipe: str) -> None:
    strategy, _ = fit(Strategy.load(recipe), 20)
    before = canvas_of(PROMPTS, 20)
    done = decode(RandomModel(), canvas_of(PROMPTS, 20), strategy)
    assert not done.canvas.undecided.any()
    assert torch.equal(done.canvas.tokens[~before.undecided], before.tokens[~before.undecided])
    assert not (done.canvas.tokens == SPECIAL.mask).any()
    assert 1 <= int(done.forward_passes.max()) <= strategy.max_forwards()


@pytest.mark.parametrize(
    ("recipe", "forwards"),
    [
        ("llada", 64),
        ("random-order", 64),
        ("margin", 64),
        ("entropy", 64),
        ("certainty-prior", 64),
        ("frequency-debiased", 64),
        ("cosine", 29),
        ("linear-decay", 28),
        ("top-k", 32),
        ("dream", 511),
        ("said-block", 64),
    ],
)
def test_a_schedule_known_in_advance_costs_what_its_description_says(recipe: str, forwards: int) -> None:
    assert cost(recipe, 0.5) == cost(recipe, 0.95) == forwards


@pytest.mark.parametrize(
    ("recipe", "unsure", "sure"),
    [
        ("fast-dllm", 64, 2),  # one token a forward, or the block at once
        ("factor", 64, 4),  # at 0.95 the first 19 of 32 keep (m + 1)(1 - c) under 1, and then the other 13
        ("segment", 64, 2),
        ("klass", 64, 6),  # two steps of one token in each block, then the rest
        ("quota-threshold", 32, 2),
        ("prophet", 64, 1),
        ("multi-block", 64, 2),
        ("said", 35, 33),  # the scaffold's 32, then three for what is hard or one for what is easy
        ("said-block-chlg", 80, 48),  # in each of 16 blocks two grids, then the same
    ],
)
def test_an_adaptive_schedule_costs_least_where_the_model_is_sure(
    recipe: str, unsure: int, sure: int
) -> None:
    assert cost(recipe, 0.3, **({"steps": 32} if recipe == "said" else {})) == unsure
    assert cost(recipe, 0.95, **({"steps": 32} if recipe == "said" else {})) == sure


def test_bernoulli_costs_at_most_its_steps() -> None:
    assert cost("bernoulli", 0.5) <= 32
