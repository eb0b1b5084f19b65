"""A study in a journal file: opened safely, also after a process died in the middle of a line.

Knows lines and the journal's lock; leaves what the lines say to Optuna.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from dllm_decode.errors import DataError

LOCK_GRACE = 10
"""Seconds after which the lock of a process that died while it wrote is taken over; a line is written in far less."""

BEGINS = b'{"op_code":'
"""How every line of a journal begins."""


def open_journal(path: Path, create: bool, say: Callable[[str], None]) -> optuna.storages.BaseStorage:
    """Open a journal file, a torn last line set aside.

    Args:
        path: The file.
        create: Whether it may be made.
        say: Told where a torn line was put.

    Raises:
        DataError: The file cannot be opened, or is no journal.
    """
    if not create and not path.exists():
        raise DataError(f"there is no study file {path}; `search run` makes one")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = JournalFileSymlinkLock(str(path), grace_period=LOCK_GRACE)
        if (torn := _set_torn_line_aside(path, lock)) is not None:
            say(
                f"study file {path}: its last line was torn (a process died while it wrote); the line is kept in "
                f"{torn}, all before it is whole, and the study goes on from there"
            )
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock))
    except OSError as error:
        raise DataError(f"study file {path} cannot be opened: {error.strerror or error}") from None
    except Exception as error:
        raise DataError(f"{path} is not a study file: {type(error).__name__}: {error}") from None


def _set_torn_line_aside(path: Path, lock: JournalFileSymlinkLock) -> Path | None:
    """Move what follows the last whole line into a file of its own, and return that; None if there is nothing."""
    # Nothing is torn most of the time, and a file that is only read is not to be locked.
    if not path.exists() or not _tail(path.read_bytes()):
        return None
    # Somebody may be about to finish the line; whoever holds the lock writes whole lines.
    lock.acquire()
    try:
        text = path.read_bytes()
        if not (tail := _tail(text)):
            return None
        if not tail.startswith(BEGINS[: len(tail)]):
            raise ValueError("its last line is none of a journal")
        kept = next(place for place in _names(path) if not place.exists())
        kept.write_bytes(tail)
        os.truncate(path, len(text) - len(tail))
        return kept
    finally:
        lock.release()


def _tail(text: bytes) -> bytes:
    return text[text.rfind(b"\n") + 1 :]


def _names(path: Path) -> list[Path]:
    """Return where a torn line may be put; earlier ones are kept."""
    return [path.with_name(f"{path.name}.torn{number}") for number in ("", *range(2, 1000))]
