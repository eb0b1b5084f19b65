"""Every model that cannot be used is refused with one clear line that says what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from dllm_decode import DiffusionLM
from dllm_decode.errors import ModelError
from dllm_decode.models import load as loading
from dllm_decode.models.llama import llama_checkpoint
from dllm_decode.testing.checkpoints import (
    random_tensors,
    small_config,
    write_checkpoint,
    write_small_model,
    write_tokenizer,
)


def refusal(name_or_path: str | Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        DiffusionLM.from_pretrained(name_or_path, device="cpu", **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def change_tensors(folder: Path, change: Any) -> None:
    tensors: dict[str, Tensor] = {
        name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()
    }
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_an_unknown_name_gets_a_suggestion_and_the_list() -> None:
    message = refusal("tinny")
    assert "unknown model 'tinny'" in message
    assert "Did you mean 'tiny'?" in message
    assert "hub id" in message


def test_a_path_that_does_not_exist_is_no_folder(tmp_path: Path) -> None:
    assert "no checkpoint folder" in refusal(tmp_path / "nowhere")
    assert "no checkpoint folder" in refusal(str(tmp_path / "nowhere"))


def test_a_hub_id_without_a_connection_says_that_it_is_no_folder_either() -> None:
    message = refusal("no-such-owner/no-such-model")
    assert "is no folder here and could not be fetched" in message
    assert "local checkpoint folder" in message


def test_a_file_is_no_checkpoint_folder(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path)
    assert "give the checkpoint's folder" in refusal(folder / "model.safetensors")


def test_a_folder_without_config_is_no_checkpoint(tmp_path: Path) -> None:
    assert "holds no config.json" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["{", "[1, 2]", ""])
def test_a_config_that_is_no_json_object_is_named(tmp_path: Path, text: str) -> None:
    write_small_model(tmp_path)
    (tmp_path / "config.json").write_text(text)
    assert "config.json" in refusal(tmp_path)


def test_an_unknown_model_type_lists_the_families(tmp_path: Path) -> None:
    message = refusal(write_small_model(tmp_path, model_type="gpt2"))
    assert "model_type 'gpt2'" in message
    assert "llada, llama" in message


def test_an_embedded_model_that_was_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(loading.EMBEDDED, "tiny", tmp_path)
    assert "embedded model 'tiny' is not in this installation" in refusal("tiny")


def test_a_folder_without_weights_says_what_was_expected(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path)
    (folder / "model.safetensors").unlink()
    assert "holds no weights: expected model.safetensors" in refusal(folder)
    (folder / "pytorch_model.bin").write_bytes(b"")
    assert "convert it to safetensors" in refusal(folder)


@pytest.mark.parametrize("kept", [0, 4, 200, 40_000, -1])
def test_a_truncated_weights_file_is_named(tmp_path: Path, kept: int) -> None:
    folder = write_small_model(tmp_path)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    message = refusal(folder)
    assert str(file) in message
    assert "truncated" in message


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    config = small_config()
    folder = write_checkpoint(tmp_path, config, random_tensors(config), shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert "model-00002-of-00003.safetensors, named in model.safetensors.index.json, is missing" in refusal(
        folder
    )


def test_an_index_that_names_what_a_shard_does_not_hold_is_refused(tmp_path: Path) -> None:
    config = small_config()
    folder = write_checkpoint(tmp_path, config, random_tensors(config), shards=2)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["model.transformer.ghost.weight"] = "model-00001-of-00002.safetensors"
    path.write_text(json.dumps(index))
    assert "model.transformer.ghost.weight" in refusal(folder)
    path.write_text("{}")
    assert "no index of weights" in refusal(folder)


def test_missing_left_over_and_misshaped_tensors_are_named_as_the_checkpoint_names_them(
    tmp_path: Path,
) -> None:
    folder = write_small_model(tmp_path)
    block = "model.transformer.blocks.1"

    def spoil(tensors: dict[str, Tensor]) -> None:
        del tensors[f"{block}.attn_out.weight"]
        tensors[f"{block}.ghost.weight"] = torch.zeros(2)
        tensors["model.transformer.ln_f.weight"] = torch.zeros(7)

    change_tensors(folder, spoil)
    message = refusal(folder)
    assert f"lacks {block}.attn_out.weight" in message
    assert f"holds {block}.ghost.weight, which the model has no place for" in message
    assert "model.transformer.ln_f.weight of shape (7,) where config.json asks for (32,)" in message


def test_weights_that_are_no_floating_point_numbers_are_refused(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path)
    name = "model.transformer.ln_f.weight"
    change_tensors(folder, lambda tensors: tensors.update({name: torch.ones(32, dtype=torch.int8)}))
    assert "quantised or integer format" in refusal(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alibi", True),
        ("block_type", "sequential"),
        ("layer_norm_type", "default"),
        ("include_bias", True),
        ("include_qkv_bias", True),
        ("attention_layer_norm", True),
        ("rope", False),
        ("activation_type", "swiglu"),
        ("scale_logits", True),
        ("input_emb_norm", True),
        ("block_group_size", 2),
        ("clip_qkv", 8.0),
    ],
)
def test_a_setting_that_stock_llama_does_not_have_is_refused(tmp_path: Path, field: str, value: Any) -> None:
    message = refusal(write_small_model(tmp_path, **{field: value}))
    assert f"{field} {value!r} is not supported" in message


@pytest.mark.parametrize(("field", "value"), [("d_model", "32"), ("n_layers", 0), ("n_heads", 5)])
def test_a_size_that_makes_no_model_is_refused(tmp_path: Path, field: str, value: Any) -> None:
    folder = write_small_model(tmp_path)
    (folder / "config.json").write_text(json.dumps(small_config(**{field: value})))
    assert field in refusal(folder)


def test_a_missing_size_is_named(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path)
    config = small_config()
    del config["n_layers"]
    (folder / "config.json").write_text(json.dumps(config))
    assert "n_layers is missing" in refusal(folder)


def test_a_tokenizer_without_a_mask_token_gets_a_way_out(tmp_path: Path) -> None:
    config = small_config()
    del config["mask_token_id"]
    folder = write_tokenizer(write_checkpoint(tmp_path, config, random_tensors(config)), mask=False)
    message = refusal(folder)
    assert "has no mask token" in message
    assert "mask_token_id=N" in message
    assert DiffusionLM.from_pretrained(folder, device="cpu", mask_token_id=256).special.mask == 256


@pytest.mark.parametrize("given", [{"mask_token_id": 264}, {"mask_token_id": -1}, {"eot_token_id": 999}])
def test_a_special_token_outside_the_vocabulary_is_refused(tmp_path: Path, given: dict[str, int]) -> None:
    assert "vocabulary of 264 entries" in refusal(write_small_model(tmp_path), **given)


def test_a_tokenizer_file_that_is_broken_is_named(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path)
    (folder / "tokenizer.json").write_text("{}")
    assert "tokenizer" in refusal(folder)


def test_an_unknown_dtype_and_an_unknown_device_are_named(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path)
    assert "Did you mean 'bfloat16'?" in refusal(folder, dtype="bfloat")
    with pytest.raises(ModelError, match="device 'gpu' cannot be used"):
        DiffusionLM.from_pretrained(folder, device="gpu")
    with pytest.raises(ModelError, match="not both"):
        DiffusionLM.from_pretrained(folder, device="cpu", device_map="auto")


def test_a_causal_model_is_refused_and_told_what_is_needed() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    causal = LlamaForCausalLM(config)
    with pytest.raises(ModelError, match=r"causal.*transformers >= 5\.6"):
        DiffusionLM.from_module(causal, vocab_size=32, mask_token_id=31)
    config.is_causal = False
    assert DiffusionLM.from_module(causal, vocab_size=32, mask_token_id=31).special.mask == 31


def test_a_checkpoint_that_runs_causally_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a library version that ignores `is_causal=False` would do."""
    from transformers.models.llama import modeling_llama

    class IgnoresIsCausal(modeling_llama.LlamaForCausalLM):  # type: ignore[misc]
        def __init__(self, config: LlamaConfig) -> None:
            config.is_causal = True
            super().__init__(config)

    monkeypatch.setattr(llama_checkpoint.transformers, "LlamaForCausalLM", IgnoresIsCausal)
    message = refusal(write_small_model(tmp_path))
    assert "is causal" in message
    assert "transformers >= 5.6" in message


def test_a_stock_llama_that_says_it_is_causal_or_has_no_mask_token_is_refused(tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=264, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    assert "Is it a masked diffusion model?" in refusal(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"is_causal": True, "mask_token_id": 3}))
    assert "is_causal True is not supported" in refusal(tmp_path)


def test_a_module_that_gives_no_logits_is_refused() -> None:
    with pytest.raises(ModelError, match=r"Embedding returned torch.float32 of \(1, 3, 5\) where .* \(1, 3, 9\)"):
        DiffusionLM.from_module(nn.Embedding(9, 5), vocab_size=9, mask_token_id=0)
    with pytest.raises(ModelError, match="no id of a vocabulary of 9"):
        DiffusionLM.from_module(nn.Embedding(9, 9), vocab_size=9, mask_token_id=9)


def test_a_tied_checkpoint_may_store_its_head_again_and_no_other_one(tmp_path: Path) -> None:
    config, tensors = small_config(weight_tying=True), random_tensors(small_config())
    embedding, head = "model.transformer.wte.weight", "model.transformer.ff_out.weight"
    for name, stored in (("same", tensors[embedding].clone()), ("other", tensors[head])):
        write_checkpoint(tmp_path / name, config, tensors | {head: stored})
        write_tokenizer(tmp_path / name)
    DiffusionLM.from_pretrained(tmp_path / "same")
    assert f"holds {head}, which differs from {embedding}" in refusal(tmp_path / "other")
