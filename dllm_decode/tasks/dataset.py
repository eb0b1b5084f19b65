"""Tasks made of a published data set: a source, a prompt, and how an answer is read and judged.

Knows how rows become examples and how the two splits are kept apart. Imports no torch.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

from dllm_decode.data.prompt import Prompt, prompt_text
from dllm_decode.errors import DataError
from dllm_decode.tasks.base import Example, Task
from dllm_decode.tasks.files import Row, data_files, read_rows
from dllm_decode.tasks.sources import Rows, Source, file_rows, half, hub_rows

_WHERE = " where"
"""Column in which a row carries its file and line past `DatasetTask.prepare`; not one that a data set could have."""


class DatasetTask(Task):
    """A task whose examples are the rows of a data set.

    A child gives a source, a prompt and a reference for a row, and a judge. A row is what the data set publishes, a
    mapping of columns; it becomes `Example.meta`.
    """

    source: ClassVar[Source | None] = None
    """None for a data set that lies in a file of one's own alone: see `data`."""
    data: Path | None = None
    """The file or folder that both splits are read from instead of the source."""

    @abstractmethod
    def prompt(self, row: Mapping[str, Any]) -> Prompt:
        """Return what the model is given."""

    @abstractmethod
    def reference(self, row: Mapping[str, Any]) -> str:
        """Return an answer that is right; empty where the data set holds none."""

    def prompts(self, rows: Sequence[Row], split: str) -> Iterator[Prompt]:
        """Yield the prompt of every row asked, for tasks whose prompts show other rows; "" is no split, but all of a file."""
        yield from map(self.prompt, rows)

    def extract(self, text: str, row: Mapping[str, Any]) -> Any:
        """Return what counts of an answer, None if there is nothing; the answer without blanks around it by default."""
        return text.strip()

    def accepts(self, extracted: Any, row: Mapping[str, Any]) -> bool | float:
        """Say whether what was extracted is right, or how good it is; by default, whether the reference gives the same.

        It is never asked about None, which is wrong.
        """
        return bool(extracted == self.extract(self.reference(row), row))

    def prepare(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that are asked, in order: those of one file or published split, some left out or changed."""
        return list(rows)

    def score(self, example: Example, text: str) -> bool | float:
        """Judge what is extracted of an answer."""
        extracted = self.extract(text, example.meta)
        return False if extracted is None else self.accepts(extracted, example.meta)

    def over(self, path: str | Path) -> Self:
        """Return this task with both splits read from a file or folder; see `sources.file_rows` for how they are cut."""
        # A copy leaves the rows behind that were read: see __getstate__.
        task = copy.copy(self)
        task.data = Path(path)
        return task

    def examples(self, split: str, limit: int | None = None) -> list[Example]:
        """Return the first `limit` examples of a split; a prompt that the tuning split holds is no test.

        Raises:
            DataError: There is no such split, or its data cannot be had.
        """
        self.refuse_split(split)
        return self._examples_of(split)[:limit]

    def load(self, path: Path) -> list[Example]:
        """Read all examples of a file, whatever its splits.

        Raises:
            DataError: The file cannot be read, or a row lacks a column.
        """
        return [one for file in data_files(path) for one in self._examples(read_rows(file), file, "")]

    def origin(self, split: str) -> str:
        """Return which rows a split is made of, and of which revision or file.

        Raises:
            DataError: They cannot be had.
        """
        self.refuse_split(split)
        found = self._rows(split)
        return f"{split}: {found.origin}{', a seeded half' if found.halved else ''}"

    def _rows(self, split: str) -> Rows:
        kept: Rows = self._keep(f"rows {split}", lambda: self._read(split))
        return kept

    def _read(self, split: str) -> Rows:
        if self.data is not None:
            return file_rows(self.data, split)
        if self.source is None:
            raise DataError(f"task {self.name!r} has no source; give the data set's file with --data and --split")
        return hub_rows(self.source, split)

    def _split(self, split: str) -> list[Example]:
        found = self._rows(split)
        examples = self._examples(found.rows, self.data or Path(self.source.hub if self.source else self.name), split)
        if found.halved:
            examples = half(examples, split)
        if split == "tune":
            return examples
        tuned = {prompt_text(one.prompt) for one in self._examples_of("tune")}
        return [one for one in examples if prompt_text(one.prompt) not in tuned]

    def _examples_of(self, split: str) -> list[Example]:
        kept: list[Example] = self._keep(f"examples {split}", lambda: self._split(split))
        return kept

    def _keep(self, name: str, make: Callable[[], Any]) -> Any:
        kept = self.__dict__.setdefault("_kept", {})
        if name not in kept:
            kept[name] = make()
        return kept[name]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the rows behind when a task is sent to a worker, which is sent examples as well."""
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}

    def _examples(self, rows: Sequence[tuple[str, Row]], file: Path, split: str) -> list[Example]:
        made = []
        asked = self._each(file, "", lambda: self.prepare([{**row, _WHERE: where} for where, row in rows]))
        places = [row.pop(_WHERE, f"{file.name}:{number}") for number, row in enumerate(asked, start=1)]
        prompts = self.prompts(asked, split)
        for where, row in zip(places, asked, strict=True):
            prompt = self._each(file, where, partial(next, prompts))
            reference = self._each(file, where, partial(self.reference, row))
            made.append(Example(where, prompt, reference, row))
        return made

    def _each(self, file: Path, where: str, make: Callable[[], Any]) -> Any:
        """Return what is made of a row; a row that something is missing of is named."""
        try:
            return make()
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, DataError) as error:
            reason = f"there is no column {error}" if isinstance(error, KeyError) else str(error)
            place = f"{file}, {where}" if where else str(file)
            raise DataError(f"{place}: not as task {self.name!r} reads it: {reason}") from None
