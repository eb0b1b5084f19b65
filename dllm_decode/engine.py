"""The decoding loop: blocks, stages, steps. Enforces once, for every part, what a decode must never do.

Knows the protocols of the parts and nothing of any strategy or model by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dllm_decode.config import Strategy
from dllm_decode.contract import Contract
from dllm_decode.errors import ConfigError
from dllm_decode.numerics import Noise, best_open, vocabulary_statistics
from dllm_decode.parts import CachePolicy, CachingDenoiser, Denoiser, LogitsProcessor, ModelInputs
from dllm_decode.state import Block, Canvas, Proposal, Stage, StageContext, StepView, VocabStats
from dllm_decode.trace import StepEvent


@dataclass(frozen=True, slots=True)
class Decoded:
    """A finished decode."""

    canvas: Canvas
    forward_passes: Tensor
    """(B,) int64; forwards in which the row had open positions in its stage: what the row costs alone."""
    model_calls: int
    """Calls of the model for the whole batch; the two halves of guidance are one call."""
    reason: str
    """Why the run ended; always "complete": a decode that cannot finish raises instead."""


@torch.inference_mode()
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
    run = _Run(denoiser, canvas, strategy, seed, row_ids, on_step)
    for block in run.policy.blocks(canvas, strategy.steps):
        for stage in run.layering.stages(run.context(block)):
            run.finish(block, stage)
    run.contract.verify()
    run.contract.refuse_undecided(canvas)
    return Decoded(canvas, run.passes, run.model_calls, "complete")


class _Run:
    """The state of one decode."""

    def __init__(
        self,
        denoiser: Denoiser,
        canvas: Canvas,
        strategy: Strategy,
        seed: int,
        row_ids: Tensor | None,
        on_step: Callable[[StepEvent], None] | None,
    ) -> None:
        rows, device = canvas.rows, canvas.tokens.device
        self.canvas, self.seed, self.on_step = canvas, seed, on_step
        self.policy = strategy.block.build()
        self.layering = strategy.layering.build()
        self.scheduler = strategy.scheduler.build()
        self.confidence = strategy.confidence.build()
        self.stops = [stop.build() for stop in strategy.stop]
        self.reader = _Reader(denoiser, canvas, strategy)
        self.needs = frozenset().union(
            *(part.needs for part in (self.layering, self.scheduler, self.confidence, *self.stops))
        )
        self.contract = Contract(canvas.mask_id, strategy)
        self.row_ids = torch.arange(rows, device=device) if row_ids is None else row_ids.to(device)
        self.columns = torch.arange(-canvas.length, 0, device=device)  # (L,)
        self.passes = torch.zeros(rows, dtype=torch.int64, device=device)
        self.commits = torch.zeros_like(self.passes)
        # A row's forward is new, and counted, only if the row has changed since the last one counted.
        self.changed = torch.ones(rows, dtype=torch.bool, device=device)
        self.model_calls = 0
        self._read: tuple[int, slice, VocabStats] | None = None

    def context(self, block: Block) -> StageContext:
        """What the layering sees of a block."""
        where = block.where[:, block.window]

        def probe() -> VocabStats:
            return self.read(block, self.canvas.undecided[:, block.window] & where)

        # A stop rule may have decided positions of this block already, so sizes known beforehand no longer hold.
        size = None if self.stops else block.size
        return StageContext(self.canvas, block, where, block.steps, size, probe)

    def finish(self, block: Block, stage: Stage) -> None:
        """Run a stage until nothing in it is open."""
        self.contract.check_stage(block, stage)
        scheduler = stage.scheduler or self.scheduler
        window, where = block.window, stage.where
        open_ = self.canvas.undecided[:, window] & where  # (B, W)
        stage_open = open_.sum(1)  # (B,)
        most = int(stage_open.max()) if stage.size is None else stage.size
        asks = bool(self.stops) or not scheduler.exact
        limit = most if scheduler.adaptive or stage.steps is None else min(stage.steps, most)
        last: Proposal | None = None
        for step in range(limit):
            stats = self.read(block, open_)
            noise = Noise(self.seed, self.row_ids, self.commits, self.columns[window])
            view = StepView(
                self.canvas, block, stage, step, open_, stage_open, self.row_ids, noise, stats, last
            )
            last = self.confidence.propose(view)
            self.contract.check_proposal(view, last)
            chosen = scheduler.select(view, last)
            self.contract.check_selection(view, last, chosen, scheduler)
            self.commit(view, last, chosen)
            open_ = self.canvas.undecided[:, window] & where
            if asks and not bool(open_.any()):
                return
        if limit and asks:
            self.contract.refuse_leftover(block, stage, scheduler, open_)

    def read(self, block: Block, open_: Tensor) -> VocabStats:
        """Return (B, W) statistics of the canvas as it stands; one forward serves a canvas version and window."""
        window = block.window
        if self._read is not None and self._read[:2] == (self.canvas.version, window):
            return self._read[2]
        counted = open_.any(1) & self.changed
        self.passes += counted
        self.changed &= ~counted
        noise = Noise(self.seed, self.row_ids, self.commits, self.columns[window])
        stats = self.reader.read(block, self.needs, noise)
        self.model_calls += 1
        self._read = (self.canvas.version, window, stats)
        return stats

    def commit(self, view: StepView, proposal: Proposal, chosen: Tensor) -> None:
        """Write the chosen tokens, at least the best one of every row with open positions, and apply stop rules."""
        chosen = chosen & view.open
        chosen |= best_open(proposal.score, view.open) & ~chosen.any(1, keepdim=True)
        self.canvas.commit(view.block.window, chosen, proposal.tokens)
        committed = chosen.any(1)
        self.commits += committed
        self.changed |= committed
        if self.on_step is not None:
            self.on_step(
                StepEvent(
                    block=view.block.number,
                    stage=view.stage.name,
                    step=view.step,
                    model_calls=self.model_calls,
                    window=view.block.window,
                    chosen=chosen,
                    tokens=proposal.tokens,
                    score=proposal.score,
                )
            )
        for stop in self.stops:
            self._stop(stop, view, proposal)

    def _stop(self, stop: Any, view: StepView, proposal: Proposal) -> None:
        """Decide what a stop rule says is certain, over the whole canvas, at no cost."""
        filled = stop.fill(view, self.reader.denoiser.special)
        if filled is None:
            return
        where, tokens = filled  # (B, L) bool, (B, L) int64
        where = where & self.canvas.undecided
        whole = slice(0, self.canvas.length)
        self.canvas.commit(whole, where, tokens)
        if self.on_step is not None:
            score = torch.ones(where.shape, device=where.device)
            self.on_step(
                StepEvent(view.block.number, "stop", view.step, self.model_calls, whole, where, tokens, score)
            )


class _Reader:
    """Turns a canvas into statistics: model, cache, guidance, logits processors, one pass over the vocabulary."""

    def __init__(self, denoiser: Denoiser, canvas: Canvas, strategy: Strategy) -> None:
        self.denoiser, self.canvas, self.temperature = denoiser, canvas, strategy.temperature
        self.processors: list[LogitsProcessor] = [part.build() for part in strategy.logits]
        self.policy: CachePolicy | None = None if strategy.cache is None else strategy.cache.build()
        self.cache: Any = None
        if strategy.cache is not None:
            if not isinstance(denoiser, CachingDenoiser):
                raise ConfigError(
                    f"cache: {strategy.cache.name!r} needs a model that can reuse keys and values, which "
                    f"{type(denoiser).__name__} cannot; set cache to null."
                )
            self.cache = denoiser.new_cache()
        self._block, self._forwards = -1, 0
        self.valid = canvas.valid if canvas.padded else None
        self.given: Tensor | None = None
        if any(processor.unconditional for processor in self.processors):
            self.given = ~canvas.undecided  # (B, L): prompt and padding, fixed before the first commit
            self.valid = None if self.valid is None else self.valid.repeat(2, 1)

    def read(self, block: Block, needs: frozenset[str], noise: Noise) -> VocabStats:
        """Run the model once and return (B, W) statistics of the block's window."""
        tokens = self.canvas.tokens
        if self.given is not None:
            tokens = torch.cat([tokens, tokens.masked_fill(self.given, self.canvas.mask_id)])
        columns = self._columns(block)
        inputs = ModelInputs(tokens, self.valid, block.window, self.cache, columns)
        logits = self.denoiser.logits(inputs)  # (B or 2B, W, V)
        unconditional = None
        if self.given is not None:
            logits, unconditional = logits.chunk(2)
        for processor in self.processors:
            logits = processor.process(logits, unconditional, self.denoiser.special)
        return vocabulary_statistics(logits, self.denoiser.special, needs, self.temperature, noise)

    def _columns(self, block: Block) -> slice | None:
        """Return what the policy recomputes in this forward of the block."""
        if self.policy is None:
            return None
        self._forwards = self._forwards + 1 if self._block == block.number else 0
        self._block = block.number
        return self.policy.recompute(block, self._forwards, self.canvas.length)
