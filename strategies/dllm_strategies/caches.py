"""Cache policies of Fast-dLLM: everything before the block is reused, or everything outside it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dllm_decode.plugin import Block, CacheConfig


class PrefixCache(CacheConfig):
    """A block's first forward computes everything; later ones from the block's start on (Fast-dLLM).

    A window that moves inside one block, as with several active ones, leaves columns behind whose keys and values were
    computed before their tokens were decided; `delayed` is made for those.
    """

    name: Literal["prefix"] = "prefix"
    fresh_blocks: ClassVar[bool] = True

    def recompute(self, block: Block, forward: int, length: int) -> slice | None:
        """Return the columns from the block's start to the canvas's end."""
        return None if forward == 0 else slice(block.window.start, length)


class DualCache(CacheConfig):
    """A block's first forward computes everything; later ones the block alone (Fast-dLLM, arXiv 2505.22618).

    As with `prefix`, a window that moves inside one block leaves stale columns behind, until the next refresh.
    """

    name: Literal["dual"] = "dual"
    fresh_blocks: ClassVar[bool] = True
    refresh: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Compute everything again every so many forwards of a block; null is never inside a block. "
        "Forwards are counted for the batch, so with it a row may differ from the row alone.",
    )

    @property
    def batch_dependent(self) -> bool:
        """Refreshes fall by the batch's count of forwards; in every forward, or never, they fall alike for all."""
        return self.refresh is not None and self.refresh > 1

    def recompute(self, block: Block, forward: int, length: int) -> slice | None:
        """Return the block's columns."""
        whole = forward == 0 if self.refresh is None else forward % self.refresh == 0
        return None if whole else block.window
