"""Block: which span of the canvas is worked on next, with which share of the steps.
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
