"""A compiled model decodes what the plain one decodes, in few shapes, and says what compiling has cost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import write_small_model

from dllm_decode import DiffusionLM
from dllm_decode.config import Strategy
from dllm_decode.denoisers.compiled import COLUMNS, Grid, rows_on_grid
from dllm_decode.errors import ModelError
from dllm_decode.parts import ModelInputs

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
    for batch_size in (5, 2):
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
