"""A compiled model decodes what the plain one decodes, in few shapes, and says what compiling has cost."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dllm_decode import DiffusionLM
from dllm_decode.data.inputs import ModelInputs
from dllm_decode.errors import ModelError
from dllm_decode.models.llama.grid import COLUMNS, Grid, rows_on_grid
from dllm_decode.models.llama.static_cache import StaticCanvasCache, Stock
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.checkpoints import write_small_model

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


def test_rows_go_up_to_a_short_list_of_sizes() -> None:
    sizes = [rows_on_grid(rows) for rows in range(1, 65)]
    assert sorted(set(sizes)) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]
    assert all(rows <= size <= 1.5 * rows for rows, size in enumerate(sizes, 1))


def test_the_grid_pads_on_the_left_and_moves_what_counts_columns() -> None:
    tokens = torch.arange(5 * 70).reshape(5, 70)
    columns = torch.tensor([[61, 60]] * 5)
    fitted = Grid().fit(ModelInputs(tokens, None, slice(60, 64), recompute=slice(50, 70), columns=columns))
    missing = 2 * COLUMNS - 70
    assert fitted.tokens.shape == (6, 2 * COLUMNS)
    assert torch.equal(fitted.tokens[:5, missing:], tokens)
    assert fitted.valid is not None and fitted.valid.sum().item() == 6 * 70
    assert (fitted.window, fitted.recompute) == (slice(118, 122), slice(108, 128))
    assert fitted.columns is not None and torch.equal(fitted.columns[:5], columns + missing)


def test_the_grid_keeps_a_fitting_batch_and_hands_out_one_mask() -> None:
    grid, tokens = Grid(), torch.zeros(4, COLUMNS, dtype=torch.int64)
    assert grid.fit(ModelInputs(tokens, None, slice(0, 4))).valid is None
    short = ModelInputs(tokens[:, 1:], None, slice(0, 4))
    assert grid.fit(short).valid is grid.fit(short).valid


def test_canvases_of_other_lengths_get_masks_of_their_own() -> None:
    grid = Grid()
    for length in (70, 100, 70, 128, 127):
        valid = grid.fit(ModelInputs(torch.zeros(2, length, dtype=torch.int64), None, slice(0, 4))).valid
        assert (2 * 128 if valid is None else int(valid.sum())) == 2 * length
    for rows in (2, 3, 1):
        valid = grid.fit(ModelInputs(torch.zeros(rows, 70, dtype=torch.int64), None, slice(0, 4))).valid
        assert valid is not None and valid.shape == (rows, 128)


def test_buffers_are_used_again_and_not_kept_for_every_shape() -> None:
    config = SimpleNamespace(num_key_value_heads=2, num_attention_heads=2, hidden_size=8, num_hidden_layers=1)
    stock = Stock(config, torch.float32, torch.device("cpu"))
    places = []
    for shape in ((2, 8), (2, 8), (3, 8), (2, 8)):
        cache = StaticCanvasCache(stock)
        cache.recompute(None, slice(0, shape[0]), shape)
        places.append(cache.keys[0])
        del cache
    assert places[0] is places[1] and places[3] is not places[0]


def test_a_decode_gives_its_cache_back_when_it_ends(folder: Path) -> None:
    lm = DiffusionLM.from_pretrained(folder, dtype="float32")
    made: list[Any] = []
    new_cache = lm.denoiser.new_cache  # type: ignore[attr-defined]
    lm.denoiser.new_cache = lambda: made.append(weakref.ref(cache := new_cache())) or cache  # type: ignore[attr-defined]
    lm.generate([[5, 6]], Strategy.load("fast-dllm", gen_length=8, cache="dual"))
    assert [reference() for reference in made] == [None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaDA checkpoint of one layer: every shape is compiled once."""
    return write_small_model(tmp_path_factory.mktemp("compiled"), n_layers=1)


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("fast-dllm", {"block.length": 4, "scheduler.threshold": 0.2}),
        ("llada", {"block": {"name": "fixed", "length": 4}, "steps": 6, "cache": "dual", "logits": ["guidance"]}),
    ],
)
def test_a_compiled_model_decodes_the_same_tokens(folder: Path, recipe: str, changes: dict[str, Any]) -> None:
    strategy = Strategy.load(recipe).override({"gen_length": 12, **changes})
    prompts = [[5] * length + [9 + length] for length in (1, 8, 3, 12, 2)]
    plain = DiffusionLM.from_pretrained(folder, dtype="float64")
    quick = DiffusionLM.from_pretrained(folder, dtype="float64", compile=True)
    for batch_size in (5, 2, 1):
        expected = plain.generate(prompts, strategy, batch_size=batch_size)
        found = quick.generate(prompts, strategy, batch_size=batch_size)
        assert torch.equal(found.tokens, expected.tokens)
        assert torch.equal(found.forward_passes, expected.forward_passes)
    assert quick.warm_up_seconds > 0 == plain.warm_up_seconds


def test_models_that_cannot_be_compiled_say_so() -> None:
    class Uniform(torch.nn.Module):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(tokens.flip(1) % 7, 7).float()

    lm = DiffusionLM.from_module(Uniform(), vocab_size=7, mask_token_id=6)
    with pytest.raises(ModelError, match=r"compile: .*own module"):
        lm.compile()
