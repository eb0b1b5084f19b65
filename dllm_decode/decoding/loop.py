"""The decoding loop: the numbered steps of `plain.py`, with as few forwards, rows, columns and waits as they allow.

A decode is a generator that yields a question for each forward and is sent the reading. Knows the protocols of the parts
and nothing of any strategy or model by name; `left.py` has how the host knows what is open.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from dllm_decode.data.canvas import Block, Canvas, Stage
from dllm_decode.data.noise import Noise
from dllm_decode.data.stats import VocabStats
from dllm_decode.data.views import BlockContext, Proposal, StageContext, StepView
from dllm_decode.decoding.commit import Progress
from dllm_decode.decoding.contract import Contract
from dllm_decode.decoding.left import Counted, Known, Left, OneStep
from dllm_decode.decoding.revise import Revisions
from dllm_decode.decoding.trace import StepEvent
from dllm_decode.forward.denoiser import Denoiser
from dllm_decode.forward.question import Question, Reading
from dllm_decode.forward.read import Reader
from dllm_decode.parts.scheduler import Scheduler
from dllm_decode.parts.stop import StopRule
from dllm_decode.strategy.strategy import Strategy

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A finished decode."""

    canvas: Canvas
    forward_passes: Tensor
    """(B,) int64; forwards in which the row had open positions in its stage: what the row costs alone."""
    model_calls: int
    """Calls of the model for the whole batch, those it shared with other decodes included; the two halves of guidance
    are one call."""
    reason: str
    """Why the run ended; always "complete": a decode that cannot finish raises instead."""


def decode(
    denoiser: Denoiser,
    canvas: Canvas,
    strategy: Strategy,
    *,
    seed: int = 0,
    row_ids: Tensor | None = None,
    on_step: Callable[[StepEvent], None] | None = None,
    drop_at: float | None = None,
) -> Decoded:
    """Decide every undecided position of a copy of the canvas.

    Args:
        denoiser: The model.
        canvas: (B, L) tokens; left as it is.
        strategy: The schedule; its parts are built anew for every call.
        seed: Seed of all randomness.
        row_ids: (B,) int64 identities of the rows for noise; their position in the batch if not given.
        on_step: Called after every commit; receives tensors, so looking at them may wait for the device.
        drop_at: Once at most this share of the rows is unfinished, finished rows leave the forward; the engine's own
            if not given.

    Raises:
        ContractError: A part, or the model, broke its contract; names the part, its plugin, the stage and the step.
    """
    return finish(Decode(denoiser, canvas, strategy, seed, row_ids, on_step, drop_at))


@torch.inference_mode()
def finish(decode: Decode) -> Decoded:
    """Make a decode's forwards, one after another, until it ends."""
    answer(decode.questions(), decode.reader)
    return decode.decoded()


def answer(asking: Generator[Question, Reading, T], reader: Reader) -> T:
    """Make the forwards that a generator asks for, one after another; return what it returns."""
    try:
        question = next(asking)
        while True:
            question = asking.send(reader.read(question))
    except StopIteration as end:
        result: T = end.value
        return result


class Decode:
    """One decode; the arguments are those of `decode`."""

    def __init__(
        self,
        denoiser: Denoiser,
        canvas: Canvas,
        strategy: Strategy,
        seed: int = 0,
        row_ids: Tensor | None = None,
        on_step: Callable[[StepEvent], None] | None = None,
        drop_at: float | None = None,
    ) -> None:
        """Build the parts, over a canvas of the decode's own."""
        device = canvas.tokens.device
        self.policy = strategy.block.build()
        self.layering = strategy.layering.build()
        self.scheduler: Scheduler = strategy.scheduler.build()
        self.confidence = strategy.confidence.build()
        self.stops: list[StopRule] = [stop.build() for stop in strategy.stop]
        # A stop rule decides positions of later blocks, so nothing is known of those beforehand.
        uniform = canvas.uniform and not self.stops
        tokens, undecided = canvas.tokens.clone(), canvas.undecided.clone()
        self.canvas = replace(canvas, tokens=tokens, undecided=undecided, uniform=uniform)
        self.seed, self.steps = seed, strategy.steps
        self.row_ids = torch.arange(canvas.rows, device=device) if row_ids is None else row_ids.to(device)
        self.columns = torch.arange(-canvas.length, 0, device=device)  # (L,)
        self.progress = Progress(self.canvas, on_step)
        self.contract = Contract(self.canvas, strategy)
        self.revisions = Revisions(strategy, self.progress, self.contract)
        asking = (self.policy, self.layering, self.scheduler, self.confidence, *self.stops)
        needs = self.revisions.needs.union(*(getattr(part, "needs", ()) for part in asking))
        self.reader = Reader(denoiser, self.canvas, strategy, needs)
        may_drop = self.reader.drops_rows and not self.revisions.whole_region
        self.left = Left(
            self.canvas, may_drop=may_drop, cached=self.reader.cache is not None, drop_at=drop_at
        )
        self.reading: Reading | None = None

    def questions(self) -> Generator[Question, Reading, None]:
        """Decode: yield what each forward is to answer, and go on when the reading is sent."""
        # 1. The block policy names the columns that are worked on next.
        for block in self.policy.blocks(self.block_context()):
            self.contract.count_block(block)
            self.left.begin_block(block)
            context = self.stage_context(block)
            # 2. The layering names the positions of the block that are eligible now.
            for stage in self.layering.stages(context):
                stepped = yield from self.finish(block, stage, whole=stage.where is context.where)
                if stepped and block.one_step:
                    break
            self.left.rows = None  # in the next block every row takes part again
        # 9. When all is decided, a reviser may go over it with forwards of its own.
        yield from self.revisions.close(self.probe)
        self.contract.verify()
        self.contract.refuse_undecided(self.canvas)

    def finish(self, block: Block, stage: Stage, *, whole: bool) -> Generator[Question, Reading, bool]:
        """Take steps until the stage has no open position; say whether one was taken.

        `whole` says that the stage is all of its block.
        """
        self.contract.check_stage(block, stage)
        scheduler = stage.scheduler or self.scheduler
        budget = None if scheduler.adaptive else stage.steps
        open_ = self.canvas.undecided[:, block.window] & stage.where  # (B, W)
        stage_open = open_.sum(1)  # (B,)
        left = self.how_long(block, stage, scheduler, budget, open_, whole)
        last: Proposal | None = None
        for step in range(left.steps):
            # 3. A forward reads the canvas as it stands.
            reading = yield from self.ask(block, open_)
            view = self.step_view(block, stage, step, open_, stage_open, reading, last)
            # 4. The confidence proposes a token and a score for every position.
            last = self.confidence.propose(view)
            self.contract.check_proposal(view, last)
            # 5. The scheduler chooses among the open positions; 6. those are committed.
            chosen = scheduler.select(view, last)
            self.contract.check_selection(view, chosen, scheduler)
            self.progress.commit(view, last, chosen, exact=scheduler.exact)
            # 7. Stop rules decide at no cost what is certain by now.
            for stop in self.stops:
                self.progress.fill(stop, view, self.reader.special)
            # 8. Revisers change what earlier steps decided.
            self.revisions.after_commit(reading, view, may_reopen=budget is None)
            open_ = self.canvas.undecided[:, block.window] & stage.where
            left.ask(open_)
            self.contract.check_values(view, last, chosen, scheduler, self.left.open)
            if left.finished(step):
                return True
        if left.steps:
            self.contract.refuse_leftover(block, stage, scheduler, open_)
        return False

    def how_long(
        self, block: Block, stage: Stage, scheduler: Scheduler, budget: int | None, open_: Tensor, whole: bool
    ) -> Known | Counted | OneStep:
        """Return how the host knows when the stage is finished."""
        if block.one_step:
            return OneStep(self.left, block, stage, open_, whole=whole)
        if self.stops or not scheduler.exact:
            return Counted(self.left, block, stage, budget, open_)
        return Known(self.left, block, stage, scheduler, budget, open_)

    def ask(self, block: Block, open_: Tensor) -> Generator[Question, Reading, Reading]:
        """Return the reading of a step, for the (B, W) bool open positions of a block; see `forward`."""
        window = self.window_of(block)
        if self.reader.open_only:
            question = self.question(block, self.left.rows, open_, self.left.open)
        else:
            undecided = self.canvas.undecided[:, window]
            question = self.question(block, self.left.rows, undecided, self.left.undecided)
        return (yield from self.forward(question, open_))

    def probe(self, block: Block, open_: Tensor) -> Generator[Question, Reading, Reading]:
        """Return a reading that may serve several stages, so with all of the block, and all rows."""
        # Of a row that has left a cached block, nothing is kept that a probe could use.
        rows = self.left.rows if self.reader.cache is not None else None
        undecided = self.canvas.undecided[:, self.window_of(block)]
        return (yield from self.forward(self.question(block, rows, undecided, self.left.undecided), open_))

    def forward(self, question: Question, open_: Tensor) -> Generator[Question, Reading, Reading]:
        """Yield the question unless the last forward has answered it: one serves all that is asked of one canvas."""
        self.progress.pay(open_)
        if self.reading is None or not self.reading.answers(question):
            self.reading = yield question
            self.progress.model_calls += 1
        return self.reading

    def question(self, block: Block, rows: frozenset[int] | None, wanted: Tensor, most: int) -> Question:
        window = self.window_of(block)
        planned = None if self.reader.plan is None else block.window
        version, noise = self.canvas.version, self.noise(window)
        return Question(version, block, window, planned, rows, wanted, most, noise)

    def window_of(self, block: Block) -> slice:
        """Return the columns that a forward of the block reads."""
        return self.canvas.region if self.revisions.whole_region else block.window

    def noise(self, window: slice) -> Noise:
        """Return the noise of every row over a window; it counts a row's commits in the tensor they are added up in."""
        return Noise(self.seed, self.row_ids, self.progress.commits, self.columns[window])

    def block_context(self) -> BlockContext:
        """What the block policy sees."""

        def probe(block: Block) -> VocabStats:
            self.left.begin_block(block)
            open_ = self.canvas.undecided[:, block.window] & block.where[:, block.window]
            return answer(self.probe(block, open_), self.reader).of(block.window)

        return BlockContext(self.canvas, self.steps, self.reader.special, probe)

    def stage_context(self, block: Block) -> StageContext:
        """What the layering sees of a block."""
        window = block.window
        where = block.where[:, window]

        def probe() -> VocabStats:
            open_ = self.canvas.undecided[:, window] & where
            return answer(self.probe(block, open_), self.reader).of(window)

        return StageContext(
            self.canvas, block, where, block.steps, block.size, probe, lambda: self.noise(window)
        )

    def step_view(
        self,
        block: Block,
        stage: Stage,
        step: int,
        open_: Tensor,
        stage_open: Tensor,
        reading: Reading,
        last: Proposal | None,
    ) -> StepView:
        """What confidence, scheduler and stop rules see of a step."""
        return StepView(
            canvas=self.canvas,
            block=block,
            stage=stage,
            step=step,
            open=open_,
            stage_open=stage_open,
            row_ids=self.row_ids,
            noise=self.noise(block.window),
            stats=reading.of(block.window),
            last=last,
        )

    def decoded(self) -> Decoded:
        """Return what came out, after the last forward."""
        return Decoded(self.canvas, self.progress.passes, self.progress.model_calls, "complete")
