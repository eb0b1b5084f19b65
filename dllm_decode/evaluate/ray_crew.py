"""Who is at what: the chunks of one job, and the workers that they are handed to.

A worker that is killed loses the chunk it was at, which another one, or itself once restarted, does again. Cutting a job
into chunks knows nothing of the workers, so that outcomes do not either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from dllm_decode.data.prompt import prompt_text
from dllm_decode.errors import ConfigError
from dllm_decode.evaluate.executors import Job
from dllm_decode.evaluate.ray_worker import Needed

PATIENCE = 1800.0
"""Seconds after which a job is given up if no worker is there; loading a large model takes minutes."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part of a job, done by one worker in one go."""

    job: Job
    numbers: list[int]
    """Indices of its examples in the whole job."""


def chunks(job: Job) -> Iterator[Chunk]:
    """Cut a job into batches, those of long prompts first, so that little is padded and no long one comes last."""
    order = sorted(range(len(job.examples)), key=lambda number: -len(prompt_text(job.examples[number].prompt)))
    for start in range(0, len(order), job.batch_size):
        numbers = order[start : start + job.batch_size]
        examples = tuple(job.examples[number] for number in numbers)
        places = tuple(job.places[number] for number in numbers)
        yield Chunk(replace(job, examples=examples, places=places), numbers)


@dataclass(slots=True)
class Crew:
    """Chunks that wait, workers that decode, and workers that are greeted before they get one."""

    ray: Any
    workers: list[Any]
    waiting: deque[Chunk]
    needed: Needed
    decoding: dict[Any, tuple[Any, Chunk]] = field(default_factory=dict)
    """Answer to come -> (worker, chunk)."""
    greeted: dict[Any, Any] = field(default_factory=dict)
    """Answer to come -> worker; those that Ray is restarting answer once they are back."""
    idle: list[Any] = field(default_factory=list)
    """Workers for which nothing waits; what another one loses is theirs."""

    def __post_init__(self) -> None:
        for worker in self.workers:
            self._greet(worker)

    @property
    def at_work(self) -> bool:
        """Whether anything is left to wait for."""
        return bool(self.waiting or self.decoding)

    def wait(self) -> list[Any]:
        """Return the answers that have come, at least one.

        Raises:
            ConfigError: Nobody decodes, and nobody has answered for long.
        """
        pending = [*self.decoding, *self.greeted]
        done, _ = self.ray.wait(pending, timeout=None if self.decoding else PATIENCE)
        if not done:
            raise ConfigError(
                f"workers: none of the {len(self.workers)} has answered for {PATIENCE:.0f} seconds; look at Ray's "
                "logs. What is finished is kept: the same command goes on from there."
            )
        return list(done)

    def answered(self, answer: Any) -> Chunk | None:
        """Give the worker its next chunk; return the one it has finished, None if it was only greeted."""
        worker, chunk = self.decoding.pop(answer) if answer in self.decoding else (self.greeted.pop(answer), None)
        self._give(worker)
        return chunk

    def lost(self, answer: Any, error: Exception) -> None:
        """Put back the chunk of a worker that was lost, and greet the worker, which Ray restarts.

        Raises:
            ConfigError: It was the last of the workers, and will not come back.
        """
        if answer in self.decoding:
            worker, chunk = self.decoding.pop(answer)
            self.waiting.appendleft(chunk)
            self._greet(worker)
            if self.idle:
                self._give(self.idle.pop())
            return
        # A greeting waits for restarts; that it is lost means that there are none any more.
        del self.greeted[answer]
        if self.waiting and not self.greeted and not self.decoding:
            reason = " ".join(str(error).split())[:300]
            raise ConfigError(f"workers: all {len(self.workers)} were lost for good: {reason}")

    def _greet(self, worker: Any) -> None:
        self.greeted[patient(worker.check).remote(self.needed)] = worker

    def _give(self, worker: Any) -> None:
        if self.waiting:
            chunk = self.waiting.popleft()
            self.decoding[worker.decode.remote(chunk.job)] = (worker, chunk)
        else:
            self.idle.append(worker)


def patient(method: Any) -> Any:
    """Let a call wait for a worker that is being restarted, where others are told at once that it was lost."""
    return method.options(max_task_retries=-1)
