"""`tune`: one call from a task and a model to the fastest schedule that keeps its quality.

Loads the model and opens the study; leaves the search itself to `search`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import optuna

from dllm_decode.errors import ConfigError, DataError
from dllm_decode.evaluate.evaluate import not_kept, shortened
from dllm_decode.programs import permitted, require_for
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.candidate import Candidate
from dllm_search.preparing import as_task, build_search, load, record, setup, workers
from dllm_search.report.progress import Say
from dllm_search.report.prospects import prospects
from dllm_search.report.report import Report
from dllm_search.report.write import write_report
from dllm_search.settings import SIZES, Options, Settings, SharedOptions
from dllm_search.space.abilities import abilities
from dllm_search.space.presets import chosen_folder, remember, starting_points
from dllm_search.space.space import Space
from dllm_search.trials.alone import held_alone
from dllm_search.trials.study import open_study

if TYPE_CHECKING:
    from rich.table import Table

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
        noted = record(lm, settings, name, space, search, objective)
        report = search.conclude(study, noted)
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


def report_on(
    lm: DiffusionLM, task: Task, study: optuna.Study, settings: Settings, *, say: Say | None = None
) -> TuneResult:
    """Make the report of a study anew, without trying anything; outcomes kept from the search are used again."""
    task, _ = shortened(task, lm.denoiser.max_length)
    search, objective = build_search(lm, task, settings, True, say)
    noted = record(lm, settings, study.study_name, None, search, objective)
    with permitted(settings.run_programs):
        return _written(search.conclude(study, noted), study, settings, say)


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
