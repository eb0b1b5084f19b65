"""The decoding loop: the numbered steps of `plain.py`, with as few forwards, rows, columns and waits as they allow.

A decode is a generator that yields a question for each forward and is sent the reading. Knows the kinds of parts and
nothing of any strategy or model by name; `left.py` has how the host knows what is open.
"""

from __future__ import annotations

from collections.abc import Generator

from torch import Tensor

from dllm_decode.data.canvas import Block, Canvas, Stage
from dllm_decode.data.views import BlockContext, Proposal, StageContext, StepView
from dllm_decode.decoding.asking import Forwards
from dllm_decode.decoding.commit import OnStep, Progress
from dllm_decode.decoding.contract import Contract
from dllm_decode.decoding.left import Left
from dllm_decode.decoding.revise import Revisions
from dllm_decode.forward.denoiser import Denoiser
from dllm_decode.forward.faults import Faults
from dllm_decode.forward.question import Question, Reading
from dllm_decode.forward.read import Reader
from dllm_decode.strategy.strategy import Strategy


class Decode:
    """One decode; the arguments are those of `decode`."""

    def __init__(
        self,
        denoiser: Denoiser,
        canvas: Canvas,
        strategy: Strategy,
        seed: int = 0,
        row_ids: Tensor | None = None,
        on_step: OnStep | None = None,
        drop_at: float | None = None,
    ) -> None:
        """Build the parts, over a canvas of the decode's own."""
        parts, faults = strategy.build(), Faults()
        self.parts, self.steps, self.special = parts, strategy.steps, denoiser.special
        # A stop rule decides positions of later blocks, so nothing is known of those beforehand.
        self.canvas = canvas.copied(uniform=canvas.uniform and not parts.stop)
        self.progress = Progress(self.canvas, seed, row_ids, on_step)
        self.contract = Contract(parts, self.canvas, denoiser.vocab_size, faults)
        self.revisions = Revisions(parts.revise, self.progress, self.contract)
        self.reader = Reader(denoiser, self.canvas, strategy, parts, faults)
        whole_region = any(reviser.reach == "region" for reviser in parts.revise)
        may_drop = self.reader.drops_rows and not whole_region
        self.left = Left(self.canvas, may_drop=may_drop, cached=parts.cache is not None, drop_at=drop_at)
        self.forwards = Forwards(
            self.reader, self.left, self.progress, self.contract, whole_region=whole_region
        )

    def questions(self) -> Generator[Question, Reading, None]:
        """Decode: yield what each forward is to answer, and go on when the reading is sent."""
        canvas, forwards = self.canvas, self.forwards
        # 1. The block policy names the columns that are worked on next. It may ask for a forward to decide.
        seen = BlockContext(canvas, self.steps, self.special, forwards.probe_anew)
        for block in self.contract.blocks(seen):
            self.left.begin_block(block)
            # 2. The layering names the positions of the block that are eligible now. It may ask for one too.
            context = StageContext.of(canvas, block, forwards.probe, self.progress.noise)
            for stage in self.contract.stages(context):
                stepped = yield from self.finish(block, stage, whole=stage.where is context.where)
                if stepped and block.one_step:
                    break
            self.left.rows = None  # in the next block every row takes part again
        # 9. When all is decided, a reviser may go over it with forwards of its own, until it changes nothing.
        yield from self.revisions.close(forwards.ask_all)
        self.contract.verify()
        self.contract.refuse_undecided()

    def finish(self, block: Block, stage: Stage, *, whole: bool) -> Generator[Question, Reading, bool]:
        """Take steps until the stage has no open position; say whether one was taken.

        `whole` says that the stage is all of its block.
        """
        canvas, contract, scheduler = self.canvas, self.contract, stage.scheduler or self.parts.scheduler
        budget = None if scheduler.adaptive else stage.steps
        open_ = canvas.undecided[:, block.window] & stage.where  # (B, W)
        stage_open = open_.sum(1)  # (B,)
        counted = bool(self.parts.stop) or not scheduler.exact
        left = self.left.begin_stage(block, stage, scheduler, budget, open_, whole=whole, counted=counted)
        last: Proposal | None = None
        for step in range(left.steps):
            # 3. A forward reads the canvas as it stands.
            reading = yield from self.forwards.ask(block, open_)
            seen, noise = reading.of(block.window), self.progress.noise(block.window)
            row_ids = self.progress.row_ids
            view = StepView(canvas, block, stage, step, open_, stage_open, row_ids, noise, seen, last)
            # 4. The confidence proposes a token and a score for every position.
            last = contract.propose(view)
            # 5. The scheduler chooses among the open positions; 6. those are committed.
            chosen = contract.select(scheduler, view, last)
            self.progress.commit(view, last, chosen, exact=scheduler.exact)
            # 7. Stop rules decide at no cost what is certain by now, anywhere in the row.
            for stop in self.parts.stop:
                if (filled := contract.fill(stop, view, self.special)) is not None:
                    self.progress.fill(view, *filled)
            # 8. Revisers change what earlier steps decided; none opens a position again where steps are numbered.
            self.revisions.after_commit(reading, view, may_reopen=budget is None)
            open_ = canvas.undecided[:, block.window] & stage.where
            left.ask(open_)
            contract.note_step(view, last, chosen, scheduler, self.left.open)
            if left.finished(step):
                return True
        if left.steps:
            contract.refuse_leftover(block, stage, scheduler, open_)
        return False
