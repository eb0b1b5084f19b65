"""Options that several commands share, and how they become a strategy and a model. Imports no torch by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dllm_decode.strategy.resolve import KnownModel, needs_model, resolve
from dllm_decode.strategy.strategy import Strategy, parse_override

if TYPE_CHECKING:
    from dllm_decode.model import DiffusionLM

Model = Annotated[
    str, typer.Option("--model", "-m", help="tiny, a checkpoint folder, a hub id, or package:function that makes one.")
]
StrategySource = Annotated[
    str,
    typer.Option("--strategy", "-s", help="A recipe's name or a YAML file; tuned: the preset that fits."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a field, e.g. layering.parity=odd. Repeatable."),
]
Steps = Annotated[int | None, typer.Option("--steps", help="Denoising steps; one a token if not given.")]
GenLength = Annotated[int | None, typer.Option("--gen-length", help="Tokens to generate.")]
Temperature = Annotated[float | None, typer.Option("--temperature", help="Gumbel temperature; 0 is greedy.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the decoding noise.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="float32, bfloat16, float16, float64.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the model: slow first forwards, faster ones after; for long runs.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]


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
    from dllm_decode.commands.output import note

    found = resolve(source, model, changes=changed, task=task, gen_length=gen_length, prompts=prompts)
    if found.note:
        note(found.note)
    return found.strategy


def load_model(name: str, device: str | None, dtype: str | None, *, compile: bool = False) -> DiffusionLM:
    """Load a model; this is where torch comes in."""
    from dllm_decode.model import DiffusionLM

    return DiffusionLM.from_pretrained(name, device=device, dtype=dtype, compile=compile)


def tell_warm_up(lm: DiffusionLM) -> None:
    """Say what compiling has cost, where there was any."""
    from dllm_decode.commands.output import note

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
