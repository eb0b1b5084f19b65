"""The base of the rotary positions is honoured wherever a config keeps it; positions computed otherwise are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dllm_decode import DiffusionLM
from dllm_decode.data.inputs import ModelInputs
from dllm_decode.errors import ModelError
from dllm_decode.models.llama.fields import read_rope_theta
from dllm_decode.testing.checkpoints import random_tensors, small_config, write_checkpoint, write_tokenizer
from tests.support.dream_checkpoint import dream_tensors, small_dream, write_dream_tokenizer


def write_llada(folder: Path, theta: dict[str, Any]) -> Path:
    config = small_config()
    weights = random_tensors(config)
    config = {field: value for field, value in config.items() if not field.startswith("rope_theta")} | theta
    write_checkpoint(folder, config, weights)
    write_tokenizer(folder)
    return folder


def write_dream(folder: Path, theta: dict[str, Any]) -> Path:
    config = small_dream()
    weights = dream_tensors(config)
    config = {field: value for field, value in config.items() if field != "rope_theta"} | theta
    write_checkpoint(folder, config, weights)
    return write_dream_tokenizer(folder)


def logits(folder: Path) -> Tensor:
    denoiser = DiffusionLM.from_pretrained(folder, dtype="float64").denoiser
    tokens = torch.arange(1, 13)[None]
    return denoiser.logits(ModelInputs(tokens, None, slice(0, 12)))


TOP = {"rope_theta": 1e6}
NESTED = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}


@pytest.mark.parametrize("write", [write_llada, write_dream])
def test_theta_counts_at_the_top_and_in_rope_parameters_alike(write: Any, tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("top", "nested", "both", "small")}
    for folder in folders.values():
        folder.mkdir()
    top = logits(write(folders["top"], TOP))
    assert torch.equal(logits(write(folders["nested"], NESTED)), top)
    assert torch.equal(logits(write(folders["both"], TOP | NESTED)), top)
    assert not torch.allclose(logits(write(folders["small"], {"rope_theta": 1e4})), top)


@pytest.mark.parametrize("write", [write_llada, write_dream])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (TOP | {"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "rope_parameters of type 'linear'"),
        (TOP | {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_scaling of type 'yarn'"),
        ({"rope_theta": 5e5} | NESTED, "rope_theta is 500000.0 at the top and 1000000.0 in rope_parameters"),
        ({"rope_theta": "large"}, "rope_theta should be a number above 0, got 'large'"),
        ({"rope_theta": -1}, "rope_theta should be a number above 0, got -1"),
        ({"rope_parameters": 7}, "rope_parameters should be an object, got 7"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor is not supported"),
    ],
)
def test_positions_that_are_not_computed_here_are_refused_by_name(
    write: Any, given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=said):
        DiffusionLM.from_pretrained(write(tmp_path, given))


def test_without_theta_the_default_holds() -> None:
    assert read_rope_theta({"rope_scaling": None}, "here") == 10_000.0
    assert json.dumps(read_rope_theta({"rope_parameters": {"rope_theta": 3}}, "here")) == "3.0"
