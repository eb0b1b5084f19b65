"""Registers the six drawn tasks and the benchmarks through the same hook as a third party's."""

from __future__ import annotations

from dllm_decode.plugins.hookspecs import hookimpl
from dllm_decode.tasks import TASKS
from dllm_decode.tasks.base import Task
from dllm_decode.tasks.benchmarks.listed import BENCHMARKS


@hookimpl
def dllm_task() -> list[type[Task]]:
    """Returns the tasks that come with the package."""
    return [*TASKS, *BENCHMARKS]
