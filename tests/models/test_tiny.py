"""The embedded model: its size, its format, and that it still answers what it answered when it was made."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from dllm_decode.programs import permitted
from dllm_decode.tasks import TASKS
from training.evaluate import answer_texts, decode

TINY = Path(__file__).parents[2] / "dllm_decode" / "tiny"
TASK = {task.name: task() for task in TASKS}
_RENAMED = {
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
_OUTER = {
    "model.transformer.wte.weight": "model.embed_tokens.weight",
    "model.transformer.ln_f.weight": "model.norm.weight",
    "model.transformer.ff_out.weight": "lm_head.weight",
}


def _stock_name(name: str) -> str:
    if name in _OUTER:
        return _OUTER[name]
    *_, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{_RENAMED[part]}.weight"


@cache
def stock_model() -> LlamaForCausalLM:
    """The shipped weights in the library's own Llama, in float32."""
    given = json.loads((TINY / "config.json").read_text())
    config = LlamaConfig(
        vocab_size=given["embedding_size"],
        hidden_size=given["d_model"],
        num_hidden_layers=given["n_layers"],
        num_attention_heads=given["n_heads"],
        num_key_value_heads=given["n_kv_heads"],
        intermediate_size=given["mlp_hidden_size"],
        rms_norm_eps=given["rms_norm_eps"],
        max_position_embeddings=given["max_sequence_length"],
        rope_parameters={"rope_type": "default", "rope_theta": given["rope_theta"]},
        tie_word_embeddings=False,
        attention_bias=False,
        mlp_bias=False,
    )
    config.is_causal = False
    model = LlamaForCausalLM(config).eval()
    tensors = {
        _stock_name(name): value.float() for name, value in load_file(TINY / "model.safetensors").items()
    }
    model.load_state_dict(tensors)
    for layer in model.model.layers:
        layer.self_attn.is_causal = False
    return model


def test_the_weights_are_small_and_in_bfloat16() -> None:
    tensors = load_file(TINY / "model.safetensors")
    assert sum(path.stat().st_size for path in TINY.iterdir()) <= 10_000_000
    assert 1_000_000 <= sum(value.numel() for value in tensors.values()) <= 4_000_000
    assert {value.dtype for value in tensors.values()} == {torch.bfloat16}


def test_the_tokenizer_loads_with_its_special_tokens_and_digits_single() -> None:
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    given = json.loads((TINY / "config.json").read_text())
    assert len(tokenizer) <= 1024 and len(tokenizer) <= given["embedding_size"]
    assert tokenizer.mask_token_id == given["mask_token_id"]
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == given["eos_token_id"]
    assert tokenizer.convert_tokens_to_ids("<|eot_id|>") < len(tokenizer)
    assert [tokenizer.decode([token]) for token in tokenizer("2026").input_ids] == ["2", "0", "2", "6"]
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "What is 1+2?"}], tokenize=False)
    assert chat == "What is 1+2?"


@pytest.mark.parametrize("name", TASK)
def test_every_example_survives_the_tokenizer_and_fits_its_canvas(name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    task = TASK[name]
    for example in task.examples("tune", 200) + task.examples("test", 200):
        answer = tokenizer(example.reference).input_ids
        assert tokenizer.decode(answer) == example.reference
        assert tokenizer.decode(tokenizer(example.prompt).input_ids) == example.prompt
        assert len(answer) < task.gen_length


def test_any_text_survives_the_tokenizer() -> None:
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    for text in ("Zürich, naïve — 東京!", "  spaces\t and\n\n lines ", "x_1 = {'a': [1, 2]}"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_weights_load_into_the_stock_llama_and_look_both_ways() -> None:
    model = stock_model()
    tokens = torch.tensor([[5, 6, 7, 8]])
    changed = torch.tensor([[5, 6, 7, 9]])
    with torch.no_grad():
        assert not torch.equal(model(tokens).logits[0, 0], model(changed).logits[0, 0])


def _answer(prompt: str, length: int) -> str:
    """Decodes with the library's Llama and a plain loop, one token a step."""
    tokenizer = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    mask = tokenizer.token_to_id("<|mask|>")
    canvas = torch.tensor([tokenizer.encode(prompt).ids + [mask] * length])

    def forward(tokens: torch.Tensor, valid: torch.Tensor, answer_length: int) -> torch.Tensor:
        with torch.no_grad():
            return stock_model()(tokens).logits[:, -answer_length:]

    answer = decode(forward, canvas, canvas > -1, length=length, steps=length, block=length, mask=mask)
    return answer_texts(tokenizer, answer)[0]


GOLDEN = [
    *[("line", number) for number in (0, 1)],
    *[("square", number) for number in (0, 1)],
    *[("facts", number) for number in (0, 1)],
    *[("arithmetic", number) for number in (0, 1)],
    *[("countdown", number) for number in (0, 1)],
    *[("code", number) for number in (1, 2)],
]
"""(task, number in the test split) of examples that the shipped weights get right in float32."""


@pytest.mark.parametrize(("name", "number"), GOLDEN)
def test_the_shipped_weights_still_answer_rightly(name: str, number: int) -> None:
    task = TASK[name]
    example = task.examples("test")[number]
    with permitted():
        assert task.score(example, _answer(example.prompt, task.gen_length))
