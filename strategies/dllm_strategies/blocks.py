"""Block policies: the whole generation region at once, or spans of fixed length from left to right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from dllm_decode.lazy import torch
from dllm_decode.plugin import Block, BlockConfig, BlockContext, Canvas, ConfigError, Tune, even_quota


class WholeRegion(BlockConfig):
    """Everything undecided is one block."""

    name: Literal["whole"] = "whole"

    def blocks(self, context: BlockContext) -> Iterator[Block]:
        """Yield one block over the generation region."""
        canvas, steps = context.canvas, context.steps
        yield from _spans(canvas, canvas.length - canvas.prompt_length, [steps], steps)


class FixedBlocks(BlockConfig):
    """Blocks of `length` columns, finished from left to right (LLaDA's semi-autoregressive decoding).

    The steps are divided evenly, the remainder going to the first blocks; the last block may be shorter. The released
    code asserts that both divisions are exact.
    """

    name: Literal["fixed"] = "fixed"
    length: Annotated[
        int, Field(ge=1, description="Columns in a block, in tokens."), Tune(4, 128, log=True)
    ] = 32

    def plan(self, steps: int | None, gen_length: int) -> list[tuple[int, int | None]]:
        """Return (columns, steps) of each block."""
        count = -(-gen_length // self.length)
        if steps is None:
            shares: list[int | None] = [None] * count
        elif steps < count:
            raise ConfigError(
                f"steps: {steps} steps cannot serve {count} blocks of {self.length} columns "
                f"(gen_length {gen_length}); give at least {count} steps or longer blocks (block.length)."
            )
        else:
            shares = [even_quota(steps, count, number) for number in range(count)]
        sizes = [min(self.length, gen_length - start) for start in range(0, gen_length, self.length)]
        return list(zip(sizes, shares, strict=True))

    def blocks(self, context: BlockContext) -> Iterator[Block]:
        """Yield the blocks from left to right."""
        canvas, steps = context.canvas, context.steps
        plan = self.plan(steps, canvas.length - canvas.prompt_length)
        yield from _spans(canvas, self.length, [share for _, share in plan], steps)


def _spans(canvas: Canvas, length: int, shares: list[int | None], budget: int | None) -> Iterator[Block]:
    columns = torch.arange(canvas.length, device=canvas.tokens.device)  # (L,)
    for number, share in enumerate(shares):
        start = canvas.prompt_length + number * length
        stop = min(start + length, canvas.length)
        inside = (columns >= start) & (columns < stop)
        yield Block(
            where=canvas.undecided & inside,
            window=slice(start, stop),
            steps=share,
            start=start,
            size=stop - start if canvas.uniform else None,
            number=number,
            count=len(shares),
            budget=budget,
        )
