"""The canvas of one decode and the accounts of its rows: what a commit writes, and what a forward costs whom.

All that writes to the canvas goes through here; what is written is for the parts to say.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dllm_decode.data.canvas import Block, Canvas
from dllm_decode.data.noise import Noise
from dllm_decode.data.selection import best_open
from dllm_decode.data.views import Proposal, Revision, StepView
from dllm_decode.decoding.events import StepEvent

OnStep = Callable[[StepEvent], None]


class Progress:
    """A canvas that is being decoded."""

    def __init__(
        self, canvas: Canvas, seed: int = 0, row_ids: Tensor | None = None, on_step: OnStep | None = None
    ) -> None:
        """Take the canvas before its first commit; `on_step` is told of every change."""
        self.canvas, self._seed, self._on_step = canvas, seed, on_step
        device = canvas.tokens.device
        self.row_ids = torch.arange(canvas.rows, device=device) if row_ids is None else row_ids.to(device)
        """(B,) int64; the rows' identities for noise."""
        self.passes = torch.zeros(canvas.rows, dtype=torch.int64, device=device)
        """(B,) int64; forwards that the row has paid for."""
        self.commits = torch.zeros_like(self.passes)
        """(B,) int64; how often the row has committed, which its noise grows from."""
        self._unread = torch.ones(canvas.rows, dtype=torch.bool, device=device)
        """(B,) bool; rows that have changed since the last forward they paid for."""
        self._read: Tensor | None = None
        """(B, 2) int64; from a decode's first probe on, the first and last column of the row's last forward."""
        self._columns = torch.arange(-canvas.length, 0, device=device)  # (L,)
        self.model_calls = 0

    def noise(self, window: slice) -> Noise:
        """Return the noise of every row over a window; it counts a row's commits in the tensor they are added up in."""
        return Noise(self._seed, self.row_ids, self.commits, self._columns[window])

    def watch_columns(self) -> None:
        """Tell forwards of one canvas apart by their columns from now on: a part asks for some of its own."""
        if self._read is None:
            # So far every row that has paid has also committed.
            self._read = self.passes.new_zeros(self.canvas.rows, 2)

    def pay(self, open_: Tensor, where: Tensor, *, exactly: bool = False) -> Tensor:
        """Count a forward for each row that has to pay for it, and return which do, (B,) bool.

        A row pays with something open, unless its last forward has answered this as well: the row has not changed since,
        and nothing is asked of other columns.

        Args:
            open_: (B, W) bool, what is asked for.
            where: (B, L) bool, the columns of each row that the forward is about; those between them count as asked.
            exactly: Whether a forward about more columns answers something else, as with a forward plan.
        """
        paying = self._unread
        if self._read is not None:
            asked = _span(where)
            first, last = (asked - self._read).unbind(1)
            paying = paying | ((first != 0) | (last != 0) if exactly else (first < 0) | (last > 0))
        paying = open_.any(1) & paying
        self.passes += paying
        self._unread &= ~paying
        if self._read is not None:
            self._read = torch.where(paying[:, None], asked, self._read)
        return paying

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
        self._unread |= committed
        self._tell(
            block, view.stage.name, view.step, block.window, chosen, proposal.tokens, proposal.score, view.open
        )

    def fill(self, view: StepView, where: Tensor, tokens: Tensor) -> None:
        """Decide what is certain, (B, L) bool undecided positions and (B, L) int64 tokens, at no cost."""
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
        self._unread |= changing.any(1)
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
        open_: Tensor | None = None,
    ) -> None:
        if self._on_step is not None:
            calls, could = self.model_calls, chosen if open_ is None else open_
            self._on_step(
                StepEvent(block.number, stage, step, calls, window, chosen, could, tokens, score)
            )


def _span(where: Tensor) -> Tensor:
    """Return (B, 2) int64, the first and the last True column of (B, L) bool."""
    first, behind = where.int().argmax(1), where.flip(1).int().argmax(1)
    return torch.stack((first, where.shape[1] - 1 - behind), 1)
