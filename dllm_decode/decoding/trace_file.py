"""A trace as a file: JSON lines, the first of which says what the rest is of.

Version 1 held neither prompts nor texts nor proposals; it still opens, and replays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from dllm_decode.decoding.about import About
from dllm_decode.decoding.events import BatchTrace, StepEvent, Told
from dllm_decode.errors import DataError
from dllm_decode.files import write_atomically

FORMAT = "dllm-decode-trace"
VERSION = 2
READABLE = (1, 2)


def write(path: str | Path, batches: Sequence[BatchTrace], about: About | None) -> None:
    """Write a trace, whole or not at all."""
    head: dict[str, Any] = {"format": FORMAT, "version": VERSION, "batches": len(batches)}
    lines = [json.dumps({**head, "about": None if about is None else about.to_dict()})]
    for batch in batches:
        own = {"row_ids": batch.row_ids, "places": batch.places, "rows": batch.rows}
        lines.append(json.dumps({"batch": own}))
        lines.extend(json.dumps(_line(told)) for told in batch.told())
    write_atomically(path, "\n".join(lines) + "\n")


def read(path: str | Path) -> tuple[list[BatchTrace], About | None]:
    """Read a trace.

    Raises:
        DataError: The file cannot be read or a line is no trace line.
    """
    batches: list[BatchTrace] = []
    about, rows = None, 0
    for number, data in _lines(Path(path)):
        try:
            if number == 1:
                _check_version(path, data)
                about = About.from_dict(data["about"]) if data.get("about") else None
            elif "batch" in data:
                own = data["batch"]
                batches.append(BatchTrace(own["row_ids"], own.get("places")))
                rows = own["rows"]
            else:
                batches[-1].events.append(_event(data, rows))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError):
            raise DataError(f"{path}, line {number}: not a line of a version {VERSION} trace") from None
    return batches, about


def _check_version(path: str | Path, head: dict[str, Any]) -> None:
    """Refuse the file of another program, and of a version to come.

    Raises:
        DataError: It is of a version that this program does not know.
        ValueError: It is no trace.
    """
    version = head.get("version")
    if head.get("format") != FORMAT or not isinstance(version, int):
        raise ValueError
    if version not in READABLE:
        raise DataError(f"{path} is a trace of version {version}; this dllm-decode reads {READABLE[0]} to {READABLE[-1]}")


def _line(told: Told) -> dict[str, Any]:
    event = told.event
    start = event.window.start
    return {
        "block": event.block,
        "stage": event.stage,
        "step": event.step,
        "model_calls": event.model_calls,
        "window": [start, start + event.chosen.shape[1]],
        "written": told.written,
        "proposed": told.proposed,
    }


def _event(data: dict[str, Any], rows: int) -> StepEvent:
    start, stop = data["window"]
    chosen = torch.zeros(rows, stop - start, dtype=torch.bool)
    open_ = torch.zeros(rows, stop - start, dtype=torch.bool)
    tokens = torch.zeros(rows, stop - start, dtype=torch.int64)
    score = torch.full((rows, stop - start), math.nan, dtype=torch.float32)
    for entries, marked in ((data["written"], (chosen, open_)), (data.get("proposed", ()), (open_,))):
        for row, written in enumerate(entries):
            for column, token, value in written:
                tokens[row, column - start] = token
                score[row, column - start] = math.nan if value is None else value
                for where in marked:
                    where[row, column - start] = True
    return StepEvent(
        block=data["block"],
        stage=data["stage"],
        step=data["step"],
        model_calls=data["model_calls"],
        window=slice(start, stop),
        chosen=chosen,
        open=open_,
        tokens=tokens,
        score=score,
    )


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise DataError(f"trace {path} cannot be read: {reason}") from None
    if not text.strip():
        raise DataError(f"trace {path} is empty")
    # Not splitlines: a token's text may hold any separator of Unicode, which JSON need not escape.
    for number, line in enumerate(text.rstrip("\n").split("\n"), 1):
        try:
            yield number, json.loads(line)
        except ValueError:
            raise DataError(f"{path}, line {number}: not JSON") from None
