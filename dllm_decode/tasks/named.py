"""From what a user calls a task to the task: a registered name, or `lm-eval:NAME`."""

from __future__ import annotations

from pathlib import Path

from dllm_decode.errors import ConfigError
from dllm_decode.plugins.registry import load_registry
from dllm_decode.tasks.base import Task

LM_EVAL = "lm-eval"


def find_task(name: str, include_path: Path | None = None) -> Task:
    """Return the task of a name.

    Args:
        name: Of a registered task; or "lm-eval:NAME", perhaps with options: "lm-eval:gsm8k,num_fewshot=0".
        include_path: A folder of one's own tasks of lm-evaluation-harness.

    Raises:
        ConfigError: There is no such task, or it is none that can be evaluated.
    """
    family, colon, rest = name.partition(":")
    if family == LM_EVAL and colon:
        from dllm_decode.tasks.harness.task import LmEvalTask

        return LmEvalTask.parse(rest, include_path)
    if include_path is not None:
        raise ConfigError(f"--include-path: names tasks of lm-evaluation-harness; task {name!r} is none of them")
    if family == LM_EVAL:
        raise ConfigError("task 'lm-eval': say which of lm-evaluation-harness's tasks, e.g. lm-eval:gsm8k")
    task: Task = load_registry().task(name)
    return task
