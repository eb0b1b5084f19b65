"""Logits processors of samplers: a temperature, the smallest set of likely tokens, the most likely tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from dllm_decode.lazy import torch
from dllm_decode.plugin import LogitsConfig, SpecialTokens, Tune

if TYPE_CHECKING:
    from torch import Tensor


class Temper(LogitsConfig):
    """Divides the logits, so that confidences too are those of the tempered distribution, as in Dream's released code.

    With the strategy's `temperature` at 1, tokens are then drawn from what is left after the processors behind it.
    """

    name: Literal["temper"] = "temper"
    temperature: Annotated[float, Field(gt=0, description="Below 1 sharpens."), Tune(0.05, 2.0, log=True)] = 1.0

    def process(self, logits: Tensor, unconditional: Tensor | None, special: SpecialTokens) -> Tensor:
        """Return (B, W, V) logits over the temperature."""
        return logits.div_(self.temperature)


class TopP(LogitsConfig):
    """Keeps the most probable tokens until they hold more than `p`, the one that passes it included; at least one.

    Source: Dream's released `top_p_logits`. At 1 everything is kept.
    """

    name: Literal["top-p"] = "top-p"
    p: Annotated[float, Field(gt=0, le=1, description="Probability that is kept."), Tune(0.5, 1.0)] = 0.9

    def process(self, logits: Tensor, unconditional: Tensor | None, special: SpecialTokens) -> Tensor:
        """Return (B, W, V) logits, minus infinity behind the kept ones."""
        if self.p == 1:
            return logits
        ordered, places = logits.sort(dim=-1, descending=True, stable=True)
        # Over before the token itself is counted: the one that passes p stays, and the first always does.
        passed = ordered.softmax(-1).cumsum(-1) > self.p  # (B, W, V)
        out = torch.zeros_like(passed)
        out[..., 1:] = passed[..., :-1]
        return logits.masked_fill_(torch.zeros_like(out).scatter_(-1, places, out), -torch.inf)


class TopK(LogitsConfig):
    """Keeps the `k` tokens with the highest logits, and those that equal the last of them.

    Source: Dream's released `top_k_logits`.
    """

    name: Literal["top-k"] = "top-k"
    k: Annotated[int, Field(ge=1, description="Tokens that are kept."), Tune(1, 100, log=True)] = 50

    def process(self, logits: Tensor, unconditional: Tensor | None, special: SpecialTokens) -> Tensor:
        """Return (B, W, V) logits, minus infinity below the k-th."""
        least = logits.topk(min(self.k, logits.shape[-1]), dim=-1).values[..., -1:]
        return logits.masked_fill_(logits < least, -torch.inf)
