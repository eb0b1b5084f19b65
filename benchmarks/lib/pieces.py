"""Runs many evaluations in worker processes, cheap ones first, and keeps what every example came to.

Knows strategies and tasks by name; leaves what is compared with what to its callers. A piece whose outcomes are kept
from an earlier run costs nothing, so a run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import Pool
from types import TracebackType
from typing import Any, Self

from dllm_decode.errors import DecodeError
from dllm_decode.evaluate.statistics import PointOutcomes, wilson_interval
from dllm_decode.strategy.strategy import Strategy

ADAPTIVE_SHARE = 0.3
"""Forwards of an adaptive schedule as a share of the answer's length; a guess that orders the work."""

SECONDS_A_ROW = 0.0015
"""Of one row in one forward, before anything has been measured."""

WRITE_SECONDS = 240
"""Between two writings of what there is."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One strategy on the first `limit` examples of one split of one task."""

    task: str
    split: str
    limit: int
    strategy: Strategy = field(compare=False)
    digest: str

    @classmethod
    def of(cls, task: str, split: str, limit: int, strategy: Strategy) -> Self:
        """Return a piece, named by its strategy's digest."""
        return cls(task, split, limit, strategy, strategy.digest())

    @property
    def forwards(self) -> float:
        """About how many forwards an example takes."""
        if self.strategy.scheduler.adaptive:
            return ADAPTIVE_SHARE * self.strategy.gen_length
        return self.strategy.max_forwards()


@dataclass(frozen=True, slots=True)
class Measured:
    """What a piece came to; `problem` says why there is nothing."""

    outcomes: PointOutcomes | None = None
    seconds: float = 0.0
    """Spent decoding, in seconds, that of kept outcomes as it was then."""
    model_calls: int = 0
    problem: str = ""
    setup: dict[str, Any] = field(default_factory=dict)
    """Device, dtype, versions, date and the weights' fingerprint."""

    @property
    def accuracy(self) -> float:
        """Fraction of 1; 0 where nothing was measured."""
        return sum(self.outcomes.correct) / len(self.outcomes.correct) if self.outcomes else 0.0

    @property
    def forwards(self) -> float:
        """Mean forward passes an example."""
        return sum(self.outcomes.forward_passes) / len(self.outcomes.correct) if self.outcomes else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return what is recorded: means with their intervals, or the problem."""
        if self.outcomes is None:
            return {"problem": self.problem}
        n = len(self.outcomes.correct)
        return {
            "n": n,
            "accuracy": self.accuracy,
            "accuracy_interval": list(wilson_interval(sum(self.outcomes.correct), n)),
            "forward_passes": self.forwards,
            "tokens_per_forward": self.outcomes.point()[0],
            "seconds": round(self.seconds, 2),
            "model_calls": self.model_calls,
        }


class Workers:
    """A pool of processes, one thread each, that measure pieces; use it as a context."""

    def __init__(self, model: str, *, processes: int = 2, batch_size: int = 64, seed: int = 0) -> None:
        """Take the model's name; it is loaded once in every process, when there is work to do."""
        self.model, self.processes, self.batch_size, self.seed = model, processes, batch_size, seed
        self.known: dict[Piece, Measured] = {}
        self._pool: Pool | None = None
        self._pace: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def __enter__(self) -> Self:
        """Return the pool, not started yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the processes, whatever they are doing."""
        if self._pool is not None:
            self._pool.terminate()

    def measure(
        self,
        pieces: Iterable[Piece],
        title: str,
        after: Callable[[], None] | None = None,
        *,
        as_given: bool = False,
    ) -> dict[Piece, Measured]:
        """Measure what is not known yet, cheap pieces first; return what is known of all of them.

        Args:
            pieces: What to measure; equal ones are measured once.
            title: What the progress lines begin with.
            after: Called every few minutes, to write what there is.
            as_given: Keep the order of the pieces.
        """
        wanted = list(dict.fromkeys(pieces))
        open_ = [piece for piece in wanted if piece not in self.known]
        if not as_given:
            open_.sort(key=self.estimate)
        self._say(title, open_, 0)
        written = time.monotonic()
        for done, (piece, measured) in enumerate(self._run(open_), 1):
            self.known[piece] = measured
            self._learn(piece, measured)
            self._say(title, open_, done, piece)
            if after is not None and time.monotonic() - written > WRITE_SECONDS:
                after()
                written = time.monotonic()
        return {piece: self.known[piece] for piece in wanted}

    def estimate(self, piece: Piece) -> float:
        """Return about how many seconds of one process a piece takes."""
        seconds, units = self._pace[piece.task]
        pace = seconds / units if units else SECONDS_A_ROW
        return pace * piece.forwards * piece.limit

    def _learn(self, piece: Piece, measured: Measured) -> None:
        if measured.outcomes is not None:
            self._pace[piece.task][0] += measured.seconds
            self._pace[piece.task][1] += piece.forwards * piece.limit

    def _run(self, pieces: Sequence[Piece]) -> Iterable[tuple[Piece, Measured]]:
        if not pieces:
            return ()
        if self.processes == 1:
            _start(self.model, self.batch_size, self.seed)
            return map(_work, pieces)
        if self._pool is None:
            os.environ["OMP_NUM_THREADS"] = "1"
            context = multiprocessing.get_context("spawn")
            self._pool = context.Pool(self.processes, _start, (self.model, self.batch_size, self.seed))
        return self._pool.imap_unordered(_work, pieces, chunksize=1)

    def _say(self, title: str, pieces: Sequence[Piece], done: int, piece: Piece | None = None) -> None:
        left = sum(self.estimate(other) for other in pieces if other not in self.known) / self.processes
        line = f"{title} {done}/{len(pieces)}, about {left / 60:.1f} min left"
        if piece is not None:
            one = self.known[piece]
            result = f"{one.accuracy:.1%} {one.forwards:.1f} forwards {one.seconds:.1f} s"
            line += f": {piece.task} {piece.strategy.name}: {one.problem or result}"
        sys.stderr.write(line + "\n")


_session: dict[str, Any] = {}


def _start(model: str, batch_size: int, seed: int) -> None:
    """Load the model in a worker."""
    import torch

    from dllm_decode.commands.options import load_model
    from dllm_decode.evaluate import evaluate as evaluation

    torch.set_num_threads(1)
    key = (model, batch_size, seed)
    if _session.get("key") != key:
        dtype = evaluation.fast_dtype(None) if model == "tiny" else None
        _session.update(key=key, lm=load_model(model, None, dtype))


def _work(piece: Piece) -> tuple[Piece, Measured]:
    """Measure a piece; a strategy that cannot run, or breaks, is a result too and ends nothing else."""
    from dllm_decode.evaluate.evaluate import evaluate

    _, batch_size, seed = _session["key"]
    try:
        done = evaluate(
            _session["lm"],
            piece.task,
            piece.strategy,
            split=piece.split,
            limit=piece.limit,
            batch_size=batch_size,
            seed=seed,
            gen_length=piece.strategy.gen_length,
            run_programs=True,
        )
    except DecodeError as error:
        return piece, Measured(problem=str(error))
    except Exception as error:
        traceback.print_exc()
        return piece, Measured(problem=f"broke: {type(error).__name__}: {error}")
    record = done.record
    outcomes = PointOutcomes(
        [outcome.correct for outcome in done.outcomes],
        [outcome.tokens for outcome in done.outcomes],
        [outcome.forward_passes for outcome in done.outcomes],
    )
    setup = {
        "model": record.model,
        "model_fingerprint": record.model_fingerprint,
        "dtype": record.dtype,
        "device": record.device_name,
        "versions": record.versions,
        "batch_size": batch_size,
        "seed": seed,
        "date": record.date,
    }
    return piece, Measured(outcomes, record.seconds, record.model_calls, "", setup)
