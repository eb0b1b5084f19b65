"""Which examples of a task are evaluated, and at which places of the fixed order they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dllm_decode.errors import DataError
from dllm_decode.files import user_path
from dllm_decode.tasks.files import data_files
from dllm_decode.tasks.sources import files_origin

if TYPE_CHECKING:
    from dllm_decode.tasks.base import Example, Task


@dataclass(frozen=True, slots=True)
class Chosen:
    """Examples in the order asked for, and where they came from."""

    examples: tuple[Example, ...]
    places: tuple[int, ...]
    """Of each example in the fixed order of its split or file: the row id of its noise."""
    split: str | None
    """None if all of a file was asked for."""
    data: Path | None
    origin: str
    """What they are exactly: the split, and of a data set its name and revision or its file; or a file's fingerprint."""


def choose_examples(
    task: Task, split: str | None, data: str | Path | None, limit: int | None, rows: Sequence[int] | None
) -> Chosen:
    """Return the examples that `evaluate` was asked for; the arguments are its own.

    Raises:
        DataError: An unknown split, an unreadable file, places that do not exist, or no examples at all.
    """
    path = None if data is None else user_path(data)
    if limit is not None and (not is_whole(limit) or limit < 1):
        raise DataError(f"limit: should be a whole number above 0, or None for all, got {limit!r}")
    if path is not None and split is not None:
        task = task.over(path)
    if path is None or split is not None:
        split = split or "test"
        listed, origin = task.examples(split, limit), task.origin(split)
    else:
        listed = [example for file in data_files(path) for example in task.load(file)][:limit]
        origin = files_origin(path)
    places = tuple(range(len(listed)) if rows is None else rows)
    if wrong := [place for place in places if not is_whole(place)]:
        raise DataError(f"rows: should be whole numbers, got {wrong[0]!r}")
    if beyond := [place for place in places if not 0 <= place < len(listed)]:
        raise DataError(f"rows: task {task.name!r} has {len(listed)} examples there, none at {beyond[:5]}")
    if not places:
        raise DataError(f"task {task.name!r} has no examples to evaluate in {path or f'split {split!r}'}")
    return Chosen(tuple(listed[place] for place in places), places, split, path, origin)


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number; truth is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)
