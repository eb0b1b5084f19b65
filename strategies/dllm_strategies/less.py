"""LESS: a position is committed once its token is probable, has stayed, and its distribution has stopped drifting.

Keeps each column's last token, for how long it has been the same, and the largest entries of its last distribution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from dllm_decode.plugin import Proposal, SchedulerConfig, StepView, Tune
from dllm_strategies.memory import Memory

if TYPE_CHECKING:
    from torch import Tensor

FLOOR = 1e-12
"""Added to probabilities before their logarithm, as the released code does."""

_NEEDS = frozenset({"distribution"})


class LessScheduler(SchedulerConfig):
    """Commits scores of at least `threshold` whose token stayed for `history` steps and whose distribution has calmed.

    It stayed if it is that of the `history` steps before this one, and is calm if it drifts by at most `drift`. Drift is the Jensen-Shannon divergence, in nats, between this step's distribution and the last one's, each as its
    `top` largest entries and one for the rest. A block starts without a past, so in its first `history` steps the best
    position alone is committed.
    Source: LESS (arXiv 2606.16908), its released sampler for LLaDA; the one for Dream adds rules of its own. Cost: at
    least min(n, `history` + 1) forwards a block of n positions, at most one a token.
    """

    name: Literal["less"] = "less"
    adaptive: ClassVar[bool] = True
    reads_probabilities: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = _NEEDS
    threshold: Annotated[
        float, Field(gt=0, le=1, description="The least score that is committed."), Tune(0.3, 0.99)
    ] = 0.75
    drift: Annotated[
        float,
        Field(ge=0, le=1, description="The most nats by which the distribution may have drifted."),
        Tune(1e-3, 0.4, log=True),
    ] = 0.04
    history: Annotated[
        int,
        Field(ge=1, description="For how many steps before this one the token must have been the same."),
        Tune(1, 4),
    ] = 2
    top: int = Field(8, ge=1, description="Largest entries of a distribution that are kept.")

    def build(self) -> Any:
        """Return a fresh memory for one decode."""
        return _Less(self)


class _Less:
    adaptive = True
    exact = False
    needs = _NEEDS

    def __init__(self, config: LessScheduler) -> None:
        self.config, self.name, self.memory = config, config.name, Memory()

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool; the engine adds the best position of a row that has none."""
        everything = view.stats.log_probabilities
        assert everything is not None, "declared in `needs`"
        kept = everything.topk(min(self.config.top, everything.shape[-1]), dim=-1)
        largest, ids, token = kept.values.exp(), kept.indices, proposal.tokens
        blank = (token, token * 0, ids, largest * 0)
        seen, (before, run, past_ids, past) = self.memory.recall(view, *blank)
        run = (run + 1) * (seen & (token == before))  # steps before this one, on end, with the token of now
        calm = divergence(ids, largest, past_ids, past) <= self.config.drift
        self.memory.keep(view, token, run, ids, largest)
        stays = run >= self.config.history
        return view.open & stays & calm & (proposal.score >= self.config.threshold)


def divergence(ids: Tensor, largest: Tensor, past_ids: Tensor, past: Tensor) -> Tensor:
    """Return (B, W) float32, the Jensen-Shannon divergence in nats of two distributions kept as (B, W, K) entries.

    Args:
        ids: (B, W, K) int64, whose probabilities `largest` are.
        largest: (B, W, K) float32.
        past_ids: (B, W, K) int64 of the other distribution.
        past: (B, W, K) float32.
    """
    same = ids[..., :, None] == past_ids[..., None, :]  # (B, W, K, K)
    other = (same * past[..., None, :]).sum(-1)  # (B, W, K); the other distribution at `ids`
    gone = past * ~same.any(-2)  # entries that are among the other's largest only
    rest, past_rest = ((1 - entries.sum(-1)).clamp_min(0) for entries in (largest, past))
    shift = _towards(largest, other).sum(-1) + _towards(gone, gone * 0).sum(-1) + _towards(rest, past_rest)
    return (shift / 2).clamp_min(0)


def _towards(one: Tensor, other: Tensor) -> Tensor:
    """Return what entries add to the divergences of two distributions from their mean."""
    mean = ((one + other) / 2 + FLOOR).log()
    return one * ((one + FLOOR).log() - mean) + other * ((other + FLOOR).log() - mean)
