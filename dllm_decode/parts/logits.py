"""Logits processor: changes to the logits before anything is read from them.

Called: `process` once a forward, in the order of the strategy, before any statistics are read.

May: Change the logits in place. With `unconditional = True` it is given those of a canvas whose given tokens
are masked, which doubles the work of a forward (both halves are one model call).

Must not: Leave a position without any possible token, change the shape, or read the canvas.

An example:

    class NoEnd(LogitsConfig):
        '''Makes the end of an answer less likely by a constant.'''

        name: Literal["no-end"] = "no-end"

        def process(self, logits: Tensor, unconditional: Tensor | None, special: SpecialTokens) -> Tensor:
            logits[..., list(special.ends)] -= 2.0
            return logits
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from dllm_decode.parts.base import PartConfig

if TYPE_CHECKING:
    from torch import Tensor

    from dllm_decode.data.inputs import SpecialTokens


class LogitsConfig(PartConfig):
    """Config of a logits processor."""

    kind: ClassVar[str] = "logits"
    kind_order: ClassVar[int] = 5
    method: ClassVar[str] = "process"
    several: ClassVar[bool] = True
    digested_empty: ClassVar[bool] = True
    unconditional: ClassVar[bool] = False


@runtime_checkable
class LogitsProcessor(Protocol):
    """Changes the logits before anything is read from them."""

    unconditional: bool
    """Whether the model must also be run on a canvas whose given tokens are masked (guidance)."""

    def process(self, logits: Tensor, unconditional: Tensor | None, special: SpecialTokens) -> Tensor:
        """Return new logits.

        Args:
            logits: (B, W, V), the model's dtype; may be changed in place. Where they would fill the memory, a part of
                the positions at a time, as (1, n, V).
            unconditional: The same shape where this processor asked for it, else None.
            special: The model's special token ids.
        """
        ...
