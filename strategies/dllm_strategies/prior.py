"""The certainty prior: a score counts for more where more of the neighbourhood is decided.

Knows distances on the canvas; leaves the score itself to another confidence.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, model_validator

from dllm_decode.lazy import torch
from dllm_decode.plugin import Canvas, Confidence, ConfidenceConfig, Proposal, StepView, Tune, part_of
from dllm_strategies.confidence import TopProbability, refuse_unbounded

if TYPE_CHECKING:
    from torch import Tensor

_GRID, _FINE_GRID = 2.0**23, 2.0**35
"""A weight is a whole multiple of 1 / _GRID and a rest, a whole multiple of 1 / _FINE_GRID: the float32 sums of either
are exact, in whatever order a batch is summed, up to 8192 columns. Some devices have no float64."""


class CertaintyPrior(ConfidenceConfig):
    """Another confidence's score times the density of decided positions around the position, between 0 and 1.

    The density is a Gaussian over the distance in columns, normalised by the kernel's whole mass. Columns left of the
    generation region count as decided, padding included, and columns right of it as open, so answers tend to grow from
    left to right without blocks; a row's first column has a density just under 1/2. Source: d2Cache (arXiv 2509.23094).
    Costs no forward of its own.
    """

    name: Literal["certainty-prior"] = "certainty-prior"
    sigma: Annotated[
        float, Field(gt=0, le=1000, description="The Gaussian's width, in tokens."), Tune(2, 64, log=True)
    ] = 10.0
    of: Annotated[SerializeAsAny[ConfidenceConfig], part_of("confidence")] = Field(
        default_factory=TopProbability, description="The confidence whose score is weighted."
    )

    @model_validator(mode="after")
    def _scores_grow_with_the_density(self) -> CertaintyPrior:
        refuse_unbounded(self.of)
        return self

    @property
    def needs(self) -> frozenset[str]:
        """What the weighted confidence reads."""
        return self.of.needs

    def build(self) -> Any:
        """Return the prior around the weighted confidence, built for one decode."""
        return _Prior(self, self.of.build())


class _Prior:
    def __init__(self, config: CertaintyPrior, of: Confidence) -> None:
        self.needs, self.sigma, self.of = config.needs, config.sigma, of

    def propose(self, view: StepView) -> Proposal:
        """Return the inner confidence's tokens, (B, W), with their scores weighted."""
        proposal = self.of.propose(view)
        return Proposal(proposal.tokens, proposal.score * density(view.canvas, view.block.window, self.sigma))


def density(canvas: Canvas, window: slice, sigma: float) -> Tensor:
    """Return (B, W) float32, the share of a Gaussian around each column of the window that lies on decided columns."""
    first = canvas.prompt_length
    left, weights = _kernel(
        sigma, window.start - first, window.stop - first, canvas.length - first, canvas.tokens.device
    )
    decided = (~canvas.undecided[:, first:]).float()  # (B, R)
    parts: Tensor = left[:, None] + decided @ weights  # (2, B, W)
    return parts[0] + parts[1]


@lru_cache(maxsize=8)
def _kernel(sigma: float, start: int, stop: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (2, W) float32, the weight of everything left of the region, and (2, R, W) float32, each column's weight.

    Both are a multiple of the grid and a rest.

    Args:
        sigma: In tokens.
        start: The window's first column, counted from the region's first.
        stop: One past the window's last column, counted so.
        length: R, columns of the region.
        device: Where the weights are needed.
    """
    reach = math.ceil(9 * sigma)  # beyond it a weight is under half a grid step
    one_side = torch.exp(-0.5 * (torch.arange(reach + 2, dtype=torch.float64) / sigma) ** 2)
    one_side = one_side / (2 * one_side.sum() - one_side[0])
    coarse = (one_side * _GRID).round() / _GRID
    one_side = torch.stack([coarse, ((one_side - coarse) * _FINE_GRID).round() / _FINE_GRID])  # (2, N)
    tails = one_side.flip(1).cumsum(1).flip(1)  # all at this distance or farther on one side
    columns = torch.arange(start, stop)  # (W,)
    distances = (torch.arange(length)[:, None] - columns).abs()  # (R, W)
    left = tails[:, (columns + 1).clamp_max(reach + 1)]
    return left.float().to(device), one_side[:, distances.clamp_max(reach + 1)].float().to(device)
