"""Checkpoints in stock Llama's own format that were trained to fill masks. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dllm_decode.errors import ModelError

if TYPE_CHECKING:
    from dllm_decode.data.inputs import SpecialTokens
    from dllm_decode.forward.denoiser import Denoiser
    from dllm_decode.models.placement import Placement


class LlamaFamily:
    """Bidirectional models saved by `LlamaForCausalLM.save_pretrained`, with a mask token."""

    name: ClassVar[str] = "llama"

    @staticmethod
    def matches(config: Mapping[str, Any]) -> bool:
        """Return whether a folder's `config.json` describes a model of this family."""
        return config.get("model_type") == "llama"

    @staticmethod
    def load(
        folder: Path, config: Mapping[str, Any], *, special: SpecialTokens, placement: Placement
    ) -> Denoiser:
        """Load a checkpoint.

        Raises:
            ModelError: The config says that the model is causal, or the weights cannot be read or do not fit.
        """
        from dllm_decode.models.llama.llama_checkpoint import llama_config, load_llama

        if config.get("is_causal"):
            raise ModelError(
                f"{folder / 'config.json'} says is_causal: true; a causal model cannot fill masks."
            )
        left_out = ("architectures", "model_type", "pad_token_id")
        fields = {field: value for field, value in config.items() if field not in left_out}
        stock = llama_config(folder, **fields, pad_token_id=None)
        return load_llama(folder, stock, {}, special=special, placement=placement)
