"""Patterns of a scaffold: which positions of a block are decoded first, and which are left to the detail.

Knows columns, ranks and shares; how the scaffold and the detail are decoded is `scaffold`'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from dllm_decode.errors import unknown_name
from dllm_decode.lazy import torch
from dllm_decode.plugin import Frozen, StageContext, top_by_quota
from dllm_strategies.counting import count_each

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDING = 1e-9  # keeps 0.1 * 30 = 3.0000000000000004 from being rounded up to 4 positions
_STREAM = 3  # of the noise; a random confidence draws from another one in the same step


class _Pattern(Frozen):
    """What the scaffold asks of a pattern."""

    name: str

    def tiers(self, context: StageContext, first: int) -> list[tuple[Tensor, int | None]]:
        """Return each tier's (B, W) bool positions, and how many a row has open where that is known.

        Args:
            context: The block's positions.
            first: The number of the window's first column.
        """
        raise NotImplementedError

    def possible_counts(self, size: int) -> set[tuple[int, ...]]:
        """Return the tiers' sizes in a block of `size` columns, for every place the block may have."""
        raise NotImplementedError


class ColumnPattern(_Pattern):
    """Tiers cut by column: tier k holds the columns c with c mod period_k < cell_k that no earlier tier holds.

    Columns count from the generation region, so a row's tiers do not depend on its block, prompt or batch mates.
    """

    def cuts(self) -> list[tuple[int, int]]:
        """Return (cell, period) of each tier, in columns; every tier's columns are among the next one's."""
        raise NotImplementedError

    def tiers(self, context: StageContext, first: int) -> list[tuple[Tensor, int | None]]:
        """Return the columns of each tier that are among the block's positions."""
        window = context.block.window
        width = window.stop - window.start
        columns = torch.arange(first, first + width, device=context.where.device)  # (W,)
        full = context.size == width
        counts = self.counts(first, width)
        tiers = []
        earlier = torch.zeros_like(columns, dtype=torch.bool)
        for (cell, period), count in zip(self.cuts(), counts, strict=True):
            inside = columns % period < cell
            tiers.append((context.where & (inside & ~earlier), count if full else None))
            earlier = inside
        return tiers

    def counts(self, first: int, width: int) -> tuple[int, ...]:
        """Return how many of the columns first, ..., first + width - 1 each tier holds."""
        within = [
            sum(column % period < cell for column in range(first, first + width))
            for cell, period in self.cuts()
        ]
        return tuple(count - earlier for count, earlier in zip(within, [0, *within], strict=False))

    def possible_counts(self, size: int) -> set[tuple[int, ...]]:
        """Return the tiers' sizes for a block that begins anywhere in the largest period."""
        period = max(period for _, period in self.cuts())
        return {self.counts(first, size) for first in range(period)}


class Parity(ColumnPattern):
    """The columns of even number: SAID's scaffold."""

    name: Literal["parity"] = "parity"

    def cuts(self) -> list[tuple[int, int]]:
        """Return one column in two."""
        return [(1, 2)]


class Checkerboard(ColumnPattern):
    """Cells of `cell` adjacent columns, every other cell; one column is `parity`.

    Text has one dimension, so the board is a single row of it. A cell keeps the pieces of a word or number together.
    """

    name: Literal["checkerboard"] = "checkerboard"
    cell: int = Field(4, ge=1, le=1024, description="Columns in a cell, in tokens.")

    def cuts(self) -> list[tuple[int, int]]:
        """Return one cell in two."""
        return [(self.cell, 2 * self.cell)]


class Dilated(ColumnPattern):
    """The columns divisible by `dilation`; with `refine`, the gaps between them next, from coarse to fine.

    Without `refine` all other columns are the detail. With it, the columns divisible by dilation / refine, then by
    dilation / refine^2, and so on, follow as tiers of the scaffold, and the detail is what is left in the end.
    Source: dilated unmasking (arXiv 2506.19037), where each tier is committed in one forward.
    """

    name: Literal["dilated"] = "dilated"
    dilation: int = Field(4, ge=2, le=1024, description="Distance of the first tier's columns, in tokens.")
    refine: int | None = Field(
        None,
        ge=2,
        description="The factor by which the distance falls from tier to tier; a power of it should be the dilation.",
    )

    @model_validator(mode="after")
    def _refines_evenly(self) -> Dilated:
        rest = self.dilation
        while self.refine is not None and rest > 1:
            if rest % self.refine:
                raise ValueError(f"dilation should be a power of refine={self.refine}, got {self.dilation}")
            rest //= self.refine
        return self

    def cuts(self) -> list[tuple[int, int]]:
        """Return one column in `dilation`, then in its fractions above 1."""
        periods = [self.dilation]
        while self.refine is not None and periods[-1] > self.refine:
            periods.append(periods[-1] // self.refine)
        return [(1, period) for period in periods]


class RankedPattern(_Pattern):
    """A share of each row's open positions, the best by a score; one tier. A row with any open has one in it."""

    share: float = Field(0.5, gt=0, le=1, description="The scaffold's share of the block's open positions.")

    def score(self, context: StageContext) -> Tensor:
        """Return (B, W) float32; ties go to the smallest column."""
        raise NotImplementedError

    def tiers(self, context: StageContext, first: int) -> list[tuple[Tensor, int | None]]:
        """Return the (B, W) bool scaffold, and how many a row has open where that is known; `first` is not read."""
        open_ = context.open
        if context.size is None and not bool(open_.any()):
            return [(open_, 0)]  # a probe would be a forward that commits nothing
        if context.size is not None:
            size = self._count(context.size)
            return [(top_by_quota(self.score(context), open_, size), size)]
        quota = count_each(open_.sum(1), self._count, open_.shape[1])  # (B,)
        return [(top_by_quota(self.score(context), open_, quota), None)]

    def possible_counts(self, size: int) -> set[tuple[int, ...]]:
        """Return the scaffold's size in a block of `size` columns."""
        return {(self._count(size),)}

    def _count(self, size: int) -> int:
        return math.ceil(size * self.share - _ROUNDING)


class Halves(RankedPattern):
    """Contiguous halves: the left part of what is open is the scaffold, or the right one."""

    name: Literal["halves"] = "halves"
    side: Literal["left", "right"] = Field("left", description="The half that is decoded first.")

    def score(self, context: StageContext) -> Tensor:
        """Return (B, W) float32: the column, or minus the column."""
        columns = torch.arange(context.where.shape[1], device=context.where.device, dtype=torch.float32)
        return (-columns if self.side == "left" else columns).expand(context.where.shape)


class Random(RankedPattern):
    """Positions drawn anew for every row and block; the control for every other pattern."""

    name: Literal["random"] = "random"

    def score(self, context: StageContext) -> Tensor:
        """Return (B, W) float32 uniform noise that depends on seed, row and column alone."""
        return context.noise().uniform(_STREAM)


class LeastConfident(RankedPattern):
    """The positions whose proposed token has the least probability in the block's first forward.

    Probing costs nothing: the first step of the scaffold reuses that forward.
    """

    name: Literal["least-confident"] = "least-confident"

    def score(self, context: StageContext) -> Tensor:
        """Return (B, W) float32: minus the probability."""
        return -context.probe().probability


class MostConfident(RankedPattern):
    """The positions whose proposed token has the largest probability in the block's first forward.

    Probing costs nothing: the first step of the scaffold reuses that forward.
    """

    name: Literal["most-confident"] = "most-confident"

    def score(self, context: StageContext) -> Tensor:
        """Return (B, W) float32: the probability."""
        return context.probe().probability


_AnyPattern = Parity | Checkerboard | Halves | Random | Dilated | LeastConfident | MostConfident
NAMES = tuple(str(cls.model_fields["name"].default) for cls in get_args(_AnyPattern))


def _named(value: Any) -> Any:
    """Let a pattern's name stand for the pattern with its defaults."""
    value = {"name": value} if isinstance(value, str) else value
    if isinstance(value, Mapping) and value.get("name") not in NAMES:
        raise ValueError(unknown_name("pattern", str(value.get("name")), NAMES))
    return value


Pattern = Annotated[
    _AnyPattern,
    Field(discriminator="name"),
    BeforeValidator(_named),
]
