"""Several blocks at once: a later block opens while earlier ones still have open positions (D2F, d3LLM)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dllm_decode.lazy import torch
from dllm_decode.plugin import Block, BlockConfig, BlockContext, Tune


class MultiBlock(BlockConfig):
    """The next block opens when `add` of the last opened one is decided; at most `active` unfinished ones are open.

    The scheduler works on their union, and every forward commits at least one position of the oldest unfinished block.
    """

    name: Literal["multi"] = "multi"
    one_step: ClassVar[bool] = True
    length: Annotated[
        int, Field(ge=1, description="Columns in a block, in tokens."), Tune(4, 128, log=True)
    ] = 32
    add: Annotated[
        float, Field(gt=0, le=1, description="Decided share of a block that opens the next one."), Tune(0.05, 1.0)
    ] = 0.1
    active: Annotated[int, Field(ge=1, description="Most unfinished blocks at once."), Tune(1, 8)] = 4

    def plan(self, steps: int | None, gen_length: int) -> None:
        """Return None: which blocks are open shows only while decoding."""

    def blocks(self, context: BlockContext) -> Iterator[Block]:
        """Yield the union of the active blocks before every commit, until everything is decided."""
        canvas = context.canvas
        length = canvas.length - canvas.prompt_length
        count = -(-length // self.length)
        owner = torch.arange(length, device=canvas.tokens.device) // self.length  # (R,)
        columns = torch.arange(canvas.prompt_length, canvas.length, device=canvas.tokens.device)
        belongs = torch.nn.functional.one_hot(owner, count)  # (R, N)
        size = _counts(canvas.undecided[:, canvas.region], belongs)  # (B, N)
        while True:
            undecided = canvas.undecided[:, canvas.region]
            left = _counts(undecided, belongs)
            passed = (size - left) >= self.add * size
            # The first block is open from the beginning; a later one once all before it have passed the mark.
            opened = torch.ones_like(passed)
            opened[:, 1:] = passed[:, :-1].cumprod(1).bool()
            unfinished = opened & (left > 0)
            rank = unfinished.cumsum(1)
            working = unfinished & (rank <= self.active)
            where = working[:, owner] & undecided
            # One wait for the device a forward: the window's bounds and every row's open positions.
            first, last, *open_counts = torch.cat(
                (
                    columns.where(where.any(0), canvas.length).min()[None],
                    columns.where(where.any(0), -1).max()[None],
                    where.sum(1),
                )
            ).tolist()
            if last < 0:
                return
            oldest = (working & (rank == 1))[:, owner] & undecided
            everywhere = torch.zeros_like(canvas.undecided)
            everywhere[:, canvas.region] = where
            must_advance = torch.zeros_like(canvas.undecided)
            must_advance[:, canvas.region] = oldest
            yield Block(
                where=everywhere,
                window=slice(first, last + 1),
                steps=None,
                start=canvas.prompt_length,
                one_step=True,
                open_counts=tuple(open_counts),
                must_advance=must_advance,
            )


def _counts(where: torch.Tensor, belongs: torch.Tensor) -> torch.Tensor:
    """(B, N) int64, how many positions of (B, R) bool `where` each block holds; `belongs` is (R, N)."""
    return (where.float() @ belongs.float()).long()  # exact: whole numbers below 2**24
