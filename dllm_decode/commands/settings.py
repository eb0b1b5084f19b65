"""`dllm-decode settings`: the published settings, without loading a model."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from dllm_decode.commands import options
from dllm_decode.commands.output import print_json, results
from dllm_decode.strategy.settings import Setting, published_settings


def settings(
    task: Annotated[str | None, typer.Option("--task", "-t", help="Only those of a task.")] = None,
    as_json: options.Json = False,
) -> None:
    """List the published settings; each name can be given as a strategy."""
    found = [one for one in published_settings().values() if task in (None, one.task)]
    if as_json:
        print_json({"settings": [one.model_dump(mode="json") for one in found]})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "model", "length", "steps", "block", "also", "accuracy", "source"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for one in found:
        accuracy = "" if one.accuracy is None else f"{one.accuracy:.1f} %"
        block = "" if one.block_length is None else str(one.block_length)
        table.add_row(
            one.name, one.model, str(one.gen_length), str(one.steps), block, _marks(one), accuracy, one.source
        )
    results().print(table)


def _marks(setting: Setting) -> str:
    """Return in a few words what lengths do not say."""
    marks = {
        "τ": setting.threshold,
        "hard": setting.hard_steps,
        "T": setting.temperature or None,
        "top-p": setting.top_p,
        "cache": setting.cache,
    }
    flags = {"no EOS": setting.forbid_eos, "EOS last": setting.ignore_ends}
    said = [f"{name} {value}" for name, value in marks.items() if value is not None]
    return ", ".join([*said, *(name for name, given in flags.items() if given)])
