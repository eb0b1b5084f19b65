"""Fast-dLLM's loop with the dual cache in the style of the released one, to be timed beside the engine.

Own code that keeps its habits: a cache that is copied to be changed, a decision on every candidate in Python with a
wait for the device at each, one forward more for a block that its first forward has finished. Temperature 0, unpadded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.lib.bare import WholeCache
from benchmarks.loops.released import canvas_of, propose
from dllm_decode import DiffusionLM


class BlockCache(WholeCache):
    """Keys and values of the whole canvas as one full forward left them; later forwards see some columns replaced."""

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Return a layer's (B, H, L, D) states: those of `columns` as given, the others as they were stored."""
        if self.columns is None:
            self.kept.append((key_states, value_states))
            return key_states, value_states
        start, stop = self.columns.start, self.columns.stop
        keys, values = (
            torch.cat([stored[:, :, :start], new, stored[:, :, stop:]], dim=2)
            for stored, new in zip(self.kept[layer_idx], (key_states, value_states), strict=True)
        )
        return keys, values


CachedForward = Callable[[Tensor, BlockCache], Tensor]
"""(B, C) int64 tokens of the cache's columns and the cache in, (B, C, V) logits out."""


def cached_forward_of(lm: DiffusionLM) -> CachedForward:
    """Return the forward of the model's stock `LlamaForCausalLM`, the head on all columns that are computed."""
    model: Any = lm.denoiser.model  # type: ignore[attr-defined]

    def forward(tokens: Tensor, cache: BlockCache) -> Tensor:
        start = 0 if cache.columns is None else cache.columns.start
        positions = torch.arange(start, start + tokens.shape[1], device=tokens.device)[None]
        out = model(input_ids=tokens, position_ids=positions, past_key_values=cache, use_cache=True)
        return out.logits  # type: ignore[no-any-return]

    return forward


def fast_dllm_dual(
    forward: CachedForward,
    prompt: Tensor,
    *,
    gen_length: int,
    block_length: int,
    threshold: float,
    mask_id: int,
) -> Tensor:
    """Decode block after block, in every step all that reaches the threshold; return (B, P + gen_length) int64.

    A block's first forward runs the whole canvas, the later ones the block's columns.
    """
    tokens = canvas_of(prompt, gen_length, mask_id)
    for start in range(prompt.shape[1], tokens.shape[1], block_length):
        columns = slice(start, start + block_length)
        open_ = tokens == mask_id
        open_[:, columns.stop :] = False
        cache = BlockCache()
        _commit_sure(tokens, propose(forward(tokens, cache), mask_id), open_, threshold)
        cache.columns = columns
        block = tokens[:, columns]  # a view: what is written here is written on the canvas
        while True:
            _commit_sure(block, propose(forward(block, cache), mask_id), block == mask_id, threshold)
            if not bool((block == mask_id).any()):
                break
    return tokens


def _commit_sure(tokens: Tensor, proposal: tuple[Tensor, Tensor], open_: Tensor, threshold: float) -> None:
    """Commit in (B, C) `tokens`, in place, each row's best of (B, C) bool `open_` and all that reach the threshold."""
    choice, probability = proposal
    confidence = probability.masked_fill(~open_, -torch.inf)
    counts = open_.sum(dim=1)
    commit = torch.zeros_like(open_)
    for row in range(tokens.shape[0]):
        _, order = torch.topk(confidence[row], k=int(counts[row]))
        commit[row, order] = True
        for rank in range(1, int(counts[row])):
            if confidence[row, order[rank]] < threshold:
                commit[row, order[rank]] = False
    tokens[commit] = choice[commit]
