"""The law: the whole meaning of a strategy, with no thought of speed. Read this first, then `loop.py`.

Every forward runs every row and reads every column; every stage asks the canvas whether anything is left. `loop.py` takes
the same numbered steps, and a test holds it to this file: the same tokens, the same `forward_passes`. A cache is left
out: it changes what forwards cost, and by how much they are off, not what is asked of them.
"""

from __future__ import annotations

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

Reading = tuple[VocabStats, Tensor | None]
"""(B, L) statistics, and what the forward plan read from its extra columns."""


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
        self.denoiser, self.strategy, self.parts, self.seed = denoiser, strategy, strategy.build(), seed
        self.canvas = canvas.copied(uniform=False)
        self.ours = canvas.undecided.clone()  # (B, L): all that this decode may ever change
        self.row_ids = torch.arange(canvas.rows) if row_ids is None else row_ids
        self.commits, self.passes = (torch.zeros(canvas.rows, dtype=torch.int64) for _ in range(2))
        self.unread = torch.ones(canvas.rows, dtype=torch.bool)  # rows that changed since they paid for a forward
        self.asked = [range(0)] * canvas.rows  # the columns which that forward was about

    def run(self) -> None:
        canvas, parts = self.canvas, self.parts
        # 1. The block policy names the columns that are worked on next. It may ask for a forward to decide.
        seen = BlockContext(canvas, self.strategy.steps, self.denoiser.special, self.probe)
        for block in parts.block.blocks(seen):
            # 2. The layering names the positions of the block that are eligible now. It may ask for one too.
            for stage in parts.layering.stages(StageContext.of(canvas, block, self.probe, self.noise)):
                if self.finish(block, stage) and block.one_step:
                    break
        # 9. When all is decided, a reviser may go over it with forwards of its own, until it changes nothing.
        for reviser in parts.revise:
            block = Block(self.ours, canvas.region, None, canvas.prompt_length, number=-1)
            for _ in range(reviser.closing_steps):
                reading, nothing = self.read(block, self.ours), torch.zeros_like(self.ours)
                if not self.revise(reviser, block, reading, nothing, self.ours & ~canvas.undecided, closing=True):
                    break

    def finish(self, block: Block, stage: Stage) -> bool:
        """Take steps until the stage has no open position, or its steps are spent; say whether there was one."""
        canvas, parts, window = self.canvas, self.parts, block.window
        scheduler = stage.scheduler or parts.scheduler
        budget = None if scheduler.adaptive else stage.steps
        stage_open = (canvas.undecided[:, window] & stage.where).sum(1)  # (B,)
        last: Proposal | None = None
        for step in count() if budget is None else range(budget):
            open_ = canvas.undecided[:, window] & stage.where  # (B, W)
            if not open_.any():
                return step > 0
            # 3. A forward reads the canvas as it stands.
            reading = self.read(block, canvas.placed(open_, window))
            seen, noise = reading[0].narrow(window), self.noise(window)
            view = StepView(canvas, block, stage, step, open_, stage_open, self.row_ids, noise, seen, last)
            # 4. The confidence proposes a token and a score for every position.
            last = parts.confidence.propose(view)
            # 5. The scheduler chooses among the open positions; 6. those are committed.
            self.commit(view, last, scheduler.select(view, last))
            # 7. Stop rules decide at no cost what is certain by now, anywhere in the row.
            for stop in parts.stop:
                if (filled := stop.fill(view, self.denoiser.special)) is not None:
                    where = filled[0] & canvas.undecided & open_.any(1, keepdim=True)
                    canvas.commit(slice(0, canvas.length), where, filled[1])
            # 8. Revisers change what earlier steps decided; none opens a position again where steps are numbered.
            for reviser in parts.revise:
                if budget is None or not reviser.reopens:
                    chosen = canvas.placed(open_, window) & ~canvas.undecided
                    reach = canvas.placed(stage.where, window) if reviser.reach == "block" else self.ours
                    revisable = self.ours & reach & ~canvas.undecided & ~chosen & chosen.any(1, keepdim=True)
                    self.revise(reviser, block, reading, chosen, revisable, closing=False)
            if block.one_step:
                return True
        return bool(budget)

    def read(self, block: Block, open_: Tensor) -> Reading:
        """Run the model; a row with something in (B, L) `open_` pays, unless its last forward answers this as well."""
        region = any(reviser.reach == "region" for reviser in self.parts.revise)
        for row in open_.any(1).nonzero().flatten().tolist():
            columns = range(*self.canvas.region.indices(self.canvas.length))
            if self.parts.forward or not region:
                its = block.where[row].nonzero().flatten().tolist()
                columns = range(its[0], its[-1] + 1)
            before = self.asked[row]
            answered = columns == before if self.parts.forward else set(columns) <= set(before)
            if self.unread[row] or not answered:
                self.passes[row] += 1
                self.unread[row], self.asked[row] = False, columns
        return self.run_model(block)

    def run_model(self, block: Block) -> Reading:
        """Return what one forward says of every position, in the order in which the parts change it."""
        canvas, parts, special = self.canvas, self.parts, self.denoiser.special
        tokens, valid = canvas.tokens, canvas.valid
        guided = any(processor.unconditional for processor in parts.logits)
        if guided:  # every row twice, the second time without what was given
            tokens, valid = torch.cat([tokens, tokens.masked_fill(~self.ours, special.mask)]), valid.repeat(2, 1)
        inputs = ModelInputs(tokens, valid if canvas.padded else None, slice(0, canvas.length))
        if parts.forward:
            inputs = parts.forward.plan(inputs, block, special)
        logits, unconditional = self.denoiser.logits(inputs), None  # (B, L + E, V)
        if guided:
            logits, unconditional = logits.chunk(2)
        for processor in parts.logits:
            logits = processor.process(logits, unconditional, special)
        shadow = parts.forward.read(logits[:, canvas.length :], canvas, block) if parts.forward else None
        keys, temperature = self.noise(slice(0, canvas.length)).keys(), self.strategy.temperature
        own = logits[:, : canvas.length]
        return vocabulary_statistics(own, special, STATISTICS, temperature, keys), shadow

    def probe(self, block: Block) -> VocabStats:
        """Return the (B, W) statistics that a block policy or a layering asks for."""
        return self.read(block, self.canvas.undecided & block.where)[0].narrow(block.window)

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

    def revise(
        self, reviser: Reviser, block: Block, reading: Reading, chosen: Tensor, revisable: Tensor, *, closing: bool
    ) -> bool:
        """Do what a reviser says within (B, L) bool `revisable`; say whether that changed anything."""
        canvas, (stats, shadow) = self.canvas, reading
        window = canvas.region if reviser.reach == "region" else block.window
        chosen, revisable, seen = chosen[:, window], revisable[:, window], stats.narrow(window)
        revision = reviser.revise(RevisionView(canvas, block, window, seen, chosen, revisable, shadow, closing))
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

    def noise(self, window: slice) -> Noise:
        """Randomness that knows a row by its own commits and its distance from the canvas's end, not by its batch."""
        return Noise(self.seed, self.row_ids, self.commits, torch.arange(-self.canvas.length, 0)[window])
