"""Random strategies for property tests: any registered parts, their searchable fields anywhere in their ranges."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from dllm_decode.parts.base import Tune
from dllm_decode.parts.kinds import SEVERAL
from dllm_decode.plugins.registry import load_registry

FOUR = ("block", "layering", "scheduler", "confidence")


@st.composite
def part(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """Any part of a kind as a mapping, with some of its declared ranges drawn from."""
    registry = load_registry()
    name = draw(st.sampled_from(registry.names(kind)))
    fields: dict[str, Any] = {"name": name}
    for field, info in registry.part(kind, name).model_fields.items():
        ranges = [each for each in info.metadata if isinstance(each, Tune)]
        if ranges and draw(st.booleans()):
            fields[field] = draw(_value(ranges[0], whole="int" in str(info.annotation)))
        if field == "detail" and draw(st.booleans()):
            fields[field] = draw(st.sampled_from(registry.names("layering")))
    return fields


def _value(tune: Tune, whole: bool) -> st.SearchStrategy[Any]:
    if tune.choices is not None:
        return st.sampled_from(tune.choices)
    assert tune.low is not None and tune.high is not None
    if whole:
        return st.integers(int(tune.low), int(tune.high))
    return st.floats(tune.low, tune.high)


@st.composite
def compositions(draw: st.DrawFn, longest: int = 12, cached: bool = False) -> dict[str, Any]:
    """A strategy's fields; whether they fit together is for validation to say."""
    data: dict[str, Any] = {kind: draw(part(kind)) for kind in FOUR}
    for kind in SEVERAL:
        data[kind] = draw(st.lists(part(kind), max_size=2, unique_by=lambda each: str(each["name"])))
    # A reviser that reads a plan's columns would otherwise hardly ever meet it.
    data["forward"] = draw(st.sampled_from([None, *load_registry().names("forward")]))
    if cached:
        data["cache"] = draw(part("cache"))
    data["steps"] = draw(st.none() | st.integers(1, longest))
    data["gen_length"] = draw(st.integers(1, longest))
    data["temperature"] = draw(st.sampled_from([0.0, 0.9]))
    return data
