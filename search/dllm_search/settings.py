"""The settings of a search, checked before anything is loaded or decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dllm_decode.errors import ConfigError, unknown_name
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.costs import COSTS
from dllm_search.judge.goals import AXES
from dllm_search.trials.storage import shared

OBJECTIVES = tuple(AXES)
GENERATION = 8
"""Trials of a shared search that may run at the same time, if nothing else is asked for."""
SAMPLERS = ("tpe", "nsga2")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a search is asked to do; see `tune` for the meaning of each."""

    trials: int = 40
    strategy: str | Path | dict[str, Any] | Strategy | None = None
    fix: dict[str, Any] = field(default_factory=dict)
    objective: str = "pareto"
    max_drop: float = 1.0
    """The loss of accuracy, in points, that counts as none under the objective "constrained"."""
    cost: str = "forwards"
    cost_batch_size: int | None = None
    """Prompts decoded together where time is the cost; None is 1 for seconds, else `batch_size`."""
    sampler: str = "tpe"
    storage: str | Path | None = None
    study: str | None = None
    seed: int = 0
    out: str | Path | None = None
    examples: int = 200
    verify_examples: int = 500
    test_examples: int = 500
    batch_size: int = 64
    timeout: float | None = None
    workers: int = 1
    """Processes on this machine."""
    generation: int | None = None
    """Trials that may run at the same time; None is `GENERATION` with several workers or a server, else 1."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ConfigError: A number out of range, or an unknown objective or sampler.
        """
        for name in ("trials", "examples", "verify_examples", "test_examples", "batch_size", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name.replace('_', '-')}: should be at least 1, got {getattr(self, name)}"
                )
        if self.generation is not None and self.generation < 1:
            raise ConfigError(f"generation: should be at least 1, got {self.generation}")
        if self.timeout is not None and self.timeout <= 0:
            raise ConfigError(f"timeout: should be above 0 seconds, got {self.timeout}")
        if not 0 <= self.max_drop <= 100:
            raise ConfigError(f"max-drop: should be between 0 and 100 points, got {self.max_drop}")
        if self.cost_batch_size is not None and self.cost_batch_size < 1:
            raise ConfigError(f"cost-batch-size: should be at least 1, got {self.cost_batch_size}")
        if self.objective not in OBJECTIVES:
            raise ConfigError(unknown_name("objective", self.objective, OBJECTIVES))
        if self.cost not in COSTS:
            raise ConfigError(unknown_name("cost", self.cost, COSTS))
        if self.objective == "aup" and self.cost != "forwards":
            raise ConfigError(
                f"cost: AUP is an area over tokens per forward, so objective aup takes cost forwards, not {self.cost}"
            )
        if self.objective == "constrained" and self.sampler != "tpe":
            raise ConfigError("sampler: objective constrained has one value to lower; it takes sampler tpe")
        if self.sampler not in SAMPLERS:
            raise ConfigError(unknown_name("sampler", self.sampler, SAMPLERS))

    def timed_together(self) -> int:
        """Return how many prompts are decoded together where time is the cost."""
        if self.cost_batch_size is not None:
            return self.cost_batch_size
        return 1 if self.cost == "seconds" else self.batch_size

    def width(self) -> int | None:
        """Return how many trials may run at the same time; None if each waits for the one before it."""
        together = self.workers > 1 or shared(self.place())
        return self.generation or (GENERATION if together else None)

    def place(self) -> str | Path | None:
        """Return where the study is kept: the storage given, else a journal beside the results, else only in memory."""
        if self.storage is not None or self.out is None:
            return self.storage
        return Path(self.out) / "study.journal"
