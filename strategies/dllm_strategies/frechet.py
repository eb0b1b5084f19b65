"""The Fréchet scheduler: as many of the best positions as their joint probability surely outweighs any rival of them.

Knows ranked scores; leaves what a score means to the confidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from dllm_decode.lazy import torch
from dllm_decode.plugin import Proposal, SchedulerConfig, StepView, Tune, top_by_quota

if TYPE_CHECKING:
    from torch import Tensor


class FrechetScheduler(SchedulerConfig):
    """Commits ranks 1..m for the largest m with L - (1 - c_(m)) > margin, L = c_(1) + ... + c_(m) - m + 1; always rank 1.

    L is Fréchet's lower bound on the probability that all m tokens are right, 1 - c_(m) an upper bound on that of any
    other choice. Equal scores make it the factor rule with factor 1 - margin; uneven ones commit more.
    Source: Fast-dLLM++ (arXiv 2606.02955) and its released code. Cost: from one forward to one a token.
    """

    name: Literal["frechet"] = "frechet"
    adaptive: ClassVar[bool] = True
    reads_probabilities: ClassVar[bool] = True
    margin: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="By how much the bounds must be apart; smaller commits more tokens a step.",
        ),
        Tune(0.0, 0.9),
    ] = 0.25

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool; the engine adds the best position of a row that has none."""
        ranked = (
            proposal.score.masked_fill(~view.open, -torch.inf).sort(dim=1, descending=True).values
        )  # (B, W)
        rank = torch.arange(1, ranked.shape[1] + 1, device=ranked.device)
        # Gaps to 1 instead of scores: sums of small numbers are exact. Those only grow, so the ranks within
        # the margin are the first ones.
        gap = 1 - ranked
        within = 1 - gap.cumsum(1) - gap > self.margin
        return top_by_quota(proposal.score, view.open, (within * rank).amax(1))
