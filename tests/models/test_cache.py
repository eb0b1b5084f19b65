"""The canvas cache: a window's forward equals the full one while nothing changed, and what cannot cache is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dllm_decode import DiffusionLM
from dllm_decode.data.inputs import ModelInputs
from dllm_decode.decoding.decoded import decode
from dllm_decode.errors import ConfigError
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.checkpoints import write_small_model
from tests.support.random_model import FunctionModel, canvas_of, random_logits


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> DiffusionLM:
    """A small LLaDA checkpoint in float64, where equal means equal."""
    folder = write_small_model(tmp_path_factory.mktemp("cache"))
    return DiffusionLM.from_pretrained(folder, dtype="float64", eot_token_id=3)


def prompts() -> tuple[Tensor, Tensor]:
    """(3, 9) int64 tokens and (3, 9) bool valid, padded on the left."""
    tokens = torch.randint(4, 60, (3, 9), generator=torch.Generator().manual_seed(0))
    valid = torch.ones_like(tokens, dtype=torch.bool)
    valid[0, :4] = valid[2, :1] = False
    return tokens, valid


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("columns", [slice(3, 6), slice(3, 9), slice(0, 9)])
def test_a_window_equals_the_full_forward_while_nothing_changed(
    lm: DiffusionLM, padded: bool, columns: slice
) -> None:
    tokens, valid = prompts()
    seen = valid if padded else None
    with torch.inference_mode():
        full = lm.denoiser.logits(ModelInputs(tokens, seen, slice(3, 6)))
        cache = lm.denoiser.new_cache()  # type: ignore[attr-defined]
        first = lm.denoiser.logits(ModelInputs(tokens, seen, slice(3, 6), cache))
        again = lm.denoiser.logits(ModelInputs(tokens, seen, slice(3, 6), cache, columns))
    assert torch.equal(first, full)
    torch.testing.assert_close(again, full, rtol=0, atol=1e-12)


def test_a_window_sees_what_changed_inside_it_and_the_rest_as_it_was(lm: DiffusionLM) -> None:
    tokens, _ = prompts()
    changed = tokens.clone()
    changed[:, 4] = 7
    outside = changed.clone()
    outside[:, 1] = 9
    with torch.inference_mode():
        cache = lm.denoiser.new_cache()  # type: ignore[attr-defined]
        lm.denoiser.logits(ModelInputs(tokens, None, slice(3, 6), cache))
        inside = lm.denoiser.logits(ModelInputs(changed, None, slice(3, 6), cache, slice(3, 6)))
        stale = lm.denoiser.logits(ModelInputs(outside, None, slice(3, 6), cache, slice(3, 6)))
        before = lm.denoiser.logits(ModelInputs(tokens, None, slice(3, 6)))
    assert (inside - before).abs().max() > 1e-3
    assert torch.equal(stale, inside)


@pytest.mark.parametrize("cache", ["prefix", "dual", {"name": "dual", "refresh": 1}])
@pytest.mark.parametrize("logits", [[], [{"name": "guidance", "weight": 0.5}]])
def test_a_row_decodes_alone_as_in_a_batch(lm: DiffusionLM, cache: object, logits: list[object]) -> None:
    tokens, valid = prompts()
    strategy = Strategy.load("fast-dllm", gen_length=12).override(
        {"block.length": 4, "cache": cache, "logits": logits, "scheduler.threshold": 0.5}
    )
    together = lm.generate(tokens, strategy, attention_mask=valid)
    for row in range(3):
        alone = lm.generate(tokens[row : row + 1, valid[row]], strategy, row_ids=[row])
        assert alone.tokens.tolist() == together.tokens[row : row + 1].tolist()
        assert alone.forward_passes[0] == together.forward_passes[row]


EVERY_CACHE = [
    "prefix",
    "dual",
    {"name": "dual", "refresh": 2},
    "delayed",
    {"name": "delayed", "delay": 2, "refresh": 5},
]
SCHEDULES: dict[str, tuple[str, dict[str, object]]] = {
    "even counts": ("llada", {"block": {"name": "fixed", "length": 4}, "steps": 7}),
    "threshold": ("fast-dllm", {"block.length": 5, "scheduler.threshold": 0.4}),
    "scaffold and CHLG": ("said", {"steps": 3, "layering.detail.threshold": 0.3}),
    "a learned scaffold in blocks": (
        "learned-scaffold",
        {"block": {"name": "fixed", "length": 6}, "steps": 4},
    ),
    "grids": ("said-block", {"block.length": 6, "steps": 8}),
    "blocks that adapt": ("adablock", {"block.length": 4, "scheduler.threshold": 0.4}),
    "several blocks at once": ("multi-block", {"block.length": 3, "scheduler.threshold": 0.4}),
    "at a temperature": ("fast-dllm", {"block.length": 4, "temperature": 0.8}),
}


@pytest.mark.parametrize("cache", EVERY_CACHE, ids=str)
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_decode_is_the_same_twice_and_keeps_what_was_given(
    lm: DiffusionLM, name: str, cache: object
) -> None:
    recipe, changes = SCHEDULES[name]
    strategy = Strategy.load(recipe, gen_length=12).override({**changes, "cache": cache})
    tokens, valid = prompts()
    first, second = (lm.generate(tokens, strategy, attention_mask=valid, seed=3) for _ in range(2))
    assert torch.equal(first.tokens, second.tokens)
    assert torch.equal(first.canvas[:, :9], tokens)
    assert not (first.tokens == lm.special.mask).any()
    assert int(first.forward_passes.max()) <= strategy.max_forwards()


@pytest.mark.parametrize("cache", EVERY_CACHE, ids=str)
@pytest.mark.parametrize("name", SCHEDULES)
def test_positions_anywhere_are_filled_in(lm: DiffusionLM, name: str, cache: object) -> None:
    recipe, changes = SCHEDULES[name]
    tokens, valid = prompts()
    tokens[:, 4::2] = lm.special.mask
    tokens[1, 1] = tokens[2, 8] = lm.special.mask
    strategy = Strategy.load(recipe).override({**changes, "cache": cache})
    out = lm.infill(tokens, strategy, attention_mask=valid)
    known = tokens != lm.special.mask
    assert torch.equal(out.tokens[known], tokens[known])
    assert not (out.tokens == lm.special.mask).any()


def test_refreshing_every_forward_decodes_as_without_a_cache(lm: DiffusionLM) -> None:
    tokens, _ = prompts()
    plain = Strategy.load("fast-dllm", gen_length=12).override(
        {"block.length": 4, "scheduler.threshold": 0.5}
    )
    cached = plain.override({"cache": {"name": "dual", "refresh": 1}})
    assert lm.generate(tokens, cached).tokens.tolist() == lm.generate(tokens, plain).tokens.tolist()


def test_a_cache_on_one_block_of_one_step_changes_nothing(lm: DiffusionLM) -> None:
    tokens, _ = prompts()
    plain = Strategy.load("llada", gen_length=8, steps=1)
    for cache in ("prefix", "dual"):
        cached = lm.generate(tokens, plain.override({"cache": cache}))
        assert cached.tokens.tolist() == lm.generate(tokens, plain).tokens.tolist()


def test_a_model_that_cannot_reuse_keys_and_values_is_refused() -> None:
    strategy = Strategy.load("fast-dllm", gen_length=4).override({"cache": "dual"})
    with pytest.raises(ConfigError, match="set cache to null"):
        decode(FunctionModel(random_logits), canvas_of([[5]], 4), strategy)


def test_an_unknown_cache_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown cache 'dua'.*dual.*prefix"):
        Strategy.load("llada").override({"cache": "dua"})
