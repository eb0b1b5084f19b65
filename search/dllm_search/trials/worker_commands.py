"""The commands for many machines: `search worker` and `search proxy`.

Knows options and messages; imports neither torch nor Optuna until a command runs.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Annotated, Any

import typer


def worker(
    storage: Annotated[
        str,
        typer.Option(
            "--storage",
            help="postgresql://USER@HOST/NAME, grpc://HOST:PORT, or a journal file on a disk that all share.",
        ),
    ],
    study: Annotated[
        str | None, typer.Option("--study", help="The study's name; the only one there, or TASK-MODEL.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1: one worker for each GPU.")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="The study's if not given.")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Where this machine has the study's model; where it began if not given."),
    ] = None,
    task: Annotated[str | None, typer.Option("--task", "-t", help="To begin a study that is not there.")] = None,
    trials: Annotated[int | None, typer.Option("--trials", "-n", help="To begin a study with.")] = None,
    strategy: Annotated[str | None, typer.Option("--strategy", "-s", help="To begin a study with.")] = None,
    objective: Annotated[str | None, typer.Option("--objective", help="To begin a study with.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="To begin a study with.")] = None,
    examples: Annotated[int | None, typer.Option("--examples", help="To begin a study with.")] = None,
    generation: Annotated[
        int | None,
        typer.Option("--generation", help="To begin a study with: trials that may run at the same time."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Seconds after which this worker begins no new trial.")
    ] = None,
    beat: Annotated[float, typer.Option("--beat", help="Seconds between two signs of life.")] = 10.0,
    grace: Annotated[
        float, typer.Option("--grace", help="Seconds without a sign after which a worker counts as lost.")
    ] = 60.0,
    retries: Annotated[
        int, typer.Option("--retries", help="How often a trial whose worker was lost is tried again.")
    ] = 3,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only what goes wrong.")] = False,
) -> None:
    """Work on a search that other processes and machines work on too; ends when the search has all its trials."""
    from dllm_decode.commands.output import note
    from dllm_decode.errors import ConfigError
    from dllm_search.trials.joining import join
    from dllm_search.trials.worker import Terms

    if not 0 < beat < grace:
        raise ConfigError(f"beat: should be above 0 and below --grace ({grace:g} s), got {beat:g}")
    if retries < 0:
        raise ConfigError(f"retries: should be at least 0, got {retries}")
    given: dict[str, Any] = {
        "trials": trials,
        "strategy": strategy,
        "objective": objective,
        "seed": seed,
        "examples": examples,
        "generation": generation,
    }
    # A cluster ends its jobs by SIGTERM: the trial is handed back at once, not only when the heartbeat is missed.
    signal.signal(signal.SIGTERM, _interrupt)

    def say(line: str) -> None:
        if not quiet or not line.startswith(("trial ", "loading ", "search ")) or "failed" in line:
            note(line)

    try:
        ended = join(
            storage,
            study,
            task=task,
            model=model,
            device=device,
            dtype=dtype,
            terms=Terms(beat=beat, grace=grace, retries=retries),
            say=say,
            timeout=timeout,
            **{name: value for name, value in given.items() if value is not None},
        )
    except KeyboardInterrupt:
        note("interrupted; the trial is handed back, and the same command joins again")
        raise
    say(f"search ended: {ended}")


def proxy(
    storage: Annotated[str, typer.Option("--storage", help="The database, e.g. postgresql://USER@HOST/NAME.")],
    host: Annotated[
        str, typer.Option("--host", help="Interface to listen on; 0.0.0.0 for all. There is no password.")
    ] = "localhost",
    port: Annotated[int, typer.Option("--port", help="Port to listen on.")] = 13000,
) -> None:
    """Stand between a database and hundreds of workers, who then use `--storage grpc://HOST:PORT`."""
    from dllm_decode.commands.output import note
    from dllm_search.trials.storage import serve

    serve(storage, host, port, note)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
