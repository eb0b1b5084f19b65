"""LLaDA's checkpoint format in stock Llama's terms: its config fields and tensor names.

LLaDA (Nie et al., arXiv 2502.09992) is a bidirectional Llama; this file only translates. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dllm_decode.errors import ModelError
from dllm_decode.models.llama.fields import read_rope_theta, require_positive, require_settings

if TYPE_CHECKING:
    from dllm_decode.data.inputs import SpecialTokens
    from dllm_decode.forward.denoiser import Denoiser
    from dllm_decode.models.placement import Placement

_NAMES = {
    "model.transformer.wte": "model.embed_tokens",
    "model.transformer.ln_f": "model.norm",
    "model.transformer.ff_out": "lm_head",
    "model.transformer.blocks.*.attn_norm": "model.layers.*.input_layernorm",
    "model.transformer.blocks.*.ff_norm": "model.layers.*.post_attention_layernorm",
    "model.transformer.blocks.*.q_proj": "model.layers.*.self_attn.q_proj",
    "model.transformer.blocks.*.k_proj": "model.layers.*.self_attn.k_proj",
    "model.transformer.blocks.*.v_proj": "model.layers.*.self_attn.v_proj",
    "model.transformer.blocks.*.attn_out": "model.layers.*.self_attn.o_proj",
    "model.transformer.blocks.*.ff_proj": "model.layers.*.mlp.gate_proj",
    "model.transformer.blocks.*.up_proj": "model.layers.*.mlp.up_proj",
    "model.transformer.blocks.*.ff_out": "model.layers.*.mlp.down_proj",
}
# Switches of LLaDA's config that change what the model computes, with the one setting that stock Llama has.
_SUPPORTED: dict[str, Any] = {
    "block_type": "llama",
    "layer_norm_type": "rms",
    "activation_type": "silu",
    "rope": True,
    "layer_norm_with_affine": True,
    "block_group_size": 1,
    "alibi": False,
    "attention_layer_norm": False,
    "bias_for_layer_norm": False,
    "clip_qkv": None,
    "include_bias": False,
    "include_qkv_bias": False,
    "input_emb_norm": False,
    "scale_logits": False,
}
_SIZES = ("d_model", "n_layers", "n_heads", "vocab_size", "max_sequence_length")


class LladaFamily:
    """LLaDA, LLaDA-1.5 and every checkpoint in their format."""

    name: ClassVar[str] = "llada"
    names: ClassVar[Mapping[str, str]] = _NAMES

    @staticmethod
    def matches(config: Mapping[str, Any]) -> bool:
        """Return whether a folder's `config.json` describes a model of this family."""
        return config.get("model_type") == "llada"

    @staticmethod
    def load(
        folder: Path, config: Mapping[str, Any], *, special: SpecialTokens, placement: Placement
    ) -> Denoiser:
        """Load a checkpoint.

        Raises:
            ModelError: A setting that stock Llama does not have, or weights that cannot be read or do not fit.
        """
        from dllm_decode.models.llama.llama_checkpoint import llama_config, load_llama

        fields = llama_fields(config, str(folder / "config.json"))
        return load_llama(
            folder, llama_config(folder, **fields), _NAMES, special=special, placement=placement
        )


def llama_fields(config: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Return stock Llama's config fields for a LLaDA config.

    Args:
        config: The content of `config.json`.
        origin: What it is called in messages.

    Raises:
        ModelError: A field is missing, is no positive number, or asks for what stock Llama does not compute.
    """
    require_settings(config, _SUPPORTED, origin)
    require_positive(config, _SIZES, origin)
    heads = config["n_heads"]
    key_heads = 1 if config.get("multi_query_attention") else config.get("n_kv_heads") or heads
    if config["d_model"] % heads or heads % key_heads:
        raise ModelError(
            f"{origin}: d_model {config['d_model']}, n_heads {heads} and n_kv_heads {key_heads} do not divide."
        )
    return {
        "hidden_size": config["d_model"],
        "num_hidden_layers": config["n_layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "intermediate_size": config.get("mlp_hidden_size") or config.get("mlp_ratio", 4) * config["d_model"],
        "vocab_size": config.get("embedding_size") or config["vocab_size"],
        "max_position_embeddings": config["max_sequence_length"],
        "rms_norm_eps": config.get("rms_norm_eps", 1e-5),
        "rope_parameters": {"rope_type": "default", "rope_theta": read_rope_theta(config, origin)},
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": bool(config.get("weight_tying", False)),
        "quantization_config": config.get("quantization_config"),
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
