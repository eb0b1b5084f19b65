"""Checkpoints load onto stock Llama and compute what LLaDA computes, windowed, padded, sharded, in every dtype."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dllm_decode.data.inputs import ModelInputs, SpecialTokens
from dllm_decode.errors import ModelError
from dllm_decode.forward.denoiser import Denoiser
from dllm_decode.models.load import EMBEDDED, load_model
from dllm_decode.models.placement import Placement
from dllm_decode.models.probe import is_bidirectional
from dllm_decode.models.tokenizer import line_breaks
from dllm_decode.plugins.hookspecs import hookimpl
from dllm_decode.plugins.registry import Registry
from dllm_decode.testing.checkpoints import (
    LLADA_8B,
    random_tensors,
    small_config,
    write_checkpoint,
    write_small_model,
    write_tokenizer,
)
from tests.support.plain_layers import rms_norm, rotate


def load(folder: Path, dtype: str | None = None, **options: Any) -> Denoiser:
    return load_model(folder, placement=Placement(dtype=dtype, device="cpu"), **options).denoiser


def full_logits(denoiser: Denoiser, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
    return denoiser.logits(ModelInputs(tokens, valid, slice(0, tokens.shape[1])))


def slow_llada(config: dict[str, Any], weights: dict[str, Tensor], row: list[int]) -> Tensor:
    """(L, V) logits of one row, position by position and head by head, in the weights' dtype."""
    width, heads = config["d_model"], config["n_heads"]
    size, group = width // heads, heads // config["n_kv_heads"]

    def norm(vector: Tensor, name: str) -> Tensor:
        return rms_norm(vector, weights[name], config["rms_norm_eps"])

    def rotated(vector: Tensor, position: int) -> Tensor:
        return rotate(vector, position, config["rope_theta"])

    stream = [weights["model.transformer.wte.weight"][token] for token in row]
    for layer in range(config["n_layers"]):
        block = f"model.transformer.blocks.{layer}."
        normed = [norm(vector, block + "attn_norm.weight") for vector in stream]
        query, key, value = (
            [(weights[f"{block}{name}_proj.weight"] @ vector).split(size) for vector in normed]
            for name in "qkv"
        )
        for place, vector in enumerate(stream):
            mixed = []
            for head in range(heads):
                asked = rotated(query[place][head], place)
                scores = torch.stack(
                    [asked @ rotated(key[other][head // group], other) for other in range(len(row))]
                )
                share = (scores / math.sqrt(size)).softmax(0)
                mixed.append(sum(share[other] * value[other][head // group] for other in range(len(row))))
            stream[place] = vector + weights[block + "attn_out.weight"] @ torch.cat(mixed)
        for place, vector in enumerate(stream):
            inner = norm(vector, block + "ff_norm.weight")
            gate = weights[block + "ff_proj.weight"] @ inner
            lifted = gate * torch.sigmoid(gate) * (weights[block + "up_proj.weight"] @ inner)
            stream[place] = vector + weights[block + "ff_out.weight"] @ lifted
    head_name = "wte" if config["weight_tying"] else "ff_out"
    head = weights[f"model.transformer.{head_name}.weight"]
    return torch.stack([head @ norm(vector, "model.transformer.ln_f.weight") for vector in stream])


def test_the_recorded_checkpoint_reproduces_the_recorded_logits(conformance_folder: Path) -> None:
    denoiser = load(conformance_folder / "llada-checkpoint", eot_token_id=2)
    recorded = load_file(conformance_folder / "logits.safetensors")
    tokens, valid = recorded["tokens"], recorded["attention_mask"].bool()
    torch.testing.assert_close(full_logits(denoiser, tokens), recorded["logits"], rtol=0, atol=1e-4)
    masked = full_logits(denoiser, tokens, valid)
    torch.testing.assert_close(masked, recorded["logits_masked"], rtol=0, atol=1e-4)
    assert denoiser.special == SpecialTokens(mask=159, eos=1, eot=2)


def test_a_scaled_down_llada_8b_in_three_shards_equals_a_slow_plain_implementation(tmp_path: Path) -> None:
    weights = random_tensors(LLADA_8B)
    denoiser = load(write_checkpoint(tmp_path, LLADA_8B, weights, shards=3))
    row = [126081, 5, 126336, 99, 126348, 126336, 7]
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    assert denoiser.special == SpecialTokens(mask=126336, eos=126081, eot=126348)
    assert (denoiser.vocab_size, denoiser.max_length) == (126464, 4096)
    expected = slow_llada(LLADA_8B, weights, row)
    torch.testing.assert_close(full_logits(denoiser, torch.tensor([row]))[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes", [{"n_kv_heads": 2}, {"weight_tying": True}], ids=["grouped-keys", "tied-head"]
)
def test_variants_of_the_format_equal_the_slow_implementation(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = small_config(**changes)
    weights = random_tensors(config)
    denoiser = load(write_checkpoint(tmp_path, config, weights))
    row = [3, 256, 100, 256, 9]
    expected = slow_llada(config, weights, row)
    torch.testing.assert_close(full_logits(denoiser, torch.tensor([row]))[0], expected, rtol=1e-4, atol=1e-4)


def test_the_windowed_head_equals_the_full_logits(tmp_path: Path) -> None:
    denoiser = load(write_small_model(tmp_path), "float64")
    tokens = torch.randint(0, 256, (3, 20), generator=torch.Generator().manual_seed(1))
    window = denoiser.logits(ModelInputs(tokens, None, slice(7, 15)))
    assert window.shape == (3, 8, 264)
    torch.testing.assert_close(window, full_logits(denoiser, tokens)[:, 7:15], rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", [1, 5, 30])
def test_a_padded_row_equals_the_row_alone_in_float64(tmp_path: Path, padding: int) -> None:
    denoiser = load(write_small_model(tmp_path), "float64")
    generator = torch.Generator().manual_seed(2)
    row = torch.randint(0, 256, (1, 12), generator=generator)
    mate = torch.randint(0, 256, (1, 12 + padding), generator=generator)
    tokens = torch.cat([torch.cat([torch.full((1, padding), 257), row], dim=1), mate])
    valid = torch.ones_like(tokens, dtype=torch.bool)
    valid[0, :padding] = False
    together = full_logits(denoiser, tokens, valid)
    torch.testing.assert_close(together[:1, padding:], full_logits(denoiser, row), rtol=0, atol=1e-6)
    torch.testing.assert_close(together[1:], full_logits(denoiser, mate), rtol=0, atol=1e-6)


def test_what_stands_in_the_padding_changes_nothing_and_gives_no_nan(tmp_path: Path) -> None:
    denoiser = load(write_small_model(tmp_path))
    tokens = torch.full((1, 9), 65)
    valid = torch.ones_like(tokens, dtype=torch.bool)
    valid[:, :4] = False
    other = tokens.clone()
    other[:, :4] = 90
    first, second = full_logits(denoiser, tokens, valid), full_logits(denoiser, other, valid)
    assert torch.equal(first[:, 4:], second[:, 4:])
    assert not first.isnan().any()


def test_a_row_of_nothing_but_padding_gives_no_nan(tmp_path: Path) -> None:
    denoiser = load(write_small_model(tmp_path))
    tokens = torch.full((2, 6), 65)
    valid = torch.ones_like(tokens, dtype=torch.bool)
    valid[0] = False
    assert not full_logits(denoiser, tokens, valid).isnan().any()


def test_the_mask_follows_when_padding_changes_and_goes(tmp_path: Path) -> None:
    denoiser = load(write_small_model(tmp_path), "float64")
    tokens = torch.arange(40, 50)[None]
    narrow, wide = (torch.arange(10)[None] >= padding for padding in (2, 5))
    plain = full_logits(denoiser, tokens)
    first = full_logits(denoiser, tokens, narrow)
    assert not torch.allclose(first[:, 5:], full_logits(denoiser, tokens, wide)[:, 5:])
    assert torch.equal(first, full_logits(denoiser, tokens, narrow))
    assert torch.equal(plain, full_logits(denoiser, tokens))


def test_the_logits_may_be_changed_in_place_and_record_no_gradient(tmp_path: Path) -> None:
    denoiser = load(write_small_model(tmp_path))
    tokens = torch.arange(40, 50)[None]
    before = full_logits(denoiser, tokens)
    kept = before.clone()
    before.fill_(0)
    assert not before.requires_grad
    assert torch.equal(full_logits(denoiser, tokens), kept)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_weights_take_the_dtype_asked_for_and_stay_close(tmp_path: Path, dtype: str) -> None:
    folder = write_small_model(tmp_path)
    denoiser = load(folder, dtype)
    tokens = torch.arange(40, 60)[None]
    logits = full_logits(denoiser, tokens)
    assert logits.dtype == getattr(torch, dtype)
    expected = full_logits(load(folder, "float64"), tokens)
    assert (logits.double() - expected).abs().max() < (0.6 if dtype.endswith("16") else 1e-3)


def test_a_bfloat16_checkpoint_is_float32_on_the_cpu_unless_asked(tmp_path: Path) -> None:
    config = small_config()
    folder = write_checkpoint(tmp_path, config, random_tensors(config, dtype=torch.bfloat16))
    tokens = torch.arange(40, 60)[None]
    assert full_logits(load(folder), tokens).dtype == torch.float32
    assert full_logits(load(folder, "auto"), tokens).dtype == torch.float32


def test_a_stock_llama_with_a_mask_token_runs_bidirectionally(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=264,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        eos_token_id=257,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    denoiser = load(write_tokenizer(tmp_path))
    assert denoiser.special == SpecialTokens(mask=256, eos=257, eot=258, newlines=(198,))
    assert is_bidirectional(denoiser, torch.device("cpu"))


def test_the_end_of_turn_comes_from_the_argument_then_the_tokenizer(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path)
    assert load(folder).special.eot == 258
    assert load(folder, eot_token_id=7).special.eot == 7
    (folder / "tokenizer.json").unlink()
    assert load(folder).special.eot is None


def test_line_breaks_are_told_from_the_tokenizer(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path)
    assert load(folder).special.newlines == (198,)
    (folder / "tokenizer.json").unlink()
    assert load(folder).special.newlines == ()


@pytest.mark.parametrize(
    ("words", "decoder", "expected"),
    [
        (["a", "Ċ", "ĊĊ", "ĠĊ", "Ġ", "ĉ", "Ċĉ", "čĊ", "aĊ", "Ċa"], decoders.ByteLevel(), (1, 2, 3, 6, 7)),
        (
            ["<unk>", "▁", "<0x0A>", "a", "\n", "▁\n", "▁▁", "<0x20>", "▁a"],
            decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]),
            (2, 4, 5),
        ),
    ],
    ids=["byte-level", "sentencepiece"],
)
def test_line_breaks_may_have_spaces_around_and_nothing_else(
    words: list[str], decoder: Any, expected: tuple[int, ...]
) -> None:
    tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, []))
    tokenizer.decoder = decoder
    assert line_breaks(PreTrainedTokenizerFast(tokenizer_object=tokenizer)) == expected


def test_the_mask_comes_from_the_argument_then_config_then_tokenizer(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path, mask_token_id=260)
    assert load(folder).special.mask == 260
    assert load(folder, mask_token_id=201).special.mask == 201
    config = small_config()
    del config["mask_token_id"]
    other = write_checkpoint(tmp_path / "other", config, random_tensors(config))
    assert load(write_tokenizer(other)).special.mask == 256


def test_a_plugin_s_model_family_loads_what_no_other_family_reads(
    tmp_path: Path, isolated_registry: Callable[..., Registry]
) -> None:
    class Flat:
        vocab_size, max_length = 264, None

        def __init__(self, special: SpecialTokens) -> None:
            self.special = special

        def logits(self, inputs: ModelInputs) -> Tensor:
            return torch.zeros(*inputs.tokens[:, inputs.window].shape, self.vocab_size)

    class FlatFamily:
        name = "flat"

        @staticmethod
        def matches(config: Mapping[str, Any]) -> bool:
            return config.get("model_type") == "flat"

        @staticmethod
        def load(
            folder: Path, config: Mapping[str, Any], *, special: SpecialTokens, placement: Placement
        ) -> Denoiser:
            return Flat(special)

    class Plugin:
        @hookimpl
        def dllm_denoiser(self) -> list[type[Any]]:
            return [FlatFamily]

    folder = write_small_model(tmp_path, model_type="flat")
    isolated_registry()
    with pytest.raises(ModelError, match="'flat'.*Known: .*llada, llama"):
        load(folder)
    isolated_registry({"flat": Plugin()})
    assert load(folder).special == SpecialTokens(mask=256, eos=257, eot=258, newlines=(198,))


@pytest.mark.skipif(
    not (EMBEDDED["tiny"] / "config.json").is_file(), reason="no embedded model in this checkout"
)
def test_the_embedded_model_loads_with_its_tokenizer() -> None:
    model = load_model("tiny", placement=Placement(device="cpu"))
    assert model.tokenizer is not None
    assert model.tokenizer.mask_token_id == model.denoiser.special.mask
    assert len(model.denoiser.special.ends) == 2


@pytest.mark.parametrize("device_map", ["auto", {"": "cpu"}, "cpu"])
def test_a_device_map_places_the_model_through_accelerate(tmp_path: Path, device_map: Any) -> None:
    folder = write_small_model(tmp_path)
    mapped = load_model(folder, placement=Placement(dtype="float32", device_map=device_map)).denoiser
    tokens = torch.arange(40, 60)[None]
    valid = torch.arange(20)[None] >= 3
    for padding in (None, valid):
        torch.testing.assert_close(
            full_logits(mapped, tokens, padding).cpu(),
            full_logits(load(folder), tokens, padding),
            rtol=0,
            atol=1e-4,
        )
