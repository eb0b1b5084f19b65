"""A grid of shapes: a compiled model meets few of them, as every one is compiled anew.

Knows how inputs are rounded up, and what is cut off again; the model is its adapter's.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dllm_decode.data.inputs import ModelInputs

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
        self._given: tuple[Tensor | None, int] = (None, 0)
        self._valid: Tensor | None = None

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
            valid=self._padded(inputs, missing, more),
            columns=None if columns is None else _repeated(columns, more),
            window=_moved(inputs.window, missing),
            recompute=None if computed is None else _moved(computed, missing),
        )

    def _padded(self, inputs: ModelInputs, missing: int, more: int) -> Tensor | None:
        """Return (B', L') bool, the same tensor as before where the inputs' own is: masks are built from it once."""
        valid = inputs.valid
        rows, length = inputs.tokens.shape
        if valid is None and not missing:
            return None
        shape = (rows + more, missing + length)
        same = self._given[0] is valid and self._given[1] == missing
        if self._valid is None or not same or tuple(self._valid.shape) != shape:
            own = torch.ones_like(inputs.tokens, dtype=torch.bool) if valid is None else valid
            self._given = (valid, missing)
            self._valid = _repeated(torch.cat([own.new_zeros(rows, missing), own], dim=1), more)
        return self._valid


def _repeated(values: Tensor, more: int) -> Tensor:
    """Return (B + more, ...) of (B, ...): the last row again."""
    return torch.cat([values, values[-1:].expand(more, -1)]) if more else values


def _moved(columns: slice, by: int) -> slice:
    return slice(columns.start + by, columns.stop + by)
