"""Decode in many processes, on this machine or on a cluster, with Ray: one model a worker, one chunk at a time.

Begins and ends the workers; reaching Ray is in `ray_cluster`, a worker in `ray_worker`, who does what in `ray_crew`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from dllm_decode.errors import ConfigError, DecodeError
from dllm_decode.evaluate.executors import Finished, Job, ModelFacts
from dllm_decode.evaluate.ray_cluster import Room, connect, import_ray
from dllm_decode.evaluate.ray_crew import PATIENCE, Crew, chunks, patient
from dllm_decode.evaluate.ray_worker import PASSED_ON, Needed, Worker

if TYPE_CHECKING:
    from types import TracebackType

RESTARTS = 4
"""Times that Ray starts a lost worker anew before it is given up."""


class RayExecutor:
    """Decodes with a model that each of several workers has loaded; a context manager, which ends the workers."""

    def __init__(
        self,
        model: str,
        workers: int,
        *,
        address: str | None = None,
        dtype: str | None = None,
        device: str | None = None,
        compile: bool = False,
    ) -> None:
        """Start the workers; each loads the model and takes a GPU, if there are any, else CPUs.

        Args:
            model: As `DiffusionLM.from_pretrained` takes it; a folder has to be there on every machine.
            workers: How many.
            address: Of a running Ray cluster, e.g. "auto" or "ray://head:10001"; None starts Ray on this machine, on its
                loopback address alone, or takes the Ray that this process is already connected to.
            dtype: Of the weights, as in `from_pretrained`.
            device: None is a GPU where the cluster has any, else CPUs.
            compile: Whether the workers compile the model.

        Raises:
            ConfigError: Ray is not installed or cannot be reached, or has no room for so many workers.
        """
        if workers < 1:
            raise ConfigError(f"workers should be at least 1, got {workers}.")
        self._ray = import_ray()
        self._workers: list[Any] = []
        self._room: Room | None = None
        self._started = connect(self._ray, address, workers)
        try:
            self._room = Room.take(self._ray, workers, device)
            variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
            remote = self._ray.remote(Worker).options(
                max_restarts=RESTARTS, runtime_env={"env_vars": variables}, **self._room.options()
            )
            load = {"dtype": dtype, "device": device, "compile": compile}
            self._workers = [remote.remote(model, load) for _ in range(workers)]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers."""
        self.close()

    def close(self) -> None:
        """End the workers, and Ray too where this executor has started it; later jobs are refused."""
        while self._workers:
            self._ray.kill(self._workers.pop())
        if self._room is not None:
            self._room.give_back()
            self._room = None
        if self._started:
            self._started = False
            self._ray.shutdown()

    @property
    def model(self) -> ModelFacts:
        """What the first worker that is there says of its model.

        Raises:
            ConfigError: This executor is closed, or its workers are lost.
            ModelError: The model cannot be loaded there.
        """
        return self._loaded[0]

    @cached_property
    def _loaded(self) -> tuple[ModelFacts, str]:
        self._check_open()
        asked = [patient(worker.facts).remote() for worker in self._workers]
        while asked:
            done, asked = self._ray.wait(asked, timeout=PATIENCE)
            if not done:
                break
            try:
                loaded: tuple[ModelFacts, str] = self._answer(done[0])
                return loaded
            except _lost(self._ray):
                continue
        raise ConfigError(f"workers: none of the {len(self._workers)} could be started; look at Ray's logs.")

    def outcomes(self, job: Job) -> Iterator[Finished]:
        """Decode and judge the examples chunk by chunk; see `Executor.outcomes`.

        Raises:
            ConfigError: The workers are lost, or have other plugins or another model than they should.
        """
        self._check_open()
        needed = Needed.by(job, self._loaded[1])
        crew = Crew(self._ray, self._workers, deque(chunks(job)), needed)
        while crew.at_work:
            for answer in crew.wait():
                try:
                    finished = self._answer(answer)
                except _lost(self._ray) as error:
                    crew.lost(answer, error)
                    continue
                if (chunk := crew.answered(answer)) is not None:
                    yield replace(
                        finished,
                        numbers=[chunk.numbers[number] for number in finished.numbers],
                        skipped=[chunk.numbers[number] for number in finished.skipped],
                    )

    def _check_open(self) -> None:
        if not self._workers:
            raise ConfigError("workers: this executor is closed; make another one.")

    def _answer(self, reference: Any) -> Any:
        """Return what a worker answered.

        Raises:
            DecodeError: What the worker raised, as it was.
        """
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, DecodeError):
                raise error.cause from None
            raise


def _lost(ray: Any) -> tuple[type[Exception], ...]:
    """Return what is raised where a worker was lost, or a large answer with the machine on which it lay."""
    kinds = ray.exceptions
    return kinds.RayActorError, kinds.ObjectLostError, kinds.WorkerCrashedError, kinds.OutOfMemoryError
