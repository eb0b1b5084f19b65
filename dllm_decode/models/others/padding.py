"""How a model that is not of our making is run on rows of unequal length, so that no row depends on its batch mates.

Knows tokens, masks and lengths; how the model is called is the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dllm_decode.models.remembered import Remembered

_ALLOWED = {torch.float64: 1e-9, torch.float32: 2e-5}
_ALLOWED_IN_HALF_PRECISION = 0.02
"""How far rounding may move a padded row's logits, as a share of the largest one; to be too strict costs time only."""


class RowsByLength:
    """Runs rows of one length together, each from its first valid column on.

    Right for every model, at one call of it a length.
    """

    def __init__(self) -> None:
        """Know no rows yet."""
        self._groups = Remembered(_rows_by_start)

    def run(
        self, tokens: Tensor, valid: Tensor | None, window: slice, forward: Callable[[Tensor, slice], Tensor]
    ) -> Tensor:
        """Return (B, W, V) logits of the window; 0 on padding.

        Args:
            tokens: (B, L) int64.
            valid: (B, L) bool, False on left padding; None where there is none.
            window: The columns wanted; W of them.
            forward: From (G, C) int64 tokens without padding and a window to (G, W, V) logits.
        """
        if valid is None:
            return forward(tokens, window)
        logits: Tensor | None = None
        for rows, first in self._groups(valid):
            begin = max(window.start, first)
            if begin >= window.stop:
                continue
            part = forward(tokens[rows, first:], slice(begin - first, window.stop - first))
            if logits is None:
                logits = part.new_zeros(tokens.shape[0], window.stop - window.start, part.shape[-1])
            logits[rows, begin - window.start :] = part
        assert logits is not None, "a window lies inside the longest row"
        return logits


def _rows_by_start(valid: Tensor) -> list[tuple[Tensor, int]]:
    """Return the rows of (B, L) bool `valid` that begin in one column, with that column."""
    first = valid.int().argmax(1)  # (B,); 0 for a row of nothing but padding
    return [((first == begin).nonzero()[:, 0], begin) for begin in sorted(set(first.tolist()))]


def comparable(logits: Tensor) -> Tensor:
    """Return logits that differences can be taken of; not in float64, which some devices do not have."""
    return logits if logits.dtype in _ALLOWED else logits.float()


def padding_error(
    run: Callable[[Tensor, Tensor | None], Tensor],
    alone: Callable[[Tensor], Tensor],
    *,
    vocab_size: int,
    filler: int,
    avoid: int | None,
    max_length: int | None,
    device: torch.device,
) -> float:
    """Return how far padding moves a row's logits, in units of what rounding may do; above 1 it is not masked out.

    Args:
        run: From (B, L) int64 tokens and (B, L) bool valid, or None, to (B, L, V) logits.
        alone: From (1, L) int64 tokens to (1, L, V) logits: what is held true.
        vocab_size: Tokens are taken from all over the vocabulary.
        filler: The token id to pad with.
        avoid: A token id that must not stand in a row; None if any may.
        max_length: The longest row the model takes, in tokens.
        device: Where the tokens go.
    """
    length = min(11, max_length or 11)
    padding = max(1, length // 3)
    tokens = torch.linspace(0, vocab_size - 1, 2 * length, device=device).long().reshape(2, length).clone()
    if avoid is not None:
        tokens[tokens == avoid] = (avoid + 1) % vocab_size
    tokens[1, :padding] = filler
    valid = torch.ones_like(tokens, dtype=torch.bool)
    valid[1, :padding] = False
    together, unpadded = run(tokens, valid), run(tokens[:1], None)
    long, short = alone(tokens[:1]), alone(tokens[1:, padding:])
    share = _ALLOWED.get(long.dtype, _ALLOWED_IN_HALF_PRECISION)
    together, unpadded, long, short = map(comparable, (together, unpadded, long, short))
    pairs = ((together[:1], long), (together[1:, padding:], short), (unpadded, long))
    largest = torch.stack([(found - true).abs().max() for found, true in pairs]).max()
    error = float(largest) / (share * max(1e-30, float(long.abs().max())))
    return math.inf if math.isnan(error) else error  # NaN: padding leaks into the row
