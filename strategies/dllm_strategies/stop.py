"""Stop rules: when the rest of a row, or of its block, needs no more forwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from dllm_decode.lazy import torch
from dllm_decode.plugin import SpecialTokens, StepView, StopConfig, Tune

if TYPE_CHECKING:
    from torch import Tensor


class EosStop(StopConfig):
    """Once an end token is committed and everything before it is decided, the rest of the row is EOS at no cost."""

    name: Literal["eos"] = "eos"
    model_needs: ClassVar[frozenset[str]] = frozenset({"eos"})
    needs: ClassVar[frozenset[str]] = frozenset()

    def fill(self, view: StepView, special: SpecialTokens) -> tuple[Tensor, Tensor] | None:
        """Return (B, L) bool of the columns after a settled end, and (B, L) int64 EOS."""
        if special.eos is None:
            return None
        canvas = view.canvas
        columns = torch.arange(canvas.length, device=canvas.tokens.device)  # (L,)
        ends = special.is_end(canvas.tokens) & ~canvas.undecided & canvas.valid & (columns >= canvas.prompt_length)
        # An open position before an end means that the answer may still go on there.
        settled = ends & (canvas.undecided.cumsum(1) == 0)
        after = settled.cumsum(1) > 0
        return after, torch.full_like(canvas.tokens, special.eos)


class EarlyCommit(StopConfig):
    """Commits all that is open in the block once the model is sure of it on the mean (Prophet, arXiv 2508.19982).

    Sure is a mean gap p1 - p2 above `threshold` over what was open in the block when the forward was made; the tokens
    are that forward's.
    """

    name: Literal["early-commit"] = "early-commit"
    needs: ClassVar[frozenset[str]] = frozenset({"second", "undecided"})
    threshold: Annotated[
        float, Field(ge=0, lt=1, description="The mean gap above which everything is committed."), Tune(0.3, 0.99)
    ] = 0.9

    def fill(self, view: StepView, special: SpecialTokens) -> tuple[Tensor, Tensor] | None:
        """Return (B, L) bool of the block's open positions in rows that are sure, and (B, L) int64 their tokens."""
        stats, canvas, window = view.stats, view.canvas, view.block.window
        assert stats.top_probability is not None and stats.second_probability is not None, "declared in `needs`"
        left = canvas.undecided[:, window] & view.block.where[:, window]
        judged = left | view.open  # what the commit has just decided was open as well
        gap = (stats.top_probability - stats.second_probability).masked_fill(~judged, 0.0)
        sure = gap.sum(1) > self.threshold * judged.sum(1)
        where = torch.zeros_like(canvas.undecided)
        where[:, window] = left & sure[:, None]
        tokens = torch.zeros_like(canvas.tokens)
        tokens[:, window] = stats.token
        return where, tokens
