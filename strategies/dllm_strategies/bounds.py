"""Schedulers that commit as many tokens as a bound on the joint error allows: Fast-dLLM's factor, entropy-bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from dllm_decode.lazy import torch
from dllm_decode.plugin import Proposal, SchedulerConfig, StepView, Tune, top_by_quota

if TYPE_CHECKING:
    from torch import Tensor


class FactorScheduler(SchedulerConfig):
    """Commits ranks 1..m for the largest m with (m + 1)(1 - c_(m)) < factor, and always rank 1 (Fast-dLLM, theorem 1).

    Two released versions are off by one in m; this is the paper's bound.
    """

    name: Literal["factor"] = "factor"
    adaptive: ClassVar[bool] = True
    reads_probabilities: ClassVar[bool] = True
    factor: Annotated[
        float, Field(gt=0, description="Larger commits more tokens a step."), Tune(0.1, 3.0, log=True)
    ] = 1.0

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool; the engine adds the best position of a row that has none."""
        ranked = (
            proposal.score.masked_fill(~view.open, -torch.inf).sort(dim=1, descending=True).values
        )  # (B, W)
        rank = torch.arange(1, ranked.shape[1] + 1, device=ranked.device)
        within = (rank + 1) * (1 - ranked) < self.factor
        return top_by_quota(proposal.score, view.open, (within * rank).amax(1))


class EntropyBoundedScheduler(SchedulerConfig):
    """Commits the longest prefix, best score first, with cumsum(H) - cummax(H) <= gamma, at least one (EB-Sampler)."""

    name: Literal["entropy-bounded"] = "entropy-bounded"
    adaptive: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    gamma: Annotated[
        float, Field(gt=0, description="Bound on the joint error, in nats."), Tune(0.001, 2.0, log=True)
    ] = 0.1

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool: the prefix of each row."""
        assert view.stats.entropy is not None, "declared in `needs`"
        score = proposal.score.masked_fill(~view.open, -torch.inf)
        ranked = score.sort(dim=1, descending=True, stable=True).indices
        closed = ~view.open.gather(1, ranked)
        entropy = (
            view.stats.entropy.clamp_min(0).gather(1, ranked).masked_fill(closed, torch.inf)
        )  # (B, W) nats
        error = entropy.cumsum(1) - entropy.cummax(1).values
        return top_by_quota(proposal.score, view.open, (error <= self.gamma).sum(1))
