"""Decodes any number of rows: cuts the table of rows into batches, or keeps one batch full, and writes back.

Knows canvases and the order of rows; what the rows mean is the caller's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dllm_decode.data.canvas import Canvas
from dllm_decode.data.noise import check_seed
from dllm_decode.decoding.loop import Decode, Decoded, finish
from dllm_decode.decoding.trace import StepEvent, Trace
from dllm_decode.errors import ConfigError
from dllm_decode.forward.denoiser import Denoiser
from dllm_decode.generation.pool import GROUPS, Pool, can_share_forwards
from dllm_decode.strategy.strategy import Strategy

DEFAULT_BATCH_SIZE = 16
OnStep = Callable[[StepEvent], None]


@dataclass(frozen=True, slots=True)
class Table:
    """Every row of a call, left-padded to one length; decoded in place."""

    tokens: Tensor
    """(N, L) int64; the mask token where undecided."""
    valid: Tensor
    """(N, L) bool; False on padding."""
    undecided: Tensor
    """(N, L) bool, at least one column in every row."""
    prompt_length: int | None
    """Columns before the generation region; None for infill: those before a row's first undecided one."""

    def of_rows(self, rows: Tensor) -> Table:
        """Return the table of (R,) int64 `rows` alone."""
        return Table(self.tokens[rows], self.valid[rows], self.undecided[rows], self.prompt_length)


@dataclass(frozen=True, slots=True)
class Options:
    """How to run, besides the strategy."""

    seed: int = 0
    batch_size: int | None = None
    row_ids: Sequence[int] | Tensor | None = None
    on_step: OnStep | None = None
    trace: bool = False

    def __post_init__(self) -> None:
        """Refuse a seed that the noise would take for another one.

        Raises:
            ConfigError: It is no whole number, or out of range.
        """
        check_seed(self.seed)


@dataclass(frozen=True, slots=True)
class Cost:
    """What the decoding of a table's rows took, of all of them or of some that have been written back."""

    rows: Tensor
    """(R,) int64."""
    forward_passes: Tensor
    """(R,) int64."""
    model_calls: int
    """Of some rows: since those before."""
    seconds: float
    trace: Trace | None = None


def decode_table(
    denoiser: Denoiser, device: torch.device, table: Table, strategy: Strategy, options: Options
) -> Cost:
    """Decide every undecided position of the table, in place.

    Args:
        denoiser: The model.
        device: Where its inputs lie.
        table: The rows.
        strategy: The schedule.
        options: Seed, batches, observers.

    Raises:
        ConfigError: A batch size below 1, or row ids that do not fit the rows.
        ContractError: A part of the strategy, or the model, broke its contract.
    """
    kept = Trace() if options.trace else None
    passes = torch.zeros(table.tokens.shape[0], dtype=torch.int64)
    calls, seconds = 0, 0.0
    for part in decode_parts(denoiser, device, table, strategy, options, kept):
        passes[part.rows] = part.forward_passes
        calls += part.model_calls
        seconds += part.seconds
    return Cost(torch.arange(len(passes)), passes, calls, seconds, kept)


def decode_parts(
    denoiser: Denoiser,
    device: torch.device,
    table: Table,
    strategy: Strategy,
    options: Options,
    trace: Trace | None = None,
) -> Iterator[Cost]:
    """Check as `decode_table` does, then yield rows as they are finished; those of long prompts begin first.

    Rows that are watched step by step are decoded in the order they are given in, one batch after another.
    """
    count = table.tokens.shape[0]
    size = DEFAULT_BATCH_SIZE if options.batch_size is None else options.batch_size
    if size < 1:
        raise ConfigError(f"batch_size should be at least 1, got {size}.")
    identities = _row_ids(options.row_ids, count)
    watched = trace is not None or options.on_step is not None
    pooled = count > size > 1 and not watched and can_share_forwards(strategy)

    def begin(rows: Tensor) -> Decode:
        # Columns that are padding in every row of the batch cost time and change nothing.
        first = first_column(table.valid[rows])
        if trace is not None:
            trace.begin(identities[rows].tolist())
        return Decode(
            denoiser,
            _canvas(table, rows, first, denoiser.special.mask, device),
            strategy,
            options.seed,
            identities[rows].to(device),
            _observer(options.on_step, trace, first, table.tokens.shape[1]),
            # What a row leaves free in a shared forward, another one takes.
            drop_at=1.0 if pooled else None,
        )

    groups = _groups(table, -(-size // GROUPS) if pooled else size, by_length=not watched)
    if pooled:
        return _written(table, Pool(size, begin, groups).results())
    return _written(table, ((rows, finish(begin(rows))) for rows in groups))


def _written(table: Table, finished: Iterator[tuple[Tensor, Decoded]]) -> Iterator[Cost]:
    """Write every group's answers into the table; the time that the caller takes in between does not count."""
    started = time.perf_counter()
    for rows, decoded in finished:
        canvas = decoded.canvas
        table.tokens[rows, -canvas.length :] = canvas.tokens.to(table.tokens.device)
        # A copy of the caller's own, which inference mode has no say in.
        passes = decoded.forward_passes.cpu().clone()
        yield Cost(rows, passes, decoded.model_calls, time.perf_counter() - started)
        started = time.perf_counter()


def first_column(where: Tensor) -> int:
    """Return the first column that is True in any row of (B, L) bool; 0 if there is none."""
    return int(where.any(0).int().argmax()) if where.shape[1] else 0


def region_starts(undecided: Tensor) -> Tensor:
    """Return (N,) int64, the first undecided column of every row of (N, L) bool."""
    return undecided.int().argmax(1)


def _canvas(table: Table, rows: Tensor, first: int, mask_id: int, device: torch.device) -> Canvas:
    begin = table.prompt_length
    if begin is None:
        begin = first_column(table.undecided[rows])
    return Canvas(
        tokens=table.tokens[rows, first:].to(device, copy=True),
        undecided=table.undecided[rows, first:].to(device, copy=True),
        valid=table.valid[rows, first:].to(device, copy=True),
        prompt_length=begin - first,
        mask_id=mask_id,
        padded=not bool(table.valid[rows, first:].all()),
        uniform=bool(table.undecided[rows, begin:].all()),
    )


def _groups(table: Table, size: int, *, by_length: bool) -> list[Tensor]:
    """Return the rows of each batch, (R,) int64, of similar length where their order is free.

    Block policies and layerings count columns from the first undecided one. Where that is not the same in all rows,
    only rows that have it in common are decoded together, or a row would depend on its batch mates.
    """
    order = torch.arange(table.tokens.shape[0])
    lengths = table.valid.sum(1).cpu()
    if by_length:
        order = lengths.sort(descending=True, stable=True).indices
    alike = [order]
    if table.prompt_length is None:
        starts = region_starts(table.undecided).cpu()[order]
        alike = [order[starts == start] for start in sorted(set(starts.tolist()))]
    groups = [rows[start : start + size] for rows in alike for start in range(0, len(rows), size)]
    if by_length:
        return sorted(groups, key=lambda rows: -int(lengths[rows[0]]))
    return sorted(groups, key=lambda rows: int(rows[0]))


def _row_ids(row_ids: Sequence[int] | Tensor | None, count: int) -> Tensor:
    """Return (N,) int64 identities of the rows."""
    if row_ids is None:
        return torch.arange(count)
    try:
        given = torch.as_tensor(row_ids).cpu()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ConfigError(f"row_ids should hold whole numbers of 64 bits: {error}") from None
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        raise ConfigError(f"row_ids should hold whole numbers, got {given.dtype}.")
    identities = given.long()
    if identities.shape != (count,):
        shown = tuple(identities.shape)
        raise ConfigError(f"row_ids should hold {count} numbers, one a prompt, got shape {shown}.")
    return identities


def _observer(on_step: OnStep | None, trace: Trace | None, first: int, length: int) -> OnStep | None:
    """Return what the engine calls: both observers, with columns counted as in the whole table."""
    observers = [observer for observer in (on_step, trace.record if trace else None) if observer]
    if not observers:
        return None

    def observe(event: StepEvent) -> None:
        if first:
            start, stop, _ = event.window.indices(length)
            event = replace(event, window=slice(start + first, stop + first))
        for observer in observers:
            observer(event)

    return observe
