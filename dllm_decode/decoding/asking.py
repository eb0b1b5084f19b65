"""What a decode asks of a forward, and when the last one has answered it already.

Knows questions and readings; how a forward is made, alone or with those of other decodes, is up to who answers.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import torch
from torch import Tensor

from dllm_decode.data.canvas import Block
from dllm_decode.data.stats import VocabStats
from dllm_decode.decoding.commit import Progress
from dllm_decode.decoding.contract import Contract
from dllm_decode.decoding.left import Left
from dllm_decode.forward.question import Question, Reading
from dllm_decode.forward.read import Reader

T = TypeVar("T")


def answer(asking: Generator[Question, Reading, T], reader: Reader) -> T:
    """Make the forwards that a generator asks for, one after another; return what it returns."""
    try:
        question = next(asking)
        while True:
            question = asking.send(reader.read(question))
    except StopIteration as end:
        result: T = end.value
        return result


class Forwards:
    """The forwards of one decode."""

    def __init__(
        self, reader: Reader, left: Left, progress: Progress, contract: Contract, *, whole_region: bool
    ) -> None:
        """Begin without a reading; `whole_region` says that somebody sees the whole region in every forward."""
        self._reader, self._left, self._progress, self._contract = reader, left, progress, contract
        self._canvas, self._whole_region = progress.canvas, whole_region
        self._planned = contract.parts.forward is not None
        self._region = torch.zeros_like(self._canvas.undecided)  # (B, L)
        self._region[:, self._canvas.region] = True
        self._reading: Reading | None = None

    def ask(self, block: Block, open_: Tensor) -> Generator[Question, Reading, Reading]:
        """Return the reading of a step, for the (B, W) bool open positions of a block."""
        left = self._left
        if self._reader.reads_open_only:
            return (yield from self._forward(block, left.rows, open_, open_, left.open))
        undecided = self._canvas.undecided[:, self._window(block)]
        return (yield from self._forward(block, left.rows, open_, undecided, left.undecided))

    def ask_all(self, block: Block, open_: Tensor) -> Generator[Question, Reading, Reading]:
        """Return a reading that may serve several stages, so of all of the block, and of all rows."""
        self._progress.watch_columns()
        # Of a row that has left a cached block, nothing is kept that a probe could use.
        rows = self._left.rows if self._reader.kept is not None else None
        undecided = self._canvas.undecided[:, self._window(block)]
        return (yield from self._forward(block, rows, open_, undecided, self._left.undecided))

    def probe(self, block: Block) -> VocabStats:
        """Return the (B, W) statistics that a block policy or a layering asks for."""
        open_ = self._canvas.undecided[:, block.window] & block.where[:, block.window]
        self._contract.check_probe(block, open_)
        return answer(self.ask_all(block, open_), self._reader).of(block.window)

    def probe_anew(self, block: Block) -> VocabStats:
        """Return the statistics of a block that has not begun, so of which nothing is known."""
        self._left.begin_block(block)
        return self.probe(block)

    def _forward(
        self, block: Block, rows: frozenset[int] | None, open_: Tensor, wanted: Tensor, most: int
    ) -> Generator[Question, Reading, Reading]:
        """Yield the question unless the last forward has answered it: one serves all that is asked of one canvas."""
        window = self._window(block)
        planned = block.window if self._planned else None
        everything = self._whole_region and not self._planned
        paying = self._progress.pay(open_, self._region if everything else block.where, exactly=self._planned)
        noise = self._progress.noise(window)
        question = Question(self._canvas.version, block, window, planned, rows, wanted, most, noise)
        if self._reading is None or not self._reading.answers(question):
            if self._reading is not None and self._reading.question.version == question.version:
                self._contract.check_paid(block, paying)
            self._reading = yield question
            self._progress.model_calls += 1
        return self._reading

    def _window(self, block: Block) -> slice:
        """Return the columns that a forward of the block reads."""
        return self._canvas.region if self._whole_region else block.window
