"""Cache policy: which columns' keys and values are recomputed, and which are reused.

Called: `recompute` once a forward.

May: Return any columns that cover the block's window; None recomputes everything and refreshes the cache. The
decode's first forward must be one of those.

Must not: Assume that other columns are exact: their keys and values are as they were last computed. A policy
that counts forwards of the batch makes rows depend on their mates; it says so (`batch_dependent`).

An example:

    class OwnBlock(CacheConfig):
        '''Everything in a block's first forward, then the block alone.'''

        name: Literal["own-block"] = "own-block"
        fresh_blocks: ClassVar[bool] = True

        def recompute(self, block: Block, forward: int, length: int) -> slice | None:
            return None if forward == 0 else block.window
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from dllm_decode.parts.base import PartConfig

if TYPE_CHECKING:
    from dllm_decode.data.canvas import Block


class CacheConfig(PartConfig):
    """Config of a cache policy."""

    kind: ClassVar[str] = "cache"
    kind_order: ClassVar[int] = 9
    method: ClassVar[str] = "recompute"
    only_time: ClassVar[bool] = True
    digested_empty: ClassVar[bool] = True
    model_needs: ClassVar[frozenset[str]] = frozenset({"cache"})
    fresh_blocks: ClassVar[bool] = False
    """Whether every block's first forward recomputes everything, where blocks have numbers of their own. A row that a
    block is done with can then be left out of the block's other forwards, and come back in the next block."""

    @property
    def batch_dependent(self) -> bool:
        """Whether a row may decode otherwise than alone because the policy counts the batch's forwards or windows.

        Said of blocks that are the same in every row; where blocks differ by row, a window covers all of them and any
        cache computes more for some rows than they would have alone.
        """
        return False


@runtime_checkable
class CachePolicy(Protocol):
    """Says which columns' keys and values a forward recomputes; the others are reused as they were last computed."""

    def recompute(self, block: Block, forward: int, length: int) -> slice | None:
        """Return the columns to recompute, covering the block's window; None is all, which refreshes the cache.

        Args:
            block: The block being decoded.
            forward: 0-based count of the forwards made for this block.
            length: L, the canvas's columns.
        """
        ...
