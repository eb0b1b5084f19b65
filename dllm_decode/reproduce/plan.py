"""Which strategies a comparison holds for a task: published settings where there are some, recipes where there are none.

Knows settings, presets and recipes; runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from dllm_decode.errors import ConfigError, unknown_name
from dllm_decode.strategy.resolve import KnownModel, resolve
from dllm_decode.strategy.settings import UNSAID, Setting, published_settings, settings_for
from dllm_decode.strategy.strategy import TUNED, Strategy

PAPERS = {"said": ("said", "said-block")}
"""Comparison -> the methods it is about; the tasks that these have settings for are its tasks."""

FALLBACK = {"llada": None, "said": 2, "said-block": 4, "fast-dllm": None}
"""Tokens a step where no setting is published for a task: SAID's published GSM8K budgets; None keeps to no budget."""

LABELS = {"llada": "LLaDA's rule", "said": "SAID", "said-block": "SAID-block", "fast-dllm": "Fast-dLLM"}


@dataclass(frozen=True, slots=True)
class Line:
    """One strategy of a comparison; the first one is what the others are held against."""

    label: str
    strategy: Strategy
    setting: Setting | None = None
    """The published setting it is, if it is one."""
    note: str = ""


def paper_methods(paper: str) -> tuple[str, ...]:
    """Return the methods that a comparison is about.

    Raises:
        ConfigError: There is no such comparison.
    """
    if paper not in PAPERS:
        raise ConfigError(unknown_name("comparison", paper, PAPERS))
    return PAPERS[paper]


def paper_tasks(paper: str, known: list[str]) -> list[str]:
    """Return the tasks that a comparison's methods have settings for, in the order of `known`."""
    methods = paper_methods(paper)
    published = {one.task for one in published_settings().values() if one.method in methods}
    return [name for name in known if name in published]


def plan(
    paper: str, model: KnownModel, task: str, task_length: int, gen_length: int | None = None
) -> tuple[list[Line], list[str]]:
    """Return the strategies to compare on a task, the baseline first, and what is to be said of the choice.

    Args:
        paper: What is reproduced.
        model: Its own settings come before those of other models.
        task: The task's name.
        task_length: The task's own answer length, in tokens, for strategies that no setting gives one.
        gen_length: One length for all strategies, steps in proportion; None keeps the published lengths.
    """
    lines = [_published(method, model.name, task, task_length, gen_length) for method in ("llada", *paper_methods(paper))]
    lines.append(_published("fast-dllm", model.name, task, task_length, gen_length))
    try:
        found = resolve(TUNED, model, task=task, gen_length=gen_length or task_length)
    except ConfigError as error:
        return lines, [f"no tuned strategy: {error}"]
    strategy = _at_length(found.strategy, gen_length or task_length)
    lines.append(Line("tuned", strategy, note=found.note.removeprefix("tuned: ")))
    return lines, []


def _published(method: str, model: str, task: str, task_length: int, gen_length: int | None) -> Line:
    setting = _setting(method, model, task)
    if setting is None:
        strategy = _recipe(method, gen_length or task_length)
        return Line(LABELS[method], strategy, note=f"no setting is published for {task}: the recipe {method!r}")
    strategy = Strategy.load(setting.name)
    notes = [] if setting.model == model.rsplit("/", 1)[-1] else [f"published for {setting.model}"]
    if gen_length is not None and gen_length != strategy.gen_length:
        notes.append(f"at {gen_length} tokens instead of {strategy.gen_length}")
        strategy = _at_length(strategy, gen_length)
    return Line(LABELS[method], strategy, setting, "; ".join(notes))


def _setting(method: str, model: str, task: str) -> Setting | None:
    methods = ("llada", "llada-block") if method == "llada" else (method,)
    found = [one for each in methods for one in settings_for(task, each, model) if one.cache != UNSAID]
    own = [one for one in found if one.model == model.rsplit("/", 1)[-1]]
    return next(iter(own or found), None)


def _recipe(method: str, length: int) -> Strategy:
    share = FALLBACK[method]
    steps = None if share is None else max(2, length // share)
    strategy = Strategy.load(method, gen_length=length, steps=steps)
    size = getattr(strategy.block, "length", None)
    if isinstance(size, int) and size > length:
        strategy = strategy.override({"block.length": length})
    if method == "said-block":
        # A step for each of its stages in every block is the least it runs with.
        blocks = -(-length // min(size or length, length))
        strategy = strategy.override({"steps": max(steps or 0, 3 * blocks)})
    return strategy


def _at_length(strategy: Strategy, length: int) -> Strategy:
    """Return a strategy for another answer length: its steps in proportion, its blocks no longer than the answer."""
    changes: dict[str, object] = {"gen_length": length}
    if strategy.steps is not None:
        changes["steps"] = max(1, round(strategy.steps * length / strategy.gen_length))
    size = getattr(strategy.block, "length", None)
    if isinstance(size, int) and size > length:
        changes["block.length"] = length
    return strategy.override(changes)
