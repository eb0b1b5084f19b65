"""Dream runs on stock Qwen2: bidirectional, logits one column to the left, padded, cached, infilled."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dllm_decode import DiffusionLM
from dllm_decode.data.inputs import ModelInputs
from dllm_decode.errors import ModelError
from dllm_decode.models.load import load_model
from dllm_decode.models.placement import Placement
from dllm_decode.testing.checkpoints import write_checkpoint
from tests.support.dream_checkpoint import (
    DREAM_7B,
    EOS,
    EOT,
    MASK,
    dream_tensors,
    small_dream,
    write_dream_tokenizer,
)
from tests.support.plain_layers import rms_norm, rotate

LETTERS = 65


def write_small_dream(folder: Path, **changes: Any) -> Path:
    config = small_dream(**changes)
    write_checkpoint(folder, config, dream_tensors(config))
    return write_dream_tokenizer(folder)


def load(folder: Path, dtype: str = "float64") -> Any:
    return load_model(folder, placement=Placement(dtype=dtype, device="cpu")).denoiser


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(write_small_dream(tmp_path_factory.mktemp("dream")))


def full_logits(denoiser: Any, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
    return denoiser.logits(ModelInputs(tokens, valid, slice(0, tokens.shape[1])))


def slow_dream(config: dict[str, Any], weights: dict[str, Tensor], row: list[int]) -> Tensor:
    """(L, V) logits of one row, position by position and head by head, then moved one column to the right."""
    width, heads = config["hidden_size"], config["num_attention_heads"]
    size, group = width // heads, heads // config["num_key_value_heads"]

    def norm(vector: Tensor, name: str) -> Tensor:
        return rms_norm(vector, weights[name], config["rms_norm_eps"])

    def rotated(vector: Tensor, position: int) -> Tensor:
        return rotate(vector, position, config["rope_theta"])

    def project(vector: Tensor, name: str) -> tuple[Tensor, ...]:
        return (weights[f"{name}.weight"] @ vector + weights[f"{name}.bias"]).split(size)

    stream = [weights["model.embed_tokens.weight"][token] for token in row]
    for layer in range(config["num_hidden_layers"]):
        inside = f"model.layers.{layer}."
        normed = [norm(vector, inside + "input_layernorm.weight") for vector in stream]
        query, key, value = (
            [project(vector, f"{inside}self_attn.{name}_proj") for vector in normed] for name in "qkv"
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
            stream[place] = vector + weights[inside + "self_attn.o_proj.weight"] @ torch.cat(mixed)
        for place, vector in enumerate(stream):
            inner = norm(vector, inside + "post_attention_layernorm.weight")
            gate = weights[inside + "mlp.gate_proj.weight"] @ inner
            lifted = gate * torch.sigmoid(gate) * (weights[inside + "mlp.up_proj.weight"] @ inner)
            stream[place] = vector + weights[inside + "mlp.down_proj.weight"] @ lifted
    head = weights["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    outputs = [head @ norm(vector, "model.norm.weight") for vector in stream]
    return torch.stack([outputs[max(0, place - 1)] for place in range(len(row))])


def test_a_scaled_down_dream_7b_in_four_shards_equals_a_slow_plain_implementation(tmp_path: Path) -> None:
    weights = dream_tensors(DREAM_7B)
    denoiser = load(write_checkpoint(tmp_path, DREAM_7B, weights, shards=4), "float32")
    row = [151643, 5, 151666, 99, 151645, 151666, 7]
    assert len(list(tmp_path.glob("*.safetensors"))) == 4
    special = denoiser.special
    assert (special.mask, special.eos, special.eot) == (151666, 151643, 151645)
    assert (denoiser.vocab_size, denoiser.max_length) == (152064, 131072)
    expected = slow_dream(DREAM_7B, weights, row)
    torch.testing.assert_close(full_logits(denoiser, torch.tensor([row]))[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": True}], ids=["grouped-keys", "tied-head"])
def test_variants_of_the_format_equal_the_slow_implementation(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = small_dream(**changes)
    weights = {name: tensor.double() for name, tensor in dream_tensors(config).items()}
    denoiser = load(write_checkpoint(tmp_path, config, weights))
    row = [3, MASK, 100, MASK, 9]
    torch.testing.assert_close(
        full_logits(denoiser, torch.tensor([row]))[0], slow_dream(config, weights, row), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("window", [(0, 1), (0, 6), (1, 2), (1, 12), (5, 9), (11, 12)])
@pytest.mark.parametrize("padding", [0, 1, 5])
def test_every_window_equals_the_full_logits(small: Any, window: tuple[int, int], padding: int) -> None:
    tokens = torch.randint(0, 256, (2, 12), generator=torch.Generator().manual_seed(1))
    valid = (torch.arange(12)[None] >= torch.tensor([[padding], [0]])) if padding else None
    part = small.logits(ModelInputs(tokens, valid, slice(*window)))
    torch.testing.assert_close(part, full_logits(small, tokens, valid)[:, slice(*window)], rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", [1, 5, 30])
def test_a_padded_row_equals_the_row_alone_from_its_first_column_on(small: Any, padding: int) -> None:
    generator = torch.Generator().manual_seed(2)
    row = torch.randint(0, 256, (1, 12), generator=generator)
    mate = torch.randint(0, 256, (1, 12 + padding), generator=generator)
    tokens = torch.cat([torch.cat([torch.full((1, padding), EOS), row], dim=1), mate])
    valid = torch.ones_like(tokens, dtype=torch.bool)
    valid[0, :padding] = False
    together = full_logits(small, tokens, valid)
    torch.testing.assert_close(together[:1, padding:], full_logits(small, row), rtol=0, atol=1e-9)
    torch.testing.assert_close(together[1:], full_logits(small, mate), rtol=0, atol=1e-9)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("recompute", [slice(4, 8), slice(4, 14), slice(0, 8), slice(2, 9)])
def test_a_cached_forward_equals_a_full_one_while_nothing_has_changed(
    small: Any, recompute: slice, padding: int
) -> None:
    """The window's first column is predicted from the column before it, which is then computed as well."""
    tokens = torch.randint(0, 256, (2, 14), generator=torch.Generator().manual_seed(3))
    valid = (torch.arange(14)[None] >= torch.tensor([[padding], [0]])) if padding else None
    window, cache = slice(4, 8), small.new_cache()
    small.logits(ModelInputs(tokens, valid, window, cache))
    cached = small.logits(ModelInputs(tokens, valid, window, cache, recompute))
    torch.testing.assert_close(cached, full_logits(small, tokens, valid)[:, window], rtol=0, atol=1e-12)


def test_a_cached_forward_from_column_0_keeps_the_first_column_s_own_logits(small: Any) -> None:
    tokens = torch.full((1, 6), LETTERS)
    cache = small.new_cache()
    small.logits(ModelInputs(tokens, None, slice(0, 3), cache))
    cached = small.logits(ModelInputs(tokens, None, slice(0, 3), cache, slice(0, 3)))
    torch.testing.assert_close(cached, full_logits(small, tokens)[:, :3], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cache", [None, {"name": "prefix"}, {"name": "dual"}])
@pytest.mark.parametrize("strategy", ["llada", "said", "fast-dllm"])
def test_a_row_of_a_padded_batch_is_decoded_as_if_alone(tmp_path: Path, strategy: str, cache: Any) -> None:
    lm = DiffusionLM.from_pretrained(write_small_dream(tmp_path), dtype="float64", device="cpu")
    prompts = ["a", "much longer than the other", "mid length"]
    options: dict[str, Any] = {"gen_length": 16, "block": {"name": "fixed", "length": 8}, "cache": cache}
    together = lm.generate(prompts, strategy, **options)
    for row, prompt in enumerate(prompts):
        alone = lm.generate(prompt, strategy, row_ids=[row], **options)
        assert torch.equal(alone.tokens[0], together.tokens[row])
        assert alone.forward_passes[0] == together.forward_passes[row]


def test_the_published_tokenizer_files_are_read_without_a_tokenizer_json(tmp_path: Path) -> None:
    lm = DiffusionLM.from_pretrained(write_small_dream(tmp_path), device="cpu")
    assert lm.tokenizer is not None
    text = "été, 12 lines\n"
    ids = lm.tokenizer(text)["input_ids"]
    assert len(ids) == len(text.encode())
    assert lm.tokenizer.decode(ids) == text
    assert (lm.special.mask, lm.special.eos, lm.special.eot) == (MASK, EOS, EOT)
    assert lm.tokenizer.mask_token_id == MASK
    out = lm.generate([[{"role": "user", "content": "hi"}]], gen_length=4)
    assert out.canvas[0, :3].tolist() == [*lm.tokenizer("hi")["input_ids"], EOT]
    assert "Z" in lm.infill("[MASK]Z[MASK]").texts[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_scaling .* is not supported"),
        ({"use_sliding_window": True}, "use_sliding_window True is not supported"),
        ({"hidden_act": "gelu"}, "only 'silu' is"),
        ({"num_attention_heads": 0}, "num_attention_heads should be a whole number above 0, got 0"),
        ({"num_attention_heads": 5}, "num_attention_heads 5 .* do not divide"),
        ({"intermediate_size": 41}, "of shape .* where config.json asks for"),
    ],
)
def test_what_stock_qwen2_cannot_serve_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = write_checkpoint(tmp_path, small_dream(), dream_tensors(small_dream()))
    (folder / "config.json").write_text(json.dumps(small_dream(**changes)))
    with pytest.raises(ModelError, match=message):
        load(folder)
