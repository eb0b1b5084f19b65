"""`dllm-decode demo`: the main job in two minutes: decode, score, tune, on the model that comes with the package.

Knows the order of the show; decoding is drawn by `dllm_decode.view.film`, the search is `tune`. Imports no torch by itself.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dllm_decode.commands.options import RunPrograms
from dllm_decode.data.prompt import prompt_text
from dllm_decode.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from dllm_decode.model import DiffusionLM
    from dllm_decode.tasks.base import Task
    from dllm_search.report.report import Report

SHOWN = ("line", "square", "facts")
"""Tasks of which one prompt is decoded before your eyes."""
STRATEGIES = ("llada", "said")


def demo(
    model: Annotated[str, typer.Option("--model", "-m", help="tiny, or a checkpoint.")] = "tiny",
    task: Annotated[str, typer.Option("--task", "-t", help="The task to tune on.")] = "line",
    example: Annotated[int, typer.Option("--example", min=0, help="Which test example is shown.")] = 0,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Strategies to try.")] = 20,
    examples: Annotated[int, typer.Option("--examples", min=1, help="Tuning examples for each.")] = 200,
    test_examples: Annotated[int, typer.Option("--test-examples", min=1, help="For the final table.")] = 500,
    seed: Annotated[int, typer.Option("--seed", help="Of the search and of the decoding noise.")] = 0,
    run_programs: RunPrograms = False,
    out: Annotated[Path, typer.Option("--out", help="Folder for the tuned strategy.")] = Path(
        "dllm-decode-demo"
    ),
) -> None:
    """Watch LLaDA's rule and SAID decode, then search a faster schedule for one task: one or two minutes."""
    from dllm_decode.commands.output import messages, results
    from dllm_decode.plugins.registry import load_registry
    from dllm_decode.programs import permitted, require_for

    registry = load_registry()
    searched = registry.task(task)
    with permitted(run_programs):
        require_for(searched)
    console, started = results(), time.perf_counter()
    with messages().status("loading the model"):
        from dllm_search.preparing import load

        lm = load(model, None, None)
    if lm.device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        import torch

        # Threads that share their cores with other programs wait for each other at every operation of so small a
        # model: beside other work on two cores, two were measured to be five to ten times slower than one.
        torch.set_num_threads(1)
    dtype = str(lm.dtype).removeprefix("torch.")
    console.print(f"[bold]{lm.name}[/], {dtype} on {lm.device}: a masked diffusion language model.")
    console.print(
        "It starts from a canvas of masks (·) and decides tokens in any order, many at once if asked to.\n"
    )
    for name in SHOWN:
        _decode(console, lm, registry.task(name), example, seed)
    console.print(f"[bold]Search[/] on {task}: fewest forward passes at the accuracy of LLaDA's rule\n")
    (out / "study.journal").unlink(missing_ok=True)
    with permitted(run_programs):
        _tune(console, lm, searched, trials, examples, test_examples, seed, out)
    console.print(
        f"\n{time.perf_counter() - started:.0f} s in all. Next: dllm-decode --help", highlight=False
    )


def _decode(console: Console, lm: DiffusionLM, task: Task, example: int, seed: int) -> None:
    """Decode one prompt of a task with each strategy and show it."""
    from rich.markup import escape

    from dllm_decode.evaluate.evaluate import fit
    from dllm_decode.strategy.strategy import Strategy
    from dllm_decode.view.film import film, play

    chosen = task.examples("test")[example : example + 1]
    if not chosen:
        raise ConfigError(f"example: task {task.name!r} has no test example {example}")
    console.print(f"[bold]{task.name}[/]: {escape(prompt_text(chosen[0].prompt))}", soft_wrap=True)
    films = []
    for name in STRATEGIES:
        strategy, _ = fit(Strategy.load(name), task.gen_length)
        out = lm.generate([chosen[0].prompt], strategy=strategy, seed=seed, row_ids=[example], trace=True)
        films.append(film(name, lm, out, task.score(chosen[0], out.texts[0]) == 1))
    play(console, films)
    console.print()


def _tune(
    console: Console,
    lm: DiffusionLM,
    task: Task,
    trials: int,
    examples: int,
    test_examples: int,
    seed: int,
    out: Path,
) -> None:
    """Search a schedule, print the trade-off and say where the strategy lies."""
    from dllm_decode.commands.output import note
    from dllm_search import tune

    result = tune(
        lm,
        task,
        trials=trials,
        examples=examples,
        verify_examples=2 * examples,
        test_examples=test_examples,
        seed=seed,
        out=out,
        say=note,
    )
    console.print(_trade_off(result.report))
    for sentence in result.report.evidence:
        console.print(sentence, highlight=False, soft_wrap=True)
    path = out / "strategy.yaml"
    console.print(f"\nThe tuned strategy is in [bold]{path}[/]. Use it:", highlight=False)
    console.print(f"  dllm-decode eval --task {task.name} --strategy {path}", highlight=False, soft_wrap=True)


def _trade_off(report: Report) -> Table:
    """Return the rows of a report in the columns that fit a narrow terminal."""
    from rich.table import Table

    table = Table(title=f"{report.task}: {report.rows[0].score.n} test examples", title_justify="left")
    shown = {"strategy": 0, "accuracy": 1, "forwards": 3, "fewer": 4, "difference (95 %)": 6}
    for name, column in shown.items():
        table.add_column(name, justify="left" if column == 0 else "right")
    for row in report.rows:
        cells = row.cells()
        style = "bold green" if row.role == "chosen" else None
        table.add_row(*(cells[column] for column in shown.values()), style=style)
    return table
