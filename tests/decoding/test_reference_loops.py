"""The slow loops reproduce what the authors' released code did, token for token and forward for forward."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from dllm_decode.testing.reference_loops import LOOPS, even_counts, said_block_budgets, said_block_grids

RECORDED = Path(__file__).resolve().parents[2].parent / "shared" / "conformance"
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded runs at {RECORDED}")

RENAMES = {
    "attn_norm": "input_layernorm",
    "ff_norm": "post_attention_layernorm",
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ff_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "ff_out": "mlp.down_proj",
}
"""Names inside a block of a LLaDA checkpoint, with stock Llama's: a mapping of the tests' own beside the package's."""


@cache
def recorded_model() -> LlamaForCausalLM:
    """Load the recorded checkpoint into stock Llama by hand."""
    folder = RECORDED / "llada-checkpoint"
    config = json.loads((folder / "config.json").read_text())
    stock = LlamaConfig(
        vocab_size=config["embedding_size"],
        hidden_size=config["d_model"],
        intermediate_size=config["mlp_hidden_size"],
        num_hidden_layers=config["n_layers"],
        num_attention_heads=config["n_heads"],
        num_key_value_heads=config["n_kv_heads"],
        max_position_embeddings=config["max_sequence_length"],
        rms_norm_eps=config["rms_norm_eps"],
        rope_parameters={"rope_type": "default", "rope_theta": config["rope_theta"]},
        tie_word_embeddings=False,
    )
    stock.is_causal = False
    model = LlamaForCausalLM(stock).eval()
    renamed: dict[str, Tensor] = {}
    for key, value in load_file(folder / "model.safetensors").items():
        short = key.removeprefix("model.transformer.")
        if short.startswith("blocks."):
            _, layer, name, _ = short.split(".")
            renamed[f"model.layers.{layer}.{RENAMES[name]}.weight"] = value
        else:
            names = {"wte": "model.embed_tokens", "ln_f": "model.norm", "ff_out": "lm_head"}
            renamed[f"{names[short.removesuffix('.weight')]}.weight"] = value
    model.load_state_dict(renamed, strict=True)
    return model


def recorded_logits(tokens: Tensor, valid: Tensor | None) -> Tensor:
    """Return (B, L, V) float32 logits of the recorded checkpoint."""
    mask = None
    if valid is not None and not bool(valid.all()):
        mask = valid[:, None, None, :].expand(-1, 1, tokens.shape[1], -1)
    with torch.inference_mode():
        return recorded_model()(input_ids=tokens, attention_mask=mask, use_cache=False).logits.clone()


def recorded_cases(name: str) -> list[dict[str, Any]]:
    """Return the recorded cases of one function; none where the folder is absent."""
    file = RECORDED / "cases.json"
    return [case for case in json.loads(file.read_text()) if case["name"] == name] if file.is_file() else []


@recorded
def test_the_recorded_checkpoint_in_stock_llama_gives_the_recorded_logits() -> None:
    saved = load_file(RECORDED / "logits.safetensors")
    plain = recorded_logits(saved["tokens"], None)
    masked = recorded_logits(saved["tokens"], saved["attention_mask"].bool())
    real = saved["attention_mask"].bool()
    assert (plain - saved["logits"]).abs().max() < 1e-4
    assert (masked - saved["logits_masked"])[real].abs().max() < 1e-4


@recorded
@pytest.mark.parametrize("name", LOOPS)
def test_the_slow_loops_reproduce_every_recorded_run(name: str) -> None:
    cases = recorded_cases(name)
    wrong = []
    for number, case in enumerate(cases):
        mask = None if case["attention_mask"] is None else torch.tensor(case["attention_mask"])
        tokens, passes = LOOPS[name](
            recorded_logits, torch.tensor(case["prompt"]), mask, mask_id=159, eos_id=1, eot_id=2, **case["args"]
        )
        if tokens.tolist() != case["tokens"] or passes != case["forward_passes"]:
            wrong.append((number, case["args"], passes, case["forward_passes"], tokens.tolist() == case["tokens"]))
    assert cases and not wrong


def test_even_counts_give_the_remainder_to_the_first_steps() -> None:
    assert even_counts(10, 4) == [3, 3, 2, 2]
    assert even_counts(2, 3) == [1, 1, 0]


def test_said_block_decides_the_coarsest_grid_first_and_half_of_the_block_last() -> None:
    assert said_block_grids(8, 3) == [[0, 4], [2, 6], [1, 3, 5, 7]]
    assert said_block_grids(4, 1) == [[0, 1, 2, 3]]
    assert said_block_grids(2, 4) == [[0], [], [], [1]]


def test_said_block_budgets_follow_the_released_arithmetic() -> None:
    assert said_block_budgets(4, 3, 2) == [1, 1, 2]
    assert said_block_budgets(16, 3, 2) == [11, 3, 2]
    assert said_block_budgets(5, 1, 2) == [5]
    assert said_block_budgets(5, 2, 2) == [3, 2]
