"""The user's leave to run programs that a model wrote; without it, tasks that have to are refused before decoding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from dllm_decode.errors import ConfigError

_given = 0
_changing = Lock()


@contextmanager
def permitted(allowed: bool = True) -> Iterator[None]:
    """Allow programs to be run while this block runs, in all threads; with False, change nothing."""
    global _given
    with _changing:
        _given += allowed
    try:
        yield
    finally:
        with _changing:
            _given -= allowed


def is_permitted() -> bool:
    """Say whether programs may be run now."""
    return _given > 0


def require_for(task: Any) -> None:
    """Refuse a task that has to run programs, one whose `runs_programs` is true, without leave.

    Raises:
        ConfigError: There is no leave.
    """
    if getattr(task, "runs_programs", False):
        require(f"task {task.name!r}")


def require(what: str) -> None:
    """Refuse to go on without leave.

    Args:
        what: Who has to run programs, e.g. "task 'code'".

    Raises:
        ConfigError: There is no leave.
    """
    if not is_permitted():
        raise ConfigError(
            f"{what} runs programs that the model wrote; allow it with --run-programs (in Python: run_programs=True, "
            "or `with dllm_decode.programs.permitted():`). They are limited, not locked in: use a container for a model "
            "that you do not trust."
        )
