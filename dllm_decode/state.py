"""The data a decode works on: canvas, block, stage, step view, statistics, proposal.

Plain data with shapes. B rows, L canvas columns, W window columns, V vocabulary entries. Knows nothing of
models and strategies; only the engine calls `commit` and `reopen`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from dllm_decode.numerics import Noise
    from dllm_decode.parts import Scheduler, SpecialTokens


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
    brief: bool = False
    """Whether the block policy is asked again after one commit, whatever is still open."""
    busy: tuple[int, ...] | None = None
    """How much each row has open in a brief block, where the policy has waited for that already; else None."""
    urgent: Tensor | None = None
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


@dataclass(frozen=True, slots=True)
class VocabStats:
    """What one pass over the logits of a window yields. A field that no part declared in `needs` is None.

    Only what is open in the step is promised, and to a probe what is undecided. Other positions may hold zeros, unless
    a part names "undecided" (those of the block) or "decided" (all of the window) among its needs, or the strategy
    revises. Rows that wait for their batch mates may hold zeros in any case.
    """

    token: Tensor
    """(B, W) int64; the proposed token: the argmax, of Gumbel-noised logits at temperature > 0."""
    probability: Tensor
    """(B, W) float32; probability of `token` under un-noised, untempered logits."""
    content_probability: Tensor | None = None
    """(B, W) float32; the same after EOS and EOT are taken out of the vocabulary; 0 for those two. Need: "content"."""
    top_probability: Tensor | None = None
    """(B, W) float32; the largest probability. Need: "second" (kept beside `second_probability`)."""
    second_probability: Tensor | None = None
    """(B, W) float32; the second largest probability. Need: "second"."""
    entropy: Tensor | None = None
    """(B, W) float32, nats. Need: "entropy"."""
    log_probabilities: Tensor | None = None
    """(B, W, V) float32, nats; the mask token included. Need: "distribution", the one that is not small, and
    the one that always comes with every position of the window."""

    def map(self, change: Callable[[Tensor], Tensor]) -> VocabStats:
        """Return the result of a change to every statistic that is there."""
        values = (getattr(self, name) for name in self.__slots__)
        changed: Any = [None if value is None else change(value) for value in values]
        return VocabStats(*changed)

    def narrow(self, columns: slice) -> VocabStats:
        """Return the statistics of some of the window's columns; views, not copies."""
        return self.map(lambda value: value[:, columns])

    def widen(self, columns: Tensor, width: int) -> VocabStats:
        """Return the (R, W) statistics whose (R, K) int64 `columns` these are; zeros elsewhere."""

        def placed(value: Tensor) -> Tensor:
            blank = value.new_zeros(value.shape[0], width, *value.shape[2:])
            return blank.scatter_(1, columns, value)

        return self.map(placed)

    def spread(self, rows: Tensor, count: int) -> VocabStats:
        """Return the statistics of (R,) int64 `rows` among `count` of them, zeros in the others."""
        return self.map(lambda value: value.new_zeros(count, *value.shape[1:]).index_copy_(0, rows, value))

    @staticmethod
    def joined(parts: Sequence[VocabStats], dim: int = 0) -> VocabStats:
        """Return the statistics of several groups of rows, or, with `dim` 1, of positions, one after another."""
        columns = zip(*([getattr(part, name) for name in part.__slots__] for part in parts), strict=True)
        joined: Any = [None if values[0] is None else torch.cat(values, dim) for values in columns]
        return VocabStats(*joined)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A token and a score for every position of the window; larger scores are committed first."""

    tokens: Tensor
    """(B, W) int64."""
    score: Tensor
    """(B, W) float32."""


@dataclass(frozen=True, slots=True)
class StepView:
    """What a part may look at in one step. Read-only: parts return what they want done."""

    canvas: Canvas
    block: Block
    stage: Stage
    step: int
    """0-based step inside the stage."""
    open: Tensor
    """(B, W) bool; undecided positions of the stage. A row without any waits for its batch mates, so state that counts
    a row's steps must leave it out; a row with some has changed since its last step."""
    stage_open: Tensor
    """(B,) int64; how many positions were open in the row when the stage began."""
    row_ids: Tensor
    """(B,) int64; the rows' identities for noise, independent of the batch they run in."""
    noise: Noise
    """Counter-based randomness: the same for a row whatever its batch mates."""
    stats: VocabStats
    last: Proposal | None = None
    """The previous step's proposal in this stage, or None in its first step."""


@dataclass(frozen=True, slots=True)
class RevisionView:
    """What a reviser may look at after a commit; R columns of `window`."""

    canvas: Canvas
    """As the commit left it."""
    block: Block
    window: slice
    """The block's window, or the whole generation region for a reviser that reaches so far."""
    stats: VocabStats
    """(B, R) of the forward that the commit was read from, so of the canvas before it."""
    chosen: Tensor
    """(B, R) bool; what this forward has just decided."""
    revisable: Tensor
    """(B, R) bool; what earlier forwards decided and may be changed; nothing in a row that only waits for others."""
    shadow: Tensor | None
    """(B, E) float32; what the strategy's forward plan read from its extra columns."""
    closing: bool
    """Whether nothing is undecided any more and the forward was made for the revision alone."""


@dataclass(frozen=True, slots=True)
class Revision:
    """What a reviser wants done."""

    where: Tensor
    """(B, R) bool, a subset of `revisable`."""
    tokens: Tensor | None
    """(B, R) int64 to be written there; None returns the positions to the mask."""


@dataclass(frozen=True, slots=True)
class BlockContext:
    """What a block policy may use to cut its blocks while the canvas is being decoded."""

    canvas: Canvas
    steps: int | None
    """The budget of the whole decode; None is one token a step."""
    special: SpecialTokens
    probe: Callable[[Block], VocabStats] = field(repr=False)
    """Statistics of a block's window, (B, W); the block's first step reuses the forward where it asks for the same
    columns or fewer."""


@dataclass(frozen=True, slots=True)
class StageContext:
    """What a layering may use to cut its stages while the block is being decoded."""

    canvas: Canvas
    block: Block
    where: Tensor
    """(B, W) bool over the block's window; the positions this layering is to finish."""
    steps: int | None
    """The steps it may spend; None is one token a step."""
    size: int | None
    """Open positions per row if the same in every row and known without asking the device, else None."""
    probe: Callable[[], VocabStats] = field(repr=False)
    """Statistics of the canvas as it stands, (B, W); the next step reuses the same forward."""
    noise: Callable[[], Noise] = field(repr=False)
    """Randomness of the moment it is asked for, (B, W): the same for a row whatever its batch mates."""

    @property
    def open(self) -> Tensor:
        """(B, W) bool; undecided positions of `where` now."""
        return self.canvas.undecided[:, self.block.window] & self.where

    def within(self, where: Tensor, steps: int | None, size: int | None = None) -> StageContext:
        """Return the context for a layering nested in this one, over a subset of the positions."""
        return replace(self, where=where, steps=steps, size=size)
