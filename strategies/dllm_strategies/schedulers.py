"""Schedulers: how many of the proposed tokens, and which, are committed in a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from dllm_decode.lazy import torch
from dllm_decode.plugin import Proposal, SchedulerConfig, StepView, Tune, even_quota, top_by_quota

if TYPE_CHECKING:
    from torch import Tensor


class EvenScheduler(SchedulerConfig):
    """Spreads a stage's positions evenly over its steps and commits the best ones (LLaDA's `low_confidence` rule).

    Cost: min(S, n) forwards, known in advance.
    """

    name: Literal["even"] = "even"
    exact: ClassVar[bool] = True

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool: in step s the best count(n, S)[s] positions, n counted when the stage began."""
        positions = view.stage_open if view.stage.size is None else view.stage.size
        return top_by_quota(proposal.score, view.open, even_quota(positions, view.stage.steps, view.step))

    def commits(self, size: int, steps: int | None, step: int) -> int:
        """Return count(n, S)[s], which every row commits."""
        return even_quota(size, steps, step)


class ThresholdScheduler(SchedulerConfig):
    """Commits every position whose score reaches the threshold, and always the best one (Fast-dLLM).

    Cost: from one forward to one a token.
    """

    name: Literal["threshold"] = "threshold"
    adaptive: ClassVar[bool] = True
    reads_probabilities: ClassVar[bool] = True
    threshold: Annotated[
        float, Field(gt=0, le=1, description="The least score that is committed."), Tune(0.3, 0.99)
    ] = 0.9

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool; the engine adds the best position of a row that has none."""
        return view.open & (proposal.score >= self.threshold)


class QuotaThresholdScheduler(SchedulerConfig):
    """Commits what lies above the threshold if that is at least the step's even quota, else the quota's best.

    Source: the released code of SDAR (arXiv 2510.06303), `low_confidence_dynamic`. It keeps to the steps it is given
    and ends earlier where the scores allow it. Cost: at most min(S, n) forwards.
    """

    name: Literal["quota-threshold"] = "quota-threshold"
    reads_probabilities: ClassVar[bool] = True
    threshold: Annotated[
        float,
        Field(gt=0, le=1, description="Scores above it are committed beyond the quota."),
        Tune(0.3, 0.99),
    ] = 0.9

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool: the positions above the threshold, or the quota's best."""
        quota = even_quota(view.stage_open, view.stage.steps, view.step)
        above = view.open & (proposal.score > self.threshold)
        enough = above.sum(1, keepdim=True) >= quota[:, None]
        return torch.where(enough, above, top_by_quota(proposal.score, view.open, quota))


class CommitAll:
    """Commits everything that is open; used by layerings for positions they have already judged."""

    name = "commit-all"
    adaptive = False
    exact = True
    needs: frozenset[str] = frozenset()

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool: all open positions."""
        return view.open

    def commits(self, size: int, steps: int | None, step: int) -> int:
        """Return all of them."""
        return size
