"""Logits processor: changes to the logits before anything is read from them.
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
    method: ClassVar[str] = "process"
    several: ClassVar[bool] = True
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
