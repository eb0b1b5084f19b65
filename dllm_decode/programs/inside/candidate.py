"""The process of a program: runs it, then evaluates the calls that it is asked for and sends back what they returned.

It knows no wanted value and judges nothing. Whoever writes to its channel from inside can only say what values the program
returns, which the program may say anyway.
"""

from __future__ import annotations

import socket
import sys
from types import ModuleType
from typing import Any

from dllm_decode.programs.inside.channel import BrokenChannelError, Channel
from dllm_decode.programs.inside.values import decode, encode

MODULE = "program"


def serve(connection: socket.socket) -> None:
    """Answer requests until the other side has gone."""
    channel = Channel(connection)
    kept: list[Any] = []
    module = ModuleType(MODULE)
    # Data classes look up their module by its name.
    sys.modules[MODULE] = module
    channel.send({"ready": True})
    while True:
        try:
            request = channel.receive()
        except BrokenChannelError:
            return
        try:
            answer = _answer(request, module, kept)
        except BaseException as error:
            answer = {"raised": _described(error)}
        try:
            channel.send(answer)
        except (ValueError, RecursionError, MemoryError) as error:
            channel.send({"raised": _described(error)})


def _answer(request: dict[str, Any], module: ModuleType, kept: list[Any]) -> dict[str, Any]:
    def refer(value: Any) -> dict[str, Any]:
        kept.append(value)
        kind = "module" if isinstance(value, ModuleType) else "callable" if callable(value) else "object"
        name = value.__name__ if kind == "module" else ""
        return {"t": "ref", "v": len(kept) - 1, "kind": kind, "name": name}

    def resolve(data: dict[str, Any]) -> Any:
        return kept[data["v"]]

    verb = request["do"]
    if verb == "load":
        exec(compile(request["program"], "<program>", "exec"), module.__dict__)
        return {"value": None}
    if verb == "global":
        return {"value": encode(module.__dict__[request["name"]], refer)}
    target = module.__dict__[request["name"]] if "name" in request else kept[request["on"]]
    if verb == "attribute":
        return {"value": encode(getattr(target, request["attribute"]), refer)}
    if verb == "iterate":
        return {"value": refer(iter(target))}
    if verb == "next":
        return {"value": encode(next(target), refer)}
    if verb == "length":
        return {"value": len(target)}
    if verb == "truth":
        return {"value": bool(target)}
    arguments, named = decode(request["arguments"], resolve), decode(request["named"], resolve)
    if verb == "item":
        return {"value": encode(target[arguments[0]], refer)}
    result = target(*arguments, **named)
    answer = {"value": encode(result, refer)}
    # What the program did to its arguments is seen by the test, as it would be in one process.
    if (after := encode(arguments, refer)) != request["arguments"]:
        answer["arguments"] = after
    return answer


def _described(error: BaseException) -> dict[str, Any]:
    try:
        text = str(error)[:300]
    except BaseException:
        text = ""
    return {"type": type(error).__name__, "text": text}
