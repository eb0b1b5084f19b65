"""Several forwards as one: the inputs of different decodes side by side, and the statistics each of them gets back.

Canvases are aligned on the right, where their generation regions are. Knows nothing of schedules and models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dllm_decode.data.inputs import ModelInputs
from dllm_decode.data.stats import VocabStats


@dataclass(frozen=True, slots=True)
class Merger:
    """How the forwards of one strategy and model go together."""

    mask_id: int
    """What fills the columns before a shorter canvas."""
    picks: bool
    """Whether the model can read columns of each row's own; else the merged window covers all windows."""
    halves: int
    """2 where guidance runs every row twice, else 1."""

    def merge(
        self, parts: Sequence[ModelInputs], keys: Sequence[Tensor | None]
    ) -> tuple[ModelInputs, Tensor | None]:
        """Return inputs of all rows, and the keys of all that is read; each part's keys are (R, K) int64 or None."""
        if len(parts) == 1:
            return parts[0], keys[0]
        length = max(part.tokens.shape[1] for part in parts)
        short = [length - part.tokens.shape[1] for part in parts]
        windows = list(_shifted(parts))
        cover = slice(min(w.start for w in windows), max(w.stop for w in windows))
        valid = None
        if any(short) or any(part.valid is not None for part in parts):
            valid = self._together(
                [
                    torch.ones_like(part.tokens, dtype=torch.bool) if part.valid is None else part.valid
                    for part in parts
                ],
                short,
                False,
            )
        tokens = self._together([part.tokens for part in parts], short, self.mask_id)
        if self.picks and (any(part.columns is not None for part in parts) or any(w != cover for w in windows)):
            columns = [_columns(part) + missing for part, missing in zip(parts, short, strict=True)]
            most = max(each.shape[1] for each in columns)
            # A row with fewer columns to read repeats its last one.
            even = [torch.cat([c, c[:, -1:].expand(-1, most - c.shape[1])], 1) for c in columns]
            read = self._together(even, [0] * len(even), 0)
            return ModelInputs(tokens, valid, cover, columns=read), _keys(keys, [0] * len(keys), most)
        starts = [window.start - cover.start for window in windows]
        return ModelInputs(tokens, valid, cover), _keys(keys, starts, cover.stop - cover.start)

    def split(
        self, whole: ModelInputs, parts: Sequence[ModelInputs], stats: VocabStats
    ) -> Iterator[VocabStats]:
        """Yield what each part would have got alone, of the statistics of `whole`, which is all of them merged."""
        first = 0
        for part, window in zip(parts, _shifted(parts), strict=True):
            rows = slice(first, first + part.tokens.shape[0] // self.halves)
            first = rows.stop
            if whole.columns is None:
                columns = slice(window.start - whole.window.start, window.stop - whole.window.start)
            else:
                columns = slice(0, _columns(part).shape[1])
            yield stats.map(lambda value, rows=rows, columns=columns: value[rows, columns])  # type: ignore[misc]

    def _together(self, parts: Sequence[Tensor], short: Sequence[int], fill: int) -> Tensor:
        """Return the rows of all parts, filled on the left by what each is short of; all first halves come first."""
        even = [_padded(part, missing, fill) for part, missing in zip(parts, short, strict=True)]
        halves = [part.chunk(self.halves) for part in even]
        return torch.cat([half[number] for number in range(self.halves) for half in halves])


def _shifted(parts: Sequence[ModelInputs]) -> Iterator[slice]:
    """Yield each part's window, counted as in the longest canvas."""
    length = max(part.tokens.shape[1] for part in parts)
    for part in parts:
        missing = length - part.tokens.shape[1]
        yield slice(part.window.start + missing, part.window.stop + missing)


def _columns(part: ModelInputs) -> Tensor:
    """Return (R, K) int64, the columns that a part reads."""
    if part.columns is not None:
        return part.columns
    columns = torch.arange(part.window.start, part.window.stop, device=part.tokens.device)
    return columns.expand(part.tokens.shape[0], -1)


def _padded(values: Tensor, missing: int, fill: int) -> Tensor:
    """Return (R, missing + L) of (R, L), filled on the left."""
    if not missing:
        return values
    return torch.cat([values.new_full((values.shape[0], missing), fill), values], dim=1)


def _keys(parts: Sequence[Tensor | None], starts: Sequence[int], width: int) -> Tensor | None:
    """Return (R, width) int64 of noise keys that begin at the given columns; nobody reads the zeros between."""
    placed = []
    for keys, start in zip(parts, starts, strict=True):
        if keys is None:
            return None
        part = keys.new_zeros(keys.shape[0], width)
        part[:, start : start + keys.shape[1]] = keys
        placed.append(part)
    return torch.cat(placed)
