"""The loader that the Llama-shaped families share.

Knows configs, devices and weights; key names, config fields and other architectures belong to the families.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PretrainedConfig

from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.errors import ModelError
from dllm_decode.models.llama.llama import BidirectionalLlama
from dllm_decode.models.placement import Placement
from dllm_decode.models.probe import refuse_causal
from dllm_decode.models.weights import (
    key_mapping,
    read_model,
    refuse_misfits,
    refuse_other_head,
    stored_dtypes,
)


def load_llama(
    folder: Path,
    config: PretrainedConfig,
    names: Mapping[str, str],
    *,
    special: SpecialTokens,
    placement: Placement,
    architecture: Any = None,
    serve: type[BidirectionalLlama] = BidirectionalLlama,
) -> BidirectionalLlama:
    """Load a Llama-shaped checkpoint as a denoiser.

    Args:
        folder: Holds `model.safetensors` or its shards.
        config: The model in the stock architecture's terms.
        names: From the checkpoint's module names to stock ones, `*` for the layer; empty where they are the same.
        special: Ids of mask, EOS and EOT.
        placement: The dtype, device and device map asked for.
        architecture: A `transformers` class built like `LlamaForCausalLM`, which it is if not given.
        serve: What the model becomes.

    Raises:
        ModelError: The weights cannot be read, do not fit the config, or the model turns out causal.
    """
    stored = stored_dtypes(folder)
    quantised = getattr(config, "quantization_config", None)
    strange = [] if quantised else [key for key, dtype in stored.items() if dtype is None]
    plain = next((dtype for dtype in stored.values() if dtype is not None), torch.float32)
    config.is_causal = False
    config.use_cache = False
    model, device, report = read_model(
        _never_generating(architecture or LlamaForCausalLM),
        folder,
        config,
        plain,
        placement,
        attn_implementation="sdpa",
        key_mapping=key_mapping(names),
        ignore_mismatched_sizes=True,  # reported, and refused below with every other fault
    )
    refuse_misfits(folder, report, names, strange)
    if config.tie_word_embeddings:
        theirs = {ours: name for name, ours in names.items()}
        head, embedding = (f"{theirs.get(ours, ours)}.weight" for ours in ("lm_head", "model.embed_tokens"))
        if head in stored:
            refuse_other_head(folder, head, embedding)
    denoiser = serve(model, special, config.max_position_embeddings, device)
    refuse_causal(denoiser, device, str(folder))
    return denoiser


def _never_generating(architecture: Any) -> Any:
    """Return the class without settings for generating token by token, which take a fifth of a small model's loading."""
    never = classmethod(lambda cls: False)
    return type(architecture.__name__, (architecture,), {"can_generate": never})


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
