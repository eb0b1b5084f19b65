"""Decode in many processes, on this machine or on a cluster, with Ray: one model a worker, one chunk at a time.

A worker that is killed loses the chunk it was at, which another one, or itself once restarted, does again. Cutting a job
into chunks knows nothing of the workers, so that outcomes do not either.
"""

from __future__ import annotations

import os
import platform
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from dllm_decode.data.prompt import prompt_text
from dllm_decode.errors import ConfigError, DecodeError
from dllm_decode.evaluate.executors import Finished, Job, ModelFacts
from dllm_decode.plugins.registry import load_registry

if TYPE_CHECKING:
    from types import TracebackType

RESTARTS = 4
"""Times that Ray starts a lost worker anew before it is given up."""
PATIENCE = 1800.0
"""Seconds after which a job is given up if no worker is there; loading a large model takes minutes."""
# Ray takes 127.0.0.1 for "the address by which others reach this machine"; another loopback address it leaves alone.
LOOPBACK = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
PASSED_ON = (
    "DLLM_DECODE_PLUGINS",
    "DLLM_DECODE_STRICT",
    "DLLM_DECODE_CACHE",
    "DLLM_DECODE_PRESETS",
    "HF_HUB_OFFLINE",
)
"""Variables that workers see as this process does."""


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
        self._ray = _import_ray()
        self._workers: list[Any] = []
        self._started = _connect(self._ray, address, workers)
        try:
            variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
            options = {"max_restarts": RESTARTS, "runtime_env": {"env_vars": variables}}
            options |= _room(self._ray.nodes(), workers, device)
            remote = self._ray.remote(_Worker)
            load = {"dtype": dtype, "device": device, "compile": compile}
            self._workers = [remote.options(**options).remote(model, load) for _ in range(workers)]
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
        if self._started:
            self._started = False
            self._ray.shutdown()

    @cached_property
    def model(self) -> ModelFacts:
        """What the first worker says of its model.

        Raises:
            ModelError: It cannot be loaded there.
        """
        facts: ModelFacts = self._answer(_patient(self._workers[0].facts).remote())
        return facts

    def outcomes(self, job: Job) -> Iterator[Finished]:
        """Decode and judge the examples chunk by chunk; see `Executor.outcomes`.

        Raises:
            ConfigError: The workers are lost, or have other versions of the plugins than this process.
        """
        if not self._workers:
            raise ConfigError("workers: this executor is closed; make another one.")
        crew = _Crew(self._ray, self._workers, deque(_chunks(job)), _needed(job))
        while crew.at_work:
            done = crew.wait()
            if done is None:
                raise ConfigError(
                    f"workers: none of the {len(self._workers)} has answered for {PATIENCE:.0f} seconds; look at Ray's "
                    "logs. What is finished is kept: the same command goes on from there."
                )
            for answer in done:
                try:
                    finished = self._answer(answer)
                except self._ray.exceptions.RayActorError as error:
                    crew.lost(answer, error)
                    continue
                if (chunk := crew.answered(answer)) is not None:
                    yield replace(
                        finished,
                        numbers=[chunk.numbers[number] for number in finished.numbers],
                        skipped=[chunk.numbers[number] for number in finished.skipped],
                    )

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


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Part of a job, done by one worker in one go."""

    job: Job
    numbers: list[int]
    """Indices of its examples in the whole job."""


@dataclass(slots=True)
class _Crew:
    """Who is at what: chunks that wait, workers that decode, and workers that are greeted before they get one."""

    ray: Any
    workers: list[Any]
    waiting: deque[_Chunk]
    needed: dict[tuple[str, str], str]
    decoding: dict[Any, tuple[Any, _Chunk]] = field(default_factory=dict)
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

    def wait(self) -> list[Any] | None:
        """Return the answers that have come, at least one; None if nobody decodes and none comes."""
        pending = [*self.decoding, *self.greeted]
        done, _ = self.ray.wait(pending, timeout=None if self.decoding else PATIENCE)
        return done or None

    def answered(self, answer: Any) -> _Chunk | None:
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
        self.greeted[_patient(worker.check).remote(self.needed)] = worker

    def _give(self, worker: Any) -> None:
        if self.waiting:
            chunk = self.waiting.popleft()
            self.decoding[worker.decode.remote(chunk.job)] = (worker, chunk)
        else:
            self.idle.append(worker)


class _Worker:
    """Runs in a process of its own and holds the model."""

    def __init__(self, model: str, load: dict[str, Any]) -> None:
        """Load the model; one that cannot be loaded is said when something is asked for."""
        from dllm_decode.evaluate.executors import InProcess
        from dllm_decode.model import DiffusionLM

        self.problem: DecodeError | None = None
        compile = load.pop("compile")
        try:
            lm = DiffusionLM.from_pretrained(model, compile=compile, **load)
            self.executor = InProcess(lm)
        except DecodeError as error:
            # An error here would look like a worker that was lost.
            self.problem = error

    def facts(self) -> ModelFacts:
        """Say what the model is."""
        if self.problem:
            raise self.problem
        return self.executor.model

    def check(self, needed: Mapping[tuple[str, str], str]) -> None:
        """Refuse to work without the model, or with other parts and tasks than the driver has."""
        self.facts()
        registry = load_registry()
        for (kind, name), origin in needed.items():
            own = registry.origin(kind, name) if (kind, name) in registry.origins else "nowhere"
            if own != origin:
                raise ConfigError(
                    f"workers: on {platform.node()} {kind} {name!r} comes from {own}, here from {origin}; install the "
                    "same plugins on every machine."
                )

    def decode(self, job: Job) -> Finished:
        """Decode and judge a chunk."""
        parts = list(self.executor.outcomes(job))
        seconds = {phase: sum(part.seconds.get(phase, 0.0) for part in parts) for phase in ("decode", "score")}
        numbers = [number for part in parts for number in part.numbers]
        skipped = [number for part in parts for number in part.skipped]
        return Finished(numbers, [outcome for part in parts for outcome in part.outcomes], seconds, skipped)


def _patient(method: Any) -> Any:
    """Let a call wait for a worker that is being restarted, where others are told at once that it was lost."""
    return method.options(max_task_retries=-1)


def _chunks(job: Job) -> Iterator[_Chunk]:
    """Cut a job into batches, those of long prompts first, so that little is padded and no long one comes last."""
    order = sorted(range(len(job.examples)), key=lambda number: -len(prompt_text(job.examples[number].prompt)))
    for start in range(0, len(order), job.batch_size):
        numbers = order[start : start + job.batch_size]
        examples = tuple(job.examples[number] for number in numbers)
        places = tuple(job.places[number] for number in numbers)
        yield _Chunk(replace(job, examples=examples, places=places), numbers)


def _needed(job: Job) -> dict[tuple[str, str], str]:
    """Return where this process has its parts and its task from; what this program itself registered is sent along."""
    registry = load_registry()
    names = [(part.kind, part.name) for _, part in job.strategy.parts()]
    if registry.tables.get("task", {}).get(job.task.name) is type(job.task):
        names.append(("task", job.task.name))
    origins = {name: registry.origins[name] for name in names if name in registry.origins}
    return {name: str(origin) for name, origin in origins.items() if origin.distribution != "this program"}


def _import_ray() -> Any:
    """Return Ray.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError("workers need Ray, which is not installed: pip install 'dllm-decode[ray]'") from None
    return ray


def _connect(ray: Any, address: str | None, workers: int) -> bool:
    """Connect to a cluster, or start Ray on this machine; return whether this process has to shut it down.

    Raises:
        ConfigError: There is no cluster at the address.
    """
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        if address is not None:
            ray.init(address=address, **quiet)
        else:
            cores = max(os.cpu_count() or 1, workers)
            own = {"_node_ip_address": LOOPBACK, "include_dashboard": False, "num_cpus": cores}
            ray.init(address="local", **own, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        where = f"there is no cluster at {address!r}" if address is not None else "it cannot be started here"
        raise ConfigError(
            f"ray: {where}: {reason}. `ray start --head` starts a cluster; without an address this machine alone is used"
        ) from None
    return True


def _room(nodes: Sequence[Mapping[str, Any]], workers: int, device: str | None) -> dict[str, Any]:
    """Return what each worker takes: a GPU where there are any, else an equal share of the CPUs.

    Raises:
        ConfigError: There is no room for so many.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = 0 if device == "cpu" else int(sum(node.get("GPU", 0) for node in alive))
    cpus = [int(node.get("CPU", 0)) for node in alive]
    if workers > (gpus or sum(cpus)):
        has = f"{gpus} GPUs" if gpus else f"{sum(cpus)} CPUs"
        instead = ", or use --device cpu" if gpus else ""
        raise ConfigError(f"workers: {workers} are more than the {has} there are; ask for fewer{instead}.")
    if gpus:
        return {"num_gpus": 1, "num_cpus": 1}
    # The largest share of which every machine together holds enough; it is also the worker's number of threads.
    share = next(n for n in range(max(cpus), 0, -1) if sum(cpu // n for cpu in cpus) >= workers)
    return {"num_cpus": share}
