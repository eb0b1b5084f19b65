"""Several forwards as one: loads of different decodes side by side, and the statistics each of them gets back.

Canvases are aligned on the right, where their generation regions are. Knows nothing of schedules and models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dllm_decode.data.stats import VocabStats
from dllm_decode.forward.read import Load


def merged(loads: Sequence[Load], mask_id: int, *, picks: bool) -> Load:
    """Return one load of all rows.

    Args:
        loads: At least one; all of one strategy and model.
        mask_id: What fills the columns before a shorter canvas.
        picks: Whether the model can read columns of each row's own; else the merged window covers all windows.
    """
    if len(loads) == 1:
        return loads[0]
    length = max(load.length for load in loads)
    short = [length - load.length for load in loads]
    windows = list(_shifted(loads))
    cover = slice(min(w.start for w in windows), max(w.stop for w in windows))
    valid = given = None
    if any(short) or any(load.valid is not None for load in loads):
        rows = [
            torch.ones_like(load.tokens, dtype=torch.bool) if load.valid is None else load.valid for load in loads
        ]
        valid = torch.cat([_padded(each, missing, False) for each, missing in zip(rows, short, strict=True)])
    if loads[0].given is not None:
        marks = [load.given for load in loads if load.given is not None]
        given = torch.cat([_padded(each, missing, True) for each, missing in zip(marks, short, strict=True)])
    tokens = torch.cat([_padded(load.tokens, missing, mask_id) for load, missing in zip(loads, short, strict=True)])
    if picks and (any(load.columns is not None for load in loads) or any(w != cover for w in windows)):
        columns = [_columns(load) + missing for load, missing in zip(loads, short, strict=True)]
        most = max(each.shape[1] for each in columns)
        # A row with fewer columns to read repeats its last one.
        read = torch.cat([torch.cat([c, c[:, -1:].expand(-1, most - c.shape[1])], 1) for c in columns])
        keys = _together([(load.keys, 0) for load in loads], most)
        return Load(tokens, valid, given, cover, read, keys)
    places = [(load.keys, w.start - cover.start) for load, w in zip(loads, windows, strict=True)]
    return Load(tokens, valid, given, cover, None, _together(places, cover.stop - cover.start))


def split(whole: Load, loads: Sequence[Load], stats: VocabStats) -> Iterator[VocabStats]:
    """Yield what each load would have got alone, of the statistics of `whole`, which is `merged(loads)`."""
    first = 0
    for load, window in zip(loads, _shifted(loads), strict=True):
        rows = slice(first, first + load.tokens.shape[0])
        first = rows.stop
        if whole.columns is None:
            columns = slice(window.start - whole.window.start, window.stop - whole.window.start)
        else:
            columns = slice(0, _columns(load).shape[1])
        yield stats.map(lambda value, rows=rows, columns=columns: value[rows, columns])  # type: ignore[misc]


def _shifted(loads: Sequence[Load]) -> Iterator[slice]:
    """Yield each load's window, counted as in the longest canvas."""
    length = max(load.length for load in loads)
    for load in loads:
        missing = length - load.length
        yield slice(load.window.start + missing, load.window.stop + missing)


def _columns(load: Load) -> Tensor:
    """Return (R, K) int64, the columns that a load reads."""
    if load.columns is not None:
        return load.columns
    columns = torch.arange(load.window.start, load.window.stop, device=load.tokens.device)
    return columns.expand(load.tokens.shape[0], -1)


def _padded(values: Tensor, missing: int, fill: int) -> Tensor:
    """Return (R, missing + L) of (R, L), filled on the left."""
    if not missing:
        return values
    return torch.cat([values.new_full((values.shape[0], missing), fill), values], dim=1)


def _together(places: Sequence[tuple[Tensor | None, int]], width: int) -> Tensor | None:
    """Return (R, width) int64 of noise keys that begin at the given columns; nobody reads the zeros between."""
    parts = []
    for keys, start in places:
        if keys is None:
            return None
        part = keys.new_zeros(keys.shape[0], width)
        part[:, start : start + keys.shape[1]] = keys
        parts.append(part)
    return torch.cat(parts)
