"""`dllm-decode view`: make a page of one to four traces of the same prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dllm_decode.commands import options
from dllm_decode.commands.output import note


def view(
    traces: Annotated[
        list[Path],
        typer.Argument(help="Files that generate --trace or eval --keep-traces wrote; up to four, of the same prompts."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page: one HTML file that needs no network.")],
) -> None:
    """Make a page on which decodes are watched step by step, side by side."""
    options.writable(out)
    from dllm_decode.decoding.story import story
    from dllm_decode.decoding.trace import Trace
    from dllm_decode.files import write_atomically
    from dllm_decode.view.page import page

    read = [Trace.from_jsonl(trace) for trace in traces]
    write_atomically(out, page([story(trace.batches, trace.about) for trace in read]))
    note(f"written to {out}; open it in a browser")
