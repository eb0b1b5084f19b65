"""Stop rule: when the rest of a row needs no more forwards.

Called: `fill` after every commit, in the order of the strategy.

May: Decide any undecided position of the canvas at no cost, with tokens of its own.

Must not: Write the mask token. Positions that are decided already, and rows that had nothing open in this
step, are left alone by the engine.

An example:

    class LastIsEnd(StopConfig):
        '''Once the last column is EOS, all that is open is.'''

        name: Literal["last-is-end"] = "last-is-end"

        def fill(self, view: StepView, special: SpecialTokens) -> tuple[Tensor, Tensor] | None:
            if special.eos is None:
                return None
            ended = (view.canvas.tokens[:, -1:] == special.eos) & ~view.canvas.undecided[:, -1:]  # (B, 1)
            return view.canvas.undecided & ended, view.canvas.tokens * 0 + special.eos
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from dllm_decode.parts.base import PartConfig

if TYPE_CHECKING:
    from torch import Tensor

    from dllm_decode.data.inputs import SpecialTokens
    from dllm_decode.data.views import StepView


class StopConfig(PartConfig):
    """Config of a stop rule."""

    kind: ClassVar[str] = "stop"
    kind_order: ClassVar[int] = 6
    method: ClassVar[str] = "fill"
    several: ClassVar[bool] = True
    digested_empty: ClassVar[bool] = True
    adaptive: ClassVar[bool] = True


@runtime_checkable
class StopRule(Protocol):
    """Ends rows early."""

    adaptive: bool

    def fill(self, view: StepView, special: SpecialTokens) -> tuple[Tensor, Tensor] | None:
        """After a commit, return (B, L) bool positions to decide at no cost and (B, L) int64 their tokens, or None.

        Rows without open positions in `view` are left alone whatever it says.
        """
        ...
