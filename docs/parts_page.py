"""The page of parts: everything that comes registered, with fields, bounds and ranges, and every recipe with its cost.

Knows the registry; a third party's parts are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from dllm_decode.parts.base import PartConfig
from dllm_decode.parts.kinds import KINDS, SEVERAL
from dllm_decode.plugins.registry import Registry
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks.base import Task
from dllm_decode.tasks.dataset import DatasetTask
from dllm_decode.tasks.generated.base import GeneratedTask
from docs.describe import docstring, fields, first_paragraph, nested_models

LENGTH = 64
"""Tokens for which the cost of recipes is told."""

INTRODUCTION = """\
# Every part

Made from the code by `make docs`: all that comes with the package. `dllm-decode plugins` lists what is installed where
you are, third parties' parts included, and `dllm-decode schema` prints the same as JSON Schema. What each kind is asked
is on [every hook](hooks.md).

**Searched** is the range that `dllm-decode search` varies; a field without one keeps its value. Bounds are checked when
a strategy is read."""

RECIPES = f"""\
## Recipes

**Cost** is the most forward passes of an answer of {LENGTH} tokens (`Strategy.max_forwards`), a recipe's own steps
scaled to that length; strategies with an adaptive scheduler usually take far fewer. `dllm-decode show NAME` prints a
recipe with every default; the digest names its parts and budget as they stand."""


def parts_page(registry: Registry) -> str:
    """Return the page as Markdown."""
    kinds = [*KINDS, "task", "denoiser"]
    contents = "\n".join(
        f"- [{kind}](#{kind}): {', '.join(f'`{name}`' for name in registry.names(kind))}" for kind in kinds
    )
    recipes = ", ".join(f"`{name}`" for name in registry.names("recipe"))
    return "\n\n".join(
        [
            INTRODUCTION,
            f"- [strategy](#strategy): what holds the parts\n{contents}\n- [recipes](#recipes): {recipes}",
            f"## strategy\n\n{docstring(Strategy)}\n\n{_table(Strategy)}",
            *(_kind(registry, kind) for kind in KINDS),
            _tasks(registry),
            _families(registry),
            RECIPES,
            _recipes(registry),
        ]
    )


def _kind(registry: Registry, kind: str) -> str:
    sections = [_part(registry, kind, name) for name in registry.names(kind)]
    how = (
        "none, one or several"
        if kind in SEVERAL
        else "none or one"
        if kind in ("cache", "forward")
        else "one"
    )
    return "\n\n".join(
        [f"## {kind}", f"{Strategy.model_fields[kind].description} A strategy has {how}.", *sections]
    )


def _part(registry: Registry, kind: str, name: str) -> str:
    cls: type[PartConfig] = registry.part(kind, name)
    plugin = registry.origins[kind, name].plugin
    facts = [f"`{cls.__module__}.{cls.__name__}`, plugin `{plugin}`", *_facts(cls)]
    written = [f"### {kind}: {name}", docstring(cls), f"{'; '.join(facts)}.", _table(cls)]
    for model in nested_models(cls):
        written += [f"**{model.__name__}** ({_name(model)}): {docstring(model)}", _table(model)]
    return "\n\n".join(part for part in written if part)


def _name(model: type[BaseModel]) -> str:
    name = model.model_fields.get("name")
    return f"`{name.default}`" if name is not None else "a mapping"


def _facts(cls: type[PartConfig]) -> Iterable[str]:
    """Yield what a part with its defaults declares of itself beyond its fields."""
    words = {
        "adaptive": "runs until nothing is open" if cls.kind == "scheduler" else "",
        "exact": "takes exactly min(steps, positions) steps",
        "reads_probabilities": "wants scores between 0 and 1",
        "reopens": "returns positions to the mask",
        "unconditional": "runs the model twice a forward",
    }
    for attribute, meaning in words.items():
        if meaning and getattr(cls, attribute, False) is True:
            yield meaning
    if needs := getattr(cls(), "needs", None):
        yield f"needs {', '.join(f'`{need}`' for need in sorted(needs))}"
    if isinstance(plan := getattr(cls, "plan", None), str):
        yield f"needs forward plan `{plan}`"


def _table(cls: type[BaseModel]) -> str:
    rows = [
        f"| `{each.name}` | {each.type} | {each.default} | {each.bounds} | {each.searched} | {each.text} |"
        for each in fields(cls)
    ]
    if not rows:
        return ""
    return "\n".join(
        ["| field | type | default | bounds | searched | meaning |", "|---|---|---|---|---|---|", *rows]
    )


def _tasks(registry: Registry) -> str:
    rows = []
    for name in registry.names("task"):
        task = registry.find("task", name)
        rows.append(f"| `{name}` | {task.gen_length} | {_examples(task)} | {task.description} |")
    head = ["| task | answer, tokens | examples | what is asked |", "|---|---|---|---|"]
    return "\n".join(["## task\n", *head, *rows])


def _examples(task: type[Task]) -> str:
    """Say where a task's examples come from."""
    if issubclass(task, GeneratedTask):
        return f"{task.split_size} a split"
    source = task.source if issubclass(task, DatasetTask) else None
    if source is None:
        return "its own"
    return f"{source.hub}: {f'halves of {source.halves}' if source.halves else f'{source.tune}, {source.test}'}"


def _families(registry: Registry) -> str:
    rows = [
        f"| `{name}` | {first_paragraph(registry.find('denoiser', name))} |"
        for name in registry.names("denoiser")
    ]
    return "\n".join(["## denoiser\n", "| model family | what it reads |", "|---|---|", *rows])


def _recipes(registry: Registry) -> str:
    rows = []
    for name in registry.names("recipe"):
        strategy = Strategy.load(name)
        rows.append(f"| `{name}` | {strategy.description} | {_cost(strategy)} | `{strategy.digest()}` |")
    return "\n".join(["| recipe | what it is | cost | digest |", "|---|---|---|---|", *rows])


def _cost(strategy: Strategy) -> int:
    changes: dict[str, Any] = {"gen_length": LENGTH}
    if strategy.steps is not None:
        changes["steps"] = max(1, strategy.steps * LENGTH // strategy.gen_length)
    return strategy.override(changes).check().max_forwards()
