"""A trace as the page of `dllm_decode.view` takes it: plain data, and for each row only what each step changed.

Knows traces; how it looks is the page's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dllm_decode.decoding.about import About
from dllm_decode.decoding.events import BatchTrace, Entry, Told
from dllm_decode.errors import DataError

KINDS = ("committed", "filled", "reopened", "edited")
"""What a step can do to a position; a stop rule fills, a reviser reopens or edits."""
DIGITS = 4
"""Of a score on the page."""


def story(batches: Sequence[BatchTrace], about: About | None) -> dict[str, Any]:
    """Return everything that a page tells of a trace.

    A row's `steps` are `[model calls, block, stage, kind, step, written, proposed]`, stage and kind as places in
    their lists, the last two as flat lists of position, token, score.

    Raises:
        DataError: The trace does not know prompts and token texts.
    """
    if about is None:
        raise DataError(
            "a trace without prompts and token texts (of version 1, or kept by hand) cannot be shown; "
            "make it anew with generate(trace=True) or generate --trace"
        )
    stages: list[str] = []
    rows: dict[int, dict[str, Any]] = {}
    for batch in batches:
        steps: list[list[Any]] = [[] for _ in range(batch.rows)]
        for told in batch.told():
            if told.event.stage not in stages:
                stages.append(told.event.stage)
            _tell(told, about, stages.index(told.event.stage), steps, batch)
        for row, own in enumerate(steps):
            place = _place(batch, row)
            rows[place] = {
                "prompt": about.prompts[place],
                "forwards": about.forward_passes[place],
                "start": list(about.shown(place)),
                "calls": batch.events[-1].model_calls if batch.events else 0,
                "steps": own,
            }
    return {
        "name": about.strategy,
        "digest": about.digest,
        "yaml": about.yaml,
        "model": about.model,
        "seed": about.seed,
        "seconds": round(about.seconds, 3),
        "calls": about.model_calls,
        "stages": stages,
        "kinds": list(KINDS),
        "mask": about.special.mask,
        "ends": list(about.special.ends),
        "texts": {str(token): text for token, text in about.texts.items()},
        "rows": [rows[place] for place in sorted(rows)],
    }


def _tell(told: Told, about: About, stage: int, steps: list[list[Any]], batch: BatchTrace) -> None:
    """Add an event to the rows it changed something in."""
    event = told.event
    for row, (written, proposed) in enumerate(zip(told.written, told.proposed, strict=True)):
        if not written and not proposed:
            continue
        first = about.columns - len(about.shown(_place(batch, row)))
        kind = KINDS.index(_kind(event.stage, written, about.special.mask))
        changes = [_flat(written, first), _flat(proposed, first)]
        steps[row].append([event.model_calls, event.block, stage, kind, event.step, *changes])


def _kind(stage: str, written: list[Entry], mask: int) -> str:
    if stage == "revise":
        return "reopened" if written and written[0][1] == mask else "edited"
    return "filled" if stage == "stop" else "committed"


def _place(batch: BatchTrace, row: int) -> int:
    return row if batch.places is None else batch.places[row]


def _flat(entries: list[Entry], first: int) -> list[Any]:
    flat: list[Any] = []
    for column, token, score in entries:
        flat += [column - first, token, None if score is None else round(score, DIGITS)]
    return flat
