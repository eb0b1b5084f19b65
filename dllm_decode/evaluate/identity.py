"""Everything that decides an outcome, and the store that is named by it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dllm_decode.evaluate.outcomes import OutcomeStore, cache_folder
from dllm_decode.evaluate.record import installed_version
from dllm_decode.plugins.registry import load_registry

if TYPE_CHECKING:
    from dllm_decode.evaluate.choose import Chosen
    from dllm_decode.evaluate.executors import ModelFacts
    from dllm_decode.strategy.strategy import Strategy
    from dllm_decode.tasks.base import Task


def open_store(
    cache: bool | Path,
    model: ModelFacts,
    task: Task,
    chosen: Chosen,
    strategy: Strategy,
    seed: int,
    template: str = "",
) -> OutcomeStore | None:
    """Return the store of these outcomes; None where none are kept.

    Raises:
        DataError: The folder cannot be made or read.
    """
    if cache is False or not model.lasting:
        # A model made in this process has no name that another process could know it by.
        return None
    folder = cache_folder() / "outcomes" if cache is True else cache
    return OutcomeStore(folder, outcome_key(model, task, chosen, strategy, seed, template))


def outcome_key(
    model: ModelFacts, task: Task, chosen: Chosen, strategy: Strategy, seed: int, template: str = ""
) -> dict[str, Any]:
    """Return all that decides an outcome besides the example; plain data.

    What is at its plainest, no template and no settings of the task, is left out.
    """
    settings = dict(task.settings())
    extra: dict[str, Any] = {}
    if settings:
        extra["settings"] = settings
    if template:
        extra["chat"] = template
    return extra | {
        "strategy": strategy.digest(),
        "parts": part_origins(strategy),
        "model": model.fingerprint,
        "task": task.name,
        "judge": task_origin(task),
        "examples": chosen.origin,
        "seed": seed,
        "dtype": model.dtype,
        "device": model.device.split(":")[0],
        "dllm-decode": installed_version("dllm-decode"),
    }


def part_origins(strategy: Strategy) -> list[str]:
    """Return the plugin, distribution and version of every part, nested ones included, sorted."""
    registry = load_registry()
    return sorted({registry.origin(part.kind, part.name) for _, part in strategy.parts()})


def task_origin(task: Task) -> str:
    """Return the plugin, distribution and version of a task; that of a class passed directly is not known."""
    registry = load_registry()
    if registry.tables.get("task", {}).get(task.name) is not type(task):
        return "a class passed directly"
    return registry.origin("task", task.name)
