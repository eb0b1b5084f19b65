"""The settings of a search, checked before anything is loaded or decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dllm_decode.config import Strategy
from dllm_decode.errors import ConfigError, unknown_name

OBJECTIVES = ("pareto",)
SAMPLERS = ("tpe", "nsga2")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a search is asked to do; see `tune` for the meaning of each."""

    trials: int = 40
    strategy: str | Path | dict[str, Any] | Strategy | None = None
    fix: dict[str, Any] = field(default_factory=dict)
    objective: str = "pareto"
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

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ConfigError: A number out of range, or an unknown objective or sampler.
        """
        for name in ("trials", "examples", "verify_examples", "test_examples", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name.replace('_', '-')}: should be at least 1, got {getattr(self, name)}"
                )
        if self.timeout is not None and self.timeout <= 0:
            raise ConfigError(f"timeout: should be above 0 seconds, got {self.timeout}")
        if self.objective not in OBJECTIVES:
            raise ConfigError(unknown_name("objective", self.objective, OBJECTIVES))
        if self.sampler not in SAMPLERS:
            raise ConfigError(unknown_name("sampler", self.sampler, SAMPLERS))

    def place(self) -> str | Path | None:
        """Return where the study is kept: the storage given, else a journal beside the results, else only in memory."""
        if self.storage is not None or self.out is None:
            return self.storage
        return Path(self.out) / "study.journal"
