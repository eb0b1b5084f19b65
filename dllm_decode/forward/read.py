"""From a canvas to statistics: forward plan, cache, model, guidance, logits processors, one pass over the vocabulary.

Knows the order of these, and how little of a canvas can be run and read; when to read, and what for, is the engine's
business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dllm_decode.data.canvas import Block, Canvas
from dllm_decode.data.inputs import ModelInputs, SpecialTokens
from dllm_decode.data.stats import VocabStats
from dllm_decode.errors import ConfigError
from dllm_decode.forward.denoiser import CachingDenoiser, Denoiser, HeadedDenoiser
from dllm_decode.forward.question import Question, Reading
from dllm_decode.forward.statistics import BEYOND_OPEN, BEYOND_UNDECIDED, read_in_pieces
from dllm_decode.forward.transfer import to_device
from dllm_decode.parts.cache import CachePolicy
from dllm_decode.parts.forward import ForwardPlan
from dllm_decode.parts.logits import LogitsProcessor
from dllm_decode.strategy.strategy import Strategy

WORTH_PICKING = {"cpu": 2**13, "cuda": 2**21}
"""Logits that must be saved, in all rows, for picking wanted columns to cost less than reading all, by device type."""


@dataclass(frozen=True, slots=True)
class Load:
    """What goes through the model in one forward, R rows of one decode or of several, and what is read of it."""

    tokens: Tensor
    """(R, L) int64."""
    valid: Tensor | None
    """(R, L) bool, False on padding; None when every column is valid."""
    given: Tensor | None
    """(R, L) bool, what guidance masks; None without guidance."""
    window: slice
    """Covers what is read."""
    columns: Tensor | None
    """(R, K) int64, the columns that are read of each row; None is the whole window."""
    keys: Tensor | None
    """(R, K) int64, what the noise of each position read grows from; None at temperature 0."""
    rows: Tensor | None = None
    """(R,) int64, which rows of the decode these are; None is all of them."""

    @property
    def length(self) -> int:
        """L."""
        return self.tokens.shape[1]


class Reader:
    """Answers the questions of one decode."""

    def __init__(self, denoiser: Denoiser, canvas: Canvas, strategy: Strategy, needs: frozenset[str]) -> None:
        """Build the parts that stand between canvas and statistics; `needs` names what some part reads.

        Raises:
            ConfigError: The model cannot do what a part asks of it.
        """
        self.denoiser, self.canvas, self.temperature = denoiser, canvas, strategy.temperature
        self.needs = needs
        self.processors: list[LogitsProcessor] = [part.build() for part in strategy.logits]
        self.policy: CachePolicy | None = None if strategy.cache is None else strategy.cache.build()
        self.plan: ForwardPlan | None = None if strategy.forward is None else strategy.forward.build()
        self.cache = _new_cache(denoiser, strategy)
        if self.plan is not None and not getattr(denoiser, "plans_inputs", False):
            assert strategy.forward is not None
            raise ConfigError(
                f"forward: {strategy.forward.name!r} needs a model that takes extra columns and an attention mask, "
                f"which {type(denoiser).__name__} does not; set forward to null."
            )
        self._block, self._forwards = -1, 0
        self.drops_rows = self.plan is None and (
            strategy.cache is None or (strategy.cache.fresh_blocks and getattr(self.cache, "keep", None) is not None)
        )
        """Whether rows that have nothing to decide can be left out of a forward."""
        self._held: frozenset[int] | None = None  # the rows of which keys and values are kept; None is all
        self._headed = denoiser if isinstance(denoiser, HeadedDenoiser) else None
        self.picks = self._headed is not None and self.plan is None
        """Whether the model can be asked for columns of each row's own."""
        self.open_only = needs.isdisjoint(BEYOND_OPEN)
        """Whether no part looks at positions that are not open in a step."""
        self._wanted_only = self.picks and needs.isdisjoint(BEYOND_UNDECIDED)
        guided = any(processor.unconditional for processor in self.processors)
        self._given = ~canvas.undecided if guided else None  # (B, L): prompt and padding, before the first commit
        # The same tensors in every forward over the same rows: a denoiser builds its mask from them once.
        self._part: tuple[frozenset[int], Tensor | None, Tensor | None] = (frozenset(), None, None)
        self._once: Tensor | None = None
        self._twice: Tensor | None = None  # `_once` for both halves of guidance

    @property
    def special(self) -> SpecialTokens:
        """The model's special token ids."""
        return self.denoiser.special

    def read(self, question: Question) -> Reading:
        """Run the model once, for this question alone."""
        load = self.load(question)
        if self.plan is None:
            return self.place(question, load, self.run(load, question.block, question.rows))
        inputs = self.plan.plan(self._inputs(load, question.block, None), question.block, self.special)
        logits = self._processed(*_halves(self.denoiser.logits(inputs), load.given))  # (B, W + E, V)
        width = question.window.stop - question.window.start
        shadow = self.plan.read(logits[:, width:], self.canvas, question.block)
        return Reading(question, self._statistics(logits[:, :width], load.keys), shadow)

    def load(self, question: Question) -> Load:
        """Return what the model has to be run on."""
        canvas, window, rows = self.canvas, question.window, question.rows
        tokens, noise, wanted = canvas.tokens, question.noise, question.wanted
        valid, given = canvas.valid if canvas.padded else None, self._given
        chosen = None
        if rows is not None:
            chosen = to_device(sorted(rows), tokens.device)
            tokens, noise, wanted = tokens[chosen], noise.of_rows(chosen), wanted[chosen]
            if self._part[0] != rows:
                parts = [None if each is None else each[chosen] for each in (valid, given)]
                self._part = (rows, parts[0], parts[1])
            _, valid, given = self._part
        keys = noise.keys() if self.temperature > 0 else None  # (R, W)
        columns = None
        width = window.stop - window.start
        saved = len(tokens) * (width - question.most) * self.denoiser.vocab_size
        if self._wanted_only and saved >= WORTH_PICKING.get(tokens.device.type, WORTH_PICKING["cuda"]):
            # Wanted columns first, in their order; a row with fewer of them reads some others as well.
            columns = (~wanted).sort(dim=1, stable=True).indices[:, : question.most]  # (R, K)
            keys = None if keys is None else keys.gather(1, columns)
            columns = columns + window.start
        return Load(tokens, valid, given, window, columns, keys, chosen)

    def run(self, load: Load, block: Block, rows: frozenset[int] | None = None) -> VocabStats:
        """Run the model once; return (R, K) statistics of what is read.

        Args:
            load: What to run and to read.
            block: The block that is decoded, for the cache policy.
            rows: Whose keys and values the forward uses; None is all rows of the decode.
        """
        inputs = self._inputs(load, block, rows)
        if self._headed is None:
            logits = self._processed(*_halves(self.denoiser.logits(inputs), load.given))
            return self._statistics(logits, load.keys)
        head = self._headed.head
        states, others = _halves(self._headed.hidden(inputs), load.given)  # (R, K, D)

        def logits_of(own: Tensor, unconditional: Tensor | None = None) -> Tensor:
            return self._processed(head(own), None if unconditional is None else head(unconditional))

        return self._read(logits_of, (states,) if others is None else (states, others), load.keys)

    def _statistics(self, logits: Tensor, keys: Tensor | None) -> VocabStats:
        """Return the statistics of (R, K, V) logits."""
        return self._read(lambda part: part, (logits,), keys)

    def _read(
        self, logits_of: Callable[..., Tensor], values: tuple[Tensor, ...], keys: Tensor | None
    ) -> VocabStats:
        return read_in_pieces(
            logits_of, values, self.denoiser.vocab_size, self.special, self.needs, self.temperature, keys
        )

    def place(self, question: Question, load: Load, stats: VocabStats) -> Reading:
        """Return the reading of a question from the (R, K) statistics of its load."""
        window = question.window
        if load.columns is not None:
            stats = stats.widen(load.columns - window.start, window.stop - window.start)
        if load.rows is not None:
            stats = stats.spread(load.rows, self.canvas.rows)
        return Reading(question, stats, None)

    def _inputs(self, load: Load, block: Block, rows: frozenset[int] | None) -> ModelInputs:
        tokens, valid, columns = load.tokens, load.valid, load.columns
        if load.given is not None:
            tokens = torch.cat([tokens, tokens.masked_fill(load.given, self.canvas.mask_id)])
            if valid is not None and valid is not self._once:
                self._once, self._twice = valid, valid.repeat(2, 1)
            valid = None if valid is None else self._twice
            columns = None if columns is None else columns.repeat(2, 1)
        recompute = self._recomputed(block)
        if self.cache is not None:
            if self._held is not None and (rows is None or not rows <= self._held):
                recompute = None  # of some of these rows nothing is kept any more
            self._keep(rows, recompute)
        return ModelInputs(tokens, valid, load.window, self.cache, recompute, columns=columns)

    def _keep(self, rows: frozenset[int] | None, recompute: slice | None) -> None:
        """Let the cache hold these rows alone; a forward that recomputes everything sees to that itself."""
        if recompute is not None and rows is not None and rows != self._held:
            held = range(self.canvas.rows) if self._held is None else sorted(self._held)
            kept = [place for place, row in enumerate(held) if row in rows]
            if self._given is not None:
                kept += [place + len(held) for place in kept]
            self.cache.keep(to_device(kept, self.canvas.tokens.device))
        self._held = rows

    def _processed(self, logits: Tensor, unconditional: Tensor | None) -> Tensor:
        for processor in self.processors:
            logits = processor.process(logits, unconditional, self.special)
        return logits

    def _recomputed(self, block: Block) -> slice | None:
        """Return what the policy recomputes in this forward of the block."""
        if self.policy is None:
            return None
        self._forwards = self._forwards + 1 if self._block == block.number else 0
        self._block = block.number
        return self.policy.recompute(block, self._forwards, self.canvas.length)


def _halves(values: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the conditional and the unconditional rows; None without guidance."""
    if given is None:
        return values, None
    conditional, unconditional = values.chunk(2)
    return conditional, unconditional


def _new_cache(denoiser: Denoiser, strategy: Strategy) -> Any:
    if strategy.cache is None:
        return None
    if not isinstance(denoiser, CachingDenoiser):
        raise ConfigError(
            f"cache: {strategy.cache.name!r} needs a model that can reuse keys and values, which "
            f"{type(denoiser).__name__} cannot; set cache to null."
        )
    return denoiser.new_cache()
