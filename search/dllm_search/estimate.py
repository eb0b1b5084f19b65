"""What a search would cost at most: every trial as dear as the baseline, one forward a token, on all tuning examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dllm_decode.commands.costs import costs
from dllm_decode.evaluate.estimate import Estimate
from dllm_decode.evaluate.evaluate import shortened
from dllm_decode.evaluate.executors import InProcess
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks.base import Task
from dllm_search.preparing import load


def estimates(
    model: str, tasks: Sequence[Task], device: str | None, dtype: str | None, options: Mapping[str, Any]
) -> list[Estimate]:
    """Return the cost of the trials of each task's search, with a step that was measured for it."""
    executor = InProcess(load(model, device, dtype))
    found = []
    for task in tasks:
        length = shortened(task, executor.model.max_length)[0].gen_length
        baseline = Strategy.load("llada", gen_length=length)
        (one,) = costs(
            executor, task, [baseline], "tune", None, options["examples"], options["batch_size"], length,
            options["run_programs"],
        )  # fmt: skip
        trials = options["trials"]
        found.append(replace(one, name=f"{task.name}, {trials} trials", examples=trials * one.examples))
    return found
