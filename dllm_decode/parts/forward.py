"""Forward plan: extra columns, attention and positions of the model's inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from dllm_decode.parts.base import PartConfig

if TYPE_CHECKING:
    from torch import Tensor

    from dllm_decode.data.canvas import Block, Canvas
    from dllm_decode.data.inputs import ModelInputs, SpecialTokens


class ForwardConfig(PartConfig):
    """Config of a forward plan."""

    kind: ClassVar[str] = "forward"
    method: ClassVar[str] = "plan"


@runtime_checkable
class ForwardPlan(Protocol):
    """Plans the model's inputs: extra columns after the canvas, who sees whom, and position ids."""

    def plan(self, inputs: ModelInputs, block: Block, special: SpecialTokens) -> ModelInputs:
        """Return inputs with `attention` and `positions` set, and `extra` columns after the canvas's own L."""
        ...

    def read(self, logits: Tensor, canvas: Canvas, block: Block) -> Tensor:
        """Return (B, E) float32 from the extra columns' (B, E, V) logits; parts see it as `shadow`."""
        ...
