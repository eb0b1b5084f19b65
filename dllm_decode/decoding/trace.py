"""What happened at each step of a decode: events, JSONL, replay.

Knows what was committed where, and when. Leaves out why: confidences and schedules belong to the strategy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from dllm_decode.errors import DataError
from dllm_decode.files import write_atomically

FORMAT = "dllm-decode-trace"
VERSION = 1


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One commit. Building it costs no synchronisation with the device; reading its tensors on the host does.

    The engine hands over tensors that it will not write to again.
    """

    block: int
    """0-based number of the block."""
    stage: str
    """Name of the stage."""
    step: int
    """0-based step inside the stage."""
    model_calls: int
    """Calls of the model made so far in this decode, this step's included."""
    window: slice
    """The canvas columns that the tensors speak of; W of them."""
    chosen: Tensor
    """(B, W) bool; the positions written. What a stop rule fills after a step is an event of its own."""
    tokens: Tensor
    """(B, W) int64; what was written where `chosen`, the proposal elsewhere."""
    score: Tensor
    """(B, W) float32; the proposal's score."""


@dataclass(slots=True)
class BatchTrace:
    """The events of the rows that were decoded together."""

    row_ids: list[int] | None = None
    """(B,) identities of the rows in the caller's list; None if the caller did not say."""
    events: list[StepEvent] = field(default_factory=list)

    def replay(self, canvas: Tensor) -> Tensor:
        """Write the recorded commits onto the canvas that the decode started from.

        Args:
            canvas: (B, L) int64, prompt and mask tokens; not changed.

        Returns:
            (B, L) int64, equal to the canvas that the decode ended with.
        """
        tokens = canvas.clone()
        for event in self.events:
            part = tokens[:, event.window]
            part.copy_(event.tokens.to(tokens.device).where(event.chosen.to(tokens.device), part))
        return tokens


@dataclass(slots=True)
class Trace:
    """Every commit of a call of `generate`, in order, one `BatchTrace` per batch of rows.

    Pass `trace.record` as the engine's `on_step`; call `begin` before each batch.
    """

    batches: list[BatchTrace] = field(default_factory=list)

    def begin(self, row_ids: Sequence[int] | None = None) -> None:
        """Start a batch; the events that follow belong to these rows."""
        self.batches.append(BatchTrace(None if row_ids is None else [int(row) for row in row_ids]))

    def record(self, event: StepEvent) -> None:
        """Keep an event."""
        if not self.batches:
            self.begin()
        self.batches[-1].events.append(event)

    @property
    def events(self) -> list[StepEvent]:
        """Every event of every batch, in order."""
        return [event for batch in self.batches for event in batch.events]

    def replay(self, canvas: Tensor, batch: int = 0) -> Tensor:
        """Return (B, L) int64, the canvas that batch number `batch` ended with; see `BatchTrace.replay`."""
        return self.batches[batch].replay(canvas)

    def to_jsonl(self, path: str | Path) -> None:
        """Write the trace, whole or not at all: one line per batch header, one per event.

        An event's line holds, for each row, `[column, token, score]` of every position written; the proposals
        that were not committed are left out, and scores that are not finite are null.
        """
        lines = [json.dumps({"format": FORMAT, "version": VERSION, "batches": len(self.batches)})]
        for batch in self.batches:
            rows = batch.events[0].chosen.shape[0] if batch.events else len(batch.row_ids or ())
            lines.append(json.dumps({"batch": {"row_ids": batch.row_ids, "rows": rows}}))
            lines.extend(json.dumps(_line(event)) for event in batch.events)
        write_atomically(path, "\n".join(lines) + "\n")

    @classmethod
    def from_jsonl(cls, path: str | Path) -> Self:
        """Read what `to_jsonl` wrote; `score` is NaN and `tokens` 0 where nothing was committed.

        Raises:
            DataError: The file cannot be read or a line is no trace line.
        """
        trace = cls()
        rows = 0
        for number, data in _lines(Path(path)):
            try:
                if number == 1:
                    if data.get("format") != FORMAT or data.get("version") != VERSION:
                        raise ValueError
                elif "batch" in data:
                    trace.begin(data["batch"]["row_ids"])
                    rows = data["batch"]["rows"]
                else:
                    trace.record(_event(data, rows))
            except (KeyError, TypeError, ValueError, IndexError, AttributeError):
                raise DataError(f"{path}, line {number}: not a line of a version {VERSION} trace") from None
        return trace


def _line(event: StepEvent) -> dict[str, Any]:
    start = event.window.start
    written: list[list[list[Any]]] = [[] for _ in range(event.chosen.shape[0])]
    where = event.chosen.nonzero()
    values = zip(
        where.tolist(), event.tokens[event.chosen].tolist(), event.score[event.chosen].tolist(), strict=True
    )
    for (row, column), token, score in values:
        written[row].append([start + column, token, score if math.isfinite(score) else None])
    return {
        "block": event.block,
        "stage": event.stage,
        "step": event.step,
        "model_calls": event.model_calls,
        "window": [start, start + event.chosen.shape[1]],
        "written": written,
    }


def _event(data: dict[str, Any], rows: int) -> StepEvent:
    start, stop = data["window"]
    chosen = torch.zeros(rows, stop - start, dtype=torch.bool)
    tokens = torch.zeros(rows, stop - start, dtype=torch.int64)
    score = torch.full((rows, stop - start), math.nan, dtype=torch.float32)
    for row, written in enumerate(data["written"]):
        for column, token, value in written:
            chosen[row, column - start] = True
            tokens[row, column - start] = token
            score[row, column - start] = math.nan if value is None else value
    window = slice(start, stop)
    return StepEvent(
        data["block"], data["stage"], data["step"], data["model_calls"], window, chosen, tokens, score
    )


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise DataError(f"trace {path} cannot be read: {reason}") from None
    if not text.strip():
        raise DataError(f"trace {path} is empty")
    for number, line in enumerate(text.splitlines(), 1):
        try:
            yield number, json.loads(line)
        except ValueError:
            raise DataError(f"{path}, line {number}: not JSON") from None
