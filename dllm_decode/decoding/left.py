"""What the host knows of what is left to decide, so that it waits for the device as little as it can.

Three ways to know how long a stage goes on: its steps are `Known` in advance, what is open is `Counted` on the device
once a step, or the block is one of those that take `OneStep`. What they share, `Left`, bounds what a forward must read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dllm_decode.data.canvas import Block, Canvas, Stage
from dllm_decode.forward.transfer import Answer
from dllm_decode.parts.scheduler import CountingScheduler, Scheduler

DROP_AT = 0.8
"""Once at most this share of the rows is unfinished, finished rows leave the forward."""


class Left:
    """Bounds for the block at hand: positions, and the rows worth running."""

    def __init__(self, canvas: Canvas, *, may_drop: bool, cached: bool, drop_at: float | None = None) -> None:
        """Begin before the first block.

        Args:
            canvas: What is decoded.
            may_drop: Whether a forward may leave rows out.
            cached: Whether keys and values are kept, so that a row that has left a block cannot come back in it.
            drop_at: Instead of `DROP_AT`.
        """
        self.canvas, self.cached, self._may_drop = canvas, cached, may_drop
        self._drop_at = DROP_AT if drop_at is None else drop_at
        self.open = canvas.length
        """No row has more open positions in the stage."""
        self.undecided = canvas.length
        """No row has more undecided columns in the block's window."""
        self.rows: frozenset[int] | None = None
        """The rows that forwards run; None is all."""

    def begin_block(self, block: Block) -> None:
        """Know nothing of a block but its window."""
        self.undecided = block.window.stop - block.window.start

    def begin_stage(
        self,
        block: Block,
        stage: Stage,
        scheduler: Scheduler,
        budget: int | None,
        open_: Tensor,
        *,
        whole: bool,
        counted: bool,
    ) -> Known | Counted | OneStep:
        """Return how the host knows when the stage is finished.

        Args:
            block: The block at hand.
            stage: The stage that begins.
            scheduler: Its scheduler.
            budget: Its steps; None is until nothing is open.
            open_: (B, W) bool, its open positions.
            whole: Whether the stage is all of its block.
            counted: Whether how many steps that takes depends on what the model says.
        """
        if block.one_step:
            return OneStep(self, block, stage, open_, whole=whole)
        most = self.most_open(block, stage, open_)
        steps = most if budget is None else min(budget, most)
        return Counted(self, block, steps) if counted else Known(self, stage, scheduler, steps)

    def most_open(self, block: Block, stage: Stage, open_: Tensor, *, drop: bool = True) -> int:
        """Return the most open positions of a row as a stage begins: its size, or asked of the device."""
        if stage.size is None:
            return self.look(self.count(block, open_), drop=drop)
        self.open = stage.size
        if not self.cached:
            self.rows = None
        return self.open

    def count(self, block: Block, open_: Tensor) -> Answer:
        """Ask the device for every row's open positions, undecided columns in the window, and those of its block."""
        undecided = self.canvas.undecided[:, block.window]
        counts = [open_.sum(1), undecided.sum(1)]
        if self.cached:
            counts.append((undecided & block.where[:, block.window]).sum(1))
        return Answer(torch.stack(counts))

    def look(self, counts: Answer, *, drop: bool = True) -> int:
        """Wait for what `count` asked, settle which rows go on, and return the most open positions of a row."""
        open_, undecided, *of_block = counts.get()
        self.open, self.undecided = max(open_), max(undecided)
        if not self.cached:
            self.drop_finished(open_)
        elif drop:
            self.drop_finished(*of_block)
        return self.open

    def drop_finished(self, left: Sequence[int]) -> None:
        """Leave out the rows with nothing left where that pays; without a cache they come back when they have more."""
        if not self.cached:
            self.rows = None
        running = len(left) if self.rows is None else len(self.rows)
        unfinished = frozenset(row for row, some in enumerate(left) if some)
        if self._may_drop and 0 < len(unfinished) <= self._drop_at * running and len(unfinished) < len(left):
            self.rows = unfinished


class Known:
    """The scheduler empties n positions in min(S, n) steps: nobody asks the device.

    n is the stage's size, or, where that is not the same in all rows, counted once when the stage begins.
    """

    def __init__(self, left: Left, stage: Stage, scheduler: Scheduler, steps: int) -> None:
        self._left, self._stage, self._scheduler, self._before = left, stage, scheduler, left.undecided
        self.steps = steps

    def ask(self, open_: Tensor) -> None:
        """Ask nothing."""

    def finished(self, step: int) -> bool:
        """Say whether that was the last step, and take off what every row has committed at least."""
        left, size = self._left, self._stage.size
        if size is not None:
            fewest = 1
            if isinstance(self._scheduler, CountingScheduler):
                fewest = self._scheduler.commits(size, self._stage.steps, step)
            left.open -= fewest
            left.undecided = self._before - size if step + 1 == self.steps else left.undecided - fewest
        return step + 1 == self.steps


class Counted:
    """How long the stage goes on depends on the scores: what is open is counted on the device after every commit."""

    def __init__(self, left: Left, block: Block, steps: int) -> None:
        self._left, self._block, self.steps = left, block, steps

    def ask(self, open_: Tensor) -> None:
        """Send the question on its way, while the device does the rest of the step."""
        self._counts = self._left.count(self._block, open_)

    def finished(self, step: int) -> bool:
        """Wait for the answer: whether nothing is open in any row."""
        return self._left.look(self._counts) == 0


class OneStep:
    """The block policy cuts a new block after every commit; it may have counted already what is open in this one."""

    def __init__(self, left: Left, block: Block, stage: Stage, open_: Tensor, *, whole: bool) -> None:
        if stage.size is None and whole and block.open_counts is not None:
            left.open = max(block.open_counts)
            if not left.cached:
                left.drop_finished(block.open_counts)
        else:
            left.most_open(block, stage, open_, drop=False)
        self.steps = min(1, left.open)

    def ask(self, open_: Tensor) -> None:
        """Ask nothing: the block policy will."""

    def finished(self, step: int) -> bool:
        """Say that the one step was the last."""
        return True
