"""WINO, wide-in narrow-out: commit generously, then open again what a shadow of the block does not confirm."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from dllm_decode.lazy import torch
from dllm_decode.plugin import (
    Block,
    Canvas,
    ForwardConfig,
    ModelInputs,
    Proposal,
    ReviseConfig,
    Revision,
    RevisionView,
    SchedulerConfig,
    SpecialTokens,
    StepView,
    Tune,
    top_by_quota,
)
from dllm_strategies.counting import count_each

if TYPE_CHECKING:
    from torch import Tensor


class WideIn(SchedulerConfig):
    """Commits scores of at least `threshold`, but at most a share of what is open (WINO, arXiv 2507.18578).

    Of n open positions, at most max(1, min(20, max(5, int(0.7 n)))) are committed, the best ones.
    """

    name: Literal["wide-in"] = "wide-in"
    adaptive: ClassVar[bool] = True
    reads_probabilities: ClassVar[bool] = True
    threshold: Annotated[
        float, Field(gt=0, le=1, description="The least score that is committed."), Tune(0.3, 0.99)
    ] = 0.6
    share: float = Field(0.7, gt=0, le=1, description="Largest share of the open positions in one step.")
    fewest: int = Field(5, ge=1, description="The cap is never below this.")
    most: int = Field(20, ge=1, description="The cap is never above this.")

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool; the engine adds the best position of a row that has none."""
        left = view.open.sum(1)
        cap = count_each(left, lambda n: int(n * self.share), view.open.shape[1])
        cap = cap.clamp_min(self.fewest).clamp(1, self.most)
        return top_by_quota(proposal.score, view.open & (proposal.score >= self.threshold), cap)


class Shadow(ForwardConfig):
    """A second copy of the block, all masks, that sees everything but the real token at its own place.

    Nothing but itself sees a shadow column; it has its place's position id. What it yields is the probability of the
    token that stands at its place, judged without it. Costs W extra columns in every forward (WINO).
    """

    name: Literal["shadow"] = "shadow"

    def plan(self, inputs: ModelInputs, block: Block, special: SpecialTokens) -> ModelInputs:
        """Return inputs with the window's shadow after the canvas."""
        window = block.window
        rows, length = inputs.tokens.shape
        width, device = window.stop - window.start, inputs.tokens.device
        total = length + width
        valid = inputs.valid
        if valid is None:
            valid = torch.ones(rows, length, dtype=torch.bool, device=device)
        columns = torch.arange(length, device=device)
        positions = columns - valid.int().argmax(1, keepdim=True)  # (B, L)
        attention = torch.zeros(rows, 1, total, total, dtype=torch.bool, device=device)
        attention[..., :length] = (valid | ~valid.any(1, keepdim=True))[:, None, None, :]
        own = torch.arange(width, device=device)
        attention[:, :, length + own, window.start + own] = False
        attention[:, :, length + own, length + own] = True
        masks = torch.full_like(inputs.tokens[:, window], special.mask)
        return replace(
            inputs,
            tokens=torch.cat([inputs.tokens, masks], dim=1),
            attention=attention,
            positions=torch.cat([positions, positions[:, window]], dim=1),
            extra=width,
        )

    def read(self, logits: Tensor, canvas: Canvas, block: Block) -> Tensor:
        """Return (B, W) float32 probabilities of the tokens on the canvas; (B, W, V) logits."""
        tokens = canvas.tokens[:, block.window, None]
        return logits.float().log_softmax(-1).gather(-1, tokens).squeeze(-1).exp()


class NarrowOut(ReviseConfig):
    """Opens again what its shadow gives less than `threshold`, the least first, fewer than were just committed (WINO).

    Judged are the tokens that earlier forwards of the block committed.
    """

    name: Literal["narrow-out"] = "narrow-out"
    reopens: ClassVar[bool] = True
    plan: ClassVar[str | None] = "shadow"
    threshold: Annotated[
        float, Field(gt=0, le=1, description="The least probability a committed token keeps its place with."),
        Tune(0.3, 0.99),
    ] = 0.9  # fmt: skip

    def revise(self, view: RevisionView) -> Revision | None:
        """Return the positions to open again."""
        assert view.shadow is not None, "declared as `plan`"
        doubted = view.revisable & (view.shadow < self.threshold)
        quota = (view.chosen.sum(1) - 1).clamp_min(0)
        return Revision(top_by_quota(-view.shadow, doubted, quota), None)
