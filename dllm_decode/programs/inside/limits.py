"""Limits of one process: what the kernel itself refuses to a program, on Linux and elsewhere."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
"""The user that programs run as where this process is root and they would be, too."""
FILE_BYTES = 16 << 20
OPEN_FILES = 64
PROCESSES = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use.

    Attributes:
        seconds: Of CPU time of each of its processes, in whole seconds, rounded up.
        memory: Bytes of address space of each of its processes.
    """

    seconds: float = 3.0
    memory: int = 1 << 30

    @property
    def wall(self) -> float:
        """Seconds from the first line of the program to its last answer: more, as a busy machine is not its fault."""
        return 3 * self.seconds


def apply(limits: Limits, *, count_processes: bool) -> None:
    """Limit this process and all that it starts.

    Args:
        limits: Seconds and bytes.
        count_processes: Limit their number; only where no processes of the user's own are counted along.
    """
    seconds = math.ceil(limits.seconds)
    _lower("CPU", seconds, seconds + 1)
    _lower("AS", limits.memory)
    _lower("FSIZE", FILE_BYTES)
    _lower("NOFILE", OPEN_FILES)
    _lower("CORE", 0)
    if count_processes:
        _lower("NPROC", PROCESSES)
    # A file that grows too large is an OSError to the program, as for one that runs by itself.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def become_nobody() -> None:
    """Give up being root."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def nobody_can_read(paths: Iterable[str]) -> bool:
    """Say whether the files, and all folders above them, are open to every user."""
    for path in paths:
        real = Path(path).resolve()
        if not real.stat().st_mode & stat.S_IROTH:
            return False
        if any(not above.stat().st_mode & stat.S_IXOTH for above in [*real.parents, *Path(path).absolute().parents]):
            return False
    return True


def hand_over(folder: str) -> None:
    """Give a folder to the user that programs run as."""
    os.chown(folder, NOBODY, NOBODY)


def forbid_files() -> None:
    """Let files get no content, where nothing says which files may be written."""
    _lower("FSIZE", 0)


def _lower(what: str, soft: int, hard: int | None = None) -> None:
    # Windows has no such module, and reads `Limits` all the same.
    import resource

    kind = getattr(resource, f"RLIMIT_{what}")
    _, allowed = resource.getrlimit(kind)
    hard = soft if hard is None else hard
    if allowed != resource.RLIM_INFINITY:
        soft, hard = min(soft, allowed), min(hard, allowed)
    # macOS refuses some of them; the others still hold.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (soft, hard))
