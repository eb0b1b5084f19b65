"""Stop rule: when the rest of a row needs no more forwards.
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
    method: ClassVar[str] = "fill"
    several: ClassVar[bool] = True
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
