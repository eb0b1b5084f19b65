"""What one pass over the vocabulary yields for every position of a window.

B rows, W window columns, V vocabulary entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dllm_decode.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class VocabStats:
    """What one pass over the logits of a window yields. A field that no part declared in `needs` is None.

    Only what is open in the step is promised, and to a probe what is undecided. Other positions may hold zeros, unless
    a part names "undecided" (those of the block) or "decided" (all of the window) among its needs, or the strategy
    revises. Rows that wait for their batch mates may hold zeros in any case.
    """

    token: Tensor
    """(B, W) int64; the proposed token: the argmax, of Gumbel-noised logits at temperature > 0."""
    probability: Tensor
    """(B, W) float32; probability of `token` under un-noised, untempered logits."""
    content_probability: Tensor | None = None
    """(B, W) float32; the same after EOS and EOT are taken out of the vocabulary; 0 for those two. Need: "content"."""
    top_probability: Tensor | None = None
    """(B, W) float32; the largest probability. Need: "second" (kept beside `second_probability`)."""
    second_probability: Tensor | None = None
    """(B, W) float32; the second largest probability. Need: "second"."""
    entropy: Tensor | None = None
    """(B, W) float32, nats. Need: "entropy"."""
    log_probabilities: Tensor | None = None
    """(B, W, V) float32, nats; the mask token included. Need: "distribution", the one that is not small, and
    the one that always comes with every position of the window."""

    def map(self, change: Callable[[Tensor], Tensor]) -> VocabStats:
        """Return the result of a change to every statistic that is there."""
        values = (getattr(self, name) for name in self.__slots__)
        changed: Any = [None if value is None else change(value) for value in values]
        return VocabStats(*changed)

    def narrow(self, columns: slice) -> VocabStats:
        """Return the statistics of some of the window's columns; views, not copies."""
        return self.map(lambda value: value[:, columns])

    def widen(self, columns: Tensor, width: int) -> VocabStats:
        """Return the (R, W) statistics whose (R, K) int64 `columns` these are; zeros elsewhere."""

        def placed(value: Tensor) -> Tensor:
            blank = value.new_zeros(value.shape[0], width, *value.shape[2:])
            return blank.scatter_(1, columns, value)

        return self.map(placed)

    def spread(self, rows: Tensor, count: int) -> VocabStats:
        """Return the statistics of (R,) int64 `rows` among `count` of them, zeros in the others."""
        return self.map(lambda value: value.new_zeros(count, *value.shape[1:]).index_copy_(0, rows, value))

    @staticmethod
    def joined(parts: Sequence[VocabStats], dim: int = 0) -> VocabStats:
        """Return the statistics of several groups of rows, or, with `dim` 1, of positions, one after another."""
        columns = zip(*([getattr(part, name) for name in part.__slots__] for part in parts), strict=True)
        joined: Any = [None if values[0] is None else torch.cat(values, dim) for values in columns]
        return VocabStats(*joined)
