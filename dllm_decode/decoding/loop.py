"""The decoding loop: blocks, stages, steps. Enforces once, for every part, what a decode must never do.

Knows the protocols of the parts and nothing of any strategy or model by name.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dllm_decode.data.canvas import Block, Canvas, Stage
from dllm_decode.data.noise import Noise
from dllm_decode.data.selection import best_open
from dllm_decode.data.stats import VocabStats
from dllm_decode.data.views import BlockContext, Proposal, StageContext, StepView
from dllm_decode.decoding.contract import Contract
from dllm_decode.decoding.left import Remaining
from dllm_decode.decoding.revise import Revisions
from dllm_decode.decoding.trace import StepEvent
from dllm_decode.forward.denoiser import Denoiser
from dllm_decode.forward.read import Question, Reader, Reading
from dllm_decode.parts.scheduler import CountingScheduler
from dllm_decode.parts.stop import StopRule
from dllm_decode.strategy.strategy import Strategy


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
) -> Decoded:
    """Decide every undecided position of the canvas, in place.

    Args:
        denoiser: The model.
        canvas: (B, L) tokens; decoded in place.
        strategy: The schedule; its parts are built anew for every call.
        seed: Seed of all randomness.
        row_ids: (B,) int64 identities of the rows for noise; their position in the batch if not given.
        on_step: Called after every commit; receives tensors, so looking at them may wait for the device.

    Raises:
        ContractError: A part, or the model, broke its contract; names the part, its plugin, the stage and the step.
    """
    return finish(Run(denoiser, canvas, strategy, seed, row_ids, on_step))


@torch.inference_mode()
def finish(run: Run) -> Decoded:
    """Make a decode's forwards, one after another, until it ends."""
    for question in run.forwards():
        run.take(question, *run.reader.read(question))
    return run.decoded()


class Run:
    """One decode: asks a question for each forward, and goes on when it has the reading."""

    def __init__(
        self,
        denoiser: Denoiser,
        canvas: Canvas,
        strategy: Strategy,
        seed: int,
        row_ids: Tensor | None,
        on_step: Callable[[StepEvent], None] | None = None,
        worth_dropping: float | None = None,
    ) -> None:
        """Build the parts; the arguments are those of `decode`.

        `worth_dropping` is the share of the rows with something open up to which the others are left out of a forward;
        the engine's own if not given.
        """
        rows, device = canvas.rows, canvas.tokens.device
        self.canvas, self.seed, self.on_step, self.steps = canvas, seed, on_step, strategy.steps
        self.policy = strategy.block.build()
        self.layering = strategy.layering.build()
        self.scheduler = strategy.scheduler.build()
        self.confidence = strategy.confidence.build()
        self.stops: list[StopRule] = [stop.build() for stop in strategy.stop]
        # A stop rule decides positions of later blocks, so nothing is known of those beforehand.
        canvas.uniform &= not self.stops
        self.contract = Contract(canvas, strategy)
        self.row_ids = torch.arange(rows, device=device) if row_ids is None else row_ids.to(device)
        self.columns = torch.arange(-canvas.length, 0, device=device)  # (L,)
        self.passes = torch.zeros(rows, dtype=torch.int64, device=device)
        self.commits = torch.zeros_like(self.passes)
        # A row's forward is new, and counted, only if the row has changed since the last one counted.
        self.changed = torch.ones(rows, dtype=torch.bool, device=device)
        self.model_calls = 0
        self._reading: Reading | None = None
        self._window_noise: tuple[slice, Noise] | None = None
        self._where: Tensor | None = None
        """(B, W) bool; the positions of the block at hand, by which a stage over all of it is known."""
        self.revisions = Revisions(strategy, canvas, self.contract, self.changed)
        asking = (self.policy, self.layering, self.scheduler, self.confidence, *self.stops)
        needs = self.revisions.needs.union(*(getattr(part, "needs", ()) for part in asking))
        self.reader = Reader(denoiser, canvas, strategy, needs)
        self.left = Remaining(
            canvas,
            drops_rows=self.reader.drops_rows and not self.revisions.far,
            cached=self.reader.cache is not None,
            worth_dropping=worth_dropping,
        )

    def forwards(self) -> Iterator[Question]:
        """Decode, and yield what each forward is to answer; the caller gives it to `take` before it resumes."""
        for block in self.policy.blocks(self.block_context()):
            self.contract.count_block(block)
            self.left.begin_block(block)
            for stage in self.layering.stages(self.stage_context(block)):
                committed = yield from self.work_off(block, stage)
                if committed and block.brief:
                    break
            self.left.end_block()
        self.revisions.close(self.read, self._tell)
        self.contract.verify()
        self.contract.refuse_undecided(self.canvas)

    def decoded(self) -> Decoded:
        """Return what came out, after the last forward."""
        return Decoded(self.canvas, self.passes, self.model_calls, "complete")

    def block_context(self) -> BlockContext:
        """What the block policy sees."""

        def probe(block: Block) -> VocabStats:
            window = block.window
            self.left.begin_block(block)
            return self.read(block, self.canvas.undecided[:, window] & block.where[:, window]).of(window)

        return BlockContext(self.canvas, self.steps, self.reader.special, probe)

    def stage_context(self, block: Block) -> StageContext:
        """What the layering sees of a block."""
        window = block.window
        where = self._where = block.where[:, window]

        def probe() -> VocabStats:
            return self.read(block, self.canvas.undecided[:, window] & where).of(window)

        return StageContext(
            self.canvas, block, where, block.steps, block.size, probe, lambda: self._noise(window)
        )

    def work_off(self, block: Block, stage: Stage) -> Generator[Question, None, bool]:
        """Run a stage until nothing in it is open, or, in a brief block, for one step; say whether it committed."""
        self.contract.check_stage(block, stage)
        scheduler = stage.scheduler or self.scheduler
        window, where = block.window, stage.where
        open_ = self.canvas.undecided[:, window] & where  # (B, W)
        stage_open = open_.sum(1)  # (B,)
        most = stage.size
        if most is None and block.busy is not None and where is self._where:
            # The block policy had to ask already, and a brief block takes one step.
            most = 1
            self.left.begin_brief(block.busy)
        elif most is None:
            most = max(self.left.look(self.left.count(block, open_), brief=block.brief))
        else:
            self.left.begin_stage(most)
        budget = None if scheduler.adaptive else stage.steps
        asks = bool(self.stops) or not scheduler.exact
        limit = most if budget is None else min(budget, most)
        counting = scheduler if isinstance(scheduler, CountingScheduler) else None
        last: Proposal | None = None
        for step in range(limit):
            if (question := self.ask(block, open_, step=True)) is not None:
                yield question
            reading = self._reading
            assert reading is not None, "whoever runs the forwards hands every reading to `take`"
            view = StepView(
                canvas=self.canvas,
                block=block,
                stage=stage,
                step=step,
                open=open_,
                stage_open=stage_open,
                row_ids=self.row_ids,
                noise=self._noise(window),
                stats=reading.of(window),
                last=last,
            )
            most_open = self.left.open
            last = self.confidence.propose(view)
            self.contract.check_proposal(view, last)
            chosen = scheduler.select(view, last)
            self.contract.check_selection(view, chosen, scheduler)
            self.commit(view, last, chosen, promised=scheduler.exact)
            self.revisions.after_commit(reading, block, where, view.open, self._tell, endless=budget is None)
            open_ = self.canvas.undecided[:, window] & where
            # The question is on its way while the device does the rest of the step.
            counts = self.left.count(block, open_) if asks and not block.brief else None
            self.contract.check_values(view, last, chosen, scheduler, most_open)
            if block.brief:
                return True
            if counts is not None:
                if not any(self.left.look(counts)):
                    return True
            elif stage.size is not None:
                self.left.committed(counting.commits(stage.size, stage.steps, step) if counting else 1)
        if limit and asks:
            self.contract.refuse_leftover(block, stage, scheduler, open_)
        elif limit and stage.size is not None:
            self.left.end_stage(stage.size)
        return limit > 0

    def ask(self, block: Block, open_: Tensor, *, step: bool = False) -> Question | None:
        """Return what the next forward is to answer, or None: one forward serves every question of a canvas version.

        Args:
            block: The block that asks.
            open_: (B, W) bool; rows with nothing open pay nothing.
            step: Whether a step asks, which leaves rows out and looks at what is open, or a probe, which may serve
                several stages.
        """
        window = self.canvas.region if self.revisions.far else block.window
        planned = None if self.reader.plan is None else block.window
        # Of a row that has left a cached block, nothing is kept that a probe could use.
        rows = self.left.rows if step or self.reader.cache is not None else None
        if self._reading is not None and self._reading.covers(self.canvas.version, window, planned, rows):
            return None
        counted = open_.any(1) & self.changed
        self.passes += counted
        self.changed &= ~counted
        wanted, most = self.canvas.undecided[:, window], self.left.undecided
        if step and self.reader.open_only:
            wanted, most = open_, self.left.open
        return Question(block, window, planned, rows, wanted, most, self._noise(window))

    def take(self, question: Question, stats: VocabStats, shadow: Tensor | None) -> None:
        """Take what a forward has answered: (B, W) statistics, and what the forward plan read."""
        self.model_calls += 1
        self._reading = Reading(
            self.canvas.version, question.window, stats, shadow, question.planned, question.rows
        )

    def read(self, block: Block, open_: Tensor) -> Reading:
        """Read the canvas as it stands, at once; the arguments are those of `ask`."""
        if (question := self.ask(block, open_)) is not None:
            self.take(question, *self.reader.read(question))
        assert self._reading is not None
        return self._reading

    def commit(self, view: StepView, proposal: Proposal, chosen: Tensor, *, promised: bool) -> None:
        """Write the chosen tokens, at least the best one of every row with open positions, and apply stop rules.

        Args:
            view: What the scheduler saw.
            proposal: The tokens, with their scores.
            chosen: (B, W) bool.
            promised: Whether the scheduler promises at least one in each row, so that nothing need be added.
        """
        chosen = chosen & view.open
        if view.block.urgent is not None:
            urgent = view.open & view.block.urgent[:, view.block.window]
            chosen |= best_open(proposal.score, urgent) & ~(chosen & urgent).any(1, keepdim=True)
        if not promised:
            chosen |= best_open(proposal.score, view.open) & ~chosen.any(1, keepdim=True)
        self.canvas.commit(view.block.window, chosen, proposal.tokens)
        self.contract.idle = 0
        committed = chosen.any(1)
        self.commits += committed
        self.changed |= committed
        self._tell(view.block, view.stage.name, view.step, view.block.window, chosen, proposal.tokens, proposal.score)
        for stop in self.stops:
            self._stop(stop, view)

    def _stop(self, stop: StopRule, view: StepView) -> None:
        """Decide what a stop rule says is certain, over the whole canvas, at no cost."""
        filled = stop.fill(view, self.reader.special)
        if filled is None:
            return
        where, tokens = filled  # (B, L) bool, (B, L) int64
        # A row that only waits for its batch mates would not have been asked alone.
        where = where & self.canvas.undecided & view.open.any(1, keepdim=True)
        whole = slice(0, self.canvas.length)
        self.canvas.commit(whole, where, tokens)
        score = torch.ones(where.shape, device=where.device)
        self._tell(view.block, "stop", view.step, whole, where, tokens, score)

    def _noise(self, window: slice) -> Noise:
        if self._window_noise is None or self._window_noise[0] != window:
            # Good for every step: it counts a row's commits in the tensor that they are added up in.
            noise = Noise(self.seed, self.row_ids, self.commits, self.columns[window])
            self._window_noise = (window, noise)
        return self._window_noise[1]

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
        if self.on_step is not None:
            self.on_step(
                StepEvent(block.number, stage, step, self.model_calls, window, chosen, tokens, score)
            )
