"""Confidence: a score for the proposed token of every position.

Called: `propose` once a step, before the scheduler, for every column of the window. Statistics are those of
open positions, unless `needs` names others.

May: Return any comparable numbers, minus infinity included; propose other tokens than `view.stats.token`;
read the statistics it names in `needs`.

Must not: Return NaN for an open position, or propose the mask token. `unit` says no where scores may leave 0
to 1.

An example:

    class Lead(ConfidenceConfig):
        '''How far the best token is ahead of the second.'''

        name: Literal["lead"] = "lead"
        needs: ClassVar[frozenset[str]] = frozenset({"second"})

        def propose(self, view: StepView) -> Proposal:
            return Proposal(view.stats.token, view.stats.top_probability - view.stats.second_probability)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from dllm_decode.parts.base import PartConfig

if TYPE_CHECKING:
    from dllm_decode.data.views import Proposal, StepView


class ConfidenceConfig(PartConfig):
    """Config of a confidence; `needs` names the vocabulary statistics it reads beyond token and probability."""

    kind: ClassVar[str] = "confidence"
    kind_order: ClassVar[int] = 4
    method: ClassVar[str] = "propose"

    @property
    def needs(self) -> frozenset[str]:
        """Names of the `VocabStats` fields this confidence reads: "content", "second", "entropy", "distribution"."""
        return frozenset()

    @property
    def unit(self) -> bool:
        """Whether every score lies between 0 and 1, as a probability does."""
        return True


@runtime_checkable
class Confidence(Protocol):
    """Scores the proposed token of every position."""

    needs: frozenset[str]
    """What it reads of `VocabStats` beyond token and probability: "content", "second", "entropy", "distribution"; and
    of which positions beyond `view.open`: "undecided" (of the block) or "decided" (all of the window)."""

    def propose(self, view: StepView) -> Proposal:
        """Return a token and a score for every window position, read from `view.stats`."""
        ...
