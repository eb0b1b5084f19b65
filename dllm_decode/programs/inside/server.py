"""The fork server: starts the processes of one run at a time and ends all of them. It never holds a program or a test.

Its parent sends, with each request, the socket that a run speaks over; what is said there goes past this process, so that
a program, which begins as a copy of it, finds nothing of other programs and nothing of its own tests in its memory.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dllm_decode.programs.inside import candidate, landlock, limits, linux, namespaces, seccomp, tester
from dllm_decode.programs.inside.channel import BrokenChannelError, Channel
from dllm_decode.programs.inside.limits import Limits

# What programs import most: read once here rather than in every process.
WARM = "bisect cmath collections copy datetime decimal fractions functools hashlib heapq itertools math operator random re"
WARM += " statistics string typing"
GRACE = 10.0
"""Seconds beyond the wall time of a run after which its processes are ended even if nobody has asked for it."""


def main(descriptor: int, fenced: bool) -> None:
    """Serve runs until the parent goes."""
    connection = socket.socket(fileno=descriptor)
    control = Channel(connection)
    os.environ.clear()
    _swallow_output()
    for name in WARM.split():
        importlib.import_module(name)
    try:
        if sys.platform == "linux":
            linux.adopt_orphans()
        if fenced:
            namespaces.enter(control.receive()["folder"])
        if sys.platform == "linux":
            linux.hide_memory()
    except (OSError, KeyError) as error:
        control.send({"refused": str(error)})
        return
    control.send({"ready": True})
    while True:
        try:
            message, passed = _receive(connection)
        except BrokenChannelError:
            return
        answer = _run(connection, message, passed, fenced)
        try:
            control.send(answer)
        except BrokenChannelError:
            return


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Take a request of one byte and a half dozen digits, with the socket that comes along."""
    data, descriptors, _, _ = socket.recv_fds(connection, 64, 1)
    if not data or not descriptors:
        for descriptor in descriptors:
            os.close(descriptor)
        raise BrokenChannelError("closed")
    kind, seconds, memory = data.decode("ascii").split()
    return {"kind": kind, "limits": Limits(float(seconds), int(memory))}, descriptors


def _run(
    connection: socket.socket, message: dict[str, Any], passed: list[int], fenced: bool
) -> dict[str, Any]:
    """Run until the parent says that it has what it wants, or goes, or the time is up; then end everything."""
    bounds: Limits = message["limits"]
    folders = [] if fenced else [tempfile.mkdtemp(prefix="program-") for _ in range(2)]
    outer = socket.socket(fileno=passed[0])
    leaders = []
    try:
        if message["kind"] == "tests":
            mine, theirs = socket.socketpair()
            with mine, theirs:
                leaders.append(_start(lambda: candidate.serve(theirs), [theirs], bounds, folders[:1]))
                leaders.append(_start(lambda: tester.serve(outer, mine), [outer, mine], bounds, folders[1:]))
        else:
            leaders.append(_start(lambda: candidate.serve(outer), [outer], bounds, folders[:1]))
    finally:
        outer.close()
    select.select([connection], [], [], bounds.wall + GRACE)
    ended = _end(leaders)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    # The parent asks for the end of every run; that it has gone is seen by who reads next.
    connection.recv(1)
    return {"ended": ended}


def _start(work: Callable[[], None], kept: list[socket.socket], bounds: Limits, folders: list[str]) -> int:
    """Start a process group that does some work; return its leader.

    Args:
        work: What it does.
        kept: The only sockets that it has.
        bounds: Its limits.
        folders: The one that it may write to; none if it gets a world of its own.
    """
    leader = os.fork()
    if leader:
        return leader
    try:
        os.setsid()
        if sys.platform == "linux":
            linux.die_with_parent()
        _close_all_but({each.fileno() for each in kept})
        if folders:
            os.chdir(folders[0])
        else:
            _enter_own_world(kept)
        _confine(bounds, folders)
        work()
        os._exit(0)
    except BaseException:
        os._exit(70)


def _confine(bounds: Limits, folders: list[str]) -> None:
    """Take from this process what a program does not need."""
    limits.apply(bounds, count_processes=not folders)
    root = os.geteuid() == 0
    if sys.platform == "linux" and (root or not folders):
        linux.drop_capability_bounds()
    # A root's own Python may lie where nobody else can read it; then giving up all capabilities has to do.
    if root and (not folders or limits.nobody_can_read([sys.executable, os.__file__])):
        for folder in folders:
            limits.hand_over(folder)
        limits.become_nobody()
    if sys.platform == "linux":
        linux.gain_nothing()
        if root or not folders:
            linux.drop_capabilities()
        if folders and not landlock.confine(folders[0]):
            limits.forbid_files()
        seccomp.install()


def _enter_own_world(kept: list[socket.socket]) -> None:
    """Go on as a child of the first process of fresh namespaces; this one and that one wait for it."""
    namespaces.enter_own()
    _go_on_as_child(kept)
    linux.die_with_parent()
    namespaces.scratch()
    # The first process of a namespace is spared most signals, which a program should not be.
    _go_on_as_child(kept)


def _go_on_as_child(kept: list[socket.socket]) -> None:
    child = os.fork()
    if child == 0:
        return
    for each in kept:
        each.close()
    while True:
        ended, _ = os.wait()
        if ended == child:
            # With the first process of a namespace all others in it end.
            os._exit(0)


def _end(leaders: list[int]) -> int:
    """Kill groups and all that has left them, and wait until nothing is left; return how many processes there were."""
    for leader in leaders:
        try:
            os.killpg(leader, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            # It has not come so far as to lead a group.
            os.kill(leader, signal.SIGKILL)
    ended = 0
    while True:
        for child in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            found, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if found:
            ended += 1
        else:
            time.sleep(0.0005)


def _children() -> list[int]:
    """Return the processes whose parent is this one, those adopted included."""
    try:
        with open("/proc/thread-self/children", encoding="ascii") as file:
            return [int(text) for text in file.read().split()]
    except OSError:
        # Not every kernel lists them.
        return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if _parent(path) == os.getpid()]


def _parent(stat: Path) -> int | None:
    try:
        return int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def _close_all_but(kept: set[int]) -> None:
    start = 3
    for descriptor in sorted(kept):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, 4096)


def _swallow_output() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    sys.stdout = sys.stderr = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (for the life of the process)
