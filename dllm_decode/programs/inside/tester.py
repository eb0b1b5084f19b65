"""The process of a program's tests: runs them against stand-ins for the program, which lives in another process.

The tests see values that came over the channel and compare them themselves. A stand-in for an object of the program may be
called, read, iterated and handed back; it equals itself alone and has no order and no arithmetic, so that no method of the
program decides a comparison.
"""

from __future__ import annotations

import builtins
import importlib
import socket
import sys
from typing import Any

from dllm_decode.programs.inside.channel import BrokenChannelError, Channel
from dllm_decode.programs.inside.values import decode, encode

ERRORS = {
    name: error
    for name, error in vars(builtins).items()
    if isinstance(error, type) and issubclass(error, BaseException)
}


class ProgramError(Exception):
    """Raised in the tests for an exception class of the program's own."""


class Program:
    """The program, asked over its channel."""

    def __init__(self, channel: Channel) -> None:
        """Wait until its process is there."""
        self._channel = channel
        channel.receive()

    def ask(self, request: dict[str, Any]) -> Any:
        """Return what the program answers, or raise as it raised."""
        return self.value(self._exchange(request)["value"])

    def call(self, target: dict[str, Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call something of the program; lists, sets and dictionaries that it changed are changed here too."""
        sent = {"arguments": encode(list(arguments), _reference), "named": encode(named, _reference)}
        answer = self._exchange({"do": "call", **target, **sent})
        if "arguments" in answer:
            for own, after in zip(arguments, self.value(answer["arguments"]), strict=True):
                _change(own, after)
        return self.value(answer["value"])

    def value(self, data: Any) -> Any:
        """Return the value of what the program sent."""
        return decode(data, self._stand_in)

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        self._channel.send(request)
        answer: dict[str, Any] = self._channel.receive()
        if "raised" in answer:
            kind, text = str(answer["raised"]["type"]), str(answer["raised"]["text"])
            raise _error(kind, text)
        return answer

    def _stand_in(self, data: dict[str, Any]) -> Any:
        if data["t"] != "ref":
            raise ValueError(f"unknown tag {data['t']!r}")
        # A module that the program imported is the tests' own one: its functions are not the program's.
        if data["kind"] == "module" and data["name"].partition(".")[0] in sys.stdlib_module_names:
            return importlib.import_module(data["name"])
        return StandIn(self, int(data["v"]))


class StandIn:
    """Stands for an object of the program."""

    __slots__ = ("_number", "_program")

    def __init__(self, program: Program, number: int) -> None:
        """Take the object's number."""
        self._program, self._number = program, number

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call it there."""
        return self._program.call({"on": self._number}, arguments, named)

    def __getattr__(self, name: str) -> Any:
        """Read an attribute there."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self._program.ask({"do": "attribute", "on": self._number, "attribute": name})

    def __getitem__(self, key: Any) -> Any:
        """Read an item there."""
        sent = {"arguments": encode([key], _reference), "named": encode({})}
        return self._program.ask({"do": "item", "on": self._number, **sent})

    def __iter__(self) -> Any:
        """Iterate over it there."""
        return self._program.ask({"do": "iterate", "on": self._number})

    def __next__(self) -> Any:
        """Draw the next item there."""
        return self._program.ask({"do": "next", "on": self._number})

    def __len__(self) -> int:
        """Count its items there."""
        return int(self._program.ask({"do": "length", "on": self._number}))

    def __bool__(self) -> bool:
        """Ask for its truth there."""
        return self._program.ask({"do": "truth", "on": self._number}) is True

    def __repr__(self) -> str:
        """Say that it is elsewhere."""
        return "<an object of the program>"


def serve(connection: socket.socket, link: socket.socket) -> None:
    """Take a job, run it, and send the verdict: nothing that the program sends is passed on."""
    judge = Channel(connection)
    try:
        program = Program(Channel(link))
    except BrokenChannelError:
        judge.send({"passed": False, "reason": "the program's process did not start"})
        return
    judge.send({"ready": True})
    job = judge.receive()
    judge.send(_verdict(program, job))


def _verdict(program: Program, job: dict[str, Any]) -> dict[str, Any]:
    try:
        program.ask({"do": "load", "program": job["program"]})
        scope: dict[str, Any] = {"__name__": "tests"}
        exec(compile(job["setup"], "<setup>", "exec"), scope)
        for name in job["names"]:
            scope[name] = program.ask({"do": "global", "name": name})
        exec(compile(job["tests"], "<tests>", "exec"), scope)
    except BrokenChannelError:
        return {"passed": False, "reason": "its process ended: out of time or memory, or by itself"}
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return {"passed": False, "reason": reason[:300]}
    return {"passed": True, "reason": ""}


def _error(kind: str, text: str) -> BaseException:
    try:
        return ERRORS[kind](text)
    except (KeyError, TypeError):
        return ProgramError(f"{kind}: {text}")


def _reference(value: Any) -> dict[str, Any]:
    if isinstance(value, StandIn):
        return {"t": "ref", "v": value._number}
    raise TypeError(f"a test hands the program a value of type {type(value).__name__}, which cannot be sent exactly")


def _change(own: Any, after: Any) -> None:
    """Make a value of the test hold what the program left in its copy; what is changed in place stays the same object."""
    if type(own) is not type(after):
        return
    if isinstance(own, list):
        kept = [_changed(a, b) for a, b in zip(own, after, strict=False)]
        own[:] = kept + after[len(kept) :]
    elif isinstance(own, dict):
        kept_items = {key: _changed(own[key], value) if key in own else value for key, value in after.items()}
        own.clear()
        own.update(kept_items)
    elif isinstance(own, set):
        own.clear()
        own.update(after)
    elif isinstance(own, bytearray):
        own[:] = after
    elif isinstance(own, tuple):
        for a, b in zip(own, after, strict=False):
            _change(a, b)


def _changed(own: Any, after: Any) -> Any:
    if type(own) is type(after) and isinstance(own, list | dict | set | bytearray):
        _change(own, after)
        return own
    return after
