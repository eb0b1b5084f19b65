"""Writes a value at a dotted path of a strategy, through nested parts.

Knows paths, lists and what happens to a part whose name changes; leaves validation to `config`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from dllm_decode.errors import ConfigError, DecodeError, shown, unknown_name
from dllm_decode.parts.base import PartConfig, as_list, registered
from dllm_decode.parts.kinds import KINDS, SEVERAL


def assign(data: dict[str, Any], path: str, value: Any) -> None:
    """Write `value` at a dotted path; parts on the way become mappings, which are validated afterwards.

    Args:
        data: A strategy's fields; changed in place.
        path: Such as `steps`, `scheduler`, `layering.detail.threshold` or `logits.0.weight`.
        value: Anything; a part may be a name or a mapping.

    Raises:
        ConfigError: There is no such path.
    """
    *parents, last = path.split(".")
    path = path if len(path) <= 80 else f"{path[:80]}…"
    target: Any = data
    for depth, key in enumerate(parents):
        place = _place(target, key, path)
        inner = target[place]
        if last == "name" and depth + 1 == len(parents) and isinstance(inner, PartConfig):
            inner = _renamed(inner, str(value), path)
        elif parents[0] in KINDS:
            inner = _opened(inner)
        if not isinstance(inner, dict | list):
            raise ConfigError(f"{path}: {'.'.join(parents[: depth + 1])} is {shown(inner)} and has no fields.")
        target[place] = inner
        target = inner
    if parents and isinstance(target, dict) and "name" in target:
        target[last] = value
    else:
        target[_place(target, last, path)] = as_list(value) if path in SEVERAL else value


def _opened(value: Any) -> Any:
    """Return a copy that can be written to: of a part its fields, of a part's name a mapping."""
    if isinstance(value, BaseModel | Mapping):
        return dict(value)
    if isinstance(value, str):
        return {"name": value}
    return list(value) if isinstance(value, list | tuple) else value


def _renamed(part: PartConfig, name: str, path: str) -> dict[str, Any]:
    """Return those fields of a part that the part called `name` has as well."""
    try:
        known = registered(part.kind, name).model_fields
    except DecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    return {field: value for field, value in part if field in known}


def _place(target: Any, key: str, path: str) -> str | int:
    if isinstance(target, dict) and key in target:
        return key
    if isinstance(target, list) and key in map(str, range(len(target))):
        return int(key)
    known: Iterable[str] = map(str, target if isinstance(target, dict) else range(len(target)))
    raise ConfigError(f"{path}: {unknown_name('field', key, known)}")
