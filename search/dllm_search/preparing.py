"""What a search is made of before it begins: task, model, workers, stopwatch, and what is recorded of them.

Knows settings and how each is made; leaves when that happens to `tuning`, and the search itself to `search`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from dllm_decode.errors import ConfigError
from dllm_decode.evaluate.outcomes import cache_folder
from dllm_decode.evaluate.record import device_name, installed_version, versions
from dllm_decode.tasks.base import SPLITS
from dllm_search.function_task import function_task
from dllm_search.judge.costs import ROUNDS, Stopwatch
from dllm_search.judge.objective import TaskObjective
from dllm_search.judge.work import work_on
from dllm_search.report.progress import Say
from dllm_search.search import Search
from dllm_search.settings import Settings
from dllm_search.space.baselines import baselines
from dllm_search.space.space import Space

if TYPE_CHECKING:

    from dllm_decode.evaluate.evaluate import Evaluation
    from dllm_decode.model import DiffusionLM
    from dllm_decode.tasks.base import Task


def as_task(
    task: str | Task | Callable[[str, str], bool], prompts: Sequence[str] = (), gen_length: int = 64
) -> Task:
    """Return the task that a name, a task or a judging function stands for."""
    from dllm_decode.tasks.base import Task

    if isinstance(task, str):
        from dllm_decode.tasks.named import find_task

        return find_task(task)
    if isinstance(task, Task):
        return task
    if not callable(task):
        raise ConfigError(f"task: should be a task, its name, or a function (prompt, answer) -> bool, got {task!r}")
    return function_task(task, prompts, gen_length)


def load(model: str | Path | DiffusionLM, device: str | None, dtype: str | None) -> DiffusionLM:
    """Return a loaded model; a loaded one is taken as it is."""
    from dllm_decode.evaluate.evaluate import fast_dtype
    from dllm_decode.model import DiffusionLM

    if isinstance(model, DiffusionLM):
        return model
    if dtype is None and model == "tiny":
        dtype = fast_dtype(device)
    return DiffusionLM.from_pretrained(model, device=device, dtype=dtype)


def setup(lm: DiffusionLM, task: Task, settings: Settings, space: Space) -> dict[str, Any]:
    """Return what must stay the same while a study grows."""
    return {
        "task": task.name,
        **_task_facts(task),
        "gen_length": task.gen_length,
        "model": lm.fingerprint,
        **settings.fixed(),
        "space": space.fingerprint(),
        "everything": space.whole,
    }


def _task_facts(task: Task) -> dict[str, Any]:
    """Return what else decides a task's examples and scores: the rows of a data set, the shape of prompts."""
    origin, chosen = task.origin("tune"), dict(task.settings())
    return {**({"tuned_on": origin} if origin != "tune" else {}), **({"task_settings": chosen} if chosen else {})}


@contextmanager
def workers(
    lm: DiffusionLM, settings: Settings, device: str | None
) -> Iterator[Callable[..., Evaluation] | None]:
    """Hold the workers that decode for a search; None where this process does.

    Raises:
        ConfigError: Workers are asked for, and the model lies on no disk that they could load it from.
    """
    if settings.workers == 1 and settings.ray_address is None:
        yield None
        return
    if lm.folder is None:
        raise ConfigError(
            f"workers: {lm.name} was made in this process, and workers load a model from a folder or the hub; "
            "leave workers out, or save the model"
        )
    from dllm_decode.evaluate.evaluate import evaluate
    from dllm_decode.evaluate.ray_executor import RayExecutor

    dtype = str(lm.dtype).removeprefix("torch.")
    # A hub's name is found on every machine; a folder has to be there.
    with RayExecutor(lm.name, settings.workers, address=settings.ray_address, dtype=dtype, device=device) as executor:
        yield partial(evaluate, executor=executor)


def build_search(
    lm: DiffusionLM,
    task: Task,
    settings: Settings,
    cache: bool | Path,
    say: Say | None,
    evaluate: Callable[..., Evaluation] | None = None,
) -> tuple[Search, TaskObjective]:
    """Return a search of a task with a model, and its objective; `evaluate` decodes, None is the core's own, here."""
    objective = TaskObjective(
        lm,
        task,
        batch_size=settings.batch_size,
        seed=settings.seed,
        cache=cache,
        chat=settings.chat,  # type: ignore[arg-type]
        skip_long=settings.skip_long,
        evaluate=evaluate,
    )
    watch = _stopwatch(lm, task, settings, cache)
    # A device that measures time must not be shared.
    at_once = settings.workers if evaluate is not None and watch is None else 1
    work = work_on(lm, task, settings.chat)  # type: ignore[arg-type]
    search = Search(
        task.name, task.gen_length, objective, settings, say or (lambda line: None), watch, work, at_once=at_once
    )
    return search, objective


def _stopwatch(lm: DiffusionLM, task: Task, settings: Settings, cache: bool | Path) -> Stopwatch | None:
    """Return what measures time, beside LLaDA's rule at one step a token; None where forward passes are the cost."""
    if settings.timed is None:
        return None
    if task.infill:
        raise ConfigError(f"cost: answers are timed, and task {task.name!r} fills in texts; it takes cost forwards")
    size = settings.timed_together()
    prompts = [example.prompt for example in task.examples("tune", ROUNDS * size)]
    if settings.skip_long:
        long = lm.over_long(prompts, task.gen_length, chat=settings.chat)  # type: ignore[arg-type]
        prompts = [prompt for place, prompt in enumerate(prompts) if place not in long]
    (baseline,) = baselines(task.gen_length, limit=1)
    folder = None
    if cache is not False and lm.lasting:
        folder = (cache_folder() if cache is True else Path(cache)) / "timings"
    return Stopwatch(lm, prompts, baseline, size, folder, seed=settings.seed, chat=settings.chat)  # type: ignore[arg-type]


def record(
    lm: DiffusionLM,
    settings: Settings,
    study: str,
    space: Space | None,
    search: Search,
    objective: TaskObjective,
) -> dict[str, Any]:
    """Return what a report says of how it was made; `space` is None where nothing is tried."""
    asked = settings.model_dump(exclude={"out", "storage", "strategy"})
    asked["strategy"] = None if settings.strategy is None else str(settings.strategy)
    dtype = str(lm.dtype).removeprefix("torch.")
    tuned, tested = (objective.task.origin(split) for split in SPLITS)
    return {
        "study": study,
        "model": lm.name,
        "model_fingerprint": lm.fingerprint,
        "settings": asked,
        "gen_length": search.gen_length,
        "space": None if space is None else sorted(space.ranges()),
        "dtype": dtype,
        "device": str(lm.device),
        "device_name": device_name(lm.device),
        "versions": {**versions(), "optuna": optuna.__version__},
        "provenance": {
            "task": search.task,
            "model": f"{lm.name} ({lm.fingerprint}), {dtype} on {lm.device}",
            **({"examples": f"{tuned}; {tested}"} if (tuned, tested) != SPLITS else {}),
            **objective.task.settings(),
            "study": f"{study}, {settings.trials} trials, seed {settings.seed}, {settings.examples} tuning examples",
            "made by": f"dllm-decode {installed_version('dllm-decode')}, optuna {optuna.__version__}",
        },
    }
