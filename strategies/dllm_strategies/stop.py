"""Stop rules: when the rest of a row needs no more forwards."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from dllm_decode.config import StopConfig
from dllm_decode.parts import SpecialTokens
from dllm_decode.state import StepView


class EosStop(StopConfig):
    """Once an end token is committed and everything before it is decided, the rest of the row is EOS at no cost."""

    name: Literal["eos"] = "eos"
    needs: ClassVar[frozenset[str]] = frozenset()

    def fill(self, view: StepView, special: SpecialTokens) -> tuple[Tensor, Tensor] | None:
        """Return (B, L) bool of the columns after a settled end, and (B, L) int64 EOS."""
        if special.eos is None:
            return None
        canvas = view.canvas
        columns = torch.arange(canvas.length, device=canvas.tokens.device)  # (L,)
        ends = torch.zeros_like(canvas.undecided)
        for end in special.ends:
            ends |= canvas.tokens == end
        ends &= ~canvas.undecided & canvas.valid & (columns >= canvas.prompt_length)
        # An open position before an end means that the answer may still go on there.
        settled = ends & (canvas.undecided.cumsum(1) == 0)
        after = settled.cumsum(1) > 0
        return after, torch.full_like(canvas.tokens, special.eos)
