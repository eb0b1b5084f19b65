"""Dream's checkpoint format in stock Qwen2's terms, and its tokenizer.

Dream (Ye et al., arXiv 2508.15487) is a bidirectional Qwen2 that predicts a token one column to its left. Imports no
torch.
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
    from dllm_decode.models.tokenizer import Tokenizer

_SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
)
# Switches of Dream's config that change what the model computes, with the one setting that is served.
_SUPPORTED: dict[str, Any] = {
    "hidden_act": "silu",
    "use_mrope": False,
    "use_sliding_window": False,
}


class DreamFamily:
    """Dream, Dream-Coder and every checkpoint in their format."""

    name: ClassVar[str] = "dream"
    names: ClassVar[Mapping[str, str]] = {}

    @staticmethod
    def matches(config: Mapping[str, Any]) -> bool:
        """Return whether a folder's `config.json` describes a model of this family."""
        return config.get("model_type") == "Dream"

    @staticmethod
    def load_tokenizer(folder: Path) -> Tokenizer | None:
        """Return the tokenizer, which Dream publishes as `vocab.json` and `merges.txt` of Qwen2's kind.

        Raises:
            ModelError: There are such files, but they cannot be read.
        """
        from dllm_decode.models.tokenizer import load_tokenizer

        return load_tokenizer(folder, "Qwen2Tokenizer")

    @staticmethod
    def load(
        folder: Path, config: Mapping[str, Any], *, special: SpecialTokens, placement: Placement
    ) -> Denoiser:
        """Load a checkpoint.

        Raises:
            ModelError: A setting that is not served, or weights that cannot be read or do not fit.
        """
        from transformers import Qwen2ForCausalLM

        from dllm_decode.models.llama.llama_checkpoint import load_llama
        from dllm_decode.models.llama.shifted import ShiftedLlama

        return load_llama(
            folder,
            _stock_config(config, str(folder / "config.json")),
            {},
            special=special,
            placement=placement,
            architecture=Qwen2ForCausalLM,
            serve=ShiftedLlama,
        )


def _stock_config(config: Mapping[str, Any], origin: str) -> Any:
    """Return stock Qwen2's config.

    Raises:
        ModelError: A field is missing, is no positive number, or asks for what is not served.
    """
    from transformers import Qwen2Config

    require_settings(config, _SUPPORTED, origin)
    require_positive(config, _SIZES, origin)
    width, heads = config["hidden_size"], config["num_attention_heads"]
    key_heads = config["num_key_value_heads"]
    if width % heads or heads % key_heads:
        raise ModelError(
            f"{origin}: hidden_size {width}, num_attention_heads {heads} and num_key_value_heads {key_heads} do not "
            "divide."
        )
    return Qwen2Config(
        **{field: config[field] for field in _SIZES},
        rms_norm_eps=config.get("rms_norm_eps", 1e-6),
        rope_parameters={"rope_type": "default", "rope_theta": read_rope_theta(config, origin)},
        tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
        quantization_config=config.get("quantization_config"),
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
