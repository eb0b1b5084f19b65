"""The fast loop is held to the law of `plain.py`: the same tokens and the same forward passes, exactly, in float64."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dllm_decode.data.canvas import Canvas
from dllm_decode.decoding.decoded import decode
from dllm_decode.decoding.plain import decode_plainly
from dllm_decode.errors import ConfigError
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.strategy import Strategy
from tests.decoding.test_row_independence import PROMPTS, STRATEGIES, composed
from tests.support.compositions import compositions
from tests.support.random_model import SPECIAL, RandomModel, canvas_of

RECIPES = sorted(load_registry().names("recipe"))
GUIDED = [{"name": "guidance", "weight": 1.3}]
# Low thresholds, that the random model's probabilities pass; parts that have no such field keep their own.
SURE = ("scheduler.threshold", "layering.detail.threshold", "revise.0.threshold", "stop.0.threshold")


def with_holes(rows: list[str]) -> Canvas:
    """Return the canvas of rows where a letter is a token, `_` an undecided position and a space is padding."""
    tokens = torch.tensor(
        [[SPECIAL.mask if c == "_" else (ord(c) * 7) % 20 + 3 for c in row] for row in rows]
    )
    undecided = tokens == SPECIAL.mask
    valid = torch.tensor([[c != " " for c in row] for row in rows])
    first = int(undecided.any(0).int().argmax())
    return Canvas(tokens, undecided, valid, first, SPECIAL.mask, padded=not bool(valid.all()))


def assert_lawful(
    strategy: Strategy, canvas: Canvas, seed: int = 0, row_ids: list[int] | None = None
) -> None:
    """Decode the canvas twice; both ways say the same."""
    identities = None if row_ids is None else torch.tensor(row_ids)
    before = canvas.tokens.clone()
    expected, passes = decode_plainly(RandomModel(), canvas, strategy, seed, identities)
    assert torch.equal(canvas.tokens, before)
    assert not expected.undecided.any()
    done = decode(RandomModel(), canvas, strategy, seed=seed, row_ids=identities)
    assert torch.equal(done.canvas.tokens, expected.tokens)
    assert torch.equal(done.forward_passes, passes)


def variants(recipe: str, changes: dict[str, Any]) -> list[Strategy]:
    """Return the recipe with these changes, once with its own thresholds and once with low ones, if it takes them."""
    try:
        own = Strategy.load(recipe).override(changes).check()
    except ConfigError:
        return []
    low = own
    for path in SURE:
        try:
            low = low.override({path: 0.3}).check()
        except ConfigError:
            continue
    return [own] if low == own else [own, low]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_obeys(recipe: str, guided: bool, temperature: float) -> None:
    base: dict[str, Any] = {"temperature": temperature, "cache": None}
    if guided:
        base["logits"] = GUIDED
    tried = 0
    for gen_length, steps, blocks in ((7, 3, {}), (16, 9, {}), (16, 9, {"block.length": 5}), (11, None, {})):
        for strategy in variants(recipe, base | blocks | {"gen_length": gen_length, "steps": steps}):
            assert_lawful(strategy, canvas_of(PROMPTS[:3], gen_length), seed=tried)
            tried += 1
    assert tried


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_composition_of_the_row_tests_obeys(name: str) -> None:
    recipe, changes = STRATEGIES[name]
    strategy = Strategy.load(recipe).override({"gen_length": 14, **changes})
    assert_lawful(strategy, canvas_of(PROMPTS, 14), seed=3, row_ids=[7, 0, 2, 40])


@pytest.mark.parametrize("recipe", RECIPES)
def test_holes_anywhere_obey(recipe: str) -> None:
    canvases = [["ab_c__d_e__", "  _a_b_____"], ["a_______", "b_c_d_e_"]]
    for rows in canvases:
        canvas = with_holes(rows)
        for steps in (None, 6):
            changes = {"gen_length": canvas.length - canvas.prompt_length, "steps": steps, "cache": None}
            for strategy in variants(recipe, changes):
                assert_lawful(strategy, with_holes(rows), seed=1)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=compositions(), seed=st.integers(0, 1000))
def test_any_composition_of_registered_parts_obeys(data: dict[str, Any], seed: int) -> None:
    strategy = composed(data)
    assert_lawful(strategy, canvas_of(PROMPTS[:3], strategy.gen_length), seed)
