"""One pass over the vocabulary: from logits to what the parts of a strategy read of them, a few positions at a time.

Pure functions on tensors; where logits come from is the caller's business. Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.data.noise import gumbel
from dllm_decode.data.selection import SMALLEST
from dllm_decode.data.stats import VocabStats
from dllm_decode.forward import statistics_kernel

STATISTICS = frozenset({"content", "second", "entropy", "distribution", "undecided", "decided"})
"""What a part may name in `needs`. The first four name fields of `VocabStats`; the others ask for the statistics of
positions that are not open in a step, which are otherwise left out where that saves time: those of the block that are
still undecided, or all of its window."""

BEYOND_UNDECIDED = frozenset({"decided", "distribution"})
"""Needs that speak of positions which are decided."""
BEYOND_OPEN = BEYOND_UNDECIDED | {"undecided"}
"""Needs that speak of positions which are not open in a step."""

_TINY = torch.finfo(torch.float32).tiny
_ENTRIES = {"cpu": 2**22, "cuda": 2**26}
"""Logits held at once, by device type: 16 MiB of float32 on a CPU, 128 MiB of bfloat16 on a GPU."""


def pieces(positions: int, vocabulary: int, device: torch.device) -> list[slice]:
    """Return slices of a number of positions so that the logits of each fit into a bounded buffer."""
    length = max(1, _ENTRIES.get(device.type, _ENTRIES["cuda"]) // vocabulary)
    return [slice(start, min(start + length, positions)) for start in range(0, positions, length)]


def read_in_pieces(
    logits_of: Callable[..., Tensor],
    values: Sequence[Tensor],
    vocabulary: int,
    special: SpecialTokens,
    needs: Collection[str] = (),
    temperature: float = 0.0,
    keys: Tensor | None = None,
) -> VocabStats:
    """Return the (R, K) statistics of positions whose logits, if they are many, never exist all at once.

    Args:
        logits_of: From the values of some positions to their logits: (R, K, V), or (1, n, V) of a piece; they are
            changed in place.
        values: (R, K, ...) each, what logits are made from.
        vocabulary: V.
        special: Mask, EOS and EOT ids.
        needs: Names of statistics beyond token and probability, from `STATISTICS`.
        temperature: Gumbel temperature.
        keys: (R, K) int64, what the noise of each position grows from; needed where temperature > 0.
    """
    rows, columns = values[0].shape[:2]
    parts = pieces(rows * columns, vocabulary, values[0].device)
    if len(parts) <= 1:
        return vocabulary_statistics(logits_of(*values), special, needs, temperature, keys)
    flat = [value.flatten(0, 1)[None] for value in values]
    flat_keys = None if keys is None else keys.reshape(1, -1)
    found = [
        vocabulary_statistics(
            logits_of(*(value[:, part] for value in flat)),
            special,
            needs,
            temperature,
            None if flat_keys is None else flat_keys[:, part],
        )
        for part in parts
    ]
    return VocabStats.joined(found, dim=1).map(lambda value: value.reshape(rows, columns, *value.shape[2:]))


def vocabulary_statistics(
    logits: Tensor,
    special: SpecialTokens,
    needs: Collection[str] = (),
    temperature: float = 0.0,
    keys: Tensor | None = None,
) -> VocabStats:
    """Read from the logits what the parts of a strategy declared they need.

    The mask token is kept out of the proposal and stays in the softmax's denominator. At temperature T > 0 the
    proposal is argmax(logits + T * Gumbel), which is what LLaDA's released `add_gumbel_noise` computes; the
    probability is read from the un-noised logits. On a GPU the fused kernel does all that it serves.

    Args:
        logits: (..., V), floating; changed in place where that saves a copy.
        special: Mask, EOS and EOT ids.
        needs: Names of statistics beyond token and probability, from `STATISTICS`.
        temperature: Gumbel temperature.
        keys: (...) int64, what the noise of each position grows from; needed where temperature > 0.
    """
    # The kernel knows two ends.
    if len(special.ends) <= 2 and statistics_kernel.serves(logits, needs, temperature):
        return statistics_kernel.fused_statistics(logits, special, needs)
    logits = logits.float()  # (..., V) float32
    mask_logit = logits[..., special.mask].clone()
    logits[..., special.mask].fill_(-torch.inf)
    top, token = logits.max(-1)  # (...)
    if temperature > 0 and keys is not None:
        token = gumbel(keys, logits.shape[-1]).mul_(temperature).add_(logits).argmax(-1)
    logits[..., special.mask] = mask_logit
    # Shifted by the largest logit, a softmax keeps its precision near 1 whatever the logits' size.
    largest = top.maximum(mask_logit)
    logits -= largest[..., None]
    kept = "entropy" in needs or "distribution" in needs
    weights = logits.exp() if kept else logits.exp_()  # (..., V)
    total = weights.sum(-1)
    own = weights.gather(-1, token[..., None]).squeeze(-1) if temperature > 0 else (top - largest).exp_()
    content = entropy = best = second = distribution = None
    if "distribution" in needs:
        distribution = logits - total.log()[..., None]
    if "entropy" in needs:
        entropy = total.log() - (weights * logits.clamp_min(SMALLEST)).sum(-1) / total
    if "second" in needs:
        weights[..., special.mask] = 0
        best, second = (weights.topk(2, dim=-1).values / total[..., None]).unbind(-1)
        weights[..., special.mask] = (mask_logit - largest).exp()
    if "content" in needs:
        for end in special.ends:  # one by one: a list of indices would be copied to the device in every step
            weights[..., end] = 0
        content = own / weights.sum(-1).clamp_min(_TINY)
        for end in special.ends:
            content = content.masked_fill(token == end, 0.0)
    return VocabStats(token, own / total, content, best, second, entropy, distribution)
