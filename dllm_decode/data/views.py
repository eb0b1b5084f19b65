"""What parts are shown and what they answer: contexts, step views, proposals, revisions.

Read-only data; B rows, L canvas columns, W window columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dllm_decode.data.canvas import Block, Canvas, Stage
from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.data.noise import Noise
from dllm_decode.data.stats import VocabStats

if TYPE_CHECKING:
    from torch import Tensor


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

    @classmethod
    def of(
        cls,
        canvas: Canvas,
        block: Block,
        probe: Callable[[Block], VocabStats],
        noise: Callable[[slice], Noise],
    ) -> StageContext:
        """Return the context of a block that begins, from what gives its statistics and the noise of a window."""
        window = block.window
        where = block.where[:, window]
        return cls(
            canvas, block, where, block.steps, block.size, lambda: probe(block), lambda: noise(window)
        )

    @property
    def open(self) -> Tensor:
        """(B, W) bool; undecided positions of `where` now."""
        return self.canvas.undecided[:, self.block.window] & self.where

    def within(self, where: Tensor, steps: int | None, size: int | None = None) -> StageContext:
        """Return the context for a layering nested in this one, over a subset of the positions."""
        return replace(self, where=where, steps=steps, size=size)
