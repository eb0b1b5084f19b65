"""`tune`: one call from a task and a model to the fastest schedule that keeps its quality.

Loads the model and opens the study; leaves the search itself to `search`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from dllm_decode.config import Strategy
from dllm_decode.errors import ConfigError, DataError
from dllm_decode.record import device_name, installed_version, versions
from dllm_decode.registry import load_registry
from dllm_search.objective import TaskObjective
from dllm_search.report import Report
from dllm_search.search import Say, Search
from dllm_search.select import Candidate
from dllm_search.settings import Settings
from dllm_search.space import Space
from dllm_search.study import open_study

if TYPE_CHECKING:
    from rich.table import Table

    from dllm_decode.lm import DiffusionLM
    from dllm_decode.tasks.base import Task


@dataclass(frozen=True, slots=True)
class TuneResult:
    """What a search came to."""

    report: Report
    study: optuna.Study
    folder: Path | None
    """Where table.md, report.json, strategy.yaml and front.png lie; None if nothing was written."""

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

    def _repr_markdown_(self) -> str:
        return self.report.markdown()


def tune(
    model: str | Path | DiffusionLM = "tiny",
    task: str | Task = "square",
    *,
    device: str | None = None,
    dtype: str | None = None,
    cache: bool | Path = True,
    say: Say | None = None,
    **options: Any,
) -> TuneResult:
    """Search the schedule with the fewest forward passes that keeps a task's accuracy.

    Args:
        model: "tiny", a checkpoint, or a loaded model.
        task: A task or its name.
        device: Where the model is loaded; None is CUDA where there is one, else the CPU.
        dtype: Of the weights; None is the checkpoint's, for `tiny` bfloat16 where the CPU is fast at it.
        cache: Keep outcomes in the cache folder, in the given folder, or not at all.
        say: Told what happens, line by line; None keeps quiet.
        **options: Fields of `Settings`: `trials` (different strategies in all), `strategy` (what to search: None for
            everything, or one composition, or a space), `fix` (path -> value), `examples` (of the tune split, a
            trial), `verify_examples`, `test_examples`, `out` (a folder, None writes nothing), `storage`, `study`,
            `seed`, `batch_size`, `timeout` (seconds), `sampler`.

    Raises:
        DecodeError: Anything in the above is not as it should be.
        KeyboardInterrupt: The same call continues where it stopped if the study has a storage or an `out`.
    """
    settings = _settings(options)
    chosen_task = load_registry().task(task) if isinstance(task, str) else task
    space = Space.load(settings.strategy, chosen_task.gen_length).limited(settings.fix)
    lm = load(model, device, dtype)
    name = settings.study or f"{chosen_task.name}-{Path(lm.name).name}"
    search, objective = _search(lm, chosen_task, settings, cache, say)
    study = open_study(settings.place(), name, setup(lm, chosen_task, settings, space))
    started = time.perf_counter()
    search.begin(study, space)
    search.run(study, space)
    record = _record(lm, settings, name, space, search, objective)
    report = search.conclude(study, record)
    for quantity, spent in (
        ("seconds", round(time.perf_counter() - started, 1)),
        ("forward_passes", objective.decoded),
    ):
        # Earlier runs of the same study are part of its cost.
        total = round(study.user_attrs.get(f"{quantity}_spent", 0) + spent, 1)
        study.set_user_attr(f"{quantity}_spent", total)
        report.record[f"{quantity}_spent"] = total
    return _written(report, study, settings)


def report_on(
    lm: DiffusionLM, task: Task, study: optuna.Study, settings: Settings, *, say: Say | None = None
) -> TuneResult:
    """Make the report of a study anew, without trying anything; outcomes kept from the search are used again."""
    search, objective = _search(lm, task, settings, True, say)
    record = _record(lm, settings, study.study_name, None, search, objective)
    return _written(search.conclude(study, record), study, settings)


def load(model: str | Path | DiffusionLM, device: str | None, dtype: str | None) -> DiffusionLM:
    """Return a loaded model; a loaded one is taken as it is."""
    from dllm_decode.evaluation import fast_dtype
    from dllm_decode.lm import DiffusionLM

    if isinstance(model, DiffusionLM):
        return model
    if dtype is None and model == "tiny":
        dtype = fast_dtype(device)
    return DiffusionLM.from_pretrained(model, device=device, dtype=dtype)


def setup(lm: DiffusionLM, task: Task, settings: Settings, space: Space) -> dict[str, Any]:
    """Return what must stay the same while a study grows."""
    return {
        "task": task.name,
        "gen_length": task.gen_length,
        "model": lm.fingerprint,
        "examples": settings.examples,
        "seed": settings.seed,
        "sampler": settings.sampler,
        "space": space.fingerprint(),
        "everything": space.whole,
    }


def _settings(options: Mapping[str, Any]) -> Settings:
    try:
        return Settings(**options)
    except TypeError as error:
        known = ", ".join(Settings.__dataclass_fields__)
        raise ConfigError(f"tune: {error}; options are {known}") from None


def _search(
    lm: DiffusionLM, task: Task, settings: Settings, cache: bool | Path, say: Say | None
) -> tuple[Search, TaskObjective]:
    objective = TaskObjective(lm, task, batch_size=settings.batch_size, seed=settings.seed, cache=cache)
    return Search(task.name, task.gen_length, objective, settings, say or (lambda line: None)), objective


def _record(
    lm: DiffusionLM,
    settings: Settings,
    study: str,
    space: Space | None,
    search: Search,
    objective: TaskObjective,
) -> dict[str, Any]:
    asked = {key: value for key, value in asdict(settings).items() if key not in ("out", "storage")}
    asked["strategy"] = None if settings.strategy is None else str(settings.strategy)
    dtype = str(lm.dtype).removeprefix("torch.")
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
            "study": f"{study}, {settings.trials} trials, seed {settings.seed}, {settings.examples} tuning examples",
            "made by": f"dllm-decode {installed_version('dllm-decode')}, optuna {optuna.__version__}",
        },
    }


def _written(report: Report, study: optuna.Study, settings: Settings) -> TuneResult:
    study.set_user_attr("chosen", report.strategy_yaml())
    if settings.out is None:
        return TuneResult(report, study, None)
    folder = Path(settings.out)
    try:
        report.write(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror}") from None
    return TuneResult(report, study, folder)
