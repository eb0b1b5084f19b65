"""A cosine schedule: commit little while little is known, and more with every step."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field

from dllm_decode.plugin import Proposal, SchedulerConfig, StepView, Tune, hookimpl, top_by_quota


class CosineScheduler(SchedulerConfig):
    """After step s of S, floor(n cos(pi/2 ((s + 1) / S)^power)) of a stage's n positions stay open."""

    name: Literal["cosine-example"] = "cosine-example"
    power: Annotated[float, Field(gt=0, description="Above 1 commits later."), Tune(0.5, 2.0)] = 1.0

    def select(self, view: StepView, proposal: Proposal) -> torch.Tensor:
        """Return (B, W) bool: the best open positions of each row."""
        done = (view.step + 1) / torch.as_tensor(view.stage.steps or view.stage_open).double()  # of the steps
        stay = (view.stage_open * torch.cos(math.pi / 2 * done**self.power)).floor().long()  # (B,)
        return top_by_quota(proposal.score, view.open, view.open.sum(1) - stay)


@hookimpl
def dllm_scheduler() -> list[type[SchedulerConfig]]:
    return [CosineScheduler]
