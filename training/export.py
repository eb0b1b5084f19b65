"""Writes a trained model as a LLaDA checkpoint folder: ``config.json`` and bfloat16 safetensors."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.model import BidirectionalLlama, Shape

_ATTENTION = ("q_proj", "k_proj", "v_proj", "attn_out")


def llada_tensors(model: BidirectionalLlama) -> dict[str, Tensor]:
    """Returns copies of the weights in bfloat16 under LLaDA's names."""
    places = _places(model)
    return {name: value.detach().to(torch.bfloat16).contiguous().clone() for name, value in places.items()}


def _places(model: BidirectionalLlama) -> dict[str, Tensor]:
    """Returns views of the model's own weights under LLaDA's names."""
    tensors: dict[str, Tensor] = {
        "model.transformer.wte.weight": model.embedding,
        "model.transformer.ln_f.weight": model.final_norm,
        "model.transformer.ff_out.weight": model.head,
    }
    for layer in range(model.shape.layers):
        block = f"model.transformer.blocks.{layer}"
        tensors[f"{block}.attn_norm.weight"] = model.attention_norm[layer]
        tensors[f"{block}.ff_norm.weight"] = model.feed_norm[layer]
        for place, name in enumerate(_ATTENTION):
            tensors[f"{block}.{name}.weight"] = model.attention[layer, place]
        tensors[f"{block}.ff_proj.weight"] = model.gate_up[layer, 0]
        tensors[f"{block}.up_proj.weight"] = model.gate_up[layer, 1]
        tensors[f"{block}.ff_out.weight"] = model.down[layer]
    return tensors


def export(model: BidirectionalLlama, folder: Path, *, mask: int, end: int) -> None:
    """Writes the checkpoint; both files are complete before either replaces an older one."""
    shape = model.shape
    configuration = {
        "architectures": ["LLaDAModelLM"],
        "model_type": "llada",
        "activation_type": "silu",
        "alibi": False,
        "attention_layer_norm": False,
        "block_type": "llama",
        "d_model": shape.width,
        "embedding_size": shape.vocabulary,
        "eos_token_id": end,
        "include_bias": False,
        "include_qkv_bias": False,
        "init_device": "cpu",
        "layer_norm_type": "rms",
        "mask_token_id": mask,
        "max_sequence_length": shape.context,
        "mlp_hidden_size": shape.hidden,
        "n_heads": shape.heads,
        "n_kv_heads": shape.heads,
        "n_layers": shape.layers,
        "pad_token_id": end,
        "rms_norm_eps": shape.epsilon,
        "rope": True,
        "rope_full_precision": True,
        "rope_theta": shape.rope_theta,
        "scale_logits": False,
        "torch_dtype": "bfloat16",
        "use_cache": False,
        "vocab_size": shape.vocabulary,
        "weight_tying": False,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(llada_tensors(model), folder / "model.safetensors.partial", metadata={"format": "pt"})
    (folder / "config.json.partial").write_text(json.dumps(configuration, indent=2) + "\n")
    for name in ("model.safetensors", "config.json"):
        (folder / f"{name}.partial").replace(folder / name)


def load(folder: Path) -> BidirectionalLlama:
    """Reads an exported checkpoint back, its bfloat16 weights as float32."""
    given = json.loads((folder / "config.json").read_text())
    shape = Shape(
        vocabulary=given["embedding_size"],
        width=given["d_model"],
        layers=given["n_layers"],
        heads=given["n_heads"],
        hidden=given["mlp_hidden_size"],
        rope_theta=given["rope_theta"],
        epsilon=given["rms_norm_eps"],
        context=given["max_sequence_length"],
    )
    model = BidirectionalLlama(shape)
    stored = load_file(folder / "model.safetensors")
    with torch.no_grad():
        for name, value in _places(model).items():
            value.copy_(stored[name])
    return model
