"""What `--estimate` says: for every strategy forwards, seconds of a step, and the hours they make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dllm_decode.commands.output import print_json, results
from dllm_decode.programs import permitted

if TYPE_CHECKING:
    from dllm_decode.evaluate.estimate import Estimate
    from dllm_decode.evaluate.executors import Executor
    from dllm_decode.strategy.strategy import Strategy
    from dllm_decode.tasks.base import Task


def costs(
    executor: Executor,
    task: Task,
    strategies: Sequence[Strategy],
    split: str | None,
    data: Path | None,
    limit: int | None,
    batch_size: int,
    gen_length: int | None,
    run_programs: bool,
) -> list[Estimate]:
    """Return what evaluating strategies on a task would cost at most, each with a step that was measured for it."""
    from dllm_decode.evaluate.choose import choose_examples
    from dllm_decode.evaluate.estimate import estimate
    from dllm_decode.evaluate.evaluate import fit, shortened
    from dllm_decode.evaluate.executors import Job

    task, _ = (task, ()) if gen_length else shortened(task, executor.model.max_length)
    chosen = choose_examples(task, split, data, limit, None)
    found = []
    for strategy in strategies:
        resolved, _ = fit(strategy, gen_length or task.gen_length)
        job = Job(
            resolved, task, chosen.examples, chosen.places, 0, batch_size, skip_long=True, run_programs=run_programs
        )
        with permitted(run_programs):
            found.append(estimate(executor, job, name=f"{task.name}, {strategy.name}"))
    return found


def tell(found: Sequence[Estimate], as_json: bool) -> None:
    """Print estimates and their sum."""
    hours = sum(one.hours for one in found)
    if as_json:
        lines: list[dict[str, Any]] = [
            {
                "name": one.name,
                "examples": one.examples,
                "batch_size": one.batch_size,
                "forwards": one.forwards,
                "step_seconds": one.step_seconds,
                "hours": one.hours,
            }
            for one in found
        ]
        print_json({"estimates": lines, "hours": hours})
        return
    for one in found:
        results().print(str(one), markup=False, soft_wrap=True)
    if len(found) > 1:
        results().print(f"all: {hours:.3g} hours of the device at most", markup=False)
