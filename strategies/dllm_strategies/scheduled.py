"""SchED: commits the rest once the model is sure enough of it, and less is enough the further the decode has come.

Knows curves over the steps and which proposals have changed; the tokens are the forward's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from dllm_decode.lazy import torch
from dllm_decode.plugin import SpecialTokens, StepView, StopConfig, Tune
from dllm_strategies.memory import Memory

if TYPE_CHECKING:
    from torch import Tensor

_NEEDS = frozenset({"second", "undecided"})
_SMALLEST = 1e-38
"""Probabilities below it count as it, so that a margin is finite."""


class ScheduledCommit(StopConfig):
    """Commits all that is open in the block once the mean margin of its logits reaches a threshold that falls.

    The margin is ln(p1 / p2), the gap between the two largest logits but the mask's. In step s of a stage of S steps,
    t = s / (S - 1), the threshold goes from `high` to `low`: exp: low + (high - low) exp(-bend t); cosine: low +
    (high - low) (1 + cos(pi t)) / 2; linear. S is the number of positions where the stage has no steps. Besides, at
    most a share `changed` of the open positions' tokens may have changed since the step before; the released code
    allows none.
    Source: SchED (arXiv 2512.02892) and its released code.
    """

    name: Literal["scheduled-commit"] = "scheduled-commit"
    needs: ClassVar[frozenset[str]] = _NEEDS
    curve: Annotated[
        Literal["exp", "cosine", "linear"],
        Field(description="How the threshold falls."),
        Tune(choices=("exp", "cosine", "linear")),
    ] = "exp"
    high: Annotated[float, Field(ge=0, description="The threshold of the first step."), Tune(2.0, 12.0)] = 7.5
    low: Annotated[float, Field(ge=0, description="The threshold it falls to."), Tune(0.0, 4.0)] = 0.0
    bend: Annotated[
        float,
        Field(ge=0, description="How fast `exp` falls; other curves ignore it."),
        Tune(1.0, 16.0, log=True),
    ] = 2.0
    changed: Annotated[
        float,
        Field(
            ge=0, le=1, description="The largest share of tokens that may just have changed; 1 asks nothing."
        ),
        Tune(0.0, 1.0),
    ] = 0.0

    def build(self) -> Any:
        """Return a fresh memory for one decode."""
        return _ScheduledCommit(self)


class _ScheduledCommit:
    adaptive = True
    needs = _NEEDS

    def __init__(self, config: ScheduledCommit) -> None:
        self.config, self.name, self.memory = config, config.name, Memory()

    def fill(self, view: StepView, special: SpecialTokens) -> tuple[Tensor, Tensor] | None:
        """Return (B, L) bool of the block's open positions in rows that are sure, and (B, L) int64 their tokens."""
        stats, canvas, window = view.stats, view.canvas, view.block.window
        assert stats.top_probability is not None and stats.second_probability is not None, (
            "declared in `needs`"
        )
        left = canvas.undecided[:, window] & view.block.where[:, window]
        judged = left | view.open  # what the commit has just decided was open as well
        count = judged.sum(1)  # (B,)
        margin = (
            stats.top_probability.clamp_min(_SMALLEST).log()
            - stats.second_probability.clamp_min(_SMALLEST).log()
        )
        enough = margin.masked_fill(~judged, 0.0).sum(1) >= self._threshold(view) * count
        seen, (before,) = self.memory.recall(view, stats.token)
        changes = (judged & ~(seen & (before == stats.token))).sum(1)
        self.memory.keep(view, stats.token)
        sure = enough & (changes <= self.config.changed * count)
        tokens = torch.zeros_like(canvas.tokens)
        tokens[:, window] = stats.token
        return canvas.placed(left & sure[:, None], window), tokens

    def _threshold(self, view: StepView) -> Tensor:
        """Return (B,) float32."""
        config, given = self.config, view.stage.steps
        steps = view.stage_open if given is None else torch.full_like(view.stage_open, given)
        progress = (view.step / (steps - 1).clamp_min(1)).clamp_max(1.0).masked_fill(steps <= 1, 1.0)
        if config.curve == "exp":
            share = (-config.bend * progress).exp().masked_fill(steps <= 1, 0.0)
        elif config.curve == "cosine":
            share = (1 + (torch.pi * progress).cos()) / 2
        else:
            share = 1 - progress
        return config.low + (config.high - config.low) * share
