"""A grid of shapes: a compiled model meets few of them, as every one is compiled anew.

Knows how inputs are rounded up, and what is cut off again; the model is its adapter's.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dllm_decode.data.inputs import ModelInputs
from dllm_decode.models.remembered import Remembered

COLUMNS = 64
"""Canvases are as long as a multiple of it, in tokens."""


def rows_on_grid(rows: int) -> int:
    """Return the next of 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, ...: at most half as many again, few shapes in all."""
    power = 1 << max(0, rows - 1).bit_length()
    return power * 3 // 4 if rows <= power * 3 // 4 else power


class Grid:
    """Rounds inputs up to the grid of shapes."""

    def __init__(self) -> None:
        """Know no inputs yet."""
        self._padded = Remembered(_padded)

    def fit(self, inputs: ModelInputs) -> ModelInputs:
        """Return the same inputs with padding on the left of the canvas and rows repeated below.

        Rows whose keys and values are kept are not repeated: there are as many of them in every forward.
        """
        rows, length = inputs.tokens.shape
        missing = -length % COLUMNS
        more = rows_on_grid(rows) - rows if inputs.cache is None else 0
        tokens = inputs.tokens
        if missing:
            tokens = torch.cat([tokens[:, :1].expand(-1, missing), tokens], dim=1)
        columns = None if inputs.columns is None else inputs.columns + missing
        computed = inputs.recompute
        return replace(
            inputs,
            tokens=_repeated(tokens, more),
            valid=inputs.valid
            if inputs.valid is None and not missing
            else self._padded(inputs.valid, rows, length, missing, more, tokens.device),
            columns=None if columns is None else _repeated(columns, more),
            window=_moved(inputs.window, missing),
            recompute=None if computed is None else _moved(computed, missing),
        )


def _padded(
    valid: Tensor | None, rows: int, length: int, missing: int, more: int, device: torch.device
) -> Tensor:
    """Return (B + more, missing + L) bool of (B, L) `valid`, None where nothing is padding; masks are built from it."""
    own = torch.ones(rows, length, dtype=torch.bool, device=device) if valid is None else valid
    return _repeated(torch.cat([own.new_zeros(rows, missing), own], dim=1), more)


def _repeated(values: Tensor, more: int) -> Tensor:
    """Return (B + more, ...) of (B, ...): the last row again."""
    return torch.cat([values, values[-1:].expand(more, -1)]) if more else values


def _moved(columns: slice, by: int) -> slice:
    return slice(columns.start + by, columns.stop + by)
