"""Finds a task of lm-evaluation-harness by name, in a folder of one's own or among its own, and looks at what it is."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dllm_decode.errors import ConfigError, DataError
from dllm_decode.tasks.harness.needs import require_lm_eval, unknown_task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dllm_decode.tasks.harness.options import TaskOptions

SEED = 1234
"""lm-evaluation-harness's own seed of worked examples."""
USUAL_LENGTH = 256
"""What it gives an answer whose task names no length."""


def installed() -> str:
    """Return the version of lm-evaluation-harness."""
    return version("lm_eval")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the harness from telling on stderr what it does."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@lru_cache(maxsize=8)
def _manager(include_path: str | None, defaults: bool) -> Any:
    from lm_eval.tasks import TaskManager

    with quiet():
        return TaskManager(include_path=include_path, include_defaults=defaults)


def config_of(name: str, include_path: Path | None) -> dict[str, Any]:
    """Return what a task's file says, without loading its data.

    Raises:
        ConfigError: There is no such task, it is a group, or it is none that generates.
    """
    require_lm_eval()
    manager = _found(name, include_path)
    entry = manager.task_index[name]
    if entry.kind.name in ("GROUP", "TAG"):
        inside = [one for one in manager.all_subtasks if one.startswith(name)][:5]
        hint = f"; give one task, e.g. {', '.join(inside)}" if inside else "; give one task"
        raise ConfigError(f"lm-eval: {name!r} is a {entry.kind.name.lower()} of tasks{hint}")
    config = dict(entry.cfg or {})
    kind = config.get("output_type", "generate_until")
    if kind != "generate_until":
        raise ConfigError(
            f"lm-eval: task {name!r} asks for {kind}, not for an answer to be decoded; "
            f"dllm-decode lm-eval --tasks {name} evaluates it"
        )
    if config.get("unsafe_code"):
        raise ConfigError(
            f"lm-eval: task {name!r} runs what the model wrote inside this process; take the same benchmark of this "
            "package, e.g. --task humaneval --shape lm-eval --run-programs, which runs programs apart"
        )
    return config


def load(name: str, include_path: Path | None, options: TaskOptions) -> Any:
    """Return the task with its data, and the number of worked examples asked for.

    Raises:
        DataError: Its data cannot be had.
    """
    from lm_eval.api.task import ConfigurableTask

    with quiet():
        try:
            task = _found(name, include_path).load([name])["tasks"][name]
        except Exception as error:
            # What goes wrong is the hub's, the data set's or the task's own code; each has errors of its own.
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise DataError(f"lm-eval: task {name!r} cannot be loaded: {reason}") from None
        if not isinstance(task, ConfigurableTask):
            raise ConfigError(f"lm-eval: task {name!r} is a class of its own kind, which cannot be asked one by one")
        shots = options.num_fewshot
        own = task.get_config("num_fewshot")
        task.set_config(key="num_fewshot", value=(own or 0) if shots is None else shots)
    return task


def _found(name: str, include_path: Path | None) -> Any:
    """Return the manager that knows a task: of the user's folder alone where it is there, which is quick."""
    if include_path is not None and not include_path.is_dir():
        raise ConfigError(f"--include-path: there is no folder {include_path}")
    folder = None if include_path is None else str(include_path)
    local = _manager(folder, False) if folder else None
    if local is not None and name in local.task_index:
        return local
    manager = _manager(folder, True)
    if name not in manager.all_tasks:
        raise ConfigError(f"lm-eval: {unknown_task(name, local.all_tasks if local else [], manager.all_tasks)}")
    return manager
