"""Options that several commands share, and how they become a strategy and a model. Imports no torch by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dllm_decode.commands.output import note, quieten
from dllm_decode.data.noise import check_seed
from dllm_decode.errors import ConfigError
from dllm_decode.strategy.resolve import KnownModel, needs_model, resolve
from dllm_decode.strategy.strategy import Strategy, parse_override
from dllm_decode.tasks.benchmarks.benchmark import Benchmark

if TYPE_CHECKING:
    from dllm_decode.generation.chat import Chat
    from dllm_decode.model import DiffusionLM
    from dllm_decode.tasks.base import Task

EXAMPLES = ("scheduler=top-k", "scheduler.k=4")
"""Changes that the default strategy takes together."""

Model = Annotated[
    str, typer.Option("--model", "-m", help="tiny, a checkpoint folder, a hub id, or package:function that makes one.")
]
StrategySource = Annotated[
    str,
    typer.Option("--strategy", "-s", help="A recipe, a published setting or a YAML file; tuned: the preset that fits."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help=f"Change a field, e.g. {EXAMPLES[0]} or {EXAMPLES[1]}. Repeatable."),
]
Steps = Annotated[int | None, typer.Option("--steps", help="Denoising steps; one a token if not given.")]
GenLength = Annotated[int | None, typer.Option("--gen-length", help="Tokens to generate.")]
Temperature = Annotated[float | None, typer.Option("--temperature", help="Gumbel temperature; 0 is greedy.")]


def _known_seed(seed: int) -> int:
    check_seed(seed)
    return seed


Seed = Annotated[int, typer.Option("--seed", callback=_known_seed, help="Seed of the decoding noise.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="float32, bfloat16, float16, float64.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the model: slow first forwards, faster ones after; for long runs.")
]
ChatOption = Annotated[
    str,
    typer.Option("--chat", help="Chat template for texts: auto (if the model has one), on, off (messages too)."),
]
Shape = Annotated[
    str | None,
    typer.Option("--shape", help="Whose prompts and rules a benchmark takes: opencompass (the default), lm-eval."),
]
IncludePath = Annotated[
    Path | None,
    typer.Option("--include-path", help="A folder of your own tasks of lm-evaluation-harness, for lm-eval:NAME."),
]
Shots = Annotated[
    Path | None,
    typer.Option("--shots", help="A file of the worked examples that a benchmark's prompts show."),
]
RunPrograms = Annotated[
    bool,
    typer.Option("--run-programs", help="Let the task run programs that the model wrote, on this machine."),
]


def _leave_stdout_to_json(asked: bool) -> bool:
    if asked:
        quieten()
    return asked


EstimateOnly = Annotated[
    bool,
    typer.Option("--estimate", help="Measure a step, say what it would cost at most (forwards x seconds), and stop."),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        callback=_leave_stdout_to_json,
        is_eager=True,
        help="Print one JSON object on stdout and nothing else there.",
    ),
]


def changes(
    overrides: list[str] | None, steps: int | None, gen_length: int | None, temperature: float | None
) -> dict[str, Any]:
    """Collect what the user changed, as dotted paths; later `--set` of one path wins, and over the short options."""
    short = {"steps": steps, "gen_length": gen_length, "temperature": temperature}
    changed = {name: value for name, value in short.items() if value is not None}
    changed.update(parse_override(text) for text in overrides or [])
    return changed


def known_strategy(source: str, changed: dict[str, Any]) -> Strategy | None:
    """Return the strategy with the user's changes; None if it can be known only once the model is loaded."""
    return None if needs_model(source) else Strategy.load(source, **changed)


def fitting_strategy(
    model: KnownModel,
    source: str,
    changed: dict[str, Any],
    *,
    task: str | None = None,
    gen_length: int | None = None,
    prompts: Any = (),
) -> Strategy:
    """Return the strategy with the user's changes, and say how it was found; the arguments are those of `resolve`."""
    found = resolve(source, model, changes=changed, task=task, gen_length=gen_length, prompts=prompts)
    if found.note:
        note(found.note)
    return found.strategy


def load_model(name: str, device: str | None, dtype: str | None, *, compile: bool = False) -> DiffusionLM:
    """Load a model; this is where torch comes in."""
    from dllm_decode.model import DiffusionLM

    return DiffusionLM.from_pretrained(name, device=device, dtype=dtype, compile=compile)


def chat(given: str) -> Chat:
    """Return the choice about chat templates.

    Raises:
        ConfigError: It is none.
    """
    if given not in ("auto", "on", "off"):
        raise ConfigError(f"--chat: should be auto, on or off, got {given!r}")
    return given  # type: ignore[return-value]


def find_task(
    name: str,
    shape: str | None,
    shots: Path | None,
    data: Path | None = None,
    include_path: Path | None = None,
) -> Task:
    """Return the task of a name, in a shape, with worked examples, and with both splits read from `data`.

    Raises:
        ConfigError: There is no such task, or it has no shapes.
        DataError: It makes its splits itself, and `data` is given.
    """
    from dllm_decode.tasks import named

    task = named.find_task(name, include_path)
    if shape is not None or shots is not None:
        if not isinstance(task, Benchmark):
            raise ConfigError(f"--shape and --shots: task {name!r} has one form of its own; leave them out")
        task = task.shaped(shape, shots)
    return task if data is None else task.over(data)


def tell_warm_up(lm: DiffusionLM) -> None:
    """Say what compiling has cost, where there was any."""
    if lm.warm_up_seconds:
        note(f"compiled: {lm.warm_up_seconds:.1f} s of the time were the first forwards of each shape")


def writable(path: Path | None) -> Path | None:
    """Refuse a file that cannot be written before hours are spent on what goes into it.

    Raises:
        DataError: The folder is missing or closed to the user.
    """
    if path is not None:
        from dllm_decode.files import check_writable

        check_writable(path)
    return path
