"""Reviser: which decided positions are opened again, or get another token.

Called: `revise` after every commit, and, for a reviser with `closing_steps`, after forwards made when nothing
is undecided any more, until one changes nothing. A reviser that `reopens` is asked only in stages that run
until nothing is open.

May: Return positions to the mask (`tokens=None`), fewer than the forward committed, or write other tokens
there. See the block, or with `reach = "region"` the whole generation region, whose logits are then always
computed.

Must not: Touch positions outside `view.revisable` (the prompt, what is undecided, what this forward
committed), write the mask token, or reopen as many positions as were committed: such a decode need not end.

An example:

    class Rewrite(ReviseConfig):
        '''Takes the model's newer token where it is all but certain.'''

        name: Literal["rewrite"] = "rewrite"
        needs: ClassVar[frozenset[str]] = frozenset({"decided"})

        def revise(self, view: RevisionView) -> Revision | None:
            sure = view.stats.probability > 0.99  # (B, R)
            return Revision(view.revisable & sure, view.stats.token)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, runtime_checkable

from dllm_decode.parts.base import PartConfig

if TYPE_CHECKING:
    from dllm_decode.data.views import Revision, RevisionView


class ReviseConfig(PartConfig):
    """Config of a reviser; the class variables are those of `parts.Reviser`."""

    kind: ClassVar[str] = "revise"
    kind_order: ClassVar[int] = 7
    method: ClassVar[str] = "revise"
    several: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    reopens: ClassVar[bool] = False
    reach: ClassVar[Literal["block", "region"]] = "block"
    plan: ClassVar[str | None] = None
    """The forward plan whose `shadow` it reads, by name."""

    @property
    def closing_steps(self) -> int:
        """Forwards it may have after the last mask is gone."""
        return 0


@runtime_checkable
class Reviser(Protocol):
    """Changes what earlier forwards decided: returns positions to the mask, or writes other tokens there."""

    needs: frozenset[str]
    reopens: bool
    """Whether it returns positions to the mask. It may reopen fewer than the forward committed, so that every forward
    gets further; it is asked only in stages that run until nothing is open."""
    reach: Literal["block", "region"]
    """What it sees: the block's window, or the whole generation region, whose logits are then always computed."""
    closing_steps: int
    """Forwards it may have after the last mask is gone; they end when one changes nothing."""

    def revise(self, view: RevisionView) -> Revision | None:
        """Return what to change after a commit, or None."""
        ...
