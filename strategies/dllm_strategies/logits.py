"""Logits processors: classifier-free guidance and a forbidden end-of-sequence token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from dllm_decode.lazy import torch
from dllm_decode.plugin import ConfigError, LogitsConfig, SpecialTokens, Tune

if TYPE_CHECKING:
    from torch import Tensor


class Guidance(LogitsConfig):
    """Classifier-free guidance, u + (weight + 1)(l - u); u sees a canvas whose given tokens are masked (LLaDA)."""

    name: Literal["guidance"] = "guidance"
    unconditional: ClassVar[bool] = True
    weight: Annotated[
        float, Field(ge=0, description="Guidance weight; 0 changes nothing."), Tune(0.0, 3.0)
    ] = 1.0

    def process(self, logits: Tensor, unconditional: Tensor | None, special: SpecialTokens) -> Tensor:
        """Return (B, W, V) guided logits."""
        assert unconditional is not None, "the engine runs the unconditional half for this processor"
        return unconditional + (self.weight + 1) * (logits - unconditional)


class ForbidEos(LogitsConfig):
    """The EOS logit becomes minus infinity, so that an answer fills its length (LLaDA's `logits_eos_inf`)."""

    name: Literal["forbid-eos"] = "forbid-eos"
    model_needs: ClassVar[frozenset[str]] = frozenset({"eos"})

    def process(self, logits: Tensor, unconditional: Tensor | None, special: SpecialTokens) -> Tensor:
        """Return (B, W, V) logits without EOS."""
        if special.eos is None:
            raise ConfigError("logits 'forbid-eos': this model has no EOS token; leave the processor out.")
        logits[..., list(special.every_eos)] = -torch.inf
        return logits
