"""The protocols that the parts of a strategy obey: block, layering, scheduler, confidence, and the optional ones.

Knows the signatures only. The engine calls them in this order: blocks, stages, propose, select, stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from dllm_decode.state import (
    Block,
    BlockContext,
    Canvas,
    Proposal,
    Revision,
    RevisionView,
    Stage,
    StageContext,
    StepView,
)


@runtime_checkable
class BlockPolicy(Protocol):
    """Cuts the generation region into the spans that are worked on one after another."""

    def blocks(self, context: BlockContext) -> Iterator[Block]:
        """Yield the blocks in order.

        The generator is resumed when the block before is finished, or has been committed to once if it is `brief`,
        so it may look at the canvas.
        """
        ...


@runtime_checkable
class Layering(Protocol):
    """Cuts a block into stages."""

    needs: frozenset[str]

    def stages(self, context: StageContext) -> Iterator[Stage]:
        """Yield the stages in order; the generator is resumed when the stage before is finished."""
        ...


@runtime_checkable
class Scheduler(Protocol):
    """Chooses which proposed tokens to commit in a step."""

    adaptive: bool
    """True if the number of steps depends on the scores; the stage then runs until nothing is open."""
    exact: bool
    """True if n open positions and S steps always take exactly min(S, n) steps; the engine then asks nothing."""
    needs: frozenset[str]

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool, a subset of `view.open`. An empty row becomes the row's best position."""
        ...


@runtime_checkable
class CountingScheduler(Protocol):
    """A scheduler that knows how many positions a step commits; those need not be read again."""

    def commits(self, size: int, steps: int | None, step: int) -> int:
        """Return the fewest positions that every row commits in a step; 1 is always right.

        Args:
            size: Open positions of each row when the stage began.
            steps: The stage's steps; None is one position a step.
            step: 0-based.
        """
        ...


@runtime_checkable
class Confidence(Protocol):
    """Scores the proposed token of every position."""

    needs: frozenset[str]
    """What it reads of `VocabStats` beyond token and probability: "content", "second", "entropy", "distribution"; and
    of which positions beyond `view.open`: "undecided" (of the block) or "decided" (all of the window)."""

    def propose(self, view: StepView) -> Proposal:
        """Return a token and a score for every window position, read from `view.stats`."""
        ...


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Token ids a part may need; None where the model has none."""

    mask: int
    eos: int | None = None
    eot: int | None = None
    newlines: tuple[int, ...] = ()
    """Tokens that are line breaks and nothing but space around them; empty where the tokenizer is unknown."""

    @property
    def ends(self) -> tuple[int, ...]:
        """The ids that end an answer, without repetition."""
        return tuple(dict.fromkeys(i for i in (self.eos, self.eot) if i is not None))


@runtime_checkable
class LogitsProcessor(Protocol):
    """Changes the logits before anything is read from them."""

    unconditional: bool
    """Whether the model must also be run on a canvas whose given tokens are masked (guidance)."""

    def process(self, logits: Tensor, unconditional: Tensor | None, special: SpecialTokens) -> Tensor:
        """Return new logits.

        Args:
            logits: (B, W, V), the model's dtype; may be changed in place. Where they would fill the memory, a part of
                the positions at a time, as (1, n, V).
            unconditional: The same shape where this processor asked for it, else None.
            special: The model's special token ids.
        """
        ...


@runtime_checkable
class StopRule(Protocol):
    """Ends rows early."""

    adaptive: bool

    def fill(self, view: StepView, special: SpecialTokens) -> tuple[Tensor, Tensor] | None:
        """After a commit, return (B, L) bool positions to decide at no cost and (B, L) int64 their tokens, or None.

        Rows without open positions in `view` are left alone whatever it says.
        """
        ...


@runtime_checkable
class Reviser(Protocol):
    """Changes what earlier forwards decided: returns positions to the mask, or writes other tokens there."""

    needs: frozenset[str]
    reopens: bool
    """Whether it returns positions to the mask. It may reopen fewer than the forward committed, so that every forward
    gets further; it is asked only in stages that run until nothing is open."""
    reach: Literal["block", "region"]
    """What it sees: the block's window, or the whole generation region, whose logits are then always computed."""
    closing_steps: int
    """Forwards it may have after the last mask is gone; they end when one changes nothing."""

    def revise(self, view: RevisionView) -> Revision | None:
        """Return what to change after a commit, or None."""
        ...


@runtime_checkable
class ForwardPlan(Protocol):
    """Plans the model's inputs: extra columns after the canvas, who sees whom, and position ids."""

    def plan(self, inputs: ModelInputs, block: Block, special: SpecialTokens) -> ModelInputs:
        """Return inputs with `attention` and `positions` set, and `extra` columns after the canvas's own L."""
        ...

    def read(self, logits: Tensor, canvas: Canvas, block: Block) -> Tensor:
        """Return (B, E) float32 from the extra columns' (B, E, V) logits; parts see it as `shadow`."""
        ...


@runtime_checkable
class CachePolicy(Protocol):
    """Says which columns' keys and values a forward recomputes; the others are reused as they were last computed."""

    def recompute(self, block: Block, forward: int, length: int) -> slice | None:
        """Return the columns to recompute, covering the block's window; None is all, which refreshes the cache.

        Args:
            block: The block being decoded.
            forward: 0-based count of the forwards made for this block.
            length: L, the canvas's columns.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """What the engine asks a denoiser."""

    tokens: Tensor
    """(B, L) int64."""
    valid: Tensor | None
    """(B, L) bool, False on padding; None when every column is valid."""
    window: slice
    """The columns whose logits are wanted; W of them."""
    cache: Any | None = None
    """What the denoiser's `new_cache` returned; None where nothing is cached."""
    recompute: slice | None = None
    """The columns to run through the model, covering the window; None is all of them."""
    attention: Tensor | None = None
    """(B, 1, T, T) bool, True where a row may look; None lets every column see every valid one."""
    positions: Tensor | None = None
    """(B, T) int64; None counts from a row's first valid column."""
    extra: int = 0
    """E; `tokens` then has T = L + E columns, and logits are wanted of the window and of the last E."""
    columns: Tensor | None = None
    """(B, K) int64, inside the window: the only columns wanted, each row its own; None is all of the window. Given to
    a `HeadedDenoiser` alone, and never beside `extra`."""


@runtime_checkable
class CachingDenoiser(Protocol):
    """A denoiser that can reuse keys and values."""

    def new_cache(self) -> Any:
        """Return an empty cache for one decode.

        If it has a method `keep(rows)`, which forgets all rows but those of an (R,) int64 tensor, rows that are done
        with a block leave its forwards. A forward that recomputes everything may come with other rows than before.
        """
        ...


@runtime_checkable
class HeadedDenoiser(Protocol):
    """A denoiser whose logits are a head's on hidden states, so that they can be made for a few positions at a time."""

    def hidden(self, inputs: ModelInputs) -> Tensor:
        """Return (B, W + E, D) states that predict the window and the extra columns, or (B, K, D) of `columns`.

        They need to last until the next call only.
        """
        ...

    def head(self, hidden: Tensor) -> Tensor:
        """Return (..., V) logits of (..., D) states, on the device of the model's inputs; a tensor of the caller's."""
        ...


@runtime_checkable
class Denoiser(Protocol):
    """A bidirectional model: tokens in, logits of the window out."""

    special: SpecialTokens
    vocab_size: int
    max_length: int | None
    """The longest canvas the model was made for, in tokens; None if unlimited."""

    def logits(self, inputs: ModelInputs) -> Tensor:
        """Return (B, W + E, V) logits, any floating dtype; a tensor the caller may change in place.

        Only a denoiser with an attribute `plans_inputs = True` is given `attention`, `positions` or `extra`.
        """
        ...
