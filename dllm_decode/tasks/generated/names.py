"""Reads lists of names: as data files write them, and as a model answers."""

from __future__ import annotations

import json
import re
from typing import Any


def listed(value: Any) -> list[str]:
    """Return the names of a field: a list, a JSON list in a string, or a text with commas between names.

    A text without commas is cut at its blanks.
    """
    if isinstance(value, list):
        return [str(name) for name in value]
    found = _as_json(str(value))
    if found is not None:
        return found
    return names_in(str(value), whole=bool(re.search(r"[,;\n]", str(value))))


def names_in(text: str, *, whole: bool) -> list[str]:
    """Return the names of an answer.

    Args:
        text: A JSON list, or names with commas, semicolons or line breaks between them.
        whole: Whether names may hold blanks, so that these do not part them.
    """
    if not whole:
        return [name for name in re.split(r"[\s,;\[\]'\".]+", text) if name]
    found = _as_json(text)
    if found is not None:
        return found
    pieces = (re.sub(r"\s+", " ", piece).strip(" []'\".") for piece in re.split(r"[,;\n]", text))
    return [piece for piece in pieces if piece]


def _as_json(text: str) -> list[str] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return [str(name) for name in found] if isinstance(found, list) else None
