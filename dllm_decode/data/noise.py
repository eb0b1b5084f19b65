"""Counter-based noise: a hash of seed, row, step, column and token, so that no row sees its batch mates.

Pure functions on tensors. Nothing here waits for the device.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dllm_decode.errors import ConfigError
from dllm_decode.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64, the increment of SplitMix64
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB

MAX_SEED = 2**61 - 1
"""The largest seed: two bits are left for the streams, and a hash's sign is not used."""


def check_seed(seed: object) -> None:
    """Refuse a seed that gives the noise of another one.

    Raises:
        ConfigError: It is no whole number from 0 to `MAX_SEED`.
    """
    try:
        number = operator.index(seed)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if isinstance(seed, bool) or not 0 <= number <= MAX_SEED:
        raise ConfigError(f"seed: should be a whole number from 0 to 2**61 - 1 ({MAX_SEED}), got {seed!r}")


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
