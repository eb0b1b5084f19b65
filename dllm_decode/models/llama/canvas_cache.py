"""Keys and values of a whole canvas, of which a forward recomputes some columns and reuses the rest.

Knows the interface that stock `transformers` models expect of a cache; which columns are recomputed is the policy's.
"""

from __future__ import annotations

from typing import Any

import torch
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
        self._rows = slice(None)
        self._shape = (0, 0)

    def recompute(self, columns: slice | None, rows: slice, shape: tuple[int, int]) -> None:
        """Say which columns of which rows the next forward computes.

        Args:
            columns: None is all of them.
            rows: A batch may go through the model some rows at a time.
            shape: (B, L) of the whole batch.
        """
        if columns is None and self.keys and self.keys[0].shape[0] != shape[0]:
            # A full forward over other rows than before needs nothing of what was kept.
            self.keys, self.values = [], []
        self._columns, self._rows, self._shape = columns, rows, (shape[0], shape[1])

    def keep(self, rows: Tensor) -> None:
        """Forget the rows that are not among (R,) int64 `rows`, counted as they stand now."""
        for kept in (self.keys, self.values):
            for layer, states in enumerate(kept):
                kept[layer] = states.index_select(0, rows.to(states.device))

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store a layer's (b, H, C, D) states of the columns computed now; return those of all columns."""
        if layer_idx == len(self.keys):
            self.keys.append(self._buffer(key_states))
            self.values.append(self._buffer(value_states))
        keys, values = self.keys[layer_idx][self._rows], self.values[layer_idx][self._rows]
        columns = slice(None) if self._columns is None else self._columns
        keys[:, :, columns].copy_(key_states)
        values[:, :, columns].copy_(value_states)
        return keys, values

    def _buffer(self, states: Tensor) -> Tensor:
        """Return an empty (B, H, L, D) for states like (b, H, L, D) `states`."""
        rows, length = self._shape
        return torch.empty(
            rows, states.shape[1], length, states.shape[3], dtype=states.dtype, device=states.device
        )

    def get_seq_length(self, layer_idx: int = 0, *args: Any) -> int:
        """Return 0: positions are given, so nothing is offset."""
        return 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Return 0; what `get_seq_length` was asked for until transformers 5.17 renamed it."""
        return 0

    def get_mask_sizes(self, query_length: Any, layer_idx: int = 0) -> tuple[int, int]:
        """Return L, the columns that are attended to, and the offset 0."""
        return self._shape[1], 0
