"""Which keys and values one decode keeps: of which rows, and which columns a forward computes anew.

Knows the model's cache and the policy over it; what they hold is the model's business.
"""

from __future__ import annotations

from typing import Any

from dllm_decode.data.canvas import Canvas, is_slice_of
from dllm_decode.errors import ContractError
from dllm_decode.forward.denoiser import CachingDenoiser
from dllm_decode.forward.question import Question
from dllm_decode.forward.transfer import to_device
from dllm_decode.parts.cache import CachePolicy
from dllm_decode.plugins.blame import blaming, who


class KeptRows:
    """The cache of one decode."""

    def __init__(self, denoiser: CachingDenoiser, canvas: Canvas, policy: CachePolicy) -> None:
        """Begin with nothing kept."""
        self.cache: Any = denoiser.new_cache()
        self._canvas, self._policy = canvas, policy
        self._block, self._forwards, self._filled = -1, 0, False
        self._rows: frozenset[int] | None = None  # of which something is kept; None is all

    @property
    def can_forget(self) -> bool:
        """Whether the cache can let go of rows, so that they may be left out of forwards."""
        return getattr(self.cache, "keep", None) is not None

    def recompute(self, question: Question, *, guided: bool) -> slice | None:
        """Return the columns that a forward computes anew, None for all; rows it does not ask for are forgotten."""
        columns, rows = self._columns(question), question.rows
        if self._rows is not None and (rows is None or not rows <= self._rows):
            columns = None  # of some of these rows nothing is kept any more
        # A forward that computes everything replaces what is kept, whichever rows it has.
        if columns is not None and rows is not None and rows != self._rows:
            held = range(self._canvas.rows) if self._rows is None else sorted(self._rows)
            kept = [place for place, row in enumerate(held) if row in rows]
            if guided:
                kept += [place + len(held) for place in kept]
            self.cache.keep(to_device(kept, self._canvas.tokens.device))
        self._rows = rows
        return columns

    def _columns(self, question: Question) -> slice | None:
        """Return what the policy computes anew in this forward of the block."""
        block, length = question.block, self._canvas.length
        self._forwards = self._forwards + 1 if self._block == block.number else 0
        self._block = block.number
        where = f"block {block.number}, forward {self._forwards}"
        with blaming("cache", self._policy, where):
            columns = self._policy.recompute(block, self._forwards, length)
        if columns is None:
            self._filled = True
            return None
        window = question.window
        if not self._filled:
            raise ContractError(
                f"{who('cache', self._policy)} returned {columns!r} before anything was kept; the first recompute() of a "
                f"decode should return None, which computes everything ({where})."
            )
        if is_slice_of(columns, length) and columns.start <= window.start and window.stop <= columns.stop:
            return columns
        raise ContractError(
            f"{who('cache', self._policy)} returned {columns!r} where None or a slice was expected that covers columns "
            f"{window.start} to {window.stop} of {length} ({where})."
        )
