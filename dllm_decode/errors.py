"""The errors a user can meet, each a sentence that names what was given and the way out.

Knows the kinds of failure; leaves to the CLI how they are printed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class DecodeError(Exception):
    """A mistake in what the user gave, or a part that broke its contract; the message is meant to be read."""


class ConfigError(DecodeError):
    """A strategy, an override or an argument that does not validate; the message carries the path."""


class FailedPartError(ConfigError):
    """A part that raised an exception when it was asked whether it can serve; the message names it and its plugin."""


class PluginError(DecodeError):
    """A plugin that could not be loaded, or two that register one name."""


class ModelError(DecodeError):
    """A checkpoint, tokenizer or model that cannot be used for masked diffusion decoding."""


class DataError(DecodeError):
    """A data file that cannot be read; the message names the file and the line."""


class ContractError(DecodeError):
    """A part that broke its contract while decoding; the message names the part, its origin, stage and step."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Say that a name is unknown, suggest the nearest one and list the rest.

    Args:
        kind: What the name should have been, e.g. ``"scheduler"``.
        name: What was given.
        known: The names that would have been accepted.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name[:80], names, n=1)
    suggestion = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {shown(name)}.{suggestion} Known: {', '.join(names) or '(none)'}"


_BOUNDS = {
    "greater_than": "> {gt}",
    "greater_than_equal": ">= {ge}",
    "less_than": "< {lt}",
    "less_than_equal": "<= {le}",
}


def readable(error: ValidationError, origin: str) -> str:
    """Say every mistake that pydantic found as `path: what was expected, got what`, in one line."""
    found = error.errors(include_url=False)
    lines = []
    for item in found:
        if item["type"] == "too_short" and any(_inside(item["loc"], other["loc"]) for other in found):
            continue  # A list all of whose items were refused is not too short.
        path = ".".join(str(part) for part in item["loc"])
        limits = {name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in item.get("ctx", {}).items()}
        bound = _BOUNDS.get(item["type"], "").format(**limits)
        message = f"input should be {bound}" if bound else item["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        given = "" if item["type"] in ("value_error", "missing", "number") else f", got {shown(item['input'])}"
        lines.append(f"{path}: {message}{given}" if path else message)
    return f"{origin}: " + "; ".join(lines)


def _inside(place: tuple[int | str, ...], other: tuple[int | str, ...]) -> bool:
    """Return whether the other place is within this one."""
    return len(other) > len(place) and other[: len(place)] == place


def shown(value: object, limit: int = 80) -> str:
    """Return a value as a message may show it: whatever it is, on one line and cut where it gets long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # among others, Python writes no integer of more than 4,300 digits
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= limit else f"{text[:limit]}…"


def yaml_problem(error: Exception) -> str:
    """Say where a text stops being YAML, in one line."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', None) or 'cannot be read'}"
