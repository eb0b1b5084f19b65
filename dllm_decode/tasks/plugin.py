"""Registers the six tasks through the same hook as a third party's."""

from __future__ import annotations

from dllm_decode.plugins.hookspecs import hookimpl
from dllm_decode.tasks import TASKS
from dllm_decode.tasks.base import Task


@hookimpl
def dllm_task() -> list[type[Task]]:
    """Returns the tasks that come with the package."""
    return list(TASKS)
