"""Schedulers that count: how many positions a step commits follows a curve, which ones follows the score.

Knows curves and how a row walks along one without paying for steps that commit nothing; Dream's curve has its own file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from dllm_decode.lazy import torch
from dllm_decode.plugin import Proposal, SchedulerConfig, StepView, Tune, best_open, top_by_quota

if TYPE_CHECKING:
    from torch import Tensor

Curve = Callable[["Tensor", int], "Tensor"]
"""(N,) int64 positions and S steps -> (N, S) int64 quotas that sum to the positions; zeros are allowed."""


class CurveScheduler(SchedulerConfig):
    """The base of schedulers whose quotas are known from a stage's positions n and its steps S.

    A step whose quota is zero is skipped: a row takes its i-th nonzero quota in its i-th step. So a stage costs as many
    forwards as the curve has nonzero quotas, at most min(S, n), which is why none of these is `exact`. Without a number
    of steps it is one token a step.
    """

    curve: ClassVar[Curve]

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool: the step's quota of the best open positions, n counted when the stage began."""
        if view.stage.steps is None:
            return best_open(proposal.score, view.open)
        # Rounded up, so that blocks of many lengths share a few tables.
        most = 1 << (view.open.shape[1] - 1).bit_length()
        quotas = _nonzero_first(type(self).curve, most, view.stage.steps, view.open.device)
        return top_by_quota(
            proposal.score, view.open, quotas[view.stage_open, min(view.step, quotas.shape[1] - 1)]
        )


@lru_cache(maxsize=32)
def _nonzero_first(curve: Curve, most: int, steps: int, device: torch.device) -> Tensor:
    """Return (N + 1, K) int64, the quotas of 0..N = `most` positions, those that are zero moved to the end."""
    # Made on the host, so that a curve rounds the same on every device.
    quotas = curve(torch.arange(most + 1), steps)  # (N + 1, S)
    order = (quotas == 0).byte().sort(dim=1, stable=True).indices
    return quotas.gather(1, order)[:, : min(steps, most)].to(device)


def count_each(numbers: Tensor, count: Callable[[int], int], most: int) -> Tensor:
    """Return (B,) int64, `count` of each of (B,) int64 `numbers` between 0 and `most`.

    Counted on the host in Python's own arithmetic: some devices have no float64.
    """
    return _table(tuple(map(count, range(most + 1))), numbers.device)[numbers]


@lru_cache(maxsize=32)
def _table(counts: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(counts, dtype=torch.int64, device=device)


def cosine_quota(positions: Tensor, steps: int) -> Tensor:
    """Return (N, S) int64 quotas that leave floor(n cos(pi/2 (s+1)/S)) of (N,) int64 positions open after step s."""
    share = torch.arange(steps + 1, dtype=torch.float64) / steps  # (S + 1,)
    # Where the cosine is 1/2 or 0, rounding must not take the floor one too low.
    left = (positions[:, None] * torch.cos(share * (math.pi / 2)) + 1e-9).floor().long()
    return -left.diff(dim=1)


def linear_quota(positions: Tensor, steps: int) -> Tensor:
    """Return (N, S) int64 quotas in proportion to S, S-1, ..., 1; what is left goes to the largest remainders."""
    weights = torch.arange(steps, 0, -1, device=positions.device)  # (S,)
    total = steps * (steps + 1) // 2
    scaled = positions[:, None] * weights
    quota, remainder = scaled // total, scaled % total
    left = positions - quota.sum(1)
    ranked = remainder.sort(dim=1, descending=True, stable=True).indices
    extra = torch.arange(steps, device=positions.device) < left[:, None]
    return quota.scatter_add_(1, ranked, extra.long())


class CosineScheduler(CurveScheduler):
    """After step s of S, floor(n cos(pi/2 (s+1)/S)) of n positions stay open: few commits first, many at the end.

    Source: MaskGIT (arXiv 2202.04200). Cost: S forwards where n is much larger than S, fewer where steps would commit
    nothing, never more than min(S, n).
    """

    name: Literal["cosine"] = "cosine"
    curve: ClassVar[Curve] = cosine_quota


class LinearDecayScheduler(CurveScheduler):
    """Quotas in proportion to S, S-1, ..., 1, rounded by largest remainder: many at first, few at the end.

    Cost: S forwards where n is much larger than S, fewer where the last steps would commit nothing, never more than
    min(S, n).
    """

    name: Literal["linear-decay"] = "linear-decay"
    curve: ClassVar[Curve] = linear_quota


class TopKScheduler(SchedulerConfig):
    """Commits `k` positions a step, whatever the budget says. Cost: n / k forwards, rounded up."""

    name: Literal["top-k"] = "top-k"
    adaptive: ClassVar[bool] = True
    k: Annotated[int, Field(ge=1, description="Tokens committed in a step."), Tune(1, 16, log=True)] = 2

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool: the best k open positions."""
        return top_by_quota(proposal.score, view.open, self.k)
