"""What a decode has left to do, as far as the host knows: how many positions, and which rows are worth running.

Knows counts alone; when they are asked for, and what follows from them, is the engine's business.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dllm_decode.data.canvas import Block, Canvas
from dllm_decode.forward.transfer import Answer

WORTH_DROPPING = 0.8
"""Share of a batch's rows with something left up to which the others are left out of a forward."""


class Remaining:
    """Bounds for the block at hand; counted on the device where the schedule does not tell."""

    def __init__(self, canvas: Canvas, *, drops_rows: bool, cached: bool, worth_dropping: float | None) -> None:
        """Begin before the first block.

        Args:
            canvas: What is decoded.
            drops_rows: Whether a forward may leave rows out.
            cached: Whether keys and values are kept, so that a row that has left a block cannot come back in it.
            worth_dropping: Instead of `WORTH_DROPPING`.
        """
        self._canvas, self._drops_rows, self._cached = canvas, drops_rows, cached
        self._worth = WORTH_DROPPING if worth_dropping is None else worth_dropping
        self._before = canvas.length
        self.open = canvas.length
        """No row has more open positions in the stage."""
        self.undecided = canvas.length
        """No row has more undecided columns in the block's window."""
        self.rows: frozenset[int] | None = None
        """The rows that forwards run; None is all."""

    def begin_block(self, block: Block) -> None:
        """Know nothing of a block but its window."""
        self.undecided = block.window.stop - block.window.start

    def end_block(self) -> None:
        """Let every row take part again."""
        self.rows = None

    def begin_stage(self, size: int) -> None:
        """Take it that `size` positions are open in every row."""
        self.open, self._before = size, self.undecided
        if not self._cached:
            self.rows = None

    def begin_brief(self, busy: Sequence[int]) -> None:
        """Take the open positions of each row in a block of one step from the block policy."""
        self.open, self._before = max(busy), self.undecided
        if not self._cached:
            self._drop(busy)

    def committed(self, fewest: int) -> None:
        """Take off what every row has committed at least."""
        self.open, self.undecided = self.open - fewest, self.undecided - fewest

    def end_stage(self, size: int) -> None:
        """Take it that all of the stage's `size` positions are decided."""
        self.undecided = self._before - size

    def count(self, block: Block, open_: Tensor) -> Answer:
        """Ask for numbers of each row: open positions, columns undecided in the window, and those of its block."""
        undecided = self._canvas.undecided[:, block.window]
        counts = [open_.sum(1), undecided.sum(1)]
        if self._cached:
            counts.append((undecided & block.where[:, block.window]).sum(1))
        return Answer(torch.stack(counts))

    def look(self, counts: Answer, *, brief: bool = False) -> list[int]:
        """Wait for what `count` asked, settle which rows go on, and return each row's open positions."""
        open_: list[int]
        open_, undecided, *of_block = counts.get()
        self.open, self.undecided = max(open_), max(undecided)
        if not self._cached:
            self._drop(open_)
        elif not brief:
            self._drop_cached(*of_block)
        return open_

    def _drop(self, left: Sequence[int]) -> None:
        """Leave out rows with nothing left where that pays; they may come back in the next stage."""
        self.rows = None
        if self._drops_rows and 0 < _count(left) <= self._worth * len(left):
            self._only(left)

    def _drop_cached(self, left: Sequence[int]) -> None:
        """Leave out rows that the block is done with, of which nothing is kept then."""
        held = len(left) if self.rows is None else len(self.rows)
        if self._drops_rows and 0 < _count(left) <= self._worth * held:
            self._only(left)

    def _only(self, left: Sequence[int]) -> None:
        if _count(left) < len(left):
            self.rows = frozenset(row for row, some in enumerate(left) if some)


def _count(left: Sequence[int]) -> int:
    return sum(map(bool, left))
