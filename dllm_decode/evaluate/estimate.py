"""What an evaluation would cost before it is started: forwards, times the seconds of one that was measured.

Knows jobs and executors; what is measured is decoded and thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dllm_decode.evaluate.executors import Executor, Job
from dllm_decode.strategy.strategy import Strategy

MEASURED = 3
"""Steps that are timed, after as many to warm up."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of one strategy on some examples."""

    name: str
    examples: int
    batch_size: int
    forwards: int
    """Of an answer, at most."""
    step_seconds: float
    """Of a forward of a whole batch."""

    @property
    def batches(self) -> int:
        """Batches that the examples make."""
        return -(-self.examples // self.batch_size)

    @property
    def hours(self) -> float:
        """Hours of one device, at most: of every batch as many forwards as an answer may take."""
        return self.batches * self.forwards * self.step_seconds / 3600

    def __str__(self) -> str:
        """Say it in a line."""
        return (
            f"{self.name}: {self.examples} examples in {self.batches} batches of {self.batch_size} x at most {self.forwards} "
            f"forwards x {self.step_seconds:.3g} s = {self.hours:.3g} hours of the device"
        )


def estimate(executor: Executor, job: Job, *, name: str = "", copies: int = 1) -> Estimate:
    """Measure a step on a job's longest prompts and return what the job would cost at most.

    Args:
        executor: Where it would run.
        job: All of it.
        name: What to call it; the strategy's name if empty.
        copies: How often it would be run.
    """
    seconds = step_seconds(executor, job)
    size = min(job.batch_size, len(job.examples))
    forwards = job.strategy.max_forwards()
    return Estimate(name or job.strategy.name, copies * len(job.examples), size, forwards, seconds)


def step_seconds(executor: Executor, job: Job) -> float:
    """Return the seconds of a forward of a whole batch of a job, choosing and committing tokens included."""
    order = sorted(range(len(job.examples)), key=lambda number: -len(str(job.examples[number].prompt)))
    chosen = order[: job.batch_size]
    steps = min(MEASURED, job.strategy.gen_length)
    strategy = Strategy.load("llada", gen_length=job.strategy.gen_length, steps=steps)
    small = replace(
        job,
        strategy=strategy,
        examples=tuple(job.examples[number] for number in chosen),
        places=tuple(job.places[number] for number in chosen),
    )
    spent: Sequence[float] = ()
    for _ in range(2):  # the first time loads kernels and fills allocators
        spent = [part.seconds.get("decode", 0.0) for part in executor.outcomes(small)]
    return sum(spent) / steps
