"""Decodes any number of rows: cuts the table of rows into batches, or keeps one batch full, and writes back.

Knows canvases and the order of rows; what the rows mean is the caller's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dllm_decode.data.noise import check_seed
from dllm_decode.decoding.commit import OnStep
from dllm_decode.decoding.decoded import Decoded, finish
from dllm_decode.decoding.events import StepEvent
from dllm_decode.decoding.loop import Decode
from dllm_decode.decoding.trace import Trace
from dllm_decode.errors import ConfigError
from dllm_decode.forward.denoiser import Denoiser
from dllm_decode.generation.answers import Generation
from dllm_decode.generation.pool import GROUPS, Pool, can_share_forwards
from dllm_decode.generation.table import Table, grouped
from dllm_decode.strategy.strategy import Strategy

DEFAULT_BATCH_SIZE = 16

OnRows = Callable[[int, int], None]
"""Called with (rows finished, rows in all)."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to run, besides the strategy."""

    seed: int = 0
    batch_size: int | None = None
    row_ids: Sequence[int] | Tensor | None = None
    on_step: OnStep | None = None
    trace: bool = False
    progress: OnRows | None = None

    def __post_init__(self) -> None:
        """Refuse a seed that the noise would take for another one.

        Raises:
            ConfigError: It is no whole number, or out of range.
        """
        check_seed(self.seed)

    @property
    def rows_at_once(self) -> int:
        """Rows of a forward, at most.

        Raises:
            ConfigError: It is below 1.
        """
        size = DEFAULT_BATCH_SIZE if self.batch_size is None else self.batch_size
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ConfigError(f"batch_size should be a whole number of at least 1, got {size!r}.")
        return size


def decode_table(
    denoiser: Denoiser, device: torch.device, table: Table, strategy: Strategy, options: Options
) -> Generation:
    """Decide every undecided position of the table, in place; what comes out has no texts yet.

    Args:
        denoiser: The model.
        device: Where its inputs lie.
        table: The rows.
        strategy: The schedule.
        options: Seed, batches, observers.

    Raises:
        ConfigError: A batch size below 1, or row ids that do not fit the rows.
        ContractError: A part of the strategy broke its contract.
        ModelError: The model raised an exception.
    """
    kept = Trace() if options.trace else None
    passes = torch.zeros(table.tokens.shape[0], dtype=torch.int64)
    calls, seconds, done = 0, 0.0, 0
    for rows, part in decode_parts(denoiser, device, table, strategy, options, kept):
        passes[rows] = part.forward_passes
        calls += part.model_calls
        seconds += part.seconds
        done += len(rows)
        if options.progress:
            options.progress(done, table.tokens.shape[0])
    return Generation.of(table, strategy, passes, calls, seconds, kept)


def decode_parts(
    denoiser: Denoiser,
    device: torch.device,
    table: Table,
    strategy: Strategy,
    options: Options,
    trace: Trace | None = None,
) -> Iterator[tuple[Tensor, Generation]]:
    """Check as `decode_table` does, then yield (R,) int64 rows as they are finished; those of long prompts begin first.

    Calls of the model and seconds are those since the rows before.

    Rows that are watched step by step are decoded in the order they are given in, one batch after another.
    """
    count = table.tokens.shape[0]
    size = options.rows_at_once
    identities = row_identities(options.row_ids, count)
    watched = trace is not None or options.on_step is not None
    pooled = count > size > 1 and not watched and can_share_forwards(strategy)

    def begin(rows: Tensor) -> Decode:
        canvas = table.canvas(rows, denoiser.special.mask, device)
        if trace is not None:
            trace.begin(identities[rows].tolist(), rows.tolist())
        return Decode(
            denoiser,
            canvas,
            strategy,
            options.seed,
            identities[rows].to(device),
            _observer(options.on_step, trace, table.tokens.shape[1] - canvas.length, table.tokens.shape[1]),
            # What a row leaves free in a shared forward, another one takes.
            drop_at=1.0 if pooled else None,
        )

    groups = grouped(table, -(-size // GROUPS) if pooled else size, by_length=not watched)
    if pooled:
        return _written(table, strategy, Pool(size, begin, groups).results())
    return _written(table, strategy, ((rows, finish(begin(rows))) for rows in groups))


def _written(
    table: Table, strategy: Strategy, finished: Iterator[tuple[Tensor, Decoded]]
) -> Iterator[tuple[Tensor, Generation]]:
    """Write every group's answers into the table; the time that the caller takes in between does not count."""
    started = time.perf_counter()
    for rows, decoded in finished:
        canvas = decoded.canvas
        table.tokens[rows, -canvas.length :] = canvas.tokens.to(table.tokens.device)
        # A copy of the caller's own, which inference mode has no say in.
        passes = decoded.forward_passes.cpu().clone()
        seconds = time.perf_counter() - started
        yield rows, Generation.of(table.of_rows(rows), strategy, passes, decoded.model_calls, seconds)
        started = time.perf_counter()


def row_identities(row_ids: Sequence[int] | Tensor | None, count: int) -> Tensor:
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
