"""The loader that the Llama-shaped families share.

Knows configs, devices and weights; key names, config fields and other architectures belong to the families.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PretrainedConfig

from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.errors import ModelError
from dllm_decode.models.llama.llama import BidirectionalLlama
from dllm_decode.models.placement import Placement, device_lookup, dispatch
from dllm_decode.models.probe import refuse_causal
from dllm_decode.models.weights import load_weights, read_headers


def load_llama(
    folder: Path,
    config: PretrainedConfig,
    checkpoint_name: Callable[[str], str],
    *,
    special: SpecialTokens,
    placement: Placement,
    architecture: Any = None,
    serve: type[BidirectionalLlama] = BidirectionalLlama,
) -> BidirectionalLlama:
    """Load a Llama-shaped checkpoint as a denoiser; never holds its weights twice.

    Args:
        folder: Holds `model.safetensors` or its shards.
        config: The model in the stock architecture's terms.
        checkpoint_name: From a stock parameter's name to its name in the checkpoint.
        special: Ids of mask, EOS and EOT.
        placement: The dtype, device and device map asked for.
        architecture: A `transformers` class built like `LlamaForCausalLM`, which it is if not given.
        serve: What the model becomes.

    Raises:
        ModelError: The weights cannot be read, do not fit the config, or the model turns out causal.
    """
    device = placement.resolve_device()
    entries = read_headers(folder)
    stored = next((entry.dtype for entry in entries.values() if entry.dtype is not None), torch.float32)
    dtype = placement.resolve_dtype(stored, device)
    config.is_causal = False
    config.use_cache = False
    config._attn_implementation = "sdpa"
    kind: Any = architecture or LlamaForCausalLM
    with torch.device("meta"):
        model = kind(config)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    mapping = placement.resolve_map(model, dtype)
    device_of = device_lookup(mapping, device)
    load_weights(model, entries, checkpoint_name, origin=str(folder), dtype=dtype, device_of=device_of)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    # Rotary frequencies are in no checkpoint and were left on the meta device; they stay float32 in every dtype.
    rotary: Any = type(model.model.rotary_emb)
    model.model.rotary_emb = rotary(config=config).to(device_of("model.rotary_emb"))
    model.requires_grad_(False)
    model.train(False)
    if mapping is not None:
        dispatch(model, mapping)
        device = model.model.embed_tokens.weight.device
    denoiser = serve(model, special, config.max_position_embeddings, device)
    refuse_causal(denoiser, device, str(folder))
    return denoiser


def llama_config(folder: Path, **fields: Any) -> LlamaConfig:
    """Return stock Llama's config.

    Raises:
        ModelError: The library refuses a value.
    """
    try:
        return LlamaConfig(**fields)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{folder / 'config.json'} describes no Llama that can be built: {reason}") from None
