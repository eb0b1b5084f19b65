"""Every row of a call as one table, and which of its rows are decoded together.

Knows columns and lengths; what the rows mean is the caller's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from dllm_decode.data.canvas import Canvas


@dataclass(frozen=True, slots=True)
class Table:
    """Every row of a call, left-padded to one length; decoded in place."""

    tokens: Tensor
    """(N, L) int64; the mask token where undecided."""
    valid: Tensor
    """(N, L) bool; False on padding."""
    undecided: Tensor
    """(N, L) bool; what is to be decided."""
    prompt_length: int | None
    """Columns before the generation region; None for infill: those before a row's first undecided one."""

    @classmethod
    def of(cls, tokens: Tensor, valid: Tensor, mask_id: int) -> Self:
        """Return the table of (N, L) int64 rows in which what holds the mask is undecided, padding apart."""
        return cls(tokens, valid, (tokens == mask_id) & valid, None)

    def extended(self, columns: int, mask_id: int) -> Table:
        """Return a table with a generation region of so many columns behind every row."""
        width = self.tokens.shape[1]
        tail = self.tokens.new_full((len(self.tokens), columns), mask_id)
        new = torch.ones_like(tail, dtype=torch.bool)
        tokens, valid, undecided = (
            torch.cat(pair, 1) for pair in ((self.tokens, tail), (self.valid, new), (self.undecided, new))
        )
        return Table(tokens, valid, undecided, width)

    def canvas(self, rows: Tensor, mask_id: int, device: torch.device) -> Canvas:
        """Return the canvas of (R,) int64 `rows`, without the columns that are padding in all of them."""
        first = first_column(self.valid[rows])
        begin = first_column(self.undecided[rows]) if self.prompt_length is None else self.prompt_length
        tokens, undecided, valid = (
            part[rows, first:].to(device, copy=True) for part in (self.tokens, self.undecided, self.valid)
        )
        padded = not bool(self.valid[rows, first:].all())
        uniform = bool(self.undecided[rows, begin:].all())
        return Canvas(tokens, undecided, valid, begin - first, mask_id, padded=padded, uniform=uniform)

    def of_rows(self, rows: Tensor) -> Table:
        """Return the table of (R,) int64 `rows` alone."""
        return Table(self.tokens[rows], self.valid[rows], self.undecided[rows], self.prompt_length)


def first_column(where: Tensor) -> int:
    """Return the first column that is True in any row of (B, L) bool; 0 if there is none."""
    return int(where.any(0).int().argmax()) if where.shape[1] else 0


def region_starts(undecided: Tensor) -> Tensor:
    """Return (N,) int64, the first undecided column of every row of (N, L) bool."""
    return undecided.int().argmax(1)


def grouped(table: Table, size: int, *, by_length: bool) -> list[Tensor]:
    """Return the rows of each batch, (R,) int64, of similar length where their order is free.

    Block policies and layerings count columns from the first undecided one. Where that is not the same in all rows,
    only rows that have it in common are decoded together, or a row would depend on its batch mates.
    """
    order = torch.arange(table.tokens.shape[0])
    lengths = table.valid.sum(1).cpu()
    if by_length:
        order = lengths.sort(descending=True, stable=True).indices
    alike = [order]
    if table.prompt_length is None:
        starts = region_starts(table.undecided).cpu()[order]
        alike = [order[starts == start] for start in sorted(set(starts.tolist()))]
    groups = [rows[start : start + size] for rows in alike for start in range(0, len(rows), size)]
    if by_length:
        return sorted(groups, key=lambda rows: -int(lengths[rows[0]]))
    return sorted(groups, key=lambda rows: int(rows[0]))
