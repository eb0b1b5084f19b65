"""A checkpoint folder with random weights and the package's own tokenizer, for tests and benchmarks that need a whole model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import dllm_decode

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def write_checkpoint(folder: Path, **changes: Any) -> Path:
    """Write a bidirectional Llama of one layer and its tokenizer; `changes` go to `config.json`."""
    source = Path(dllm_decode.__file__).parent / "tiny"
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copy(source / name, folder / name)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder))
    fields: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.5,
        "eos_token_id": tokenizer.eos_token_id,
        "mask_token_id": tokenizer.mask_token_id,
        "is_causal": False,
    }
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**(fields | changes)))
    model.config.save_pretrained(folder)
    # Not save_pretrained: its progress bar would stand in the output that tests look at.
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    return folder
