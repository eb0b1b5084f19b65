"""A published benchmark as a task: the rows of its data set, asked and judged in the shape of an evaluator.

Knows how a shape becomes prompts and scores, and which worked examples a prompt holds. The shapes are `published`'s, which
is imported with the first task that is made; the benchmarks themselves are `listed`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dllm_decode.data.prompt import Prompt
from dllm_decode.errors import DataError
from dllm_decode.programs import require_for
from dllm_decode.tasks.base import Example
from dllm_decode.tasks.dataset import DatasetTask
from dllm_decode.tasks.files import Row

if TYPE_CHECKING:
    from dllm_decode.tasks.published.shape import Shape

SHOWN = 64
"""Rows at the beginning of a tuning split, a quarter of it at most, that are kept for worked examples when it is tuned on."""


class Benchmark(DatasetTask):
    """A benchmark in a published shape: "opencompass" unless `shaped` has chosen another."""

    evaluator: str = "opencompass"
    shots: Path | None = None
    """A file of worked examples; None takes those of an installed evaluator, or training rows."""

    def __init__(self) -> None:
        """Take the stop strings of the shape."""
        self.stop = self.shape.stops

    @property
    def shape(self) -> Shape:
        """How the evaluator asks and judges."""
        from dllm_decode.tasks.published import shape

        return shape(self.name, self.evaluator)

    @property
    def runs_programs(self) -> bool:
        """Whether judging runs what the model wrote."""
        return self.shape.runs_programs

    def shaped(self, evaluator: str | None = None, shots: str | Path | None = None) -> Self:
        """Return this task as another evaluator asks and judges it, or with the worked examples of a file.

        Raises:
            ConfigError: The evaluator does not have this benchmark.
        """
        task = copy.copy(self)
        task.evaluator = evaluator or self.evaluator
        task.shots = Path(shots) if shots is not None else self.shots
        task.stop = task.shape.stops
        return task

    def settings(self) -> Mapping[str, str]:
        """Return the shape, its rule, and where the worked examples are from, as far as examples were made."""
        shown = self.__dict__.get("_kept", {}).get("shots")
        rule = next(iter(self.shape.judges))
        return {"shape": self.shape.name, "rule": rule, **({"shots": shown} if shown else {})}

    def prepare(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that the evaluator asks: some have questions it leaves out, or options in an order of its own."""
        return [dict(row) for row in self.shape.prepare(rows)]

    def prompt(self, row: Mapping[str, Any]) -> Prompt:
        """Return the messages without worked examples."""
        return self.shape.messages(row, ())  # type: ignore[return-value]

    def prompts(self, rows: Sequence[Row], split: str) -> Iterator[Prompt]:
        """Yield the messages, worked examples included where they can be had."""
        for row, shots in zip(rows, self._worked(rows, split), strict=True):
            yield self.shape.messages(row, shots)  # type: ignore[misc]

    def reference(self, row: Mapping[str, Any]) -> str:
        """Return the right answer in the words of the shape; empty where the data set holds none."""
        return self.shape.reference(row) if self.shape.reference else ""

    def extract(self, text: str, row: Mapping[str, Any]) -> Any:
        """Return what the evaluator reads off an answer."""
        return self.shape.judge.extract(row, text)

    def score(self, example: Example, text: str) -> bool | float:
        """Judge one answer as the evaluator does."""
        return self.score_many([(example, text)])[0]

    def score_many(self, pairs: Sequence[tuple[Example, str]]) -> Sequence[bool | float]:
        """Judge answers as the evaluator does; those that are programs are run.

        Raises:
            ConfigError: They are programs, and there is no leave to run any.
        """
        rows = [(example.meta, text) for example, text in pairs]
        if self.runs_programs:
            from dllm_decode.tasks.benchmarks.running import grades as passed

            require_for(self)
            return passed(self.shape.judge, rows)
        grades = self.shape.grade(rows)
        return [grade if 0 < grade < 1 else grade == 1 for grade in grades]

    def _split(self, split: str) -> list[Example]:
        examples = super()._split(split)
        if split == "test" or not self._makes_shots() or self._rows("tune").halved:
            return examples
        # What worked examples are made of is not asked as well.
        return examples[_shown(self._rows("tune").rows) :]

    def _makes_shots(self) -> bool:
        examples = self.shape.examples
        return self.shots is None and examples is not None and examples.shot is not None

    def _worked(self, rows: Sequence[Row], split: str) -> list[Any]:
        from dllm_decode.tasks.published.shots import shots_for

        shape, wanted = self.shape, self.shape.examples
        if wanted is None:
            return [()] * len(rows)
        train = self._training_rows(split) if self._makes_shots() else []
        try:
            worked = shots_for(shape, rows, self.shots, train)
        except DataError:
            if self.shots is not None:
                raise
            self._keep("shots", lambda: f"none of the {wanted.count} that the shape shows; --shots FILE gives them")
            return [()] * len(rows)
        known = {True: ", the published ones", False: ", not the published ones", None: ""}[worked.published]
        self._keep("shots", lambda: worked.origin + known)
        return list(worked.shots)

    def _training_rows(self, split: str) -> list[Row]:
        """Return rows that worked examples may be made of; none where nothing but what is asked is at hand."""
        source = self.source if self.data is None else None
        own = source is not None and bool(source.shown)
        if split == "" or (source is not None and not (own or source.tune)):
            return []
        try:
            found = self._rows("shown" if own else "tune")
        except DataError:
            return []
        rows = [] if found.halved else [row for _, row in found.rows]
        return rows[: _shown(rows)] if split == "tune" and not own else rows


def _shown(rows: Sequence[Any]) -> int:
    """Return how many rows of a tuning split are kept for worked examples when it is tuned on."""
    return min(SHOWN, len(rows) // 4)
