"""A threshold that falls while a block fills up: Streaming-dLLM's.

Knows how much of the block, and of what follows it, is still masked; leaves what a score means to the confidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from dllm_decode.plugin import Proposal, SchedulerConfig, StepView, Tune

if TYPE_CHECKING:
    from torch import Tensor


class FallingThresholdScheduler(SchedulerConfig):
    """Commits scores of at least threshold (1 - fall (1 - r)), r the share still masked, and always the best one.

    r is taken over the block and up to `suffix` + 1 columns that follow it, which is what Streaming-dLLM feeds its model
    (a window of the suffix and one column at its end). Only the rule is here: the model still sees the whole suffix.
    Source: Streaming-dLLM (arXiv 2601.17917), equation 10 and the released code. Cost: from one forward to one a token.
    """

    name: Literal["falling-threshold"] = "falling-threshold"
    adaptive: ClassVar[bool] = True
    reads_probabilities: ClassVar[bool] = True
    threshold: Annotated[
        float, Field(gt=0, le=1, description="The least score that is committed at first."), Tune(0.3, 0.99)
    ] = 0.9
    fall: Annotated[
        float,
        Field(ge=0, le=1, description="The share of it that is gone when nothing is masked."),
        Tune(0.0, 0.9),
    ] = 0.3
    suffix: int | None = Field(
        96, ge=0, description="Window of the suffix that counts; null counts the block's own columns only."
    )

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool; the engine adds the best position of a row that has none."""
        masked, columns = self._count(view)
        share = masked / columns.clamp_min(1)  # (B,)
        threshold = self.threshold * (1 - self.fall * (1 - share))
        return view.open & (proposal.score >= threshold[:, None])

    def _count(self, view: StepView) -> tuple[Tensor, Tensor]:
        """Return (B,) int64 masked columns, and all columns, of what counts."""
        where, undecided = view.block.where, view.canvas.undecided
        masked, columns = (where & undecided).sum(1), where.sum(1)
        if self.suffix is None:
            return masked, columns
        # A column follows the block if none of the block's comes after it.
        ahead = (where.flip(1).cumsum(1).flip(1) == 0) & view.canvas.valid
        ahead[:, : view.canvas.prompt_length] = False
        left = ahead.sum(1, keepdim=True)  # (B, 1)
        place = ahead.cumsum(1)  # 1 for the first column that follows
        kept = ahead & ((place <= self.suffix) | (place == left))
        return masked + (kept & undecided).sum(1), columns + kept.sum(1)
