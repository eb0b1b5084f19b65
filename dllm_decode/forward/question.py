"""What a decode asks of a forward, and what it is told: the two ends of `reading = yield question`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dllm_decode.data.canvas import Block
from dllm_decode.data.noise import Noise
from dllm_decode.data.stats import VocabStats


@dataclass(frozen=True, slots=True)
class Question:
    """What a decode has to know of its canvas before it can go on: one forward."""

    version: int
    """The canvas's, when it was asked."""
    block: Block
    window: slice
    """The columns asked about; W of them."""
    planned: slice | None
    """The block's window that the forward plan is asked for; None without a plan."""
    rows: frozenset[int] | None
    """The rows to run, where the others are finished; None is all."""
    wanted: Tensor
    """(B, W) bool; the positions somebody will look at."""
    most: int
    """No row has more of them, as far as the host knows; at most W."""
    noise: Noise
    """Of every row, over the window."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one forward answered."""

    question: Question
    stats: VocabStats
    """(B, W) over the question's window."""
    shadow: Tensor | None
    """(B, E) float32, what the forward plan read from its extra columns."""

    def answers(self, other: Question) -> bool:
        """Say whether it answers another question too: of the same canvas, about no more columns and rows."""
        own = self.question
        same = own.version == other.version and own.planned == other.planned
        rows = own.rows is None or (other.rows is not None and other.rows <= own.rows)
        return (
            same and rows and own.window.start <= other.window.start and other.window.stop <= own.window.stop
        )

    def of(self, window: slice) -> VocabStats:
        """Return the statistics of some of its columns."""
        own = self.question.window
        if window == own:
            return self.stats
        return self.stats.narrow(slice(window.start - own.start, window.stop - own.start))
