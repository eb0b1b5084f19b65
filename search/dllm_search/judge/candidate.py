"""A strategy with its score, and the name it goes by in tables.

Knows how any part's config is told in a few words; knows no part and no kind by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from dllm_decode.parts.base import PartConfig
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.score import Score


@dataclass(frozen=True, slots=True)
class Candidate:
    """A strategy with its score on the tuning examples."""

    strategy: Strategy
    score: Score
    label: str = ""
    """What it is known as, if it is a recipe or a published budget."""

    @property
    def name(self) -> str:
        """A name for tables: the label, or what it is made of."""
        return self.label or describe(self.strategy)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "name": self.name,
            "strategy_digest": self.strategy.digest(),
            "accuracy": self.score.accuracy,
            "forward_passes": self.score.forward_passes,
            "plain_forwards": self.score.plain_forwards,
            "tokens_per_forward": self.score.tokens_per_forward,
            "n": self.score.n,
        }


def describe(strategy: Strategy) -> str:
    """Say in one line what a strategy is made of: every part, and every field that is not at its default.

    Strategies that differ never get the same name: where a number is rounded, the digest stands behind it.
    """
    told = _Words()
    words = []
    for field in type(strategy).model_fields:
        value = getattr(strategy, field)
        if field in ("name", "description") or (value == type(strategy).model_fields[field].default):
            continue
        if isinstance(value, PartConfig):
            words.append(told.of(value))
        elif isinstance(value, tuple):
            words.extend(told.of(each) for each in value)
        else:
            words.append(f"{told.of(value)} {field.replace('gen_length', 'tokens')}")
    return ", ".join(words) + (f" ~{strategy.digest()}" if told.rounded else "")


def tell(value: Any) -> str:
    """Tell a field's value in few words; numbers are rounded."""
    return _Words().of(value)


class _Words:
    """Tells values in few words, and remembers whether a number was rounded."""

    def __init__(self) -> None:
        self.rounded = False

    def of(self, value: Any) -> str:
        """Tell a part, a model, a collection, a number or a word."""
        if isinstance(value, BaseModel) and isinstance(name := getattr(value, "name", None), str):
            return " ".join([name, *self._fields(value, without="name")])
        if isinstance(value, BaseModel):
            return f"({' '.join(self._fields(value))})"
        if isinstance(value, Mapping):
            return "{" + " ".join(f"{key} {self._inside(inner)}" for key, inner in value.items()) + "}"
        if isinstance(value, list | tuple):
            return "[" + " ".join(map(self._inside, value)) + "]"
        if isinstance(value, float):
            short = f"{value:.3g}"
            self.rounded |= float(short) != value
            return short
        if isinstance(value, str):
            return value if value.replace("-", "").replace("_", "").isalnum() else json.dumps(value)
        return json.dumps(value)

    def _fields(self, model: BaseModel, without: str = "") -> list[str]:
        changed = [
            (name, getattr(model, name))
            for name, field in type(model).model_fields.items()
            if name != without
            and (field.is_required() or getattr(model, name) != field.get_default(call_default_factory=True))
        ]
        return [f"{name} {self._inside(value)}" for name, value in changed]

    def _inside(self, value: Any) -> str:
        told = self.of(value)
        return f"({told})" if isinstance(value, BaseModel) and " " in told and told[0] != "(" else told
