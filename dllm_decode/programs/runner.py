"""Runs programs and says what came of them: values for the caller to compare, or the verdict of a separate test process.

A program never shares a process, or a channel, with what judges it; how its process is kept apart is in `inside`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dllm_decode.programs import slots
from dllm_decode.programs.inside.channel import BrokenChannelError, Channel
from dllm_decode.programs.inside.limits import Limits
from dllm_decode.programs.inside.values import encode, one_text
from dllm_decode.programs.permission import require

Work = TypeVar("Work")
START_SECONDS = 60.0
"""Seconds that the processes of a run have to be there; they count for no program."""


@dataclass(frozen=True, slots=True)
class ByValues:
    """A program whose function is called; what it returns is compared here.

    Attributes:
        program: Its text.
        function: The name of its function.
        cases: (arguments, wanted value), JSON-able or tuples, sets, bytes, complex numbers and such.
        limits: What it may use, over all cases together.
    """

    program: str
    function: str
    cases: Sequence[tuple[Sequence[object], object]]
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class ByTests:
    """A program whose tests are a program, too, e.g. lines of `assert`; they run in a process of their own.

    Attributes:
        program: Its text.
        tests: Code that raises unless the program is right.
        names: What the tests use of the program; all other names are the tests' own, or Python's.
        setup: Trusted code whose names the tests may use, run before them.
        limits: What program and tests may use.
    """

    program: str
    tests: str
    names: Sequence[str]
    setup: str = ""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a program is right, and if not, why, in a few words."""

    passed: bool
    reason: str = ""

    def __bool__(self) -> bool:
        """Return whether it is right."""
        return self.passed


def run(jobs: Iterable[ByValues | ByTests]) -> list[Verdict]:
    """Judge programs, as many at once as there are processors; return a verdict for each, in their order.

    Raises:
        ConfigError: There is no leave to run programs.
        DecodeError: This system cannot run them at all.
    """
    require("this judge")
    listed = list(jobs)
    if len(listed) < 2:
        return [_judge(job) for job in listed]
    with ThreadPoolExecutor(min(slots.MOST, len(listed)), "programs") as threads:
        return list(threads.map(_judge, listed))


def _judge(job: ByValues | ByTests) -> Verdict:
    slot = slots.take()
    try:
        if isinstance(job, ByValues):
            return _within(slot, "calls", job, _compare)
        return _within(slot, "tests", job, _ask_tests)
    finally:
        slots.give_back(slot)


def _within(slot: slots.Slot, kind: str, job: Work, judge: Callable[[_Clocked, Work], Verdict]) -> Verdict:
    limits: Limits = job.limits  # type: ignore[attr-defined]
    channel = slot.begin(kind, limits)
    clocked = _Clocked(channel, START_SECONDS)
    try:
        clocked.receive()
        clocked.restart(limits.wall)
        return judge(clocked, job)
    except TimeoutError:
        return Verdict(False, f"not done after {limits.wall:g} s")
    except BrokenChannelError:
        return Verdict(False, "its process ended: out of time or memory, or by itself")
    finally:
        slot.end(channel)


class _Clocked:
    """A channel with one time for all that is said over it."""

    def __init__(self, channel: Channel, seconds: float) -> None:
        self._channel = channel
        self.restart(seconds)

    def restart(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def send(self, message: Any) -> None:
        self._set()
        self._channel.send(message)

    def receive(self) -> Any:
        self._set()
        return self._channel.receive()

    def _set(self) -> None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._channel.connection.settimeout(left)


def _compare(channel: _Clocked, job: ByValues) -> Verdict:
    """Ask for one value after the other; what is wanted stays here."""
    problem = _problem(channel, {"do": "load", "program": job.program}, None)
    for arguments, want in job.cases:
        if problem:
            break
        sent = {"arguments": encode(list(arguments)), "named": encode({})}
        problem = _problem(channel, {"do": "call", "name": job.function, **sent}, want)
    return Verdict(not problem, problem)


def _problem(channel: _Clocked, request: dict[str, Any], want: object) -> str:
    """Say why what a program answers is not what is wanted; an empty text if it is. The program may answer anything."""
    channel.send(request)
    answer = channel.receive()
    try:
        if "raised" in answer:
            return f"{answer['raised']['type']}: {answer['raised']['text']}"[:300]
        return "" if one_text(answer["value"]) == one_text(encode(want)) else "a wrong value"
    except (TypeError, KeyError, ValueError, RecursionError):
        return "no value"


def _ask_tests(channel: _Clocked, job: ByTests) -> Verdict:
    channel.send({"program": job.program, "tests": job.tests, "setup": job.setup, "names": list(job.names)})
    answer = channel.receive()
    return Verdict(answer["passed"] is True, str(answer["reason"]))
