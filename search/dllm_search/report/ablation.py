"""What each part of a found strategy contributes: the strategy with one part set back to the baseline's.

Knows strategies and which parts they differ in; scoring is the search's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from dllm_decode.errors import ConfigError
from dllm_decode.parts.base import PartConfig
from dllm_decode.parts.kinds import KINDS
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.candidate import tell


def set_back(chosen: Strategy, baseline: Strategy) -> list[tuple[str, Strategy | None, str]]:
    """Return (what was set back, the strategy, "") for every part in which the two differ.

    Where the rest cannot work without the part, the strategy is None and the third entry says why. The step budget
    counts as a part; an adaptive scheduler has none.
    """
    found: list[tuple[str, Strategy | None, str]] = []
    for kind in KINDS:
        own, other = getattr(chosen, kind), getattr(baseline, kind)
        if own == other:
            continue
        found.append((f"{kind}: {_told(other, own)}", *_changed(chosen, {kind: other})))
    if chosen.steps != baseline.steps and not chosen.scheduler.adaptive:
        what = f"steps: {baseline.steps or 'one a token'} instead of {chosen.steps}"
        found.append((what, *_changed(chosen, {"steps": baseline.steps})))
    return found


def _changed(chosen: Strategy, change: dict[str, object]) -> tuple[Strategy | None, str]:
    strategy = chosen.model_copy(update=change)
    if strategy.scheduler.adaptive:
        strategy = strategy.model_copy(update={"steps": None})
    try:
        return strategy.check(), ""
    except ConfigError as error:
        return None, str(error)


def _told(other: Any, own: Any) -> str:
    """Say what stands instead of what: the parts' names, or the fields in which parts of one name differ."""
    ours, others = _parts(own), _parts(other)
    names = "+".join(part.name for part in others) or "none"
    if [part.name for part in ours] != [part.name for part in others]:
        return f"{names} instead of {'+'.join(part.name for part in ours) or 'none'}"
    several = len(ours) > 1
    differences = [
        f"{f'{one.name}.' if several else ''}{difference}"
        for one, two in zip(ours, others, strict=True)
        for difference in _differences(one, two, "")
    ]
    return f"{names} with {', '.join(differences)}"


def _parts(value: Any) -> tuple[PartConfig, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _differences(own: BaseModel, other: BaseModel, path: str) -> Iterator[str]:
    """Yield `field this instead of that` for every field of two models of one class that differs, however deep."""
    for field in type(own).model_fields:
        mine, theirs = getattr(own, field), getattr(other, field)
        if mine == theirs:
            continue
        if isinstance(mine, BaseModel) and type(mine) is type(theirs):
            yield from _differences(mine, theirs, f"{path}{field}.")
        else:
            yield f"{path}{field} {tell(theirs)} instead of {tell(mine)}"
