"""Dream's time points: a curve that counts, and the draw of positions that its sampler is derived from.

Both walk from t = 1 to t = 1e-3 in S equal steps; a step from t to s decides a share 1 - s/t of what is open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from dllm_decode.lazy import torch
from dllm_decode.plugin import Proposal, SchedulerConfig, StepView
from dllm_strategies.counting import Curve, CurveScheduler

if TYPE_CHECKING:
    from torch import Tensor

END = 1e-3
"""The last time point of the released code; the last step decides everything all the same."""

STREAM = 2
"""Stream of the draws; random confidence draws from another one."""


def dream_quota(positions: Tensor, steps: int) -> Tensor:
    """Return (N, S) int64 quotas of (N,) int64 positions: int(n_now (1 - s/t)), and in the last step what is left."""
    # float32 as in the released code: products that fall on whole numbers round differently in float64.
    times = torch.linspace(1, END, steps + 1, dtype=torch.float32)
    share = 1 - times[1:] / times[:-1]  # (S,)
    left, quotas = positions, []
    for step in range(steps - 1):
        quotas.append((left * share[step]).long())
        left = left - quotas[-1]
    return torch.stack([*quotas, left], dim=1)


class DreamScheduler(CurveScheduler):
    """Commits int(n_now (1 - s/t)) of the positions open now, and in the last step all of them.

    Source: Dream 7B (arXiv 2508.15487), its released `diffusion_generate`, which averages n over the batch; here n is
    the row's own. Its early quotas are often zero and its last one larger: with as many steps as positions it takes one
    forward fewer than positions. Cost: at most min(S, n) forwards.
    """

    name: Literal["dream"] = "dream"
    curve: ClassVar[Curve] = dream_quota


class BernoulliScheduler(SchedulerConfig):
    """Commits each open position with probability 1 - s/t, whatever its score, and in the last step all of them.

    Source: the reverse process of masked diffusion as Dream's released code draws it (`alg="origin"`). An empty draw
    becomes the best position, where the released code pays a forward that commits nothing. Without a number of steps,
    S is the number of positions. Cost: at most min(S, n) forwards.
    """

    name: Literal["bernoulli"] = "bernoulli"

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool; the engine adds the best position of a row that drew none."""
        given = view.stage.steps
        steps = view.stage_open if given is None else torch.full_like(view.stage_open, given)  # (B,)
        # 1 - s/t, with t = 1 - (1 - END) step / S.
        share = (1 - END) / (steps - (1 - END) * view.step)
        share = share.masked_fill(view.step + 1 >= steps, 1.0)
        return view.open & (view.noise.uniform(STREAM) < share[:, None])
