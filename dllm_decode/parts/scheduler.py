"""Scheduler: which of the proposed tokens are committed in a step.

Called: `select` once a step, after the confidence. A stage with steps S asks at most S times, an `adaptive`
scheduler is asked until nothing is open.

May: Choose nothing in a row: the engine then commits that row's best open position. Keep state, made in
`build`.

Must not: Choose positions outside `view.open`, or, unless `adaptive`, leave any open after the stage's steps.
Set `reads_probabilities` if scores are compared with numbers between 0 and 1, and `exact` only if a stage of
n positions and S steps always takes min(S, n). Ties go to the smallest column.

An example:

    class AboveHalf(SchedulerConfig):
        '''Commits every score above a half; the engine adds the best of a row that has none.'''

        name: Literal["above-half"] = "above-half"
        adaptive: ClassVar[bool] = True
        reads_probabilities: ClassVar[bool] = True

        def select(self, view: StepView, proposal: Proposal) -> Tensor:
            return view.open & (proposal.score > 0.5)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from dllm_decode.parts.base import PartConfig

if TYPE_CHECKING:
    from torch import Tensor

    from dllm_decode.data.views import Proposal, StepView


class SchedulerConfig(PartConfig):
    """Config of a scheduler.

    `adaptive` ones run until nothing is open and ignore the number of steps. `exact` promises that a stage of n open
    positions and S steps is empty after exactly min(S, n) steps, so that the engine need not ask the device.
    """

    kind: ClassVar[str] = "scheduler"
    kind_order: ClassVar[int] = 3
    method: ClassVar[str] = "select"
    adaptive: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    reads_probabilities: ClassVar[bool] = False
    """Whether it compares scores with numbers between 0 and 1, so that only such scores make sense."""


@runtime_checkable
class Scheduler(Protocol):
    """Chooses which proposed tokens to commit in a step."""

    adaptive: bool
    """True if the number of steps depends on the scores; the stage then runs until nothing is open."""
    exact: bool
    """True if n open positions and S steps always take exactly min(S, n) steps; the engine then asks nothing."""
    needs: frozenset[str]

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool, a subset of `view.open`. An empty row becomes the row's best position."""
        ...


@runtime_checkable
class CountingScheduler(Protocol):
    """A scheduler that knows how many positions a step commits; those need not be read again."""

    def commits(self, size: int, steps: int | None, step: int) -> int:
        """Return the fewest positions that every row commits in a step; 1 is always right.

        Args:
            size: Open positions of each row when the stage began.
            steps: The stage's steps; None is one position a step.
            step: 0-based.
        """
        ...
