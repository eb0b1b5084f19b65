"""The processes of Ray below a process, told from those of others on the same machine."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def below(pid: int) -> dict[int, str]:
    """Return the title of every process that descends from one, by id."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            # The name stands in brackets and may hold anything.
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, new = set[int](), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    titles: dict[int, str] = {}
    for one in sorted(found):
        with contextlib.suppress(OSError):
            titles[one] = (Path("/proc") / str(one) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return titles


def workers(pid: int) -> list[int]:
    """Return the processes in which workers of this process hold models."""
    return [one for one, title in below(pid).items() if title.startswith("ray::Worker")]


def kill_a_worker(pid: int, seconds: float = 300.0) -> int:
    """Kill a worker of this process with SIGKILL once there is one, and return which."""
    deadline = time.monotonic() + seconds
    while not (found := workers(pid)):
        assert time.monotonic() < deadline, "no worker was ever there"
        time.sleep(0.2)
    os.kill(found[0], signal.SIGKILL)
    return found[0]
