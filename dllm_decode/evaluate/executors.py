"""Where examples are decoded: an executor holds a model, takes a job and yields outcomes as they come.

Knows nothing of what is kept and recorded. `InProcess` decodes here; `ray_executor` has one for many processes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from dllm_decode.errors import ConfigError
from dllm_decode.evaluate.outcomes import Outcome
from dllm_decode.evaluate.record import device_name
from dllm_decode.programs import permitted

if TYPE_CHECKING:
    from dllm_decode.generation.answers import Generation
    from dllm_decode.generation.chat import Chat
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
    chat_template: bool = False
    """Whether it has a chat template that does anything to a text."""
    lasting: bool = True
    """Whether the fingerprint means the same model in another process."""
    max_length: int | None = None
    """The longest canvas, prompt included, in tokens; None if any."""

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
            chat_template=lm.has_chat_template,
            lasting=lm.lasting,
            max_length=lm.denoiser.max_length,
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
    chat: Chat = "auto"
    """Whether a text goes through the model's chat template."""
    skip_long: bool = False
    """Whether prompts that do not fit the model's context are left out rather than refused."""
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
    skipped: Sequence[int] = ()
    """Indices of examples that were left out, in no other one's `numbers`."""


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

        skipped = self._over_long(job)
        if skipped:
            yield Finished([], [], {}, skipped)
        kept = [number for number in range(len(job.examples)) if number not in skipped]
        for places, out in self._decoded(job, kept) if kept else ():
            numbers = [kept[place] for place in places]
            scoring = time.perf_counter()
            with permitted(job.run_programs):
                made = judge(self.lm, job.task, [job.examples[number] for number in numbers], out)
            seconds = {"decode": out.seconds, "score": time.perf_counter() - scoring}
            yield Finished(numbers, made, seconds)

    def _decoded(self, job: Job, kept: Sequence[int]) -> Iterator[tuple[list[int], Generation]]:
        """Yield places in `kept` and their answers, or, of an infill task, their filled texts."""
        prompts = [job.examples[number].prompt for number in kept]
        row_ids = [job.places[number] for number in kept]
        options: dict[str, Any] = {"seed": job.seed, "batch_size": job.batch_size}
        if not job.task.infill:
            yield from self.lm.stream(prompts, job.strategy, row_ids=row_ids, chat=job.chat, **options)
            return
        for start in range(0, len(kept), job.batch_size):
            places = list(range(start, min(start + job.batch_size, len(kept))))
            own = [row_ids[place] for place in places]
            yield places, self.lm.infill([prompts[place] for place in places], job.strategy, row_ids=own, **options)

    def _over_long(self, job: Job) -> list[int]:
        """Return the indices of the examples to leave out; raises `ConfigError` where there should be none."""
        return over_long(self.lm, job.task, job.examples, job.strategy.gen_length, job.chat, skip=job.skip_long)


def over_long(
    lm: DiffusionLM, task: Task, examples: Sequence[Example], length: int, chat: Chat, *, skip: bool
) -> list[int]:
    """Return the indices of a task's examples that do not fit the model's context together with `length` more tokens.

    Raises:
        ConfigError: There are some, and they are not to be skipped.
    """
    long = lm.over_long([example.prompt for example in examples], length, chat=chat, infill=task.infill)
    if long and not skip:
        names = ", ".join(examples[number].id for number in long)
        raise ConfigError(
            f"{len(long)} of {len(examples)} prompts and {length} tokens of an answer are over the model's context of "
            f"{lm.denoiser.max_length} tokens: {names}. Leave them out with --skip-long (skip_long=True), or lower "
            "gen_length."
        )
    return long
