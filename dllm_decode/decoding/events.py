"""What a decode tells of a step: an event, and the events of the rows that were decoded together.

Knows what was written where, and what else was proposed; files and pages are made of it elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Entry = list[Any]
"""`[column, token, score]`; the score is None where it is not finite."""


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One commit. Building it costs no synchronisation with the device; reading its tensors on the host does.

    The engine hands over tensors that it will not write to again.
    """

    block: int
    """0-based number of the block."""
    stage: str
    """Name of the stage; "stop" and "revise" are what stop rules and revisers did."""
    step: int
    """0-based step inside the stage."""
    model_calls: int
    """Calls of the model made so far in this decode, this step's included."""
    window: slice
    """The canvas columns that the tensors speak of; W of them."""
    chosen: Tensor
    """(B, W) bool; the positions written. What a stop rule fills after a step is an event of its own."""
    open: Tensor
    """(B, W) bool; the positions that could have been written: there `tokens` and `score` are the proposal."""
    tokens: Tensor
    """(B, W) int64; what was written where `chosen`, the proposal where `open`."""
    score: Tensor
    """(B, W) float32; the proposal's score."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event as plain lists, one a row."""

    event: StepEvent
    written: list[list[Entry]]
    proposed: list[list[Entry]]
    """Proposals that were not written, where they differ from the one before at that position."""


@dataclass(slots=True)
class BatchTrace:
    """The events of the rows that were decoded together."""

    row_ids: list[int] | None = None
    """(B,) identities of the rows for noise; None if the caller did not say."""
    places: list[int] | None = None
    """(B,) places of the rows among the call's prompts; None if the caller did not say."""
    events: list[StepEvent] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.events[0].chosen.shape[0] if self.events else len(self.row_ids or ())

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

    def told(self) -> Iterator[Told]:
        """Yield the events as plain lists. A proposal that stands from step to step is told once, with its first score."""
        width = max((event.window.start + event.chosen.shape[1] for event in self.events), default=0)
        last = torch.full((self.rows, width), -1, dtype=torch.int64)  # (B, L), the proposal at each position
        for event in self.events:
            start = event.window.start
            part = last[:, start : start + event.chosen.shape[1]]
            chosen, open_, tokens = event.chosen.cpu(), event.open.cpu(), event.tokens.cpu()
            score = event.score.cpu()
            new = open_ & ~chosen & (tokens != part)
            # What is written is no longer proposed: opened again, the same token is a new proposal.
            part.copy_(torch.where(chosen, -1, torch.where(new, tokens, part)))
            yield Told(
                event, _entries(chosen, tokens, score, start), _entries(new, tokens, score, start)
            )


def _entries(where: Tensor, tokens: Tensor, score: Tensor, start: int) -> list[list[Entry]]:
    """Return each row's entries of (B, W) bool `where`."""
    entries: list[list[Entry]] = [[] for _ in range(where.shape[0])]
    values = zip(where.nonzero().tolist(), tokens[where].tolist(), score[where].tolist(), strict=True)
    for (row, column), token, value in values:
        entries[row].append([start + column, token, value if math.isfinite(value) else None])
    return entries
