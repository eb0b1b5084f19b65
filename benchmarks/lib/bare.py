"""The forwards a decode cannot do without, made by the model alone: tensors in, logits out, nothing chosen.

Knows a stock Llama's body, head and cache, and the denoiser's protocol; uses nothing of the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from dllm_decode.data.inputs import ModelInputs

Forward = Callable[[Tensor, slice | None, slice], Tensor]
"""(B, L) tokens, the columns to compute (None is all), the window of them to read -> (B, W, V) logits."""
ForwardOf = Callable[[bool], Forward]


def even_split(positions: int, steps: int) -> list[int]:
    """Return how many positions fall to each step, the first steps taking the remainder, as in LLaDA's rule."""
    return [positions // steps + (step < positions % steps) for step in range(steps)]


def open_counts(positions: int, steps: int) -> list[int]:
    """Return how many positions are undecided when each step begins."""
    split = even_split(positions, steps)
    return [positions - sum(split[:step]) for step in range(steps)]


@torch.inference_mode()
def uncached(forward_of: ForwardOf, tokens: Tensor, gen_length: int, steps: int) -> None:
    """Make the forwards of LLaDA's rule in one block without a cache.

    The body runs on all columns, the head on as many of the region as are still undecided, which is the least.

    Args:
        forward_of: Returns a forward, told whether it keeps keys and values.
        tokens: (B, L) int64.
        gen_length: Columns of the region, the last ones of L.
        steps: Forwards.
    """
    forward, length = forward_of(False), tokens.shape[1]
    for count in open_counts(gen_length, steps):
        forward(tokens, None, slice(length - count, length))


@torch.inference_mode()
def dual_cached(
    forward_of: ForwardOf, tokens: Tensor, gen_length: int, block_length: int, steps: int
) -> None:
    """Make the forwards of a decode with dual cache: in every block a full one, then the block's columns alone.

    Args:
        forward_of: Returns a forward, told whether it keeps keys and values.
        tokens: (B, L) int64.
        gen_length: Columns of the region, the last ones of L.
        block_length: Columns of a block; divides the region.
        steps: Forwards, spread evenly over the blocks.
    """
    forward, length = forward_of(True), tokens.shape[1]
    starts = range(length - gen_length, length, block_length)
    for start, budget in zip(starts, even_split(steps, len(starts)), strict=True):
        block = slice(start, start + block_length)
        for number, count in enumerate(open_counts(block_length, budget)):
            forward(tokens, block if number else None, slice(start, start + count))


class StockForward:
    """The stock model's body and head, as they come from the library."""

    def __init__(self, model: Any, keeps: bool) -> None:
        """Take a `LlamaForCausalLM`, and whether keys and values are kept from call to call."""
        self.model, self.cache = model, WholeCache() if keeps else None

    def __call__(self, tokens: Tensor, computed: slice | None, window: slice) -> Tensor:
        """Return (B, W, V) logits of the window."""
        if self.cache is None:
            hidden = self.model.model(input_ids=tokens, use_cache=False).last_hidden_state  # (B, L, D)
            return self.model.lm_head(hidden[:, window])  # type: ignore[no-any-return]
        columns = slice(0, tokens.shape[1]) if computed is None else computed
        positions = torch.arange(columns.start, columns.stop, device=tokens.device)[None]
        self.cache.columns = columns
        hidden = self.model.model(
            input_ids=tokens[:, columns], position_ids=positions, past_key_values=self.cache, use_cache=True
        ).last_hidden_state  # (B, C, D)
        read = slice(window.start - columns.start, window.stop - columns.start)
        return self.model.lm_head(hidden[:, read])  # type: ignore[no-any-return]


class DenoiserForward:
    """The package's own denoiser: where it is compiled, the stock model is not what a decode waits for."""

    def __init__(self, denoiser: Any, keeps: bool) -> None:
        """Take a denoiser, and whether keys and values are kept from call to call."""
        self.denoiser, self.cache = denoiser, denoiser.new_cache() if keeps else None

    def __call__(self, tokens: Tensor, computed: slice | None, window: slice) -> Tensor:
        """Return (B, W, V) logits of the window."""
        inputs = ModelInputs(tokens, None, window, self.cache, computed)
        return self.denoiser.logits(inputs)  # type: ignore[no-any-return]


class WholeCache(Cache):
    """Keys and values of all columns; a forward over some of them overwrites those and attends to all."""

    def __init__(self) -> None:
        """Start empty; the first forward must be over all columns."""
        super().__init__(layers=[])
        self.columns: slice | None = None
        """The columns that the next forward computes; None is all of them."""
        self.kept: list[tuple[Tensor, Tensor]] = []
        """A layer's (B, H, L, D) keys and values."""

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store a layer's (B, H, C, D) keys and values; return those of all columns."""
        if layer_idx == len(self.kept):
            self.kept.append((key_states.clone(), value_states.clone()))
        keys, values = self.kept[layer_idx]
        columns = slice(None) if self.columns is None else self.columns
        keys[:, :, columns].copy_(key_states)
        values[:, :, columns].copy_(value_states)
        return keys, values

    def get_seq_length(self, layer_idx: int = 0, *args: Any) -> int:
        """Return 0: positions are given."""
        return 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Return 0, as `get_seq_length` does, which newer versions of the library ask for by this name."""
        return 0

    def get_mask_sizes(self, query_length: Any, layer_idx: int = 0) -> tuple[int, int]:
        """Return the columns that are attended to, and the offset 0."""
        if self.kept:
            return self.kept[0][0].shape[2], 0
        return int(query_length if isinstance(query_length, int) else query_length.shape[0]), 0
