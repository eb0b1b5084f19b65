"""Keys and values of a whole canvas, of which a forward recomputes some columns and reuses the rest.

Knows the interface that stock `transformers` models expect of a cache; which columns are recomputed is the policy's.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import Cache


class CanvasCache(Cache):
    """One (B, H, L, D) buffer of keys and one of values a layer, allocated by the first full forward.

    Unlike a causal cache it does not grow: a full forward fills it, a forward over some columns overwrites those and
    attends to all L. With nothing changed in between, both give the same numbers.
    """

    def __init__(self) -> None:
        """Start empty; the first forward must be a full one."""
        super().__init__(layers=[])
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self._columns: slice | None = None

    def recompute(self, columns: slice | None) -> None:
        """Say which columns the next forward computes; None is all of them."""
        self._columns = columns

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store a layer's (B, H, C, D) states of the columns computed now; return those of all columns."""
        if layer_idx == len(self.keys):
            self.keys.append(key_states.clone())
            self.values.append(value_states.clone())
            return key_states, value_states
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        columns = slice(None) if self._columns is None else self._columns
        keys[:, :, columns].copy_(key_states)
        values[:, :, columns].copy_(value_states)
        return keys, values

    def get_seq_length(self, layer_idx: int = 0, *args: Any) -> int:
        """Return 0: positions are given, so nothing is offset."""
        return 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Return 0; what `get_seq_length` was asked for until transformers 5.17 renamed it."""
        return 0

    def get_mask_sizes(self, query_length: Any, layer_idx: int = 0) -> tuple[int, int]:
        """Return L, the columns that are attended to, and the offset 0."""
        if self.keys:
            return self.keys[0].shape[2], 0
        return int(query_length if isinstance(query_length, int) else query_length.shape[0]), 0
