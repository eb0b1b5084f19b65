"""Every field of a `config.json` is honoured, harmless or refused by name, and nonsense is refused at once."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from dllm_decode import DiffusionLM
from dllm_decode.data.inputs import ModelInputs
from dllm_decode.errors import ModelError
from dllm_decode.models.llama.dream import DreamFamily
from dllm_decode.models.llama.fields import ANYWHERE
from dllm_decode.models.llama.llada import LladaFamily
from dllm_decode.models.llama.stock import LlamaFamily
from dllm_decode.testing.checkpoints import LLADA_8B, write_checkpoint, write_small_model
from dllm_decode.testing.random_checkpoint import write_checkpoint as write_stock
from tests.support.dream_checkpoint import DREAM_7B, dream_tensors, small_dream, write_dream_tokenizer


def write_dream(folder: Path, **changes: Any) -> Path:
    write_checkpoint(folder, small_dream(), dream_tensors(small_dream()))
    return change(write_dream_tokenizer(folder), **changes)


def write_llama(folder: Path, **changes: Any) -> Path:
    return change(write_stock(folder), **changes)


def write_llada(folder: Path, **changes: Any) -> Path:
    return change(write_small_model(folder), **changes)


def change(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def logits(folder: Path) -> Tensor:
    denoiser = DiffusionLM.from_pretrained(folder, device="cpu").denoiser
    return denoiser.logits(ModelInputs(torch.arange(3, 23)[None], None, slice(0, 20)))


WRITERS = [write_llada, write_dream, write_llama]


def test_the_published_configs_hold_nothing_that_is_not_known() -> None:
    LladaFamily.fields.check(LLADA_8B, "here")
    DreamFamily.fields.check(DREAM_7B, "here")


@pytest.mark.parametrize("family", [LladaFamily, DreamFamily, LlamaFamily])
def test_a_field_is_told_once(family: Any) -> None:
    told = family.fields
    names = [*told.sizes, *told.honoured, *told.only, *told.harmless, *ANYWHERE]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("write", WRITERS)
def test_what_is_not_known_is_refused_unless_it_asks_for_nothing(write: Any, tmp_path: Path) -> None:
    expected = logits(write(tmp_path))
    assert torch.equal(logits(change(tmp_path, qk_norm=False, softcap=None, _own="x", torch_dtype="float16")), expected)
    with pytest.raises(ModelError, match=r"config.json: softcap is not known in this format.*take it out"):
        logits(change(tmp_path, softcap=30.0))


@pytest.mark.parametrize("write", WRITERS)
def test_layers_may_be_said_to_attend_to_everything_and_to_nothing_less(write: Any, tmp_path: Path) -> None:
    expected = logits(write(tmp_path))
    assert torch.equal(logits(change(tmp_path, layer_types=["full_attention"] * 2)), expected)
    for other in (["full_attention", "sliding_attention"], "full_attention", 7, {"a": 1}):
        with pytest.raises(ModelError, match=r"layer_types should be 'full_attention' for every layer, got"):
            logits(change(tmp_path, layer_types=other))


@pytest.mark.parametrize("write", WRITERS)
def test_the_number_of_heads_and_the_epsilon_are_honoured(write: Any, tmp_path: Path) -> None:
    plain = logits(write(tmp_path))
    assert not torch.allclose(logits(change(tmp_path, rms_norm_eps=10.0)), plain)
    heads = "n_heads" if write is write_llada else "num_attention_heads"
    assert heads in json.loads((tmp_path / "config.json").read_text())


def test_stock_llama_reads_one_theta_from_either_place(tmp_path: Path) -> None:
    nested = {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}}
    plain = logits(write_llama(tmp_path))
    expected = logits(change(tmp_path, **nested))
    assert not torch.allclose(expected, plain)
    assert torch.equal(logits(change(tmp_path, rope_parameters=None, rope_theta=100.0)), expected)
    with pytest.raises(ModelError, match=r"rope_theta is 50.0 at the top and 100.0 in rope_parameters"):
        logits(change(tmp_path, rope_theta=50.0, **nested))


NONSENSE: list[tuple[dict[str, Any], str]] = [
    ({"n_kv_heads": "x"}, "n_kv_heads should be a whole number above 0, got 'x'"),
    ({"n_kv_heads": True}, "n_kv_heads should be a whole number above 0, got True"),
    ({"mlp_hidden_size": -1}, "mlp_hidden_size should be a whole number above 0, got -1"),
    ({"d_model": 1e15}, "d_model should be a whole number above 0"),
    ({"d_model": 10**15}, "of shape .* where config.json asks for"),
    ({"n_layers": 10**9}, r"lacks 4 tensors \(model.transformer.blocks.999999999.attn_norm.weight"),
    ({"mlp_hidden_size": 10**15}, "of shape .* where config.json asks for"),
    ({"embedding_size": 10**15}, "of shape .* where config.json asks for"),
    ({"rms_norm_eps": "small"}, "rms_norm_eps should be a number above 0, got 'small'"),
    ({"weight_tying": "no"}, "weight_tying should be true or false, got 'no'"),
    ({"multi_query_attention": 3}, "multi_query_attention should be true or false"),
    ({"model_type": []}, r"model_type should be a text, got \[\]"),
    ({"model_type": {"a": 1}}, "model_type should be a text"),
    ({"quantization_config": 7}, "config.json|cannot be read"),
]


@pytest.mark.parametrize(("changes", "said"), NONSENSE)
def test_nonsense_is_refused_in_one_line_at_once(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = write_llada(tmp_path, **changes)
    started = time.perf_counter()
    with pytest.raises(ModelError, match=said) as caught:
        DiffusionLM.from_pretrained(folder, device="cpu")
    assert time.perf_counter() - started < 2
    assert "\n" not in str(caught.value)


@settings(
    max_examples=int(os.environ.get("FUZZ", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    field=st.sampled_from(sorted(LLADA_8B)),
    value=st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
        *(st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)),
    ),
)
def test_any_value_of_any_field_loads_or_is_one_line(field: str, value: Any, tmp_path_factory: Any) -> None:
    folder = write_llada(tmp_path_factory.mktemp("any"), **{field: value})
    try:
        DiffusionLM.from_pretrained(folder, device="cpu")
    except ModelError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("write", WRITERS)
def test_the_rotary_buffers_of_older_files_are_fine(write: Any, tmp_path: Path) -> None:
    folder = write(tmp_path)
    expected = logits(folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(logits(folder), expected)


def test_the_meta_device_holds_no_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="device 'meta' cannot be used"):
        DiffusionLM.from_pretrained(write_small_model(tmp_path), device="meta")
