"""The canvas, and the blocks and stages that it is worked off in.

Plain data with shapes. B rows, L canvas columns, W window columns. Only the loop calls `commit`, `reopen` and `edit`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeGuard

from dllm_decode.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from dllm_decode.parts.scheduler import Scheduler


def is_slice_of(given: Any, length: int) -> TypeGuard[slice]:
    """Say whether something is a slice of columns that lie within a canvas."""
    if not isinstance(given, slice) or not isinstance(given.start, int) or not isinstance(given.stop, int):
        return False
    return given.step in (None, 1) and 0 <= given.start <= given.stop <= length


@dataclass(slots=True)
class Canvas:
    """A batch of token rows: left padding, prompt, then the columns to be decided."""

    tokens: Tensor
    """(B, L) int64; undecided columns hold `mask_id`."""
    undecided: Tensor
    """(B, L) bool; a state of its own, not `tokens == mask_id`."""
    valid: Tensor
    """(B, L) bool; False on padding."""
    prompt_length: int
    """Columns before the generation region, padding included; 0 when any column may be undecided (infill)."""
    mask_id: int
    padded: bool = True
    """Whether any column of `valid` is False, known on the host so that the loop need not ask."""
    uniform: bool = False
    """Whether every column from `prompt_length` on is undecided in every row until its block begins."""
    version: int = 0
    """Grows by one with every commit; one forward serves every question asked of one version."""

    def copied(self, *, uniform: bool) -> Canvas:
        """Return a canvas of one's own to decode, of which as much is known beforehand as `uniform` says."""
        return replace(self, tokens=self.tokens.clone(), undecided=self.undecided.clone(), uniform=uniform)

    def placed(self, where: Tensor, window: slice) -> Tensor:
        """Return (B, W) bool of a window as (B, L), False elsewhere."""
        whole = torch.zeros_like(self.undecided)
        whole[:, window] = where
        return whole

    @property
    def rows(self) -> int:
        """B, the number of rows."""
        return self.tokens.shape[0]

    @property
    def length(self) -> int:
        """L, the number of columns."""
        return self.tokens.shape[1]

    def commit(self, window: slice, chosen: Tensor, tokens: Tensor) -> None:
        """Write tokens into open positions.

        Args:
            window: The columns that `chosen` and `tokens` speak of; W of them.
            chosen: (B, W) bool, a subset of the undecided positions.
            tokens: (B, W) int64.
        """
        part = self.tokens[:, window]
        torch.where(chosen, tokens, part, out=part)
        self.undecided[:, window].logical_and_(~chosen)
        self.version += 1

    def reopen(self, window: slice, where: Tensor) -> None:
        """Return decided positions of the window to the mask; `where` is (B, W) bool."""
        self.tokens[:, window].masked_fill_(where, self.mask_id)
        self.undecided[:, window].logical_or_(where)
        self.version += 1

    def edit(self, window: slice, where: Tensor, tokens: Tensor) -> None:
        """Write (B, W) int64 tokens over decided positions, which stay decided; `where` is (B, W) bool."""
        part = self.tokens[:, window]
        torch.where(where, tokens, part, out=part)
        self.version += 1

    @property
    def region(self) -> slice:
        """The columns of the generation region."""
        return slice(self.prompt_length, self.length)


@dataclass(frozen=True, slots=True)
class Block:
    """A span of the canvas that is worked on before the next one, with its share of the steps."""

    where: Tensor
    """(B, L) bool; blocks may differ from row to row."""
    window: slice
    """The columns that cover `where` in every row."""
    steps: int | None
    """The block's share of the step budget; None is one token a step."""
    start: int
    """The canvas column from which positions inside the block are counted."""
    size: int | None = None
    """Open positions per row if the same in every row and known without asking the device, else None."""
    number: int = 0
    """0-based position of this block among `count`."""
    count: int = 1
    budget: int | None = None
    """The steps of the whole decode, of which `steps` is this block's share."""
    one_step: bool = False
    """Whether the block policy is asked again after one commit, whatever is still open."""
    open_counts: tuple[int, ...] | None = None
    """Open positions of each row of a one-step block, where the policy has waited for them already; else None."""
    must_advance: Tensor | None = None
    """(B, L) bool; every forward commits at least one of these in each row where one is open. None: any of `where`."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Positions of a block that are eligible now, with their number of steps."""

    name: str
    where: Tensor
    """(B, W) bool, inside the block's window; decided positions in it are ignored."""
    steps: int | None
    """Steps to spend; None means until nothing is open, one token a step for schedulers that count."""
    scheduler: Scheduler | None = None
    """Overrides the strategy's scheduler inside this stage."""
    size: int | None = None
    """Open positions per row if the same in every row and known without asking the device, else None."""
