"""What the search keeps of an evaluation: outcomes per example, and the means it optimises.

Knows no task and no model.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Score:
    """How a strategy did on the first n examples of a split, in the split's order."""

    correct: tuple[float, ...]
    """(n,) whether each answer was correct, or its grade from 0 to 1."""
    forwards: tuple[int, ...]
    """(n,) forward passes of each example."""
    tokens: tuple[int, ...]
    """(n,) tokens of each answer up to EOS."""
    measured: float | None = None
    """Time it takes relative to the baseline's, where time is the cost; None where forward passes are."""
    work: float = 1.0
    """Plain forwards that one of its forwards is worth; see `work.Work`."""

    @property
    def n(self) -> int:
        """The number of examples."""
        return len(self.correct)

    @property
    def accuracy(self) -> float:
        """The share of correct answers, or their mean grade, 0 to 1."""
        return sum(self.correct) / self.n

    @property
    def forward_passes(self) -> float:
        """Mean forward passes an example."""
        return sum(self.forwards) / self.n

    @property
    def cost(self) -> float:
        """What the search wants little of: time relative to the baseline's, else mean forwards in plain ones."""
        return self.plain_forwards if self.measured is None else self.measured

    @property
    def plain_forwards(self) -> float:
        """Mean forward passes an example, each counted as the plain ones it is worth."""
        return self.forward_passes * self.work

    @property
    def tokens_per_forward(self) -> float:
        """Tokens up to EOS over forward passes, both summed."""
        return sum(self.tokens) / max(sum(self.forwards), 1)
