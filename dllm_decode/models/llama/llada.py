"""LLaDA's checkpoint format in stock Llama's terms: its config fields and tensor names.

LLaDA (Nie et al., arXiv 2502.09992) is a bidirectional Llama; this file only translates. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dllm_decode.models.llama.fields import Fields, read_rope_theta, require_divisible
from dllm_decode.models.llama.format import LlamaFormat


class LladaFamily(LlamaFormat):
    """LLaDA, LLaDA-1.5 and every checkpoint in their format."""

    name: ClassVar[str] = "llada"
    model_type: ClassVar[str] = "llada"
    names: ClassVar[Mapping[str, str]] = {
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
    fields: ClassVar[Fields] = Fields(
        sizes=("d_model", "n_layers", "n_heads", "vocab_size", "max_sequence_length"),
        optional_sizes=("n_kv_heads", "mlp_hidden_size", "mlp_ratio", "embedding_size"),
        numbers=("rms_norm_eps",),
        flags=("weight_tying", "multi_query_attention"),
        others=("rope_theta", "rope_scaling", "rope_parameters", "quantization_config"),
        only={
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
            "is_causal": False,
        },
        harmless=(
            *("alibi_bias_max", "attention_dropout", "attention_layer_norm_with_affine", "embedding_dropout"),
            *("flash_attention", "init_cutoff_factor", "init_device", "init_fn", "init_std", "precision"),
            *("residual_dropout", "rope_full_precision", "tie_word_embeddings"),
        ),
    )

    @classmethod
    def stock(cls, config: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """Return stock Llama's config fields.

        Raises:
            ModelError: The sizes do not divide, or positions are asked for that are not computed here.
        """
        heads = config["n_heads"]
        key_heads = 1 if config.get("multi_query_attention") else config.get("n_kv_heads") or heads
        require_divisible({**config, "n_kv_heads": key_heads}, origin, "d_model", "n_heads", "n_kv_heads")
        return {
            "hidden_size": config["d_model"],
            "num_hidden_layers": config["n_layers"],
            "num_attention_heads": heads,
            "num_key_value_heads": key_heads,
            "intermediate_size": config.get("mlp_hidden_size") or (config.get("mlp_ratio") or 4) * config["d_model"],
            "vocab_size": config.get("embedding_size") or config["vocab_size"],
            "max_position_embeddings": config["max_sequence_length"],
            "rms_norm_eps": config.get("rms_norm_eps") or 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": read_rope_theta(config, origin)},
            "tie_word_embeddings": bool(config.get("weight_tying")),
            "quantization_config": config.get("quantization_config"),
        }
