"""The law: the whole meaning of a strategy, with no thought of speed. Read this first, then `loop.py`.

Every forward runs every row and reads every column; every stage asks the canvas whether anything is left. `loop.py` takes
the same numbered steps, and a test holds it to this file: the same tokens, the same `forward_passes`. A cache is left
out: it changes what forwards cost, and by how much they are off, not what is asked of them.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import torch
from torch import Tensor

from dllm_decode.data.canvas import Block, Canvas, Stage
from dllm_decode.data.inputs import ModelInputs
from dllm_decode.data.noise import Noise
from dllm_decode.data.selection import best_open
from dllm_decode.data.stats import VocabStats
from dllm_decode.data.views import BlockContext, Proposal, RevisionView, StageContext, StepView
from dllm_decode.forward.denoiser import Denoiser
from dllm_decode.forward.statistics import STATISTICS, vocabulary_statistics
from dllm_decode.parts.revise import Reviser
from dllm_decode.strategy.strategy import Strategy


@torch.inference_mode()
def decode_plainly(
    denoiser: Denoiser, canvas: Canvas, strategy: Strategy, seed: int = 0, row_ids: Tensor | None = None
) -> tuple[Canvas, Tensor]:
    """Return the decoded canvas, a new one, and (B,) int64 forward passes: what each row costs alone."""
    decode = _PlainDecode(denoiser, canvas, strategy, seed, row_ids)
    decode.run()
    return decode.canvas, decode.passes


class _PlainDecode:
    def __init__(
        self, denoiser: Denoiser, canvas: Canvas, strategy: Strategy, seed: int, row_ids: Tensor | None
    ) -> None:
        tokens, undecided = canvas.tokens.clone(), canvas.undecided.clone()
        self.canvas = replace(canvas, tokens=tokens, undecided=undecided, uniform=False)
        self.denoiser, self.strategy, self.seed = denoiser, strategy, seed
        self.layering, self.scheduler = strategy.layering.build(), strategy.scheduler.build()
        self.confidence = strategy.confidence.build()
        self.plan = strategy.forward.build() if strategy.forward else None
        self.processors, self.stops, self.revisers = (
            [part.build() for part in parts] for parts in (strategy.logits, strategy.stop, strategy.revise)
        )
        self.ours = undecided.clone()  # (B, L): all that this decode may ever change
        self.row_ids = torch.arange(canvas.rows) if row_ids is None else row_ids
        self.commits, self.passes = (torch.zeros(canvas.rows, dtype=torch.int64) for _ in range(2))
        self.unread = torch.ones(
            canvas.rows, dtype=torch.bool
        )  # rows that changed since a forward was counted

    def run(self) -> None:
        policy = self.strategy.block.build()
        # 1. The block policy names the columns that are worked on next. It may ask for a forward to decide.
        for block in policy.blocks(self.block_context()):
            # 2. The layering names the positions of the block that are eligible now. It may ask for one too.
            for stage in self.layering.stages(self.stage_context(block)):
                if self.finish(block, stage) and block.one_step:
                    break
        # 9. When all is decided, a reviser may go over it with forwards of its own, until it changes nothing.
        for reviser in self.revisers:
            block = Block(self.ours, self.canvas.region, None, self.canvas.prompt_length, number=-1)
            for _ in range(reviser.closing_steps):
                reading = self.read(block, self.ours)
                nothing = torch.zeros_like(self.ours)
                if not self.revise(
                    reviser, block, reading, nothing, self.ours & ~self.canvas.undecided, True
                ):
                    break

    def finish(self, block: Block, stage: Stage) -> bool:
        """Take steps until the stage has no open position, or its steps are spent; say whether there was one."""
        scheduler, window = stage.scheduler or self.scheduler, block.window
        budget = None if scheduler.adaptive else stage.steps
        stage_open = (self.canvas.undecided[:, window] & stage.where).sum(1)
        last: Proposal | None = None
        for step in count() if budget is None else range(budget):
            open_ = self.canvas.undecided[:, window] & stage.where  # (B, W)
            if not open_.any():
                return step > 0
            # 3. A forward reads the canvas as it stands.
            stats, shadow = self.read(block, self.columns(open_, window))
            seen = stats.narrow(window)
            noise = self.noise(window)
            view = StepView(
                self.canvas, block, stage, step, open_, stage_open, self.row_ids, noise, seen, last
            )
            # 4. The confidence proposes a token and a score for every position.
            last = self.confidence.propose(view)
            # 5. The scheduler chooses among the open positions; 6. those are committed.
            self.commit(view, last, scheduler.select(view, last))
            # 7. Stop rules decide at no cost what is certain by now, anywhere in the row.
            for stop in self.stops:
                if (filled := stop.fill(view, self.denoiser.special)) is not None:
                    where = filled[0] & self.canvas.undecided & open_.any(1, keepdim=True)
                    self.canvas.commit(slice(0, self.canvas.length), where, filled[1])
            # 8. Revisers change what earlier steps decided; none opens a position again where steps are numbered.
            for reviser in self.revisers:
                if budget is None or not reviser.reopens:
                    decided = ~self.canvas.undecided
                    chosen = self.columns(open_, window) & decided
                    inside = (
                        self.ours
                        if reviser.reach == "region"
                        else self.ours & self.columns(stage.where, window)
                    )
                    revisable = inside & decided & ~chosen & chosen.any(1, keepdim=True)
                    self.revise(reviser, block, (stats, shadow), chosen, revisable, False)
            if block.one_step:
                return True
        return bool(budget)

    def commit(self, view: StepView, proposal: Proposal, chosen: Tensor) -> None:
        """Commit (B, W) bool `chosen`, and the best position of every row that would get no further."""
        chosen = chosen & view.open
        if view.block.must_advance is not None:
            must_advance = view.open & view.block.must_advance[:, view.block.window]
            chosen |= best_open(proposal.score, must_advance) & ~(chosen & must_advance).any(1, keepdim=True)
        chosen |= best_open(proposal.score, view.open) & ~chosen.any(1, keepdim=True)
        self.canvas.commit(view.block.window, chosen, proposal.tokens)
        self.commits += chosen.any(1)
        self.unread |= chosen.any(1)

    def read(self, block: Block, open_: Tensor) -> tuple[VocabStats, Tensor | None]:
        """Return (B, L) statistics and what the forward plan read; a row with something in (B, L) `open_` pays for it.

        It pays once for everything that is asked before it changes again.
        """
        paying = open_.any(1) & self.unread
        self.passes += paying
        self.unread &= ~paying
        canvas, special, tokens, valid = (
            self.canvas,
            self.denoiser.special,
            self.canvas.tokens,
            self.canvas.valid,
        )
        guided = any(processor.unconditional for processor in self.processors)
        if guided:
            tokens, valid = (
                torch.cat([tokens, tokens.masked_fill(~self.ours, special.mask)]),
                valid.repeat(2, 1),
            )
        inputs = ModelInputs(tokens, valid if canvas.padded else None, slice(0, canvas.length))
        if self.plan:
            inputs = self.plan.plan(inputs, block, special)
        logits, unconditional = (
            self.denoiser.logits(inputs),
            None,
        )  # (B, L + E, V), twice as many rows if guided
        if guided:
            logits, unconditional = logits.chunk(2)
        for processor in self.processors:
            logits = processor.process(logits, unconditional, special)
        shadow = self.plan.read(logits[:, canvas.length :], canvas, block) if self.plan else None
        keys = self.noise(slice(0, canvas.length)).keys()
        own = logits[:, : canvas.length]
        return vocabulary_statistics(own, special, STATISTICS, self.strategy.temperature, keys), shadow

    def revise(
        self,
        reviser: Reviser,
        block: Block,
        reading: tuple[VocabStats, Tensor | None],
        chosen: Tensor,
        revisable: Tensor,
        closing: bool,
    ) -> bool:
        """Do what a reviser says within (B, L) bool `revisable`; say whether that changed anything."""
        canvas, (stats, shadow) = self.canvas, reading
        window = canvas.region if reviser.reach == "region" else block.window
        chosen, revisable, seen = chosen[:, window], revisable[:, window], stats.narrow(window)
        revision = reviser.revise(
            RevisionView(canvas, block, window, seen, chosen, revisable, shadow, closing)
        )
        if revision is None:
            return False
        where = revision.where & revisable
        if revision.tokens is None:
            canvas.reopen(window, where)
        else:
            where = where & (revision.tokens != canvas.tokens[:, window])
            canvas.edit(window, where, revision.tokens)
        self.unread |= where.any(1)
        return bool(where.any())

    def block_context(self) -> BlockContext:
        """What the block policy sees."""

        def probe(block: Block) -> VocabStats:
            return self.read(block, self.canvas.undecided & block.where)[0].narrow(block.window)

        return BlockContext(self.canvas, self.strategy.steps, self.denoiser.special, probe)

    def stage_context(self, block: Block) -> StageContext:
        """What the layering sees."""

        def probe() -> VocabStats:
            return self.read(block, self.canvas.undecided & block.where)[0].narrow(block.window)

        where = block.where[:, block.window]
        return StageContext(
            self.canvas, block, where, block.steps, block.size, probe, lambda: self.noise(block.window)
        )

    def noise(self, window: slice) -> Noise:
        """Randomness that knows a row by its own commits and its distance from the canvas's end, not by its batch."""
        return Noise(self.seed, self.row_ids, self.commits, torch.arange(-self.canvas.length, 0)[window])

    def columns(self, where: Tensor, window: slice) -> Tensor:
        """Return (B, W) bool of a window as (B, L)."""
        whole = torch.zeros_like(self.ours)
        whole[:, window] = where
        return whole
