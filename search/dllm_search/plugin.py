"""Adds the `search` commands and `demo` to the command line; `run`, `report` and `export` are here.

Knows options and messages. Imports neither torch nor Optuna until a command runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dllm_decode.commands.costs import tell
from dllm_decode.commands.options import EstimateOnly, IncludePath, Json, Shape, Shots, find_task
from dllm_decode.plugins.hookspecs import hookimpl
from dllm_search.demo import demo
from dllm_search.options import with_settings
from dllm_search.settings import SIZES

if TYPE_CHECKING:
    import optuna

    from dllm_search.tuning import TuneResult

Data = Annotated[
    Path | None,
    typer.Option("--data", help="A file or folder in the data set's format; both splits are read from it."),
]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="float32, bfloat16, float16, float64.")]


@hookimpl
def dllm_command(app: typer.Typer) -> None:
    """Add the `search` commands and `demo`."""
    commands = typer.Typer(
        help="Search the schedule that keeps a task's accuracy in the fewest forward passes."
    )
    commands.command("run")(run)
    commands.command("report")(report)
    commands.command("export")(export)
    app.add_typer(commands, name="search", no_args_is_help=True)
    app.command("demo")(demo)


@with_settings()
def run(
    task: Annotated[
        list[str],
        typer.Option("--task", "-t", help="The task's name. Repeatable: tunes each, one after another."),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="tiny, a checkpoint folder, or a hub name.")
    ] = "tiny",
    presets: Annotated[
        bool,
        typer.Option(help="Keep what is chosen for `--strategy tuned`, and start from what similar tasks chose."),
    ] = True,
    data: Data = None,
    shape: Shape = None,
    shots: Shots = None,
    include_path: IncludePath = None,
    device: Device = None,
    dtype: Dtype = None,
    estimate: EstimateOnly = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Search on the tune split, report on the test split; the same command continues an interrupted search."""
    from dllm_decode.commands.output import messages, note
    from dllm_decode.programs import permitted, require_for
    from dllm_decode.strategy.strategy import parse_override

    tasks = [find_task(name, shape, shots, data, include_path) for name in task]
    with permitted(options["run_programs"]):
        for one in tasks:
            require_for(one)
    if estimate:
        from dllm_search.estimate import estimates

        tell(estimates(model, tasks, device, dtype, options), as_json)
        note("at most: trials that are stopped early or cheaper take less; verification and report come on top")
        return
    out = options.pop("out")
    options["fix"] = dict(parse_override(text) for text in options["fix"] or [])
    own: dict[str, Any] = {"device": device, "dtype": dtype, "presets": presets, "say": note}
    from dllm_search.tuning import tune, tune_all

    try:
        # A line a trial is said; between the lines a terminal shows that work goes on.
        with messages().status(f"searching · {', '.join(task)}"):
            if len(task) == 1:
                folder = results_folder(task[0]) if out is None else out
                results = {task[0]: tune(model, tasks[0], out=folder, **own, **options)}
            else:
                results = tune_all(model, tasks, out=out or results_folder(), **own, **options)
    except KeyboardInterrupt:
        note("interrupted; nothing is lost, the same command goes on from here")
        raise
    _show(results, as_json)


@with_settings(only=("storage", "study", "out", "run_programs", *SIZES), kept=SIZES)
def report(
    task: Annotated[str, typer.Option("--task", "-t", help="The task's name.")],
    model: Annotated[str, typer.Option("--model", "-m", help="The model that was searched with.")] = "tiny",
    data: Data = None,
    shape: Shape = None,
    shots: Shots = None,
    include_path: IncludePath = None,
    device: Device = None,
    dtype: Dtype = None,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Make the report of a search anew, e.g. on more test examples or before all trials are done."""
    from dllm_decode.commands.output import note
    from dllm_decode.programs import permitted, require_for

    chosen_task = find_task(task, shape, shots, data, include_path)
    with permitted(options["run_programs"]):
        require_for(chosen_task)
    folder = options.pop("out") or results_folder(task)
    from dllm_search.preparing import load
    from dllm_search.settings import Settings
    from dllm_search.tuning import report_on

    kept = _open(options["storage"], options["study"], folder)
    begun = {**kept.user_attrs["setup"], **kept.user_attrs.get("sizes", {})}
    known = {key: value for key, value in begun.items() if key in Settings.model_fields}
    known |= {key: value for key, value in options.items() if value is not None}
    settings = Settings(**known, trials=max(1, len(kept.trials)), out=folder)
    result = report_on(load(model, device, dtype), chosen_task, kept, settings, say=note)
    _show({task: result}, as_json)


@with_settings(only=("storage", "study"))
def export(
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="The task whose study lies in dllm-search/TASK.")
    ] = None,
    trial: Annotated[
        int | None, typer.Option("--trial", help="A trial's number; the chosen strategy if not given.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="A YAML file; stdout if not given.")] = None,
    **options: Any,
) -> None:
    """Write a strategy of a study as YAML that `--strategy FILE` accepts, with where it came from in comments."""
    from dllm_decode.errors import ConfigError
    from dllm_decode.files import write_atomically

    if options["storage"] is None and task is None:
        raise ConfigError(
            "give --task, or --storage, the study's journal file or URL; `search run` keeps it in OUT/study.journal"
        )
    kept = _open(options["storage"], options["study"], results_folder(task or ""))
    if trial is None:
        text = kept.user_attrs.get("chosen")
        if text is None:
            raise ConfigError(
                f"study {kept.study_name!r} has not chosen yet; finish `search run`, or give --trial"
            )
    else:
        text = _trial(kept, trial)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(out, text)


def _trial(study: optuna.Study, number: int) -> str:
    from dllm_decode.errors import ConfigError

    scored = {trial.number: trial for trial in study.trials if "strategy" in trial.user_attrs}
    if number not in scored:
        raise ConfigError(
            f"study {study.study_name!r} has no scored trial {number}; scored: {sorted(scored)}"
        )
    noted, setup = scored[number].user_attrs, study.user_attrs["setup"]
    values = scored[number].values or []
    accuracy = noted.get("accuracy", values[0] if values else math.nan)
    forwards = noted.get("forward_passes", values[-1] if values else math.nan)
    seen = noted.get("n", setup["examples"])
    lines = [
        f"# trial {number} of study {study.study_name}: accuracy {accuracy:.3f}, {forwards:.2f} forward passes "
        f"on {seen} tuning examples",
        f"# task: {setup.get('task')}",
        f"# model: {setup.get('model')}",
        f"# seed: {setup.get('seed')}, objective: {setup.get('objective')}",
    ]
    if "stopped" in noted:
        lines.append(f"# {noted['stopped']}")
    return "\n".join([*lines, str(noted["strategy"])])


def results_folder(task: str = "") -> Path:
    """Return where results are kept if nothing else is asked for."""
    return Path("dllm-search") / task


def _open(storage: str | None, study: str | None, folder: Path) -> optuna.Study:
    from dllm_search.trials.study import open_study

    return open_study(storage or folder / "study.journal", study)


def _show(results: Mapping[str, TuneResult], as_json: bool) -> None:
    from dllm_decode.commands.output import note, print_json
    from dllm_decode.commands.output import results as console

    reports = {task: result.report.to_dict() for task, result in results.items()}
    if as_json:
        one = next(iter(reports.values()))
        print_json(one if len(reports) == 1 else {"kind": "search-set", "tasks": reports})
    for result in results.values():
        if not as_json:
            console().print(result.table)
        if result.folder is not None:
            pictures = " and pictures" if (result.folder / "front.png").exists() else ""
            note(f"written to {result.folder}: strategy.yaml, report.html, table.md, report.json{pictures}")
        if result.preset is not None:
            note(f"kept for --strategy tuned: {result.preset}")
