"""Block policy: which span of the canvas is worked on, with which share of the steps.

Called: `plan` at validation, before any model is loaded. `blocks` once a decode; the generator is resumed
when the block before is finished (after one commit if it was `one_step`), so it may look at the canvas.

May: Yield blocks that differ from row to row; call `context.probe(block)`, whose forward the block's first
step uses again, and say so in `probes`; yield the same columns again in a later block.

Must not: Leave an undecided position outside every block, give a window that does not cover `where`, or yield
blocks without open positions for ever: the engine stops such a decode with a `ContractError`. `Block.size` is
stated only where it is true of every row.

An example:

    class Everything(BlockConfig):
        '''The whole answer at once.'''

        name: Literal["everything"] = "everything"

        def blocks(self, context: BlockContext) -> Iterator[Block]:
            canvas = context.canvas
            yield Block(canvas.undecided.clone(), canvas.region, context.steps, canvas.prompt_length)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from dllm_decode.parts.base import PartConfig

if TYPE_CHECKING:
    from dllm_decode.data.canvas import Block
    from dllm_decode.data.views import BlockContext


class BlockConfig(PartConfig):
    """Config of a block policy."""

    kind: ClassVar[str] = "block"
    kind_order: ClassVar[int] = 1
    method: ClassVar[str] = "blocks"
    one_step: ClassVar[bool] = False
    """Whether its blocks are `Block.one_step`: cut anew after every commit, without what was decided."""
    probes: ClassVar[bool] = False
    """Whether it asks for forwards of its own, by `BlockContext.probe`; those are not shared with other decodes."""

    def plan(self, steps: int | None, gen_length: int) -> list[tuple[int, int | None]] | None:
        """Return each block's most columns and its share of the steps; None where that shows only while decoding.

        Raises:
            ConfigError: The policy cannot serve this budget and length.
        """
        return [(gen_length, steps)]


@runtime_checkable
class BlockPolicy(Protocol):
    """Cuts the generation region into the spans that are worked on one after another."""

    def blocks(self, context: BlockContext) -> Iterator[Block]:
        """Yield the blocks in order.

        The generator is resumed when the block before is finished, or has been committed to once if it is `one_step`,
        so it may look at the canvas.
        """
        ...
