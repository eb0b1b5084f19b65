"""Dream's checkpoint format in stock Qwen2's terms, and its tokenizer.

Dream (Ye et al., arXiv 2508.15487) is a bidirectional Qwen2 that predicts a token one column to its left. Imports no
torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dllm_decode.models.llama.fields import Fields, read_rope_theta, require_divisible
from dllm_decode.models.llama.format import LlamaFormat

if TYPE_CHECKING:
    from dllm_decode.models.tokenizer import Tokenizer


class DreamFamily(LlamaFormat):
    """Dream, Dream-Coder and every checkpoint in their format."""

    name: ClassVar[str] = "dream"
    model_type: ClassVar[str] = "Dream"
    architecture: ClassVar[str] = "Qwen2ForCausalLM"
    shifted: ClassVar[bool] = True
    fields: ClassVar[Fields] = Fields(
        sizes=(
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "vocab_size",
            "max_position_embeddings",
        ),
        numbers=("rms_norm_eps",),
        flags=("tie_word_embeddings",),
        others=("rope_theta", "rope_scaling", "rope_parameters", "quantization_config"),
        only={"hidden_act": "silu", "use_mrope": False, "use_sliding_window": False, "is_causal": False},
        harmless=("attention_dropout", "max_window_layers", "sliding_window"),
    )

    @staticmethod
    def load_tokenizer(folder: Path) -> Tokenizer | None:
        """Return the tokenizer, which Dream publishes as `vocab.json` and `merges.txt` of Qwen2's kind.

        Raises:
            ModelError: There are such files, but they cannot be read.
        """
        from dllm_decode.models.tokenizer import load_tokenizer

        return load_tokenizer(folder, "Qwen2Tokenizer")

    @classmethod
    def stock(cls, config: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """Return stock Qwen2's config fields.

        Raises:
            ModelError: The sizes do not divide, or positions are asked for that are not computed here.
        """
        require_divisible(config, origin, "hidden_size", "num_attention_heads", "num_key_value_heads")
        theta = {"rope_type": "default", "rope_theta": read_rope_theta(config, origin)}
        fields = {field: config[field] for field in cls.fields.sizes}
        return fields | {
            "rms_norm_eps": config.get("rms_norm_eps") or 1e-6,
            "rope_parameters": theta,
            "tie_word_embeddings": bool(config.get("tie_word_embeddings")),
            "quantization_config": config.get("quantization_config"),
        }
