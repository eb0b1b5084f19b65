"""Calls every part of a strategy and checks what it answers: shapes at once, values without waiting for the device.

Knows what each kind promises; the loop knows when to ask. A fault names the part, its plugin, the stage and the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dllm_decode.data.canvas import Block, Canvas, Stage
from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.data.views import BlockContext, Proposal, Revision, RevisionView, StageContext, StepView
from dllm_decode.decoding.bounds import Bounds, checked
from dllm_decode.errors import ContractError
from dllm_decode.forward.faults import Fault, Faults
from dllm_decode.parts.revise import Reviser
from dllm_decode.parts.scheduler import Scheduler
from dllm_decode.parts.stop import StopRule
from dllm_decode.plugins.blame import blaming, who
from dllm_decode.strategy.strategy import Parts

NO_LOGITS = "gave no usable logits: NaN, or no finite value, in the window it was asked for"
NO_SCORE = "gave a NaN score to an open position; scores must be comparable numbers"
OUTSIDE = "chose positions outside `view.open`; a selection must be a subset of the open positions"
NO_TOKEN = "wrote the mask token, or an id outside the vocabulary; only tokens of the vocabulary are committed"
UNREAD = (
    "left more positions open than the stage's size and its own `commits` say, so that some were not read; "
    "`commits` is the fewest that every row commits in the step"
)
NOT_REVISABLE = "changed positions outside `view.revisable`"
ENDLESS = "reopened as many positions as the forward committed; a decode that does so need not end"
NOTHING_OPEN = "asked for a forward of a block where no row has an open position; a probe is a forward"

WIDE = "asked for a forward of columns that no row's block has; a block's window covers its `where` and no more"


class Contract:
    """The promises of one decode's parts."""

    def __init__(self, parts: Parts, canvas: Canvas, vocabulary: int, faults: Faults) -> None:
        """Begin before the first block; V is `vocabulary`."""
        self.parts, self.canvas, self._vocabulary, self._faults = parts, canvas, vocabulary, faults
        self._bounds = Bounds(parts, canvas)
        self._proposed = canvas.tokens  # what the confidence last said, as it said it

    def blocks(self, context: BlockContext) -> Iterator[Block]:
        """Ask the policy for blocks, and yield each after its check."""
        part = self.parts.block
        return checked("block", part, lambda: part.blocks(context), self._bounds.check_block, "")

    def stages(self, context: StageContext) -> Iterator[Stage]:
        """Ask the layering for the stages of a block, and yield each after its check."""
        part, block = self.parts.layering, context.block
        check = partial(self._bounds.check_stage, block)
        return checked("layering", part, lambda: part.stages(context), check, f"block {block.number}")

    def check_probe(self, block: Block, open_: Tensor) -> None:
        """Note a probe of (B, W) `open_` positions where there are none; stop a part that probes without end."""
        self._bounds.count("block", self.parts.block, f"a probe of block {block.number}")
        culprit: Fault = ("block", self.parts.block, NOTHING_OPEN)
        self._faults.note(~open_.any()[None], [culprit], f"block {block.number}")

    def check_paid(self, block: Block, paying: Tensor) -> None:
        """Note a second forward of one canvas that no row has to pay for, of (B,) bool `paying`: its window is too wide."""
        culprit: Fault = ("block", self.parts.block, WIDE)
        self._faults.note(~paying.any()[None], [culprit], f"block {block.number}")

    def propose(self, view: StepView) -> Proposal:
        """Ask the confidence for a token and a score of every position."""
        part, where = self.parts.confidence, partial(_moment, view)
        with blaming("confidence", part, where):
            proposal = part.propose(view)
        shape = tuple(view.open.shape)
        tokens, score = getattr(proposal, "tokens", proposal), getattr(proposal, "score", proposal)
        _expect("confidence", part, tokens, shape, torch.int64, where)
        _expect("confidence", part, score, shape, torch.float32, where)
        self._proposed = proposal.tokens
        # The statistics' own token is one of the vocabulary and not the mask.
        own = proposal.tokens is view.stats.token
        return proposal if own else replace(proposal, tokens=self._harmless(proposal.tokens))

    def select(self, scheduler: Scheduler, view: StepView, proposal: Proposal) -> Tensor:
        """Ask a scheduler for the (B, W) bool positions to commit."""
        self._bounds.idle = 0
        where = partial(_moment, view)
        with blaming("scheduler", scheduler, where):
            chosen = scheduler.select(view, proposal)
        _expect("scheduler", scheduler, chosen, tuple(view.open.shape), torch.bool, where)
        return chosen

    def note_step(
        self, view: StepView, proposal: Proposal, chosen: Tensor, scheduler: Scheduler, most: int
    ) -> None:
        """Note whether the values of a proposal and its selection were at fault.

        `most` is how many open positions the host took a row to have.
        """
        open_, probability = view.open, view.stats.probability
        unusable = probability.isnan()
        not_comparable = unusable if proposal.score is probability else proposal.score.isnan()
        unread = (open_.sum(1, keepdim=True) > most).expand_as(open_)
        own = self._proposed is view.stats.token
        found = [unusable, not_comparable, chosen, unread] + ([] if own else [self._no_token(self._proposed)])
        looked_at = [open_, open_, ~open_, open_] + ([] if own else [chosen])
        confidence = self.parts.confidence
        faults: list[Fault] = [
            ("denoiser", None, NO_LOGITS),
            ("confidence", confidence, NO_SCORE),
            ("scheduler", scheduler, OUTSIDE),
            ("scheduler", scheduler, UNREAD),
            ("confidence", confidence, NO_TOKEN),
        ]
        flags = (torch.stack(found) & torch.stack(looked_at)).flatten(1).any(1)
        self._faults.note(flags, faults[: len(found)], _moment(view))

    def fill(self, stop: StopRule, view: StepView, special: SpecialTokens) -> tuple[Tensor, Tensor] | None:
        """Ask a stop rule for (B, L) bool positions that are certain, and (B, L) int64 their tokens."""
        where = _moment(view)
        with blaming("stop", stop, where):
            filled = stop.fill(view, special)
        if filled is None:
            return None
        if not isinstance(filled, tuple) or len(filled) != 2:
            raise ContractError(
                f"{who('stop', stop)} returned {type(filled).__name__} where None or a pair of positions and tokens was "
                f"expected ({where})."
            )
        shape = (self.canvas.rows, self.canvas.length)
        _expect("stop", stop, filled[0], shape, torch.bool, where)
        _expect("stop", stop, filled[1], shape, torch.int64, where)
        # A row that only waits for its batch mates would not have been asked alone.
        positions = filled[0] & self.canvas.undecided & view.open.any(1, keepdim=True)
        self._faults.note(
            (self._no_token(filled[1]) & positions).any()[None], [("stop", stop, NO_TOKEN)], where
        )
        return positions, self._harmless(filled[1])

    def revise(self, reviser: Reviser, view: RevisionView) -> Revision | None:
        """Ask a reviser what to change."""
        where = f"block {view.block.number}"
        with blaming("revise", reviser, where):
            revision = reviser.revise(view)
        if revision is None:
            return None
        if not isinstance(revision, Revision):
            raise ContractError(
                f"{who('revise', reviser)} returned {type(revision).__name__} where None or a Revision was expected "
                f"({where})."
            )
        shape, changing = tuple(view.revisable.shape), revision.where
        _expect("revise", reviser, changing, shape, torch.bool, where)
        outside = (changing & ~view.revisable).any()
        if revision.tokens is None:
            committed = view.chosen.sum(1)
            wrong, did = ((changing.sum(1) >= committed) & changing.any(1)).any(), ENDLESS
        else:
            _expect("revise", reviser, revision.tokens, shape, torch.int64, where)
            wrong, did = (self._no_token(revision.tokens) & changing).any(), NO_TOKEN
        faults: list[Fault] = [("revise", reviser, NOT_REVISABLE), ("revise", reviser, did)]
        self._faults.note(torch.stack((outside, wrong)), faults, where)
        return revision if revision.tokens is None else replace(revision, tokens=self._harmless(revision.tokens))

    def verify(self) -> None:
        """Raise for the first fault so far; waits for the device once."""
        self._faults.raise_first()

    def refuse_undecided(self) -> None:
        """Raise where blocks and stages have not covered every undecided position."""
        left = int(self.canvas.undecided.sum())
        if left:
            parts = self.parts
            raise ContractError(
                f"{who('layering', parts.layering)} and {who('block', parts.block)} ended with {left} positions "
                "undecided; together their stages must cover every undecided position."
            )

    def refuse_leftover(self, block: Block, stage: Stage, scheduler: Scheduler, open_: Tensor) -> None:
        """Raise where a stage has used its steps and (B, W) `open_` still holds positions."""
        self.verify()
        left = int(open_.sum())
        if left:
            raise ContractError(
                f"{who('scheduler', scheduler)} left {left} positions open after the {stage.steps} steps of stage "
                f"{stage.name!r} (block {block.number}); a scheduler must finish a stage in its steps or be `adaptive`."
            )

    def _harmless(self, tokens: Tensor) -> Tensor:
        """Return int64 tokens that a model can look up, until the fault is told: on a GPU an id beyond ends the process."""
        return tokens.clamp(0, self._vocabulary - 1)

    def _no_token(self, tokens: Tensor) -> Tensor:
        """Return where int64 tokens of any shape may not be committed."""
        return (tokens == self.canvas.mask_id) | (tokens < 0) | (tokens >= self._vocabulary)


def _moment(view: StepView) -> str:
    return f"block {view.block.number}, stage {view.stage.name!r}, step {view.step}"


def _expect(
    kind: str,
    part: Any,
    given: Any,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    where: Callable[[], str] | str,
) -> None:
    if isinstance(given, Tensor) and given.shape == shape and given.dtype == dtype:
        return
    where = where if isinstance(where, str) else where()
    shown = f"{tuple(given.shape)} {given.dtype}" if isinstance(given, Tensor) else type(given).__name__
    raise ContractError(
        f"{who(kind, part)} returned {shown} where {shape} {dtype} was expected ({where})."
    )
