"""Signs of life: a worker counts up while its trial runs; others see when the count stands still.

Works on every storage and compares no clocks: whoever watches measures with their own how long a count has not moved.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import optuna
from optuna.trial import FrozenTrial

from dllm_decode.errors import DecodeError

BEAT, PROCESS = "beat", "process"
"""Attributes of a running trial: the count, and who runs it."""


class Beat:
    """Counts up in a trial's attributes, from a thread of its own, for as long as the context lasts."""

    def __init__(self, study: optuna.Study, trial_id: int, interval: float) -> None:
        """Prepare for a trial; `interval` is in seconds."""
        self._study, self._trial_id, self._interval = study, trial_id, interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")

    def __enter__(self) -> Beat:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; a count that hangs in an outage does not hold up the worker."""
        self._ended.set()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        count = 0
        while not self._ended.wait(self._interval):
            count += 1
            try:
                self._study._storage.set_trial_user_attr(self._trial_id, BEAT, count)
            except (optuna.exceptions.UpdateFinishedTrialError, DecodeError, RuntimeError, KeyError):
                return  # Whoever took the trial over has ended it; the worker learns of it when it tells.


class Watch:
    """Says which running trials have nobody behind them any more."""

    def __init__(self, grace: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to watch; a count may stand still for `grace` seconds."""
        self._grace, self._clock = grace, clock
        self._silent: dict[int, tuple[object, float]] = {}
        self._looked = clock()

    def lost(self, running: Sequence[FrozenTrial]) -> list[tuple[FrozenTrial, str]]:
        """Return the trials that are lost, each with the reason.

        Time in which nobody looked (the watcher decoded, or the storage was away) counts little: no count could be seen
        to move in it.
        """
        now = self._clock()
        passed, self._looked = min(now - self._looked, self._grace / 4), now
        silent: dict[int, tuple[object, float]] = {}
        found = []
        for trial in running:
            owner = trial.user_attrs.get(PROCESS)
            sign = (owner, trial.user_attrs.get(BEAT))
            before, seconds = self._silent.get(trial._trial_id, (None, 0.0))
            seconds = seconds + passed if before == sign else 0.0
            silent[trial._trial_id] = (sign, seconds)
            if owner is not None and gone(owner):
                found.append((trial, f"its process {owner} has ended"))
            elif seconds > self._grace:
                found.append((trial, f"its worker {owner or 'unknown'} gave no sign for {self._grace:g} s"))
        self._silent = silent
        return found


def host() -> str:
    """Return a name for the set of processes that can see each other: containers of one machine are told apart."""
    try:
        space = re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))
    except OSError:
        space = ""
    return f"{socket.gethostname()}/{space}" if space else socket.gethostname()


def identity() -> str:
    """Return this process as `host:process:start`; the start tells it from a later one with the same number."""
    return f"{host()}:{os.getpid()}:{_start(os.getpid())}"


def gone(owner: str) -> bool:
    """Return whether a process, as `identity` names it, ran in this process's sight and has ended."""
    where, _, rest = owner.partition(":")
    number, _, start = rest.partition(":")
    if where != host() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    now = _start(int(number))
    return now == "dead" or (bool(now and start) and now != start)


def _start(process: int) -> str:
    """Return when a process began, in clock ticks since boot; "" where the system does not say."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "dead" if fields[0] in "ZX" else fields[19]
