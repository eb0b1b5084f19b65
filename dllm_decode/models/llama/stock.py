"""Checkpoints in stock Llama's own format that were trained to fill masks. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dllm_decode.models.llama.fields import Fields, one_theta
from dllm_decode.models.llama.format import LlamaFormat


class LlamaFamily(LlamaFormat):
    """Bidirectional models saved by `LlamaForCausalLM.save_pretrained`, with a mask token."""

    name: ClassVar[str] = "llama"
    model_type: ClassVar[str] = "llama"
    fields: ClassVar[Fields] = Fields(
        sizes=("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"),
        optional_sizes=("num_key_value_heads", "head_dim", "max_position_embeddings"),
        numbers=("rms_norm_eps",),
        flags=("tie_word_embeddings", "attention_bias", "mlp_bias"),
        others=("hidden_act", "rope_theta", "rope_scaling", "rope_parameters", "quantization_config"),
        only={"is_causal": False},
        harmless=("attention_dropout", "pretraining_tp"),
    )

    @classmethod
    def stock(cls, config: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """Return the config's own fields, which are stock Llama's.

        Raises:
            ModelError: Two bases of the rotary positions contradict each other.
        """
        if isinstance(config.get("rope_parameters") or {}, Mapping):
            one_theta(config, origin)
        return {name: config[name] for name in (*cls.fields.sizes, *cls.fields.honoured) if name in config}
