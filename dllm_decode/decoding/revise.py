"""What revisers do to a canvas: which positions they may change, after a commit and when nothing is undecided any more.

Knows the revisers of one decode and what the decode itself decided; when to ask them is the engine's business.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dllm_decode.data.canvas import Block, Canvas
from dllm_decode.data.views import RevisionView
from dllm_decode.decoding.contract import Contract
from dllm_decode.forward.read import Reading
from dllm_decode.parts.revise import Reviser
from dllm_decode.strategy.strategy import Strategy

Tell = Callable[[Block, str, int, slice, Tensor, Tensor, Tensor], None]
"""Told of every change: block, stage, step, window, and (B, R) positions, tokens and scores."""


class Revisions:
    """The revisers of one decode."""

    def __init__(
        self, strategy: Strategy, canvas: Canvas, contract: Contract, changed: Tensor
    ) -> None:
        """Remember what is undecided now: only what the decode itself decides may be revised.

        Args:
            strategy: Whose revisers are built.
            canvas: Before its first commit.
            contract: Told of every revision.
            changed: (B,) bool, rows that have changed since their last forward; written to in place.
        """
        self.revisers: list[Reviser] = [part.build() for part in strategy.revise]
        self.needs: frozenset[str] = frozenset().union(*({"decided"} | reviser.needs for reviser in self.revisers))
        self.far = any(reviser.reach == "region" for reviser in self.revisers)
        """Whether a reviser must see the whole generation region in every forward."""
        self._canvas, self._contract, self._changed = canvas, contract, changed
        self._ours = canvas.undecided.clone() if self.revisers else canvas.undecided  # (B, L)

    def after_commit(
        self, reading: Reading, block: Block, where: Tensor, opened: Tensor, tell: Tell, *, endless: bool
    ) -> None:
        """Ask every reviser after a commit.

        Args:
            reading: The forward that the commit was read from.
            block: The block it belongs to.
            where: (B, W) bool, the stage's positions in the block's window.
            opened: (B, W) bool, what was open before the commit.
            tell: Called after every revision.
            endless: Whether the stage goes on until nothing is open; else nothing may be opened again.
        """
        for reviser in self.revisers:
            if endless or not reviser.reopens:
                decided = ~self._canvas.undecided
                chosen = torch.zeros_like(decided)
                chosen[:, block.window] = opened & decided[:, block.window]
                inside = self._ours
                if reviser.reach == "block":
                    inside = torch.zeros_like(decided)
                    inside[:, block.window] = self._ours[:, block.window] & where
                # A row that only waits for its batch mates has had no forward of its own.
                active = chosen.any(1, keepdim=True)
                revisable = inside & decided & ~chosen & active
                self._revise(reviser, reading, block, chosen, revisable, tell, closing=False)

    def close(self, read: Callable[[Block, Tensor], Reading], tell: Tell) -> None:
        """Let revisers go over the finished canvas, each until it changes nothing or its forwards are spent.

        Args:
            read: The engine's; takes a block and (B, W) bool, the positions that are asked for.
            tell: Called after every revision.
        """
        region = self._canvas.region
        for reviser in self.revisers:
            block = Block(where=self._ours, window=region, steps=None, start=region.start, number=-1)
            for _ in range(reviser.closing_steps):
                reading = read(block, self._ours[:, region])
                decided = self._ours & ~self._canvas.undecided
                nothing = torch.zeros_like(decided)
                changing = self._revise(reviser, reading, block, nothing, decided, tell, closing=True)
                if changing is None or not bool(changing.any()):
                    break

    def _revise(
        self,
        reviser: Reviser,
        reading: Reading,
        block: Block,
        chosen: Tensor,
        revisable: Tensor,
        tell: Tell,
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
            tell: Called with what was changed.
            closing: Whether nothing is undecided any more.
        """
        canvas = self._canvas
        window = canvas.region if reviser.reach == "region" else block.window
        view = RevisionView(
            canvas=canvas,
            block=block,
            window=window,
            stats=reading.of(window),
            chosen=chosen[:, window],
            revisable=revisable[:, window],
            shadow=reading.shadow,
            closing=closing,
        )
        revision = reviser.revise(view)
        if revision is None:
            return None
        self._contract.check_revision(reviser, view, revision)
        changing = revision.where & view.revisable
        if revision.tokens is None:
            canvas.reopen(window, changing)
            written = torch.full_like(canvas.tokens[:, window], canvas.mask_id)
        else:
            written = revision.tokens
            changing = changing & (written != canvas.tokens[:, window])
            canvas.edit(window, changing, written)
        self._changed |= changing.any(1)
        tell(block, "revise", 0, window, changing, written, view.stats.probability)
        return changing
