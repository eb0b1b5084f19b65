"""Checkpoints whose weights are quantised load through the library, in every family's format."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from dllm_decode import DiffusionLM
from dllm_decode.data.inputs import ModelInputs
from dllm_decode.errors import ModelError
from dllm_decode.models.llama.dream import DreamFamily
from dllm_decode.models.llama.llada import LladaFamily
from dllm_decode.models.weights import Names
from dllm_decode.testing.checkpoints import write_checkpoint, write_small_model
from tests.support.dream_checkpoint import dream_tensors, small_dream, write_dream_tokenizer

FAMILIES: dict[str, Any] = {"llada": LladaFamily, "Dream": DreamFamily}


def write_dream(folder: Path) -> Path:
    config = small_dream()
    return write_dream_tokenizer(write_checkpoint(folder, config, dream_tensors(config)))


def quantise(folder: Path, to: Path) -> Path:
    """Write the same model as 8-bit integers, saved by the library under the names of the model's own format."""
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    shutil.copytree(folder, to)
    config = json.loads((folder / "config.json").read_text())
    quantised = TorchAoConfig(Int8WeightOnlyConfig(version=2))
    (to / "config.json").write_text(json.dumps(config | {"quantization_config": quantised.to_dict()}))
    model: Any = DiffusionLM.from_pretrained(folder, device="cpu").denoiser
    names = FAMILIES[config["model_type"]].names
    loaded = type(model.model).from_pretrained(
        folder, config=model.model.config, key_mapping=Names(names).mapping, quantization_config=quantised
    )
    loaded.save_pretrained(to / "saved")
    (to / "saved" / "model.safetensors").replace(to / "model.safetensors")
    return to


def logits(folder: Path) -> torch.Tensor:
    denoiser = DiffusionLM.from_pretrained(folder, device="cpu").denoiser
    return denoiser.logits(ModelInputs(torch.arange(40, 60)[None], None, slice(0, 20)))


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is not installed")
@pytest.mark.parametrize("write", [write_small_model, write_dream])
def test_a_quantised_checkpoint_has_almost_the_logits_of_the_plain_one(write: Any, tmp_path: Path) -> None:
    plain = write(tmp_path / "plain")
    eight_bits = quantise(plain, tmp_path / "eight-bits")
    with safe_open(eight_bits / "model.safetensors", "pt") as file:
        assert sum(file.get_slice(key).get_dtype() == "I8" for key in file.keys()) >= 21  # noqa: SIM118
    expected = logits(plain)
    error = (logits(eight_bits) - expected).abs().max() / expected.abs().max()
    assert 0 < error < 0.05
    assert (
        DiffusionLM.from_pretrained(eight_bits, device="cpu").generate(["ab", "c"], gen_length=4).model_calls
        == 4
    )


def test_a_quantiser_that_is_not_installed_is_one_clear_line(tmp_path: Path) -> None:
    if importlib.util.find_spec("bitsandbytes") is not None:
        pytest.skip("bitsandbytes is installed")
    write_small_model(tmp_path, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    with pytest.raises(ModelError, match=r"bitsandbytes: `pip install -U bitsandbytes") as caught:
        DiffusionLM.from_pretrained(tmp_path, device="cpu")
    assert "\n" not in str(caught.value)
