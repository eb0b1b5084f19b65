"""KLASS: a position may be committed once its distribution has stopped moving and its score is high.

Keeps the last distributions of the window, whole or as their largest entries, and how long each position has
been still. Knows nothing of how the score is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from dllm_decode.lazy import torch
from dllm_decode.plugin import Proposal, SchedulerConfig, StepView, Tune
from dllm_strategies.memory import Memory

if TYPE_CHECKING:
    from torch import Tensor

FLOOR = 1e-12
"""Probabilities below it count as it, so that a divergence is finite."""

_LOG_FLOOR = math.log(FLOOR)
_NEEDS = frozenset({"distribution"})


class KlassScheduler(SchedulerConfig):
    """Commits positions that score at least `threshold` and whose distribution was still for `history` steps.

    Still: KL(p_t || p_(t-1)) < epsilon, in nats, p over the vocabulary in float32 and floored at 1e-12. Distributions
    are compared within a block only, so in a block's first `history` steps the best position alone is committed.
    Source: KLASS (arXiv 2511.05664). Cost: at least min(n, `history` + 1) forwards a block of n positions, at most one
    a token. Memory: rows x window x vocabulary x 4 bytes; with `top` entries kept, rows x window x `top` x 12 bytes.
    """

    name: Literal["klass"] = "klass"
    adaptive: ClassVar[bool] = True
    reads_probabilities: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = _NEEDS
    threshold: Annotated[
        float, Field(gt=0, le=1, description="The least score that is committed."), Tune(0.3, 0.99)
    ] = 0.9
    epsilon: Annotated[
        float,
        Field(gt=0, description="A step that moves a distribution by fewer nats leaves it still."),
        Tune(1e-4, 0.3, log=True),
    ] = 0.01
    history: Annotated[
        int, Field(ge=1, description="For how many steps on end a distribution has to be still."), Tune(1, 4)
    ] = 2
    top: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Keep so many of a distribution's largest entries and the rest as one, which never overstates the "
        "divergence; null keeps the vocabulary, which is exact.",
    )

    def build(self) -> Any:
        """Return a fresh memory for one decode."""
        return _Klass(self)


class _Klass:
    adaptive = True
    exact = False
    needs = _NEEDS

    def __init__(self, config: KlassScheduler) -> None:
        self.config, self.name, self.memory = config, config.name, Memory()

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool; the engine adds the best position of a row that has none."""
        log_probabilities = view.stats.log_probabilities
        assert log_probabilities is not None, "declared in `needs`"
        now = remember(log_probabilities, self.config.top)
        blank = torch.zeros_like(view.open, dtype=torch.int64)
        # (B, W) int64; steps on end in which the distribution was still.
        seen, (still, *past) = self.memory.recall(view, blank, *now.kept())
        calm = seen & (Remembered(*past).divergence(log_probabilities) < self.config.epsilon)
        still = (still + 1) * calm
        self.memory.keep(view, still, *now.kept())
        return view.open & (still >= self.config.history) & (proposal.score >= self.config.threshold)


@dataclass(frozen=True, slots=True)
class Remembered:
    """Distributions over the vocabulary: all of their entries, or the K largest and one for the rest."""

    log_probabilities: Tensor
    """(B, W, V or K) float32, not below the floor."""
    tokens: Tensor | None = None
    """(B, W, K) int64; whose entries these are; None where all are kept."""
    rest: Tensor | None = None
    """(B, W, 1) float32; the probability of the others."""

    def divergence(self, now: Tensor) -> Tensor:
        """Return (B, W) float32, KL(now || self) in nats, of (B, W, V) float32 log probabilities."""
        if self.tokens is not None:
            now = now.gather(-1, self.tokens)
        probability = now.exp()
        shift = (probability * (now.clamp_min(_LOG_FLOOR) - self.log_probabilities)).sum(-1)
        if self.rest is None:
            return shift
        rest = (1 - probability.sum(-1)).clamp_min(0)
        return shift + rest * (rest.clamp_min(FLOOR) / self.rest[..., 0].clamp_min(FLOOR)).log()

    def kept(self) -> list[Tensor]:
        """Return the tensors that are there, in the order of the fields."""
        return [kept for kept in (self.log_probabilities, self.tokens, self.rest) if kept is not None]


def remember(log_probabilities: Tensor, top: int | None) -> Remembered:
    """Keep (B, W, V) float32 log probabilities, or their `top` largest entries and the rest as one."""
    if top is None or top >= log_probabilities.shape[-1]:
        return Remembered(log_probabilities.clamp_min(_LOG_FLOOR))
    largest, tokens = log_probabilities.topk(top, dim=-1)
    rest = (1 - largest.exp().sum(-1, keepdim=True)).clamp_min(0)
    return Remembered(largest.clamp_min(_LOG_FLOOR), tokens, rest)
