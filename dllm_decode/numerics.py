"""The arithmetic of decoding: quota splits, batched selection by rank, counter-based noise.

Pure functions on tensors; knows nothing of strategies or models. Nothing here waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64, the increment of SplitMix64
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB
SMALLEST = torch.finfo(torch.float32).min


def _logical_shift(value: Tensor, bits: int) -> Tensor:
    """Shift int64 right, filling with zeros as an unsigned shift does."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _mix(value: Tensor) -> Tensor:
    """SplitMix64's finalizer (Steele, Lea, Flood 2014) on int64 with wrap-around."""
    value = (value ^ _logical_shift(value, 30)) * _MIX_1
    value = (value ^ _logical_shift(value, 27)) * _MIX_2
    return value ^ _logical_shift(value, 31)


@dataclass(frozen=True, slots=True)
class Noise:
    """Randomness that is a hash of (seed, row id, the row's own step, column, token), so no row sees its batch mates.

    Columns count from the canvas's end, so left padding does not move them.
    """

    seed: int
    row_ids: Tensor
    """(B,) int64."""
    counter: Tensor
    """(B,) int64; how often the row has committed."""
    columns: Tensor
    """(W,) int64; canvas columns minus the canvas length."""

    def of_rows(self, rows: Tensor) -> Noise:
        """Return the noise of (R,) int64 `rows` alone."""
        return Noise(self.seed, self.row_ids[rows], self.counter[rows], self.columns)

    def keys(self, stream: int = 0) -> Tensor:
        """(B, W) int64, one key a position; stream 0 is that of the proposal's Gumbel noise."""
        seed = (self.seed * 4 + stream) & 0x7FFFFFFFFFFFFFFF
        row = _mix((self.row_ids + 1) * _GOLDEN ^ seed)
        step = _mix(row + (self.counter + 1) * _GOLDEN)
        return _mix(step[:, None] + self.columns * _GOLDEN)

    def uniform(self, stream: int = 1) -> Tensor:
        """(B, W) float32 in (0, 1); parts that need independent draws in one step use different streams (1 to 3)."""
        return _to_uniform(self.keys(stream))


def gumbel(keys: Tensor, vocabulary: int) -> Tensor:
    """Return (..., V) float32 standard Gumbel noise of (...) int64 keys, a hash of key and token."""
    tokens = torch.arange(1, vocabulary + 1, device=keys.device) * _GOLDEN
    return _to_uniform(_mix(keys[..., None] + tokens)).log_().neg_().log_().neg_()


def _to_uniform(bits: Tensor) -> Tensor:
    """Map int64 to float32 in (0, 1): the 24 highest bits, centred, so that neither 0 nor 1 occurs."""
    return (_logical_shift(bits, 40).to(torch.float32) + 0.5).mul_(2.0**-24).clamp_(max=1 - 2.0**-24)


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
