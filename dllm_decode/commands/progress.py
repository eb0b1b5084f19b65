"""How far long work is: a bar on stderr, if that is a terminal, gone when the work is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dllm_decode.commands.output import messages


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """Yield what is told how many are done, and of how many."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = messages()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        line = progress.add_task(title, total=total)
        yield lambda done, of: progress.update(line, completed=done, total=of)
