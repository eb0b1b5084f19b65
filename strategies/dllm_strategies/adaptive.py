"""Blocks whose ends the model chooses: each row's block ends at the delimiter it is surest of (AdaBlock)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from dllm_decode.lazy import torch
from dllm_decode.plugin import Block, BlockConfig, BlockContext, ConfigError, Tune

if TYPE_CHECKING:
    from torch import Tensor


class AdaptiveBlocks(BlockConfig):
    """A block's first forward also says where it ends: at the surest proposed delimiter within reach, inclusive.

    Reach is a quarter of the generation region, cut to what is left; without a delimiter of at least `threshold` the
    block has `length` columns. Rows have blocks of their own, so positions inside one count from the region's start.
    The forward is not an extra one: the block's first step uses it. Besides once a step, the host waits for the device
    three times a block. Source: AdaBlock-dLLM (arXiv 2509.26432).
    """

    name: Literal["adaptive"] = "adaptive"
    model_needs: ClassVar[frozenset[str]] = frozenset({"newlines"})
    probes: ClassVar[bool] = True
    length: Annotated[
        int, Field(ge=1, description="Columns of a block without a delimiter, in tokens."), Tune(4, 128, log=True)
    ] = 32
    threshold: Annotated[
        float, Field(gt=0, le=1, description="The least probability of a delimiter that ends a block."), Tune(0.1, 0.9)
    ] = 0.3
    delimiters: tuple[int, ...] | None = Field(
        None, description="Token ids that may end a block; null takes the tokenizer's line breaks."
    )

    def plan(self, steps: int | None, gen_length: int) -> None:
        """Return None: the blocks show only while decoding."""

    def blocks(self, context: BlockContext) -> Iterator[Block]:
        """Yield blocks until every row is decided.

        Raises:
            ConfigError: No delimiters are given and the model's tokenizer has no line breaks, or there is none.
        """
        delimiters = self.delimiters if self.delimiters is not None else context.special.newlines
        if not delimiters:
            raise ConfigError(
                "block 'adaptive': this model's tokenizer has no line-break tokens, or it has no tokenizer; "
                "give the ids of the tokens that end a block as block.delimiters."
            )
        canvas = context.canvas
        device = canvas.tokens.device
        columns = torch.arange(canvas.length, device=device)  # (L,)
        ends = torch.tensor(delimiters, device=device)
        reach = max(1, (canvas.length - canvas.prompt_length) // 4)
        number = 0
        while True:
            start = _first(canvas.undecided)  # (B,), L where nothing is left
            bounds = torch.stack((start.min(), start.where(start < canvas.length, -1).max())).tolist()
            if bounds[1] < 0:
                return
            furthest = max(reach, self.length)
            window = slice(bounds[0], min(bounds[1] + furthest, canvas.length))
            distance = columns - start[:, None]  # (B, L)
            # Asked about all that may become the block, so that its first step needs no forward of its own.
            scouted = canvas.undecided & (distance >= 0) & (distance < furthest)
            stats = context.probe(_block(scouted, window, canvas.prompt_length, number))
            ahead = (scouted & (distance < reach))[:, window]
            sure = torch.isin(stats.token, ends) & ahead & (stats.probability >= self.threshold)
            best = stats.probability.masked_fill(~sure, -1.0).argmax(1) + window.start  # (B,)
            last = best.where(sure.any(1), start + self.length - 1)
            inside = (distance >= 0) & (columns <= last[:, None])
            end = int(last.clamp_max(canvas.length - 1).where(start < canvas.length, -1).max())
            inner = slice(bounds[0], end + 1)
            yield _block(canvas.undecided & inside, inner, canvas.prompt_length, number)
            number += 1


def _block(where: Tensor, window: slice, start: int, number: int) -> Block:
    return Block(where=where, window=window, steps=None, start=start, number=number)


def _first(where: Tensor) -> Tensor:
    """(B,) int64, the first True column of each row; L where there is none."""
    return where.int().argmax(1).where(where.any(1), where.shape[1])
