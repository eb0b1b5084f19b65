"""Forward plan: extra columns, attention and positions of the model's inputs.

Called: `plan` before every forward, `read` after it.

May: Add columns after the canvas, say who attends to whom and which position ids they have. What `read`
returns is `RevisionView.shadow`.

Must not: Change the canvas's own columns. It needs a model with `plans_inputs = True` and no cache.

An example:

    class OneMore(ForwardConfig):
        '''A mask behind the canvas that sees everything and is seen by nothing else.'''

        name: Literal["one-more"] = "one-more"

        def plan(self, inputs: ModelInputs, block: Block, special: SpecialTokens) -> ModelInputs:
            rows, length = inputs.tokens.shape
            tokens = torch.nn.functional.pad(inputs.tokens, (0, 1), value=special.mask)  # (B, L + 1)
            sees = torch.ones(rows, 1, length + 1, length + 1, dtype=torch.bool, device=tokens.device)
            sees[:, :, :length, length] = False
            places = torch.arange(length + 1, device=tokens.device).expand(rows, -1)
            return replace(inputs, tokens=tokens, attention=sees, positions=places, extra=1)

        def read(self, logits: Tensor, canvas: Canvas, block: Block) -> Tensor:
            return logits.float().softmax(-1).amax(-1)  # (B, 1)
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
    kind_order: ClassVar[int] = 8
    method: ClassVar[str] = "plan"
    model_needs: ClassVar[frozenset[str]] = frozenset({"plan"})


@runtime_checkable
class ForwardPlan(Protocol):
    """Plans the model's inputs: extra columns after the canvas, who sees whom, and position ids."""

    def plan(self, inputs: ModelInputs, block: Block, special: SpecialTokens) -> ModelInputs:
        """Return inputs with `attention` and `positions` set, and `extra` columns after the canvas's own L."""
        ...

    def read(self, logits: Tensor, canvas: Canvas, block: Block) -> Tensor:
        """Return (B, E) float32 from the extra columns' (B, E, V) logits; parts see it as `shadow`."""
        ...
