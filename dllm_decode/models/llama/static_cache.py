"""A canvas cache for a compiled model: buffers that stay where they are, and are used again by the next decode.

Knows buffers; what is recomputed when is the policy's business, and compiling is the adapter's.
"""

from __future__ import annotations

import threading
from itertools import chain
from typing import Any
from weakref import finalize

import torch
from torch import Tensor

from dllm_decode.models.llama.canvas_cache import CanvasCache

Buffers = tuple[list[Tensor], list[Tensor]]
"""Keys and values, (B, H, L, D) of each layer."""


class Stock:
    """Buffers that no decode uses any more, by (B, L): a graph recorded on them is replayed for the next one."""

    def __init__(self, config: Any, dtype: torch.dtype, device: torch.device) -> None:
        """Take the model's config, by which buffers are made."""
        self._config, self._dtype, self._device = config, dtype, device
        self._free: dict[tuple[int, int], list[Buffers]] = {}
        # Decodes of several threads take from it; one that is forgotten gives back wherever it is collected.
        self._lock = threading.RLock()

    def take(self, shape: tuple[int, int]) -> Buffers:
        """Return buffers for (B, L), used before or new; free ones of other shapes make room for new ones."""
        with self._lock:
            if free := self._free.get(shape):
                return free.pop()
            self._free.clear()
        return self._made(shape), self._made(shape)

    def give_back(self, shape: tuple[int, int], buffers: Buffers) -> None:
        """Keep buffers for a later decode."""
        with self._lock:
            self._free.setdefault(shape, []).append(buffers)

    def _made(self, shape: tuple[int, int]) -> list[Tensor]:
        config = self._config
        heads = config.num_key_value_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        sizes = (shape[0], heads, shape[1], width)
        return [
            torch.zeros(sizes, dtype=self._dtype, device=self._device)
            for _ in range(config.num_hidden_layers)
        ]


class StaticCanvasCache(CanvasCache):
    """A canvas cache for a compiled model: allocated before the first forward, and written by index.

    Slices would make every block of a canvas a program of its own. Rows are never dropped, as that would move it.
    """

    keep = None  # type: ignore[assignment]

    def __init__(self, stock: Stock) -> None:
        """Take where the buffers come from, and go back to with the decode's end."""
        super().__init__()
        self._stock = stock
        self._index: Tensor | None = None
        self._now: list[
            tuple[Tensor, Tensor]
        ] = []  # keys and values of the rows that the next forward computes

    def recompute(self, columns: slice | None, rows: slice, shape: tuple[int, int]) -> None:
        """Say which columns of which rows the next forward computes; None is all of them."""
        super().recompute(columns, rows, shape)
        if not self.keys:
            self.keys, self.values = buffers = self._stock.take(self._shape)
            finalize(self, self._stock.give_back, self._shape, buffers)
        # Cut here and not in `update`, where each piece of the rows would be a program of its own.
        self._now = [(keys[rows], values[rows]) for keys, values in zip(self.keys, self.values, strict=True)]
        for states in chain.from_iterable(self._now):
            # What a graph writes to has to be known as staying where it is, or no graph is recorded.
            torch._dynamo.mark_static_address(states, guard=False)
        self._index = None
        if columns is not None:
            self._index = torch.arange(columns.start, columns.stop, device=self.keys[0].device)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store a layer's (b, H, C, D) states of the columns computed now; return those of all columns."""
        keys, values = self._now[layer_idx]
        if self._index is None:
            keys.copy_(key_states)
            values.copy_(value_states)
        else:
            keys.index_copy_(2, self._index, key_states)
            values.index_copy_(2, self._index, value_states)
        return keys, values
