"""The worker: runs in a process of its own, on whatever machine Ray has chosen, and holds the model.

Knows how a chunk is decoded there; leaves who gets which chunk to `ray_crew`.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dllm_decode.errors import ConfigError, DecodeError
from dllm_decode.evaluate.executors import Finished, Job, ModelFacts
from dllm_decode.fingerprints import folder_fingerprint
from dllm_decode.plugins.registry import load_registry

PASSED_ON = (
    "DLLM_DECODE_PLUGINS",
    "DLLM_DECODE_STRICT",
    "DLLM_DECODE_CACHE",
    "DLLM_DECODE_PRESETS",
    "HF_HUB_OFFLINE",
)
"""Variables that workers see as this process does."""


@dataclass(frozen=True, slots=True)
class Needed:
    """What a worker must have for its outcomes to be those of any other."""

    checkpoint: str
    """The fingerprint of the model's files, whenever they were copied."""
    origins: Mapping[tuple[str, str], str]
    """(kind, name) -> the plugin that it comes from, with its version."""

    @classmethod
    def by(cls, job: Job, checkpoint: str) -> Needed:
        """Return what a job needs; parts and tasks that this program itself registered are sent along with the job."""
        registry = load_registry()
        names = [(part.kind, part.name) for _, part in job.strategy.parts()]
        if registry.tables.get("task", {}).get(job.task.name) is type(job.task):
            names.append(("task", job.task.name))
        origins = {name: registry.origins[name] for name in names if name in registry.origins}
        foreign = {name: str(origin) for name, origin in origins.items() if origin.distribution != "this program"}
        return cls(checkpoint, foreign)


class Worker:
    """An actor of Ray's."""

    def __init__(self, model: str, load: Mapping[str, Any]) -> None:
        """Load the model; one that cannot be loaded is said when something is asked for."""
        from dllm_decode.evaluate.executors import InProcess
        from dllm_decode.model import DiffusionLM

        self.problem: DecodeError | None = None
        try:
            lm = DiffusionLM.from_pretrained(model, **load)
            self.executor = InProcess(lm)
            self.checkpoint = folder_fingerprint(lm.folder, times=False) if lm.folder else ""
        except DecodeError as error:
            # An error here would look like a worker that was lost.
            self.problem = error

    def facts(self) -> tuple[ModelFacts, str]:
        """Say what the model is, and the fingerprint of its files."""
        if self.problem:
            raise self.problem
        return self.executor.model, self.checkpoint

    def check(self, needed: Needed) -> None:
        """Refuse to work without the model, with another one, or with other plugins than the driver has."""
        model, checkpoint = self.facts()
        here = f"workers: on {platform.node()}"
        if checkpoint != needed.checkpoint:
            raise ConfigError(
                f"{here} {model.name} is another checkpoint ({checkpoint}) than the first worker loaded "
                f"({needed.checkpoint}); put the same one on every machine."
            )
        registry = load_registry()
        for (kind, name), origin in needed.origins.items():
            found = registry.origin(kind, name) if (kind, name) in registry.origins else "nowhere"
            if found != origin:
                raise ConfigError(
                    f"{here} {kind} {name!r} comes from {found}, for the driver from {origin}; install the same "
                    "plugins on every machine."
                )

    def decode(self, job: Job) -> Finished:
        """Decode and judge a chunk."""
        parts = list(self.executor.outcomes(job))
        seconds = {phase: sum(part.seconds.get(phase, 0.0) for part in parts) for phase in ("decode", "score")}
        numbers = [number for part in parts for number in part.numbers]
        skipped = [number for part in parts for number in part.skipped]
        return Finished(numbers, [outcome for part in parts for outcome in part.outcomes], seconds, skipped)
