"""Which positions a reviser may change: after a commit, and when nothing is undecided any more.

Knows the revisers of one decode and what the decode itself decided; when to ask them is the loop's business.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch
from torch import Tensor

from dllm_decode.data.canvas import Block
from dllm_decode.data.views import RevisionView, StepView
from dllm_decode.decoding.commit import Progress
from dllm_decode.decoding.contract import Contract
from dllm_decode.forward.question import Question, Reading
from dllm_decode.parts.revise import Reviser

Ask = Callable[[Block, Tensor], Generator[Question, Reading, Reading]]
"""From a block and the (B, W) bool positions that are asked for to a reading."""


class Revisions:
    """The revisers of one decode."""

    def __init__(self, revisers: list[Reviser], progress: Progress, contract: Contract) -> None:
        """Remember what is undecided now: only what the decode itself decides may be revised."""
        self._revisers = revisers
        self._progress, self._canvas, self._contract = progress, progress.canvas, contract
        self._ours = self._canvas.undecided.clone() if revisers else self._canvas.undecided  # (B, L)

    def after_commit(self, reading: Reading, view: StepView, *, may_reopen: bool) -> None:
        """Ask every reviser.

        Args:
            reading: The forward that the commit was read from.
            view: The step that has committed.
            may_reopen: Whether the stage goes on until nothing is open.
        """
        canvas, window = self._canvas, view.block.window
        for reviser in self._revisers:
            if reviser.reopens and not may_reopen:
                continue
            decided = ~canvas.undecided
            chosen = canvas.placed(view.open & decided[:, window], window)
            inside = self._ours
            if reviser.reach == "block":
                inside = inside & canvas.placed(view.stage.where, window)
            # A row that only waits for its batch mates has had no forward of its own.
            revisable = inside & decided & ~chosen & chosen.any(1, keepdim=True)
            self._revise(reviser, reading, view.block, chosen, revisable, closing=False)

    def close(self, ask: Ask) -> Generator[Question, Reading, None]:
        """Let revisers go over the finished canvas, each until it changes nothing or its forwards are spent."""
        region = self._canvas.region
        for reviser in self._revisers:
            block = Block(where=self._ours, window=region, steps=None, start=region.start, number=-1)
            for _ in range(reviser.closing_steps):
                reading = yield from ask(block, self._ours[:, region])
                decided = self._ours & ~self._canvas.undecided
                nothing = torch.zeros_like(decided)
                changing = self._revise(reviser, reading, block, nothing, decided, closing=True)
                if changing is None or not bool(changing.any()):
                    break

    def _revise(
        self,
        reviser: Reviser,
        reading: Reading,
        block: Block,
        chosen: Tensor,
        revisable: Tensor,
        *,
        closing: bool,
    ) -> Tensor | None:
        """Do what a reviser says, and return (B, R) bool what that changed.

        Args:
            reviser: The part.
            reading: The forward it judges by.
            block: The block that forward belongs to.
            chosen: (B, L) bool, what that forward decided.
            revisable: (B, L) bool, what may be changed.
            closing: Whether nothing is undecided any more.
        """
        window = self._canvas.region if reviser.reach == "region" else block.window
        stats, shadow = reading.of(window), reading.shadow
        view = RevisionView(
            self._canvas, block, window, stats, chosen[:, window], revisable[:, window], shadow, closing
        )
        revision = self._contract.revise(reviser, view)
        if revision is None:
            return None
        return self._progress.revise(block, window, revision, view.revisable, view.stats.probability)
