"""Writes small checkpoints in Dream's format, with Dream-v0-Instruct-7B's config fields and tensor names, for tests.

Knows the format only; shares no code with the loaders.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from torch import Tensor

# The config.json of Dream-v0-Instruct-7B, its sizes scaled down; the vocabulary and its ids are the real ones.
DREAM_7B: dict[str, Any] = {
    "architectures": ["DreamModel"],
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_dream.DreamConfig",
        "AutoModel": "modeling_dream.DreamModel",
    },
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "hidden_act": "silu",
    "hidden_size": 28,
    "initializer_range": 0.02,
    "intermediate_size": 40,
    "mask_token_id": 151666,
    "max_position_embeddings": 131072,
    "max_window_layers": 28,
    "model_type": "Dream",
    "num_attention_heads": 7,
    "num_hidden_layers": 3,
    "num_key_value_heads": 1,
    "pad_token_id": 151643,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.2",
    "use_cache": True,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 152064,
}
MASK, EOS, EOT = 257, 256, 258


def small_dream(**changes: Any) -> dict[str, Any]:
    """Return a config with 264 vocabulary entries, the tokenizer's 256 bytes first."""
    small = {
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 264,
        "mask_token_id": MASK,
        "eos_token_id": EOS,
        "pad_token_id": EOS,
        "bos_token_id": EOS,
        "max_position_embeddings": 96,
    }
    return DREAM_7B | small | changes


def dream_tensors(config: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Return random weights under Dream's names, strong enough that predictions are far from flat."""
    generator = torch.Generator().manual_seed(seed)
    width, inner, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    key_width = width // config["num_attention_heads"] * config["num_key_value_heads"]

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(*shape, generator=generator) * scale

    def matrix(rows: int, columns: int) -> Tensor:
        return normal(rows, columns, scale=1.5 * columns**-0.5)

    tensors = {
        "model.embed_tokens.weight": normal(vocabulary, width),
        "model.norm.weight": 1 + normal(width, scale=0.1),
    }
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = matrix(vocabulary, width)
    for layer in range(config["num_hidden_layers"]):
        inside = f"model.layers.{layer}"
        tensors |= {
            f"{inside}.input_layernorm.weight": 1 + normal(width, scale=0.1),
            f"{inside}.post_attention_layernorm.weight": 1 + normal(width, scale=0.1),
            f"{inside}.self_attn.q_proj.weight": matrix(width, width),
            f"{inside}.self_attn.q_proj.bias": normal(width, scale=0.5),
            f"{inside}.self_attn.k_proj.weight": matrix(key_width, width),
            f"{inside}.self_attn.k_proj.bias": normal(key_width, scale=0.5),
            f"{inside}.self_attn.v_proj.weight": matrix(key_width, width),
            f"{inside}.self_attn.v_proj.bias": normal(key_width, scale=0.5),
            f"{inside}.self_attn.o_proj.weight": matrix(width, width),
            f"{inside}.mlp.gate_proj.weight": matrix(inner, width),
            f"{inside}.mlp.up_proj.weight": matrix(inner, width),
            f"{inside}.mlp.down_proj.weight": matrix(width, inner),
        }
    return tensors


def write_dream_tokenizer(folder: Path) -> Path:
    """Write the tokenizer as Dream publishes it: `vocab.json`, `merges.txt`, a config; no `tokenizer.json`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate(alphabet)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {EOS: "<|endoftext|>", MASK: "<|mask|>", EOT: "<|im_end|>"}
    added = {
        str(number): {
            "content": text,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for number, text in special.items()
    }
    settings = {
        "added_tokens_decoder": added,
        "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|endoftext|>",
        "mask_token": "<|mask|>",
        "pad_token": "<|endoftext|>",
        "errors": "replace",
        "tokenizer_class": "DreamTokenizer",
        "chat_template": "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
