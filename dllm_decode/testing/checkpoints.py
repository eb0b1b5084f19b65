"""Writes small checkpoints in LLaDA's format, with LLaDA-8B's real config fields and tensor names, for tests.

Knows the format only; shares no code with the loaders.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from dllm_decode.testing.byte_tokenizer import CHAT_TEMPLATE, EOS, MASK, bytes_and_ends

# The config.json of LLaDA-8B as published, its sizes scaled down; the vocabulary and its ids are the real ones.
LLADA_8B: dict[str, Any] = {
    "activation_type": "silu",
    "alibi": False,
    "alibi_bias_max": 8.0,
    "architectures": ["LLaDAModelLM"],
    "attention_dropout": 0.0,
    "attention_layer_norm": False,
    "attention_layer_norm_with_affine": True,
    "auto_map": {
        "AutoConfig": "configuration_llada.LLaDAConfig",
        "AutoModelForCausalLM": "modeling_llada.LLaDAModelLM",
        "AutoModel": "modeling_llada.LLaDAModelLM",
    },
    "bias_for_layer_norm": False,
    "block_group_size": 1,
    "block_type": "llama",
    "d_model": 32,
    "embedding_dropout": 0.0,
    "embedding_size": 126464,
    "eos_token_id": 126081,
    "flash_attention": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "init_cutoff_factor": None,
    "init_device": "meta",
    "init_fn": "mitchell",
    "init_std": 0.02,
    "input_emb_norm": False,
    "layer_norm_type": "rms",
    "layer_norm_with_affine": True,
    "mask_token_id": 126336,
    "max_sequence_length": 4096,
    "mlp_hidden_size": 48,
    "mlp_ratio": 4,
    "model_type": "llada",
    "multi_query_attention": None,
    "n_heads": 4,
    "n_kv_heads": 4,
    "n_layers": 3,
    "pad_token_id": 126081,
    "precision": "amp_bf16",
    "residual_dropout": 0.0,
    "rms_norm_eps": 1e-05,
    "rope": True,
    "rope_full_precision": True,
    "rope_theta": 500000.0,
    "scale_logits": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.3",
    "use_cache": False,
    "vocab_size": 126464,
    "weight_tying": False,
}

def small_config(**changes: Any) -> dict[str, Any]:
    """Return a config with 264 vocabulary entries: 256 bytes and room for the special tokens of `write_tokenizer`."""
    small = {
        "embedding_size": 264,
        "vocab_size": 264,
        "mask_token_id": 256,
        "eos_token_id": 257,
        "pad_token_id": 257,
        "max_sequence_length": 64,
    }
    return LLADA_8B | small | changes


def random_tensors(
    config: dict[str, Any], seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Return random weights under LLaDA's names, strong enough that predictions are far from flat."""
    generator = torch.Generator().manual_seed(seed)
    width, hidden, vocabulary = config["d_model"], config["mlp_hidden_size"], config["embedding_size"]
    key_width = width // config["n_heads"] * config["n_kv_heads"]

    def matrix(rows: int, columns: int) -> Tensor:
        strength: float = columns**-0.5
        return torch.randn(rows, columns, generator=generator) * 1.5 * strength

    def scale() -> Tensor:
        return 1 + 0.1 * torch.randn(width, generator=generator)

    tensors = {
        "model.transformer.wte.weight": torch.randn(vocabulary, width, generator=generator),
        "model.transformer.ln_f.weight": scale(),
    }
    if not config["weight_tying"]:
        tensors["model.transformer.ff_out.weight"] = matrix(vocabulary, width)
    for layer in range(config["n_layers"]):
        block = f"model.transformer.blocks.{layer}"
        tensors |= {
            f"{block}.attn_norm.weight": scale(),
            f"{block}.ff_norm.weight": scale(),
            f"{block}.q_proj.weight": matrix(width, width),
            f"{block}.k_proj.weight": matrix(key_width, width),
            f"{block}.v_proj.weight": matrix(key_width, width),
            f"{block}.attn_out.weight": matrix(width, width),
            f"{block}.ff_proj.weight": matrix(hidden, width),
            f"{block}.up_proj.weight": matrix(hidden, width),
            f"{block}.ff_out.weight": matrix(width, hidden),
        }
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def write_checkpoint(
    folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], shards: int = 1
) -> Path:
    """Write `config.json` and the weights, in one file or in numbered shards with an index; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def write_tokenizer(folder: Path, *, mask: bool = True, chat_template: bool = True) -> Path:
    """Write a tokenizer of the 256 bytes, then mask 256, EOS 257 and EOT 258; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    bytes_and_ends().save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": EOS,
        "pad_token": EOS,
        "clean_up_tokenization_spaces": False,
    }
    if mask:
        settings["mask_token"] = MASK
    if chat_template:
        settings["chat_template"] = CHAT_TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def write_small_model(folder: Path, **changes: Any) -> Path:
    """Write a whole small model with its tokenizer; return the folder."""
    config = small_config(**changes)
    write_checkpoint(folder, config, random_tensors(config))
    return write_tokenizer(folder)
