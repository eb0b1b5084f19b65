"""The arithmetic of choosing: quotas, and the best open positions of every row at once.

Pure functions on tensors; a tie goes to the smallest column. Nothing here waits for the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from dllm_decode.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


SMALLEST = -3.4028234663852886e38
"""The smallest float32."""


@overload
def even_quota(positions: int, steps: int | None, step: int) -> int: ...
@overload
def even_quota(positions: Tensor, steps: int | None, step: int) -> Tensor: ...
@overload
def even_quota(positions: Tensor | int, steps: int | None, step: int) -> Tensor | int: ...
def even_quota(positions: Tensor | int, steps: int | None, step: int) -> Tensor | int:
    """Return how many of `positions` fall to `step` when they are spread evenly, the first steps taking the remainder.

    count(n, S)[s] = n // S + (1 if s < n % S else 0), as LLaDA's released `get_num_transfer_tokens`.

    Args:
        positions: (B,) int64, or one number for every row.
        steps: S; None is one position a step.
        step: s, 0-based.
    """
    if steps is None:
        return 1 if isinstance(positions, int) else torch.ones_like(positions)
    return positions // steps + (step < positions % steps)


def best_open(score: Tensor, open_: Tensor) -> Tensor:
    """(B, W) bool with the best open position of each row, ties to the smallest column; empty rows stay empty."""
    best = score.clamp_min(SMALLEST).where(open_, -torch.inf).argmax(1, keepdim=True)
    return torch.zeros_like(open_).scatter_(1, best, open_.gather(1, best))


def top_by_quota(score: Tensor, open_: Tensor, quota: Tensor | int) -> Tensor:
    """Return the best open positions of each row, ties to the smallest column.

    Args:
        score: (B, W) float32.
        open_: (B, W) bool.
        quota: (B,) int64, or one number for every row; more than a row has open takes all of them.

    Returns:
        (B, W) bool, a subset of `open_`.
    """
    if isinstance(quota, int):
        if quota == 1:
            return best_open(score, open_)
        if quota >= open_.shape[1]:
            return open_
    ranked = score.clamp_min(SMALLEST).where(open_, -torch.inf)
    ranked = ranked.sort(dim=1, descending=True, stable=True).indices  # (B, W)
    if isinstance(quota, int):
        return torch.zeros_like(open_).scatter_(1, ranked[:, :quota], True) & open_
    taken = torch.arange(open_.shape[1], device=open_.device) < quota[:, None]
    return torch.zeros_like(open_).scatter_(1, ranked, taken) & open_
