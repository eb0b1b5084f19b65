"""Fork servers of this process: each is started once, serves one run at a time, and is started anew if it is lost."""

from __future__ import annotations

import atexit
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import dllm_decode
from dllm_decode.errors import DecodeError
from dllm_decode.programs.inside.channel import BrokenChannelError, Channel
from dllm_decode.programs.inside.limits import Limits

_PACKAGES = Path(dllm_decode.__file__).parent.parent
_BOOT = """
import sys
sys.path.insert(0, sys.argv[1])
from dllm_decode.programs.inside.server import main
del sys.path[0]
main(int(sys.argv[2]), sys.argv[3] == "fenced")
"""
START_SECONDS = 60.0


class Slot:
    """A fork server, and the folder that its own root grows on."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._process: subprocess.Popen[bytes] | None = None
        self._control: Channel | None = None
        self.fenced = False

    def begin(self, kind: str, limits: Limits) -> Channel:
        """Start a run; return the channel to its judge.

        Args:
            kind: "calls": the channel is the program's. "tests": it is that of the tests.
            limits: Of each process.
        """
        mine, theirs = socket.socketpair()
        with theirs:
            for last in (False, True):
                control = self._started()
                request = f"{kind} {limits.seconds:g} {limits.memory}".encode("ascii")
                try:
                    socket.send_fds(control.connection, [request], [theirs.fileno()])
                    break
                except OSError:
                    self.close()
                    if last:
                        raise
        return Channel(mine)

    def end(self, run: Channel) -> None:
        """End a run: when this returns, none of its processes is left."""
        run.connection.close()
        control = self._control
        if control is None:
            return
        try:
            control.connection.sendall(b".")
            control.receive()
        except (BrokenChannelError, OSError):
            self.close()

    def close(self) -> None:
        """End the server, and with it a run that it serves."""
        if self._control is not None:
            self._control.connection.close()
        if self._process is not None:
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = self._control = None

    def _started(self) -> Channel:
        if self._control is None:
            if not hasattr(socket, "send_fds"):
                raise DecodeError(f"programs cannot be run on {sys.platform}: use Linux, macOS or WSL")
            # A system that refuses namespaces refuses them again.
            refusal = _start(self, fenced=True) if sys.platform == "linux" and not _no_fence.is_set() else "not Linux"
            if refusal:
                _no_fence.set()
                refusal = _start(self, fenced=False)
            if refusal:
                raise DecodeError(f"programs cannot be run here: {refusal}")
        assert self._control is not None
        return self._control


def _start(slot: Slot, *, fenced: bool) -> str:
    """Start a slot's server; return why it could not be, or an empty text."""
    mine, theirs = socket.socketpair()
    mine.settimeout(START_SECONDS)
    with theirs, tempfile.TemporaryDirectory(prefix="programs-") as folder:
        command = [sys.executable, "-s", "-P", "-X", "utf8", "-c", _BOOT, str(_PACKAGES), str(theirs.fileno())]
        slot._process = subprocess.Popen(
            [*command, "fenced" if fenced else "open"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            # Sets are walked in one order every time, so that a verdict is the same every time.
            env={"PYTHONHASHSEED": "0"},
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        slot._control = Channel(mine)
        try:
            if fenced:
                slot._control.send({"folder": os.path.realpath(folder)})
            answer = slot._control.receive()
        except (BrokenChannelError, TimeoutError) as error:
            answer = {"refused": f"the server did not start ({error})"}
    if "refused" in answer:
        slot.close()
        return str(answer["refused"])
    mine.settimeout(None)
    slot.fenced = fenced
    return ""


_no_fence = threading.Event()
_free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
_made: list[Slot] = []
_making = threading.Lock()
MOST = max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""Runs at once, at most."""


def take() -> Slot:
    """Return a slot that nobody uses, waiting for one if all are busy."""
    with _making:
        try:
            return _free.get_nowait()
        except queue.Empty:
            if len(_made) < MOST:
                _made.append(Slot())
                return _made[-1]
    return _free.get()


def give_back(slot: Slot) -> None:
    """Let others use a slot."""
    _free.put(slot)


@atexit.register
def _close_all() -> None:
    for slot in _made:
        slot.close()


def _forget() -> None:
    """A forked child must not speak with its parent's servers."""
    global _free, _making
    _free, _making = queue.SimpleQueue(), threading.Lock()
    for slot in _made:
        if slot._control is not None:
            slot._control.connection.close()
    _made.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
