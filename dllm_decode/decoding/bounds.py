"""Bounds on what block policies and layerings yield, so that no decode makes forwards without end.

Knows blocks and stages; the host checks here what it can know without the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from dllm_decode.data.canvas import Block, Canvas, Stage, is_slice_of
from dllm_decode.errors import ContractError
from dllm_decode.plugins.blame import blaming, who
from dllm_decode.strategy.strategy import Parts

Yielded = TypeVar("Yielded", Block, Stage)
_END = object()


def checked(
    kind: str, part: Any, given: Callable[[], Iterable[Any]], check: Callable[[Any], Yielded], where: str
) -> Iterator[Yielded]:
    """Yield what a part yields, each after its check; what the part raises names it."""
    with blaming(kind, part, where):
        source = iter(given())
    while True:
        with blaming(kind, part, where):
            one = next(source, _END)
        if one is _END:
            return
        yield check(one)


class Bounds:
    """What one decode's blocks and stages have claimed so far."""

    def __init__(self, parts: Parts, canvas: Canvas) -> None:
        """Begin before the first block."""
        self._parts, self._canvas = parts, canvas
        self.idle = 0
        """Blocks, stages and probes since the last commit."""
        # Every stage of a block of one column, and every block, may be empty; no sound policy offers more than that.
        self._patience = 16 * canvas.length + 64
        self._claimed = 0  # columns of blocks that say their size
        self._unclaimed: int | None = None  # of the block at hand, positions that no stage has named yet, if known

    def count(self, kind: str, part: Any, last: str) -> None:
        """Stop a part that goes on without anything to decide."""
        self.idle += 1
        if self.idle > self._patience:
            raise ContractError(
                f"{who(kind, part)} has begun {self.idle} blocks, stages and probes without a position to decide "
                f"(last: {last}); it must end when nothing is left."
            )

    def check_block(self, given: Any) -> Block:
        """Return a block; refuse what is none of this canvas, and more positions than there are."""
        part, canvas = self._parts.block, self._canvas
        block = _of_type("block", part, given, Block, "")
        where = f"block {block.number}"
        self.count("block", part, where)
        whole = (canvas.rows, canvas.length)
        for positions in (block.where, block.must_advance):
            if positions is not None:
                _expect_where("block", part, positions, whole, where)
        window = block.window
        if not is_slice_of(window, canvas.length):
            raise ContractError(
                f"{who('block', part)} gave the window {window!r}; it should be a slice within the canvas's "
                f"{canvas.length} columns ({where})."
            )
        self._unclaimed = None
        if block.size is None or block.one_step:
            return block
        _expect_size("block", part, block.size, window.stop - window.start, where)
        self._unclaimed = block.size
        self._claimed += block.size
        if self._claimed > canvas.length:
            raise ContractError(
                f"{who('block', part)} gave blocks of {self._claimed} positions a row in all, more than the canvas's "
                f"{canvas.length} columns ({where})."
            )
        return block

    def check_stage(self, block: Block, given: Any) -> Stage:
        """Return a stage whose size, if it says one, may be relied on; refuse what is none of this block."""
        part, where = self._parts.layering, f"block {block.number}"
        stage = _of_type("layering", part, given, Stage, where)
        where = f"{where}, stage {stage.name!r}"
        self.count("layering", part, where)
        width = block.window.stop - block.window.start
        _expect_where("layering", part, stage.where, (self._canvas.rows, width), where)
        steps = stage.steps
        if steps is not None and (not isinstance(steps, int) or steps < 0):
            raise ContractError(
                f"{who('layering', part)} gave {steps!r} steps; a stage has a number, or None ({where})."
            )
        if stage.size is None:
            return stage
        _expect_size("layering", part, stage.size, width if self._unclaimed is None else self._unclaimed, where)
        if self._unclaimed is None:
            return replace(stage, size=None)  # nobody knows how many the block has: they are counted
        self._unclaimed -= stage.size
        return stage


def _of_type(kind: str, part: Any, given: Any, wanted: type[Yielded], where: str) -> Yielded:
    if isinstance(given, wanted):
        return given
    at = f" ({where})" if where else ""
    raise ContractError(
        f"{who(kind, part)} yielded {type(given).__name__} where a {wanted.__name__} was expected{at}."
    )


def _expect_where(kind: str, part: Any, given: Any, shape: tuple[int, int], where: str) -> None:
    if isinstance(given, Tensor) and tuple(given.shape) == shape and given.dtype == torch.bool:
        return
    shown = f"{tuple(given.shape)} {given.dtype}" if isinstance(given, Tensor) else type(given).__name__
    raise ContractError(
        f"{who(kind, part)} gave positions of {shown} where {shape} torch.bool was expected ({where})."
    )


def _expect_size(kind: str, part: Any, size: Any, most: int, where: str) -> None:
    if isinstance(size, int) and 0 <= size <= most:
        return
    raise ContractError(
        f"{who(kind, part)} gave the size {size!r} where at most {most} positions are left; say None where it is not "
        f"known ({where})."
    )
