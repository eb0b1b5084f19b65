"""The loader that the Llama-shaped formats share: stock code of `transformers`, made bidirectional."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.errors import ModelError
from dllm_decode.models.llama.llama import BidirectionalLlama
from dllm_decode.models.llama.shifted import ShiftedLlama
from dllm_decode.models.placement import Placement
from dllm_decode.models.probe import refuse_causal
from dllm_decode.models.weights import Names, read_model, refuse_misfits, refuse_other_head, stored_tensors

if TYPE_CHECKING:
    from dllm_decode.models.llama.format import LlamaFormat

_FIXED = {"is_causal": False, "use_cache": False, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def load_llama(
    folder: Path,
    family: type[LlamaFormat],
    fields: Mapping[str, Any],
    *,
    special: SpecialTokens,
    placement: Placement,
) -> BidirectionalLlama:
    """Load a Llama-shaped checkpoint as a denoiser.

    Args:
        folder: Holds `model.safetensors` or its shards.
        family: Names of the checkpoint's tensors, and the stock architecture.
        fields: The model in the stock architecture's terms.
        special: Ids of mask, EOS and EOT.
        placement: The dtype, device and device map asked for.

    Raises:
        ModelError: The weights cannot be read, do not fit the config, or the model turns out causal.
    """
    architecture = getattr(transformers, family.architecture)
    try:
        config = architecture.config_class(**fields, **_FIXED)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{folder / 'config.json'} describes no model that can be built: {reason}") from None
    names, stored = Names(family.names), stored_tensors(folder)
    quantised = getattr(config, "quantization_config", None) is not None
    refuse_misfits(folder, _first_look(config, names, stored, quantised), names, [])
    model, device, report = read_model(
        _never_generating(architecture),
        folder,
        config,
        next((tensor.dtype for tensor in stored.values() if tensor.dtype is not None), torch.float32),
        placement,
        attn_implementation="sdpa",
        key_mapping=names.mapping,
        ignore_mismatched_sizes=True,  # reported, and refused below with every other fault
    )
    strange = [] if quantised else [key for key, tensor in stored.items() if tensor.dtype is None]
    refuse_misfits(folder, report, names, strange)
    if config.tie_word_embeddings:
        refuse_other_head(folder, *map(names.theirs, ("lm_head.weight", "model.embed_tokens.weight")))
    serve = ShiftedLlama if family.shifted else BidirectionalLlama
    denoiser = serve(model, special, config.max_position_embeddings, device)
    refuse_causal(denoiser, device, str(folder))
    return denoiser


def _never_generating(architecture: Any) -> Any:
    """Return the class without settings for generating token by token, which take a fifth of a small model's loading."""
    never = classmethod(lambda cls: False)
    return type(architecture.__name__, (architecture,), {"can_generate": never})


def _first_look(config: Any, names: Names, stored: Mapping[str, Any], quantised: bool) -> dict[str, Any]:
    """Report tensors that are not there, or of other shapes, before a model of any size that a config names is built."""
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    last = f"model.layers.{config.num_hidden_layers - 1}"
    wanted = {
        f"{last}.input_layernorm.weight": (config.hidden_size,),
        "model.embed_tokens.weight": (config.vocab_size, config.hidden_size),
        f"{last}.self_attn.q_proj.weight": (config.num_attention_heads * size, config.hidden_size),
        f"{last}.self_attn.k_proj.weight": (config.num_key_value_heads * size, config.hidden_size),
        f"{last}.mlp.gate_proj.weight": (config.intermediate_size, config.hidden_size),
    }
    wanted = dict(list(wanted.items())[:1]) if quantised else wanted
    found = {key: stored.get(names.theirs(key)) for key in wanted}
    return {
        "missing_keys": [key for key, tensor in found.items() if tensor is None],
        "unexpected_keys": [],
        "mismatched_keys": [
            (key, tensor.shape, wanted[key])
            for key, tensor in found.items()
            if tensor is not None and tensor.shape != wanted[key]
        ],
    }
