"""LocalLeap: near a position the model is sure of, it takes less to be committed.

Knows distances between columns; leaves what a score means to the confidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from dllm_decode.lazy import torch
from dllm_decode.plugin import Proposal, SchedulerConfig, StepView, Tune

if TYPE_CHECKING:
    from torch import Tensor


class LocalLeapScheduler(SchedulerConfig):
    """Commits every score of at least `threshold` (an anchor), and near one (`radius` columns) of `relaxed`.

    Anchors are open positions of this step; those decided earlier are none. Always the best position.
    Source: LocalLeap (arXiv 2510.07081), after a copy of its released `get_transfer_index`. Cost: from one forward to
    one a token.
    """

    name: Literal["local-leap"] = "local-leap"
    adaptive: ClassVar[bool] = True
    reads_probabilities: ClassVar[bool] = True
    threshold: Annotated[
        float, Field(gt=0, le=1, description="The least score of an anchor."), Tune(0.3, 0.99)
    ] = 0.9
    relaxed: Annotated[
        float,
        Field(gt=0, le=1, description="The least score that is committed near an anchor."),
        Tune(0.2, 0.95),
    ] = 0.75
    radius: Annotated[
        int,
        Field(ge=1, description="Columns to either side of an anchor that are near it."),
        Tune(1, 16, log=True),
    ] = 4

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool; the engine adds the best position of a row that has none."""
        anchors = view.open & (proposal.score >= self.threshold)
        reach = min(self.radius, anchors.shape[1])
        near = (
            torch.nn.functional.max_pool1d(anchors.float(), 2 * reach + 1, stride=1, padding=reach) > 0
        )  # (B, W)
        return anchors | (view.open & near & (proposal.score >= self.relaxed))
