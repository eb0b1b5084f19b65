"""What each part of a found strategy contributes: the strategy with one part set back to the baseline's.

Knows strategies and which parts they differ in; scoring is the search's.
"""

from __future__ import annotations

from dllm_decode.errors import ConfigError
from dllm_decode.parts.kinds import KINDS
from dllm_decode.strategy.strategy import Strategy


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
        what = f"{kind}: {_names(other)} instead of {_names(own)}"
        found.append((what, *_changed(chosen, {kind: other})))
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


def _names(part: object) -> str:
    if isinstance(part, tuple):
        return "+".join(each.name for each in part) or "none"
    return str(getattr(part, "name", "none"))
