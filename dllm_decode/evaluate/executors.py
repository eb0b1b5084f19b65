"""Where examples are decoded: an executor holds a model, takes a job and yields outcomes as they come.

Knows nothing of what is kept and recorded. `InProcess` decodes here; `ray_executor` has one for many processes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from dllm_decode.evaluate.outcomes import Outcome
from dllm_decode.evaluate.record import device_name
from dllm_decode.programs import permitted

if TYPE_CHECKING:
    from dllm_decode.model import DiffusionLM
    from dllm_decode.strategy.strategy import Strategy
    from dllm_decode.tasks.base import Example, Task


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model without having it."""

    name: str
    fingerprint: str
    folder: Path | None
    """None for a model that was made in a process and lies on no disk."""
    dtype: str
    """Of the weights, e.g. "float32"."""
    device: str
    device_name: str

    @classmethod
    def of(cls, lm: DiffusionLM) -> Self:
        """Read them off a loaded model."""
        return cls(
            name=lm.name,
            fingerprint=lm.fingerprint,
            folder=lm.folder,
            dtype=str(lm.dtype).removeprefix("torch."),
            device=str(lm.device),
            device_name=device_name(lm.device),
        )


@dataclass(frozen=True, slots=True)
class Job:
    """Examples to decode and judge, and how."""

    strategy: Strategy
    task: Task
    examples: tuple[Example, ...]
    places: tuple[int, ...]
    """Row ids of the examples' noise: their places in the fixed order, however they are cut into batches."""
    seed: int = 0
    batch_size: int = 64
    """Rows of a forward, at most."""
    run_programs: bool = False
    """Whether the judge may run programs that the model wrote."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Some of a job's examples, done."""

    numbers: list[int]
    """Their indices in `Job.examples`; each comes once."""
    outcomes: list[Outcome]
    """One each, in the same order."""
    seconds: Mapping[str, float]
    """Time spent on them by phase, "decode" and "score", in seconds."""


class Executor(Protocol):
    """Decodes jobs with one model, wherever that is.

    An outcome's answer, tokens and forward passes depend on the job alone: neither on how it is cut and shared out, nor
    on what was lost and done again on the way.
    """

    @property
    def model(self) -> ModelFacts:
        """What is known of the model."""

    def outcomes(self, job: Job) -> Iterator[Finished]:
        """Decode and judge the examples; yield them as they are finished, in any order, each once.

        Raises:
            DecodeError: The strategy cannot run with this model, or a part broke its contract.
        """


class InProcess:
    """Decodes with a loaded model in this process."""

    def __init__(self, lm: DiffusionLM) -> None:
        """Take the model."""
        self.lm = lm
        self.model = ModelFacts.of(lm)

    def outcomes(self, job: Job) -> Iterator[Finished]:
        """Decode and judge the examples, those of long prompts first; see `Executor.outcomes`."""
        from dllm_decode.evaluate.judge import judge

        if not job.examples:
            return
        prompts = [example.prompt for example in job.examples]
        stream = self.lm.stream(
            prompts, job.strategy, seed=job.seed, batch_size=job.batch_size, row_ids=job.places
        )
        for numbers, out in stream:
            scoring = time.perf_counter()
            with permitted(job.run_programs):
                made = judge(self.lm, job.task, [job.examples[number] for number in numbers], out)
            seconds = {"decode": out.seconds, "score": time.perf_counter() - scoring}
            yield Finished(numbers, made, seconds)
