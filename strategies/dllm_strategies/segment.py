"""The segment scheduler: gaps between decided positions are halved again and again, one commit in each at a time.

Knows runs of open positions; leaves what a score means to the confidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from dllm_decode.lazy import torch
from dllm_decode.plugin import Proposal, SchedulerConfig, StepView, Tune

if TYPE_CHECKING:
    from torch import Tensor


class SegmentScheduler(SchedulerConfig):
    """Commits the best position of each run of open ones if it scores above `low`, and all above `threshold`.

    Positions committed in one step are thus apart from each other, where they depend on each other least. Always the
    best of all. Source: hierarchical decoding in dInfer (arXiv 2510.08666). Cost: from one forward to one a token,
    about log2(n) where every run is halved by a position above `low`.
    """

    name: Literal["segment"] = "segment"
    adaptive: ClassVar[bool] = True
    reads_probabilities: ClassVar[bool] = True
    low: Annotated[
        float, Field(ge=0, le=1, description="A run's best position is committed above it."), Tune(0.1, 0.9)
    ] = 0.4
    threshold: Annotated[
        float, Field(gt=0, le=1, description="Every position above it is committed."), Tune(0.3, 0.99)
    ] = 0.9

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool; the engine adds the best position of a row that has none."""
        score = proposal.score
        best = best_of_runs(score, view.open)
        return (best & (score > self.low)) | (view.open & (score > self.threshold))


def best_of_runs(score: Tensor, open_: Tensor) -> Tensor:
    """Return (B, W) bool with the best position of each maximal run of open ones, ties to the smallest column.

    Args:
        score: (B, W) float32.
        open_: (B, W) bool.
    """
    width = score.shape[1]
    before = torch.nn.functional.pad(open_[:, :-1], (1, 0))
    run = (open_ & ~before).cumsum(1)  # (B, W) int64; a closed position has its left neighbour's number
    best = score.new_full((score.shape[0], width + 1), -torch.inf)
    best = best.scatter_reduce(1, run, score.masked_fill(~open_, -torch.inf), "amax")
    equal = open_ & (score == best.gather(1, run))
    columns = torch.arange(width, device=score.device).expand_as(run)
    first = torch.full_like(best, width, dtype=torch.int64)
    first = first.scatter_reduce(1, run, columns.where(equal, width), "amin")
    return equal & (columns == first.gather(1, run))
