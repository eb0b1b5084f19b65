"""Schedulers that count: how many positions a step commits follows a curve, which ones follows the score."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from dllm_decode.config import SchedulerConfig, Tune
from dllm_decode.numerics import top_by_quota
from dllm_decode.state import Proposal, StepView


class CosineScheduler(SchedulerConfig):
    """After step s of S, floor(n cos(pi/2 (s+1)/S)) of n positions stay open: few commits first (MaskGIT)."""

    name: Literal["cosine"] = "cosine"

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool: the best positions beyond those that stay open."""
        steps = (
            view.stage_open
            if view.stage.steps is None
            else torch.full_like(view.stage_open, view.stage.steps)
        )
        share = ((view.step + 1) / steps.clamp_min(1).double()).clamp_max(1)  # (B,)
        stay = (view.stage_open * torch.cos(share * (math.pi / 2)) + 1e-9).floor().long()
        return top_by_quota(proposal.score, view.open, (view.open.sum(1) - stay).clamp_min(0))


class LinearDecayScheduler(SchedulerConfig):
    """Quotas in proportion to S, S-1, ..., 1, rounded by largest remainder: many at first, few at the end."""

    name: Literal["linear-decay"] = "linear-decay"

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool: the step's quota of the best positions; one a step where no budget is given."""
        if view.stage.steps is None:
            return top_by_quota(proposal.score, view.open, 1)
        return top_by_quota(
            proposal.score, view.open, linear_quota(view.stage_open, view.stage.steps)[:, view.step]
        )


def linear_quota(positions: Tensor, steps: int) -> Tensor:
    """Return (B, S) int64 quotas of (B,) int64 positions; the remainder goes to the largest fractions."""
    weights = torch.arange(steps, 0, -1, device=positions.device)  # (S,)
    total = steps * (steps + 1) // 2
    scaled = positions[:, None] * weights
    quota, fraction = scaled // total, scaled % total
    left = positions - quota.sum(1)
    ranked = fraction.sort(dim=1, descending=True, stable=True).indices
    extra = torch.arange(steps, device=positions.device) < left[:, None]
    return quota.scatter_add_(1, ranked, extra.long())


class TopKScheduler(SchedulerConfig):
    """Commits `k` positions a step, whatever the budget says."""

    name: Literal["top-k"] = "top-k"
    adaptive: ClassVar[bool] = True
    k: Annotated[int, Field(ge=1, description="Tokens committed in a step."), Tune(1, 16, log=True)] = 2

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool: the best k open positions."""
        return top_by_quota(proposal.score, view.open, self.k)
