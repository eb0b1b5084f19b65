"""Masked language models of any architecture that `transformers` has a masked-LM head for. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from dllm_decode.data.inputs import SpecialTokens
    from dllm_decode.forward.denoiser import Denoiser
    from dllm_decode.models.placement import Placement


class MaskedLMFamily:
    """BERT, RoBERTa, ALBERT, ELECTRA, ModernBERT, ESM and the like, as `AutoModelForMaskedLM` loads them."""

    name: ClassVar[str] = "masked-lm"
    fallback: ClassVar[bool] = True
    """Reads what no other family reads."""

    @staticmethod
    def matches(config: Mapping[str, Any]) -> bool:
        """Return whether the library has a masked-LM head for the config's `model_type`.

        Encoder-decoder models have one too, but predict a column from the columns before it.
        """
        from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

        return config.get("model_type") in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.get(
            "is_encoder_decoder"
        )

    @staticmethod
    def load(
        folder: Path, config: Mapping[str, Any], *, special: SpecialTokens, placement: Placement
    ) -> Denoiser:
        """Load a checkpoint.

        Raises:
            ModelError: The weights cannot be read, lack the masked-LM head, or the model turns out causal.
        """
        from dllm_decode.models.others.encoder import load_encoder

        return load_encoder(folder, special=special, placement=placement)
