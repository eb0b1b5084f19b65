"""Delayed commit: a cache that moves right with the decode and never refreshes everything because a block ended.

Knows windows and how far they have moved; keys and values are the model adapter's.
"""

from __future__ import annotations

from collections import deque
from typing import Annotated, Literal

from pydantic import Field

from dllm_decode.plugin import Block, CacheConfig


class DelayedCache(CacheConfig):
    """Columns behind the window are recomputed `delay` forwards longer, from decided tokens, and then frozen.

    The decode's first forward computes everything. Later ones compute from the oldest column that is not frozen to the
    window's end; columns to the right keep what an earlier forward left there. It fits several active blocks, whose
    window moves from forward to forward, and serves blocks of any kind.
    Source: the pipelined decoding of D2F (arXiv 2508.09192) and d3LLM; dKV-Cache (arXiv 2505.15781) delays by token.
    """

    name: Literal["delayed"] = "delayed"
    delay: Annotated[
        int,
        Field(
            ge=1, description="Forwards for which a finished column is computed again before it is frozen."
        ),
    ] = 1
    refresh: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Compute everything again every so many forwards of the decode; null is never. Forwards and "
        "windows are those of the batch, so a row may differ from the row alone.",
    )

    @property
    def batch_dependent(self) -> bool:
        """When a column is frozen depends on the batch's windows; only if all is always computed does it not."""
        return self.refresh != 1

    def build(self) -> DelayedWindow:
        """Return the policy with its memory of one decode."""
        return DelayedWindow(self.delay, self.refresh)


class DelayedWindow:
    """Remembers where the windows of the last forwards began; columns before the oldest of those are frozen."""

    def __init__(self, delay: int, refresh: int | None) -> None:
        """Begin before the decode's first forward."""
        self._starts: deque[int] = deque(maxlen=delay + 1)
        self._forwards = 0
        self._refresh = refresh

    def recompute(self, block: Block, forward: int, length: int) -> slice | None:
        """Return the columns from the oldest that is not frozen to the window's end; `forward` is not read.

        Forwards are counted here, over the whole decode, because `forward` begins anew with every block.
        """
        number, window = self._forwards, block.window
        self._forwards += 1
        self._starts.append(window.start)
        if number == 0 or (self._refresh is not None and number % self._refresh == 0):
            return None
        # A window may also move left, where a later block holds what an earlier one left open.
        return slice(min(self._starts), window.stop)
