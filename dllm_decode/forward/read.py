"""From a canvas to statistics: forward plan, cache, model, guidance, logits processors, one pass over the vocabulary.

Knows the order of these, and how little of a canvas can be run and read; when to read, and what for, is the loop's
business.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dllm_decode.data.canvas import Canvas
from dllm_decode.data.inputs import ModelInputs
from dllm_decode.data.stats import VocabStats
from dllm_decode.errors import ConfigError, ContractError
from dllm_decode.forward.denoiser import CachingDenoiser, Denoiser, HeadedDenoiser
from dllm_decode.forward.faults import Faults
from dllm_decode.forward.keep import KeptRows
from dllm_decode.forward.question import Question, Reading
from dllm_decode.forward.statistics import BEYOND_OPEN, BEYOND_UNDECIDED, read_in_pieces
from dllm_decode.forward.transfer import to_device
from dllm_decode.parts.logits import LogitsProcessor
from dllm_decode.plugins.blame import blaming, who
from dllm_decode.strategy.strategy import Parts, Strategy

WORTH_PICKING = {"cpu": 2**13, "cuda": 2**21}
"""Logits that must be saved, in all rows, for picking wanted columns to cost less than reading all, by device type."""


class Reader:
    """Answers the questions of one decode."""

    def __init__(
        self, denoiser: Denoiser, canvas: Canvas, strategy: Strategy, parts: Parts, faults: Faults
    ) -> None:
        """Look at what the parts ask of the model.

        Raises:
            ConfigError: The model cannot do it.
        """
        self.denoiser, self.canvas, self.temperature = denoiser, canvas, strategy.temperature
        self._processors, self._plan, self._faults = parts.logits, parts.forward, faults
        self.needs = parts.needs
        """What some part reads, see `STATISTICS`."""
        _refuse_what_the_model_cannot(denoiser, strategy)
        self.kept: KeptRows | None = None
        if parts.cache is not None and isinstance(denoiser, CachingDenoiser):
            self.kept = KeptRows(denoiser, canvas, parts.cache)
        self._headed = denoiser if isinstance(denoiser, HeadedDenoiser) else None
        self.picks = self._headed is not None and parts.forward is None
        """Whether the model can be asked for columns of each row's own."""
        cache = strategy.cache
        self.drops_rows = parts.forward is None and (
            cache is None or (self.kept is not None and cache.fresh_blocks and self.kept.can_forget)
        )
        """Whether rows that have nothing to decide can be left out of a forward."""
        self.guided = any(processor.unconditional for processor in parts.logits)
        self._given = ~canvas.undecided if self.guided else None  # (B, L), before the first commit
        # The same tensors in every forward over the same rows: a denoiser builds its mask from them once.
        self._part: tuple[frozenset[int] | None, Tensor | None, Tensor | None, Tensor | None]
        self._part = (None, None, canvas.valid if canvas.padded else None, self._given)
        self._once: Tensor | None = None
        self._twice: Tensor | None = None  # `_once` for both halves of guidance

    @property
    def reads_open_only(self) -> bool:
        """Whether no part looks at positions that are not open in a step."""
        return self.needs.isdisjoint(BEYOND_OPEN)

    def read(self, question: Question) -> Reading:
        """Run the model once, for this question alone."""
        inputs = self.prepare(question)
        keys = self.keys(question, inputs)
        if self._plan is None:
            return self.place(question, inputs, self.run(inputs, keys))
        planned = self._planned(inputs, question)
        with blaming("denoiser", self.denoiser):
            logits = self.denoiser.logits(planned)
        logits = self._processed(*self._halves(logits))  # (B, W + E, V)
        width = question.window.stop - question.window.start
        with blaming("forward", self._plan, f"block {question.block.number}"):
            shadow = self._plan.read(logits[:, width:], self.canvas, question.block)
        return Reading(question, self._statistics(logits[:, :width], keys), shadow)

    def prepare(self, question: Question) -> ModelInputs:
        """Return what the model has to be run on: R rows of the question, twice if guided."""
        tokens, rows = self.canvas.tokens, question.rows
        if self._part[0] != rows:
            chosen = None if rows is None else to_device(sorted(rows), tokens.device)
            valid = self.canvas.valid if self.canvas.padded else None
            kept = [x if x is None or chosen is None else x[chosen] for x in (valid, self._given)]
            self._part = (rows, chosen, kept[0], kept[1])
        _, chosen, valid, given = self._part
        tokens = tokens if chosen is None else tokens[chosen]
        columns = self._columns(question, chosen)
        if given is not None:
            tokens = torch.cat([tokens, tokens.masked_fill(given, self.canvas.mask_id)])
            if valid is not None and valid is not self._once:
                self._once, self._twice = valid, valid.repeat(2, 1)
            valid = None if valid is None else self._twice
            columns = None if columns is None else columns.repeat(2, 1)
        if self.kept is None:
            return ModelInputs(tokens, valid, question.window, columns=columns)
        recompute = self.kept.recompute(question, guided=self.guided)
        return ModelInputs(tokens, valid, question.window, self.kept.cache, recompute, columns=columns)

    def _columns(self, question: Question, chosen: Tensor | None) -> Tensor | None:
        """Return (R, K) int64, the columns that are read of each row; None is the whole window."""
        if not self.picks or not self.needs.isdisjoint(BEYOND_UNDECIDED):
            return None
        wanted = question.wanted if chosen is None else question.wanted[chosen]
        saved = wanted.numel() - len(wanted) * question.most
        device = wanted.device.type
        if saved * self.denoiser.vocab_size < WORTH_PICKING.get(device, WORTH_PICKING["cuda"]):
            return None
        # Wanted columns first, in their order; a row with fewer of them reads some others as well.
        order = (~wanted).sort(dim=1, stable=True).indices
        columns: Tensor = order[:, : question.most] + question.window.start
        return columns

    def keys(self, question: Question, inputs: ModelInputs) -> Tensor | None:
        """Return (R, K) int64, what the noise of each position read grows from; None at temperature 0."""
        if self.temperature <= 0:
            return None
        chosen = self._part[1]
        keys = (question.noise if chosen is None else question.noise.of_rows(chosen)).keys()  # (R, W)
        if inputs.columns is None:
            return keys
        return keys.gather(1, inputs.columns[: len(keys)] - question.window.start)

    def run(self, inputs: ModelInputs, keys: Tensor | None) -> VocabStats:
        """Run the model once; return (R, K) statistics of what is read."""
        if self._headed is None:
            with blaming("denoiser", self.denoiser):
                logits = self.denoiser.logits(inputs)
            return self._statistics(self._processed(*self._halves(logits)), keys)
        head = self._headed.head
        with blaming("denoiser", self.denoiser):
            own, unconditional = self._halves(self._headed.hidden(inputs))  # (R, K, D)

        def logits_of(own: Tensor, unconditional: Tensor | None = None) -> Tensor:
            return self._processed(head(own), None if unconditional is None else head(unconditional))

        states = (own,) if unconditional is None else (own, unconditional)
        vocabulary = self.denoiser.vocab_size
        return read_in_pieces(
            logits_of, states, vocabulary, self.denoiser.special, self.needs, self.temperature, keys
        )

    def place(self, question: Question, inputs: ModelInputs, stats: VocabStats) -> Reading:
        """Return the reading of a question from the (R, K) statistics of the inputs prepared for it."""
        window, rows = question.window, self._part[1]
        if inputs.columns is not None:
            columns = inputs.columns[: len(stats.token)] - window.start
            stats = stats.widen(columns, window.stop - window.start)
        if question.rows is not None:
            assert rows is not None
            stats = stats.spread(rows, self.canvas.rows)
        return Reading(question, stats, None)

    def _planned(self, inputs: ModelInputs, question: Question) -> ModelInputs:
        """Return the inputs as the forward plan wants them."""
        special, where = self.denoiser.special, f"block {question.block.number}"
        assert self._plan is not None
        with blaming("forward", self._plan, where):
            planned = self._plan.plan(inputs, question.block, special)
        length = self.canvas.length
        extra = getattr(planned, "extra", -1)
        if not isinstance(planned, ModelInputs) or planned.tokens.shape != (len(inputs.tokens), length + extra):
            raise ContractError(
                f"{who('forward', self._plan)} should return ModelInputs whose tokens have the canvas's {length} columns "
                f"and `extra` more ({where})."
            )
        changed = (planned.tokens[:, :length] != inputs.tokens).any()[None]
        self._faults.note(
            changed, [("forward", self._plan, "changed the canvas's own columns of the inputs")], where
        )
        return planned

    def _halves(self, values: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the conditional and the unconditional rows; None without guidance."""
        if not self.guided:
            return values, None
        conditional, unconditional = values.chunk(2)
        return conditional, unconditional

    def _processed(self, logits: Tensor, unconditional: Tensor | None) -> Tensor:
        for processor in self._processors:
            with blaming("logits", processor):
                changed = processor.process(logits, unconditional, self.denoiser.special)
            _check_processed(processor, logits, changed)
            logits = changed
        return logits

    def _statistics(self, logits: Tensor, keys: Tensor | None) -> VocabStats:
        """Return the statistics of (R, K, V) logits."""
        vocabulary, special = self.denoiser.vocab_size, self.denoiser.special
        return read_in_pieces(
            lambda part: part, (logits,), vocabulary, special, self.needs, self.temperature, keys
        )


def _check_processed(processor: LogitsProcessor, logits: Tensor, changed: Any) -> None:
    if isinstance(changed, Tensor) and changed.shape == logits.shape and changed.is_floating_point():
        return
    shown = (
        f"{tuple(changed.shape)} {changed.dtype}" if isinstance(changed, Tensor) else type(changed).__name__
    )
    raise ContractError(
        f"{who('logits', processor)} returned {shown} where logits of {tuple(logits.shape)} were expected."
    )


def _refuse_what_the_model_cannot(denoiser: Denoiser, strategy: Strategy) -> None:
    if strategy.cache is not None and not isinstance(denoiser, CachingDenoiser):
        raise ConfigError(
            f"cache: {strategy.cache.name!r} needs a model that can reuse keys and values, which "
            f"{type(denoiser).__name__} cannot; set cache to null."
        )
    if strategy.forward is not None and not getattr(denoiser, "plans_inputs", False):
        raise ConfigError(
            f"forward: {strategy.forward.name!r} needs a model that takes extra columns and an attention mask, "
            f"which {type(denoiser).__name__} does not; set forward to null."
        )
