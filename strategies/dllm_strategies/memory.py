"""What a part remembers of a window's columns from one of a row's steps to the next.

Knows windows that move and rows that wait; what the tensors mean is the part's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dllm_decode.lazy import torch
from dllm_decode.plugin import StepView

if TYPE_CHECKING:
    from torch import Tensor


class Memory:
    """Tensors of (B, W, ...), as each row's last step left them."""

    def __init__(self) -> None:
        self._window: slice | None = None
        self._seen: Tensor  # (B, W) bool; whether the column was in the row's block in the row's last step
        self._kept: list[Tensor]

    def recall(self, view: StepView, *blank: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return (B, W) bool, of which columns something is known, and what was kept, in the view's window.

        Args:
            view: The step.
            blank: What stands where nothing was ever kept, one (B, W, ...) for every tensor.
        """
        window = view.block.window
        if self._window is None:
            return torch.zeros_like(view.open), list(blank)
        if window != self._window:
            self._seen = moved(self._seen, self._window, window)
            self._kept = [moved(kept, self._window, window) for kept in self._kept]
            self._window = window
        return self._seen, self._kept

    def keep(self, view: StepView, *now: Tensor) -> None:
        """Keep tensors of (B, W, ...), in rows that take this step; `recall` comes first in every step."""
        steps = view.open.any(1)  # (B,) bool; a row that waits for its batch mates takes no step
        seen = view.block.where[:, view.block.window]  # the window's other columns are there for other rows
        if self._window is None:
            self._window, self._seen, self._kept = view.block.window, seen & steps[:, None], list(now)
            return
        before = [self._seen, *self._kept]
        self._seen, *self._kept = (
            torch.where(steps.view(-1, *[1] * (new.dim() - 1)), new, old)
            for new, old in zip([seen, *now], before, strict=True)
        )


def moved(kept: Tensor, before: slice, after: slice) -> Tensor:
    """Return (B, W', ...) of the columns `after`, from (B, W, ...) of `before`; zero where there was none."""
    result = kept.new_zeros(kept.shape[0], after.stop - after.start, *kept.shape[2:])
    first, last = max(before.start, after.start), min(before.stop, after.stop)
    if first < last:
        shared = kept[:, first - before.start : last - before.start]
        result[:, first - after.start : last - after.start] = shared
    return result
