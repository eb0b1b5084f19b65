"""A bidirectional model that kept the next-token head it was started from: a column is predicted one to its left.

Knows which hidden states predict a window; everything else is the Llama denoiser's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dllm_decode.data.inputs import ModelInputs
from dllm_decode.models.llama.llama import BidirectionalLlama, take_columns


class ShiftedLlama(BidirectionalLlama):
    """Logits of column i are the model's output at column i - 1; a row's first column keeps its own.

    As in Dream's released code (`cat([logits[:, :1], logits[:, :-1]])`), except that with padding the row's first
    valid column counts, not the canvas's, so that a row's logits are those of the row alone.
    """

    plans_inputs = False
    """Extra columns have no left neighbour to be predicted from."""

    def _columns(self, inputs: ModelInputs) -> slice | None:
        """Return the columns to run through the model, from the window's left neighbour on; None is all of them."""
        columns = inputs.recompute
        if columns is None:
            return None
        return slice(min(columns.start, max(0, inputs.window.start - 1)), columns.stop)

    def _read(self, hidden: Tensor, inputs: ModelInputs, start: int, rows: slice) -> Tensor:
        """Return the states one column to the left of what is wanted, of (b, C, D) `hidden` from column `start` on."""
        window = inputs.window
        columns = torch.arange(window.start, window.stop, device=hidden.device)[None]  # (1, W)
        if inputs.columns is not None:
            columns = inputs.columns[rows].to(hidden.device)  # (b, K)
        # A row's first valid column has position 0; without padding it is column 0.
        first = columns == 0
        if inputs.positions is not None:
            positions = inputs.positions[rows].to(hidden.device)
            first = positions.gather(1, columns.expand(positions.shape[0], -1)) == 0
        # Column 0 of a padded row has no left neighbour, and nobody asks what it holds.
        return take_columns(hidden, ((columns - 1).where(~first, columns) - start).clamp_min(0))
