"""`dllm-decode reproduce`: a paper's comparison on your model, with intervals, beside the published figures."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from dllm_decode.commands import options
from dllm_decode.commands.costs import costs, tell
from dllm_decode.commands.output import note, print_json, results
from dllm_decode.commands.running import held_executor, progress
from dllm_decode.errors import ConfigError
from dllm_decode.programs import permitted, require_for

if TYPE_CHECKING:
    from dllm_decode.evaluate.executors import Executor
    from dllm_decode.reproduce.comparison import Comparison
    from dllm_decode.tasks.base import Task


def reproduce(
    comparison: Annotated[str, typer.Argument(help="What to reproduce: said.")],
    model: options.Model = "tiny",
    task: Annotated[
        list[str] | None,
        typer.Option("--task", "-t", help="A task's name. Repeatable; those with published settings if not given."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="The published file of each --task, in the same order; all of it is taken."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="The first N examples.")] = None,
    shape: options.Shape = None,
    shots: options.Shots = None,
    gen_length: Annotated[
        int | None,
        typer.Option("--gen-length", help="Tokens to generate, for all strategies; the published lengths if not given."),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Examples of a forward, at most.")] = 64,
    chat: options.ChatOption = "auto",
    skip_long: Annotated[
        bool, typer.Option("--skip-long", help="Leave out prompts over the model's context, and count them.")
    ] = False,
    seed: options.Seed = 0,
    device: options.Device = None,
    dtype: options.Dtype = None,
    compile: options.Compile = False,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes that decode, with Ray: one a GPU, or shares of the CPUs."),
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", help="Of a running Ray cluster; this machine alone if not given.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="A folder for report.json and report.html.")] = None,
    run_programs: options.RunPrograms = False,
    estimate: options.EstimateOnly = False,
    cache: Annotated[bool, typer.Option(help="Keep outcomes and go on where an earlier run stopped.")] = True,
    as_json: options.Json = False,
) -> None:
    """Hold a paper's strategies against the baseline on the same examples; an interrupted run goes on."""
    tasks = _tasks(comparison, task, shape, shots, run_programs)
    files: list[Path | None] = [*data] if data else [None] * len(tasks)
    if data and (not task or len(data) != len(task)):
        raise ConfigError(f"--data: should be one file for each --task, got {len(data)} for {len(task or ())}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        options.writable(out / "report.json")
    with ExitStack() as stack:
        from dllm_decode.evaluate.evaluate import fast_dtype
        from dllm_decode.reproduce.comparison import compare
        from dllm_decode.reproduce.plan import plan

        if dtype is None and model == "tiny":
            dtype = fast_dtype(device)
        executor = stack.enter_context(held_executor(model, workers, ray_address, device, dtype, compile))
        found, expected = [], []
        for one, file in zip(tasks, files, strict=True):
            lines, said = plan(comparison, executor.model, one.name, _length(one, executor), gen_length)
            if estimate:
                for line in lines:
                    expected += costs(
                        executor, one, [line.strategy], None, file, limit, batch_size, line.strategy.gen_length,
                        run_programs,
                    )  # fmt: skip
                continue
            with progress(one.name, cache) as report:
                compared = compare(
                    executor, one, lines, data=file, limit=limit, batch_size=batch_size, seed=seed,
                    chat=options.chat(chat), skip_long=skip_long, cache=cache, run_programs=run_programs,
                    progress=report, notes=said,
                )  # fmt: skip
                found.append(compared)
            if not as_json:
                _print(found[-1])
        name = executor.model.name
    if estimate:
        tell(expected, as_json)
        return
    _write(comparison, name, found, out, as_json)


def _tasks(
    comparison: str, names: list[str] | None, shape: str | None, shots: Path | None, run_programs: bool
) -> list[Task]:
    """Return the tasks asked for, or those that settings are published for and that may be judged here.

    Raises:
        ConfigError: A task that was asked for runs programs, and there is no leave.
    """
    from dllm_decode.plugins.registry import load_registry
    from dllm_decode.reproduce.plan import paper_tasks

    published = paper_tasks(comparison, load_registry().names("task"))
    tasks = [options.find_task(name, shape, shots) for name in names or published]
    with permitted(run_programs):
        for one in tasks if names else ():
            require_for(one)
    left = [] if names or run_programs else [one for one in tasks if getattr(one, "runs_programs", False)]
    if left:
        note(f"left out: {', '.join(one.name for one in left)}, whose answers are run as programs (--run-programs)")
    return [one for one in tasks if one not in left]


def _length(task: Task, executor: Executor) -> int:
    from dllm_decode.evaluate.evaluate import shortened

    return shortened(task, executor.model.max_length)[0].gen_length


def _print(found: Comparison) -> None:
    from dllm_decode.reproduce.page import COLUMNS, COST, QUALITY, cells

    record = found.rows[0].done.record
    results().print(f"{found.task}, {record.n} examples ({record.examples})", markup=False)
    for shown in (QUALITY, COST):
        table = Table(box=None, pad_edge=False)
        for number, place in enumerate(shown):
            left = number == 0
            justify: Any = "left" if left else "right"
            table.add_column(COLUMNS[place], justify=justify, no_wrap=not left, min_width=12 if left else None)
        for row in found.rows:
            line = list(cells(row))
            # An accuracy's own interval is in the files; here is room for that of the difference.
            line[1] = line[1].partition(" (")[0]
            table.add_row(*(escape(line[place]) for place in shown))
        results().print(table)
    for said in found.notes:
        note(said)


def _write(comparison: str, model: str, found: list[Comparison], out: Path | None, as_json: bool) -> None:
    from dllm_decode.files import write_atomically
    from dllm_decode.reproduce.page import page, to_dict

    data = to_dict(comparison, model, found)
    if out is not None:
        write_atomically(out / "report.json", json.dumps(data, ensure_ascii=False, indent=1) + "\n")
        write_atomically(out / "report.html", page(comparison, model, found))
        note(f"wrote {out / 'report.json'} and {out / 'report.html'}")
    if as_json:
        print_json(data)
