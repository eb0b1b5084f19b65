"""`tune`: one call from a task and a model to the fastest schedule that keeps its quality.

Loads the model and opens the study; leaves the search itself to `search`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import optuna

from dllm_decode.errors import ConfigError, DataError
from dllm_decode.evaluate.evaluate import not_kept, shortened
from dllm_decode.evaluate.outcomes import cache_folder
from dllm_decode.evaluate.record import device_name, installed_version, versions
from dllm_decode.programs import permitted, require_for
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks.base import SPLITS
from dllm_search.function_task import function_task
from dllm_search.judge.candidate import Candidate
from dllm_search.judge.costs import ROUNDS, Stopwatch
from dllm_search.judge.objective import TaskObjective
from dllm_search.judge.work import work_on
from dllm_search.report.progress import Say
from dllm_search.report.prospects import prospects
from dllm_search.report.report import Report
from dllm_search.report.write import write_report
from dllm_search.search import Search
from dllm_search.settings import SIZES, Options, Settings, SharedOptions
from dllm_search.space.abilities import abilities
from dllm_search.space.baselines import baselines
from dllm_search.space.presets import chosen_folder, remember, starting_points
from dllm_search.space.space import Space
from dllm_search.trials.alone import held_alone
from dllm_search.trials.study import open_study

if TYPE_CHECKING:
    from rich.table import Table

    from dllm_decode.evaluate.evaluate import Evaluation
    from dllm_decode.model import DiffusionLM
    from dllm_decode.tasks.base import Task


@dataclass(frozen=True, slots=True, repr=False)
class TuneResult:
    """What a search came to."""

    report: Report
    study: optuna.Study
    folder: Path | None
    """Where strategy.yaml, report.html, table.md, report.json and the pictures lie; None if nothing was written."""
    preset: Path | None = None
    """The file that `--strategy tuned` will read; None if none was kept."""

    @property
    def strategy(self) -> Strategy:
        """The chosen strategy."""
        return self.report.chosen.strategy

    @property
    def table(self) -> Table:
        """The strategies on the test split; prints itself in a terminal and in a notebook."""
        return self.report.table()

    @property
    def front(self) -> tuple[Candidate, ...]:
        """What no other tried strategy beats in both accuracy and forward passes, cheapest first."""
        return self.report.front

    def __repr__(self) -> str:
        """Say what was chosen, and what is to be read where."""
        where = f", written to {self.folder}" if self.folder is not None else ""
        return f"<TuneResult: {self.strategy!r}, best of {len(self.study.trials)} trials{where}; .table, .front, .report>"

    def _repr_markdown_(self) -> str:
        return self.report.markdown()


def tune(
    model: str | Path | DiffusionLM = "tiny",
    task: str | Task | Callable[[str, str], bool] = "square",
    *,
    prompts: Sequence[str] = (),
    gen_length: int = 64,
    device: str | None = None,
    dtype: str | None = None,
    cache: bool | Path = True,
    presets: bool | str | Path = False,
    say: Say | None = None,
    **options: Unpack[Options],
) -> TuneResult:
    """Search the schedule with the fewest forward passes that keeps a task's accuracy.

    Args:
        model: "tiny", a checkpoint, or a loaded model.
        task: A task, its name, or a function from prompt and answer to whether the answer is good.
        prompts: Where the task is a function: what is to be answered, half to tune on and half to test on.
        gen_length: Where the task is a function: columns an answer gets, in tokens.
        device: Where the model is loaded; None is CUDA where there is one, else the CPU.
        dtype: Of the weights; None is the checkpoint's, for `tiny` bfloat16 where the CPU is fast at it.
        cache: Keep outcomes in the cache folder, in the given folder, or not at all.
        presets: Keep what is chosen for `--strategy tuned`, and start from what was kept for similar tasks: True in the
            user's folder, a folder, False not at all.
        say: Told what happens, line by line; None keeps quiet.
        **options: Fields of `Settings`, where each is described: `trials`, `strategy` (what to search), `fix` (path ->
            value), `objective`, `examples`, `storage`, `out` (a folder; None writes nothing), `seed`, and others.

    Raises:
        DecodeError: Anything in the above is not as it should be.
        KeyboardInterrupt: The same call continues where it stopped if the study has a storage or an `out`.
    """
    settings = Settings(**options)
    chosen_task = as_task(task, prompts, gen_length)
    with permitted(settings.run_programs):
        require_for(chosen_task)
    timed = settings.timed is not None
    space = Space.load(settings.strategy, chosen_task.gen_length, timed=timed).limited(settings.fix).check()
    lm = load(model, device, dtype)
    chosen_task, shorter = shortened(chosen_task, lm.denoiser.max_length)
    if shorter:
        space = Space.load(settings.strategy, chosen_task.gen_length, timed=timed).limited(settings.fix)
        if say is not None:
            say(shorter[0])
    space = space.fitting(abilities(lm.denoiser)).check()
    name = settings.study or f"{chosen_task.name}-{Path(lm.name).name}"
    with (
        permitted(settings.run_programs),
        held_alone(settings.place(), name),
        workers(lm, settings, device) as evaluate,
    ):
        search, objective = build_search(lm, chosen_task, settings, cache, say, evaluate)
        folder = chosen_folder(presets)
        if folder is not None:
            search.nearest = starting_points(lm, chosen_task, folder)
        study = open_study(
            settings.place(),
            name,
            setup(lm, chosen_task, settings, space),
            search.say,
            defaults={"generation": settings.width()},
        )
        study.set_user_attr("sizes", settings.model_dump(include=set(SIZES)))
        for line in (*prospects(settings, objective.available), *not_kept(lm, cache)):
            search.say(line)
        started = time.perf_counter()
        search.run(study, space)
        record = _record(lm, settings, name, space, search, objective)
        report = search.conclude(study, record)
        for quantity, spent in (
            ("seconds", round(time.perf_counter() - started, 1)),
            ("forward_passes", objective.spent.decoded),
        ):
            # Earlier runs of the same study are part of its cost.
            total = round(study.user_attrs.get(f"{quantity}_spent", 0) + spent, 1)
            study.set_user_attr(f"{quantity}_spent", total)
            report.record[f"{quantity}_spent"] = total
    result = _written(report, study, settings, say)
    return result if folder is None else replace(result, preset=remember(report, lm, chosen_task, folder))


def tune_all(
    model: str | Path | DiffusionLM,
    tasks: Sequence[str | Task],
    *,
    device: str | None = None,
    dtype: str | None = None,
    presets: bool | str | Path = True,
    out: str | Path | None = None,
    say: Say | None = None,
    **options: Unpack[SharedOptions],
) -> dict[str, TuneResult]:
    """Tune several tasks one after another, each starting from what the earlier ones chose; return results by name.

    Args:
        model: As in `tune`; loaded once.
        tasks: Tasks or their names.
        device: As in `tune`.
        dtype: As in `tune`.
        presets: As in `tune`; the set of presets is what this is for.
        out: A folder, in which every task gets one of its own; None writes nothing but presets.
        say: As in `tune`.
        **options: As in `tune`, the same for every task.

    Raises:
        DecodeError: Anything in the above is not as it should be; names are checked before anything is decoded.
    """
    resolved = [as_task(task) for task in tasks]
    names = [task.name for task in resolved]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"task: given more than once: {', '.join(twice)}")
    with permitted(options.get("run_programs", False)):
        for each in resolved:
            require_for(each)
    lm = load(model, device, dtype)
    found = {}
    for task in resolved:
        folder = None if out is None else Path(out) / task.name
        found[task.name] = tune(lm, task, presets=presets, out=folder, say=say, **options)
    return found


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


def report_on(
    lm: DiffusionLM, task: Task, study: optuna.Study, settings: Settings, *, say: Say | None = None
) -> TuneResult:
    """Make the report of a study anew, without trying anything; outcomes kept from the search are used again."""
    task, _ = shortened(task, lm.denoiser.max_length)
    search, objective = build_search(lm, task, settings, True, say)
    record = _record(lm, settings, study.study_name, None, search, objective)
    with permitted(settings.run_programs):
        return _written(search.conclude(study, record), study, settings, say)


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


def _record(
    lm: DiffusionLM,
    settings: Settings,
    study: str,
    space: Space | None,
    search: Search,
    objective: TaskObjective,
) -> dict[str, Any]:
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


def _written(report: Report, study: optuna.Study, settings: Settings, say: Say | None) -> TuneResult:
    study.set_user_attr("chosen", report.strategy_yaml())
    if settings.out is None:
        return TuneResult(report, study, None)
    folder = Path(settings.out)
    try:
        said = write_report(report, folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror}") from None
    if said and say is not None:
        say(said)
    return TuneResult(report, study, folder)
