"""A denoiser around any `nn.Module` from tokens to logits, for models that have no family."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dllm_decode.errors import ModelError
from dllm_decode.parts import ModelInputs, SpecialTokens


class ModuleDenoiser:
    """Calls `module(tokens)`, or `module(tokens, valid)` where rows are padded, and takes the window's logits.

    The module maps (B, L) int64 tokens to (B, L, V) logits, or to an object that holds them as `.logits`; `valid` is
    (B, L) bool, False on padding.
    """

    def __init__(
        self, module: nn.Module, special: SpecialTokens, vocab_size: int, max_length: int | None = None
    ) -> None:
        """Put the module into evaluation mode."""
        if not 0 <= special.mask < vocab_size:
            raise ModelError(
                f"mask_token_id {special.mask} is no id of a vocabulary of {vocab_size} entries."
            )
        self.module = module.eval()
        self.special = special
        self.vocab_size = vocab_size
        self.max_length = max_length
        parameter = next(module.parameters(), None)
        self.device = torch.device("cpu") if parameter is None else parameter.device
        self.dtype = torch.float32 if parameter is None else parameter.dtype

    @torch.inference_mode()
    def logits(self, inputs: ModelInputs) -> Tensor:
        """Return (B, W, V) logits, a copy that the caller may change."""
        given = (inputs.tokens,) if inputs.valid is None else (inputs.tokens, inputs.valid)
        answer = self.module(*given)
        logits = getattr(answer, "logits", answer)
        expected = (*inputs.tokens.shape, self.vocab_size)
        if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
            shown = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise ModelError(
                f"{type(self.module).__name__} returned {shown} where logits {expected} were expected."
            )
        return logits[:, inputs.window].clone()
