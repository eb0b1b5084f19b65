"""Decodes side by side whose forwards are run as one, so that a batch stays full while rows end at different times.

A group of rows is a decode of its own and keeps its own schedule. Whenever the running groups have fewer rows to run
than a forward may hold, the next waiting group begins. Knows questions and readers, not how either comes about.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dllm_decode.decoding.decoded import Decoded
from dllm_decode.decoding.loop import Decode
from dllm_decode.forward.merge import Merger
from dllm_decode.forward.question import Question, Reading
from dllm_decode.strategy.strategy import Strategy

IN_FLIGHT = 4
"""Rows that have begun and not ended, in forwards' worth of rows at most: to wait costs memory and host time."""
GROUPS = 4
"""Groups that fill a forward. Smaller ones wait less for each other and cost the host more."""


def can_share_forwards(strategy: Strategy) -> bool:
    """Say whether decodes of a strategy can run side by side, and whether rows end at different times, so that it pays.

    Keys and values are kept for one decode's rows, planned inputs are one decode's own, and so are a probe's forwards.
    """
    rows_differ = not strategy.scheduler.exact or bool(strategy.stop) or strategy.block.one_step
    alone = strategy.cache is not None or strategy.forward is not None
    alone |= strategy.layering.probes or strategy.block.probes
    return rows_differ and not alone and all(part.reach == "block" for part in strategy.revise)


@dataclass(slots=True)
class _Group:
    rows: Tensor
    decode: Decode
    questions: Generator[Question, Reading, None]
    question: Question | None = None

    @property
    def asked(self) -> int:
        """The rows that its next forward runs."""
        if self.question is None:
            return 0
        return self.decode.canvas.rows if self.question.rows is None else len(self.question.rows)


class Pool:
    """Runs groups of rows so that every forward has as many rows as it may have, while there are so many."""

    def __init__(self, most_rows: int, begin: Callable[[Tensor], Decode], waiting: list[Tensor]) -> None:
        """Take what is to be done.

        Args:
            most_rows: Rows of a forward, at most.
            begin: From (R,) int64 rows to their decode.
            waiting: The rows of each group, in the order in which they begin.
        """
        self._most, self._begin = most_rows, begin
        self._waiting = deque(waiting)
        self._running: list[_Group] = []
        self._calls = 0

    @torch.inference_mode()
    def results(self) -> Iterator[tuple[Tensor, Decoded]]:
        """Decode everything; yield groups as they finish: (R,) int64 rows, and their decode.

        Its calls of the model are all those since the group that finished before.
        """
        while True:
            yield from self._fill()
            if not self._running:
                return
            for group, reading in self._forward():
                self._resume(group, reading)
            yield from self._ended()

    def _fill(self) -> Iterator[tuple[Tensor, Decoded]]:
        """Begin waiting groups until the next forward is full."""
        while self._waiting and sum(group.asked for group in self._running) < self._most:
            flying = sum(group.decode.canvas.rows for group in self._running)
            if flying and flying + len(self._waiting[0]) > IN_FLIGHT * self._most:
                return
            rows = self._waiting.popleft()
            decode = self._begin(rows)
            group = _Group(rows, decode, decode.questions())
            self._running.append(group)
            self._resume(group, None)
            yield from self._ended()

    def _forward(self) -> list[tuple[_Group, Reading]]:
        """Run one forward for the oldest groups that fit into it, and return them with what it answered each."""
        chosen: list[_Group] = []
        room = self._most
        for group in self._running:
            if not chosen or group.asked <= room:
                chosen.append(group)
                room -= group.asked
        readers = [group.decode.reader for group in chosen]
        questions = [group.question for group in chosen if group.question is not None]
        prepared = [reader.prepare(question) for reader, question in zip(readers, questions, strict=True)]
        keys = [
            reader.keys(question, inputs)
            for reader, question, inputs in zip(readers, questions, prepared, strict=True)
        ]
        first = readers[0]
        merger = Merger(first.denoiser.special.mask, first.picks, 2 if first.guided else 1)
        whole, its_keys = merger.merge(prepared, keys)
        stats = first.run(whole, its_keys)
        self._calls += 1
        parts = merger.split(whole, prepared, stats) if len(prepared) > 1 else [stats]
        return [
            (group, group.decode.reader.place(question, inputs, part))
            for group, question, inputs, part in zip(chosen, questions, prepared, parts, strict=True)
        ]

    def _resume(self, group: _Group, reading: Reading | None) -> None:
        """Let a group go on to its next question; a part of its strategy may have forwards made on the way."""
        shared = group.decode.progress.model_calls + (reading is not None)
        try:
            group.question = next(group.questions) if reading is None else group.questions.send(reading)
        except StopIteration:
            group.question = None
        self._calls += group.decode.progress.model_calls - shared

    def _ended(self) -> Iterator[tuple[Tensor, Decoded]]:
        ended = [group for group in self._running if group.question is None]
        self._running = [group for group in self._running if group.question is not None]
        for group in ended:
            yield group.rows, Decoded.of(group.decode, self._calls)
            self._calls = 0
