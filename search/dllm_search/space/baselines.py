"""The strategies every search starts from and is measured against: recipes, published budgets, equal-forward controls.

Knows the recipes by name, as data; a recipe that is not installed is left out. Leaves scoring to the caller.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from dllm_decode.errors import DecodeError
from dllm_decode.plugins import registry
from dllm_decode.strategy.strategy import Strategy, asked

REFERENCE = "llada"
"""The recipe that, at one step a token and its best block length, is the quality to keep."""

# recipe, share of the answer's length given as steps (None: the recipe's own), overrides, what the budget is from.
# Shares are published lengths and steps: SAID's 256/512, 86/512 and 4/64, SAID-block's 64/256.
PUBLISHED: tuple[tuple[str, float | None, Mapping[str, Any]], ...] = (
    ("llada", 1, {"block": "whole"}),
    ("said", 1 / 2, {}),
    ("fast-dllm", None, {}),
    ("llada", 1 / 4, {"block": "whole"}),
    ("said-block-chlg", 1 / 4, {}),
    ("said-block", 1 / 4, {}),
    ("said", 1 / 6, {}),
    ("llada", 1, {"block": {"name": "fixed", "length": 8}}),
    ("llada", 1 / 2, {"block": "whole"}),
    ("said", 1 / 16, {}),
    ("llada", 1, {"block": {"name": "fixed", "length": 32}}),
)
# What comes after the other recipes: the same again at other budgets and blocks.
FURTHER: tuple[tuple[str, float | None, Mapping[str, Any]], ...] = (
    ("llada", 1 / 4, {"block": {"name": "fixed", "length": 8}}),
    ("llada", 1 / 2, {"block": {"name": "fixed", "length": 8}}),
    ("llada", 1, {"block": {"name": "fixed", "length": 8}, "stop": "eos"}),
    ("fast-dllm", None, {"scheduler.threshold": 0.7}),
    ("fast-dllm", None, {"block": {"name": "fixed", "length": 8}, "stop": "eos"}),
    ("said", 1 / 2, {"layering.detail.threshold": 0.7, "layering.detail.hard_steps": 8}),
)


def baselines(gen_length: int, limit: int | None = None) -> list[Strategy]:
    """Return what to try first for answers of `gen_length` tokens, in order of importance, each with a telling name.

    Published budgets come first, then every other recipe that is installed, third parties' included, then further
    budgets. What cannot serve the length (fewer steps than blocks) and what would decode the same is left out.

    Args:
        gen_length: Columns to generate, in tokens.
        limit: At most so many.
    """
    found: dict[str, Strategy] = {}
    for strategy in map(settled, _candidates(gen_length)):
        found.setdefault(strategy.digest(), strategy)
    return list(found.values())[:limit]


def settled(strategy: Strategy) -> Strategy:
    """Return the strategy with its steps spelled out where they count, and left out where they do not."""
    steps = strategy.steps or strategy.gen_length if counts_steps(strategy) else None
    return strategy.model_copy(update={"steps": steps})


def counts_steps(strategy: Strategy) -> bool:
    """Say whether a strategy keeps to a budget: not where its scheduler is adaptive, or its blocks show only later."""
    return not strategy.scheduler.adaptive and _shared_out(strategy)


def reference_digests(gen_length: int) -> set[str]:
    """Return the digests of LLaDA's rule at one step a token, at every block length that is tried."""
    return {
        strategy.digest()
        for strategy in baselines(gen_length)
        if strategy.name.startswith(f"{REFERENCE} ") and strategy.steps == gen_length and not strategy.stop
    }


def equal_forwards(gen_length: int, forwards: float) -> list[Strategy]:
    """Return LLaDA's rule with as many steps as another strategy took forwards, rounded up, at every block length.

    The control tells what a schedule earns beyond taking fewer steps; random order tells what the order earns.
    """
    steps = min(math.ceil(forwards), gen_length)
    controls = [_adapt("llada", steps, {"block": "whole"}, gen_length)]
    for length in (2**e for e in range(2, gen_length.bit_length())):
        if length < gen_length:
            controls.append(
                _adapt("llada", steps, {"block": {"name": "fixed", "length": length}}, gen_length)
            )
    return [control for control in controls if control is not None]


def random_order(gen_length: int, forwards: float) -> Strategy | None:
    """Return LLaDA's rule in random order with as many steps as another strategy took forwards, rounded up."""
    steps = min(math.ceil(forwards), gen_length)
    return _adapt("llada", steps, {"block": "whole", "confidence": "random"}, gen_length)


def _candidates(gen_length: int) -> Iterator[Strategy]:
    published = {recipe for recipe, _, _ in (*PUBLISHED, *FURTHER)}
    others: list[tuple[str, None, Mapping[str, Any]]] = [
        (name, None, {}) for name in registry.load_registry().names("recipe") if name not in published
    ]
    for recipe, share, changes in (*PUBLISHED, *others, *FURTHER):
        steps = None if share is None else max(2, round(gen_length * share))
        strategy = _adapt(recipe, steps, changes, gen_length)
        if strategy is not None:
            yield strategy


def _adapt(recipe: str, steps: int | None, changes: Mapping[str, Any], gen_length: int) -> Strategy | None:
    """Return the recipe at this length and budget, or None where it is not installed or cannot be."""
    try:
        strategy = Strategy.load(recipe)
        if steps is None and strategy.steps is not None:
            steps = max(1, round(strategy.steps * gen_length / strategy.gen_length))
        strategy = strategy.override({"gen_length": gen_length, "steps": steps, **changes})
        length = getattr(strategy.block, "length", None)
        if isinstance(length, int) and length >= gen_length:
            shorter = {"block.length": 2 ** max(0, (gen_length - 1).bit_length() - 1)}
            strategy = strategy.override({"block": "whole"} if _shared_out(strategy) else shorter)
        return strategy.model_copy(update={"name": _label(recipe, strategy, changes)}).check()
    except DecodeError:
        return None


def _shared_out(strategy: Strategy) -> bool:
    """Say whether a budget of steps can be shared out to the blocks: not where they show only while decoding."""
    return asked(strategy.block, lambda: strategy.block.plan(None, strategy.gen_length)) is not None


def _label(recipe: str, strategy: Strategy, changes: Mapping[str, Any]) -> str:
    """Return e.g. `said 64/32`: the recipe, length and steps, then what differs from it."""
    adaptive = bool(strategy.scheduler.adaptive)
    budget = "" if adaptive else f" {strategy.gen_length}/{strategy.steps or strategy.gen_length}"
    length = getattr(strategy.block, "length", None)
    block = f" block {length}" if isinstance(length, int) else ""
    changed = {path: value for path, value in changes.items() if path not in ("block", "confidence")}
    set_ = "".join(f" {path.rpartition('.')[2]} {value}" for path, value in changed.items())
    return f"{recipe}{budget}{block}{set_}"
