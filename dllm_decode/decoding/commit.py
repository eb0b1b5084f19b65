"""The canvas of one decode and the accounts of its rows: what a commit writes, and what a forward costs whom.

All that writes to the canvas goes through here; what is written is for the parts to say.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dllm_decode.data.canvas import Block, Canvas
from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.data.selection import best_open
from dllm_decode.data.views import Proposal, Revision, StepView
from dllm_decode.decoding.trace import StepEvent
from dllm_decode.parts.stop import StopRule


class Progress:
    """A canvas that is being decoded."""

    def __init__(self, canvas: Canvas, on_step: Callable[[StepEvent], None] | None) -> None:
        """Take the canvas before its first commit; `on_step` is told of every change."""
        self.canvas, self._on_step = canvas, on_step
        device = canvas.tokens.device
        self.passes = torch.zeros(canvas.rows, dtype=torch.int64, device=device)
        """(B,) int64; forwards that the row has paid for."""
        self.commits = torch.zeros_like(self.passes)
        """(B,) int64; how often the row has committed, which its noise grows from."""
        self.unread = torch.ones(canvas.rows, dtype=torch.bool, device=device)
        """(B,) bool; rows that have changed since the last forward they paid for."""
        self.model_calls = 0

    def pay(self, open_: Tensor) -> None:
        """Count a forward for each row with (B, W) `open_` positions, once for everything asked before it changes."""
        paying = open_.any(1) & self.unread
        self.passes += paying
        self.unread &= ~paying

    def commit(self, view: StepView, proposal: Proposal, chosen: Tensor, *, exact: bool) -> None:
        """Write the chosen tokens, and at least the best one of every row with open positions.

        Args:
            view: What the scheduler saw.
            proposal: The tokens, with their scores.
            chosen: (B, W) bool.
            exact: Whether the scheduler promises at least one in each row, so that nothing need be added.
        """
        block, chosen = view.block, chosen & view.open
        if block.must_advance is not None:
            must_advance = view.open & block.must_advance[:, block.window]
            chosen |= best_open(proposal.score, must_advance) & ~(chosen & must_advance).any(1, keepdim=True)
        if not exact:
            chosen |= best_open(proposal.score, view.open) & ~chosen.any(1, keepdim=True)
        self.canvas.commit(block.window, chosen, proposal.tokens)
        committed = chosen.any(1)
        self.commits += committed
        self.unread |= committed
        self._tell(block, view.stage.name, view.step, block.window, chosen, proposal.tokens, proposal.score)

    def fill(self, stop: StopRule, view: StepView, special: SpecialTokens) -> None:
        """Decide what a stop rule says is certain, over the whole canvas, at no cost."""
        filled = stop.fill(view, special)
        if filled is None:
            return
        where, tokens = filled  # (B, L) bool, (B, L) int64
        # A row that only waits for its batch mates would not have been asked alone.
        where = where & self.canvas.undecided & view.open.any(1, keepdim=True)
        whole = slice(0, self.canvas.length)
        self.canvas.commit(whole, where, tokens)
        score = torch.ones(where.shape, device=where.device)
        self._tell(view.block, "stop", view.step, whole, where, tokens, score)

    def revise(
        self, block: Block, window: slice, revision: Revision, revisable: Tensor, score: Tensor
    ) -> Tensor:
        """Do what a reviser says, and return (B, R) bool what that changed.

        Args:
            block: The block that the forward it judged by belongs to.
            window: Its R columns.
            revision: What it wants done.
            revisable: (B, R) bool, what may be changed.
            score: (B, R) float32, for those who watch.
        """
        changing = revision.where & revisable
        if revision.tokens is None:
            self.canvas.reopen(window, changing)
            written = torch.full_like(self.canvas.tokens[:, window], self.canvas.mask_id)
        else:
            written = revision.tokens
            changing = changing & (written != self.canvas.tokens[:, window])
            self.canvas.edit(window, changing, written)
        self.unread |= changing.any(1)
        self._tell(block, "revise", 0, window, changing, written, score)
        return changing

    def _tell(
        self,
        block: Block,
        stage: str,
        step: int,
        window: slice,
        chosen: Tensor,
        tokens: Tensor,
        score: Tensor,
    ) -> None:
        if self._on_step is not None:
            calls = self.model_calls
            self._on_step(StepEvent(block.number, stage, step, calls, window, chosen, tokens, score))
