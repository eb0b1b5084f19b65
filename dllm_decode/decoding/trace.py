"""What happened at each step of a decode: events, replay, and the ways out: a file and a page.

Knows what was proposed and committed where, and when. Leaves out why: schedules belong to the strategy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Self

from torch import Tensor

from dllm_decode.decoding import trace_file
from dllm_decode.decoding.about import About
from dllm_decode.decoding.events import BatchTrace, StepEvent
from dllm_decode.decoding.story import story
from dllm_decode.view.page import page

FRAME_HEIGHT = 520
"""Of a trace in a notebook, in pixels."""


@dataclass(slots=True, repr=False)
class Trace:
    """Every commit of a call of `generate`, in order, one `BatchTrace` per batch of rows.

    Pass `trace.record` as the engine's `on_step`; call `begin` before each batch.
    """

    batches: list[BatchTrace] = field(default_factory=list)
    about: About | None = None
    """What it is a trace of; None where the engine was driven by hand, or of a file of version 1."""

    def begin(self, row_ids: Sequence[int] | None = None, places: Sequence[int] | None = None) -> None:
        """Start a batch; the events that follow belong to these rows, at these places among the prompts."""
        self.batches.append(BatchTrace(_numbers(row_ids), _numbers(places)))

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
        """Write the trace, whole or not at all: what it is of, then a line per batch and per event.

        An event's line holds, for each row, `[column, token, score]` of every position written, and of every other
        proposal that differs from the one before at its position; scores that are not finite are null.
        """
        trace_file.write(path, self.batches, self.about)

    @classmethod
    def from_jsonl(cls, path: str | Path) -> Self:
        """Read what `to_jsonl` wrote; where nothing was written or newly proposed, `score` is NaN and `tokens` 0.

        Raises:
            DataError: The file cannot be read or a line is no trace line.
        """
        return cls(*trace_file.read(path))

    def to_html(self) -> str:
        """Return a page, one file that needs no network, on which the decode can be watched step by step.

        Raises:
            DataError: The trace does not know prompts and token texts.
        """
        return page([story(self.batches, self.about)])

    def __repr__(self) -> str:
        """Say how much there is, and of what."""
        rows = sum(batch.rows for batch in self.batches)
        of = f" of {self.about.strategy}" if self.about else ""
        return f"<Trace{of}: {rows} rows, {len(self.events)} events>"

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own, for notebooks."""
        if self.about is None:
            return f"<code>{escape(repr(self))}</code>"
        style = f"width:100%;height:{FRAME_HEIGHT}px;border:0"
        return f'<iframe title="{escape(repr(self))}" style="{style}" srcdoc="{escape(self.to_html())}"></iframe>'


def _numbers(given: Sequence[int] | None) -> list[int] | None:
    return None if given is None else [int(number) for number in given]
