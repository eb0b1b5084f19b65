"""Limits of one process: what the kernel itself refuses to a program, on Linux and elsewhere."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from dataclasses import dataclass

NOBODY = 65534
"""The user that programs run as where this process is root and they would be, too."""
FILE_BYTES = 16 << 20
OPEN_FILES = 64
PROCESSES = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use; times that no process of it may exceed are kept by whoever waits for it.

    Attributes:
        seconds: Of wall time, from the first line of the program to its last answer, and of CPU time.
        memory: Bytes of address space of each of its processes.
    """

    seconds: float = 3.0
    memory: int = 1 << 30


def apply(limits: Limits, *, count_processes: bool) -> None:
    """Limit this process and all that it starts.

    Args:
        limits: Seconds and bytes.
        count_processes: Limit their number; only where no processes of the user's own are counted along.
    """
    seconds = int(limits.seconds) + 1
    _lower(resource.RLIMIT_CPU, seconds, seconds + 1)
    _lower(resource.RLIMIT_AS, limits.memory)
    _lower(resource.RLIMIT_FSIZE, FILE_BYTES)
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    _lower(resource.RLIMIT_CORE, 0)
    if count_processes:
        _lower(resource.RLIMIT_NPROC, PROCESSES)
    # A file that grows too large is an OSError to the program, as for one that runs by itself.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def become_nobody() -> None:
    """Give up being root; nothing where the user is not."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def _lower(kind: int, soft: int, hard: int | None = None) -> None:
    _, allowed = resource.getrlimit(kind)
    hard = soft if hard is None else hard
    if allowed != resource.RLIM_INFINITY:
        soft, hard = min(soft, allowed), min(hard, allowed)
    # macOS refuses some of them; the others still hold.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (soft, hard))
