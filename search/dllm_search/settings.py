"""The settings of a search, checked before anything is loaded or decoded.

One model: its fields are the keywords of `tune` and the options of `search run`, its descriptions their help.
Imports neither torch nor Optuna.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict, Unpack

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dllm_decode.data.noise import MAX_SEED
from dllm_decode.errors import ConfigError, readable, unknown_name
from dllm_decode.parts.base import Frozen
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.costs import COSTS, TimedCost, timed_cost
from dllm_search.judge.goals import GOALS, Goal

TIMED = {name: cost for name in COSTS if (cost := timed_cost(name)) is not None}
CHOICES = {
    "objective": tuple(GOALS),
    "cost": tuple(COSTS),
    "sampler": tuple(dict.fromkeys(sampler for goal in GOALS.values() for sampler in goal.samplers)),
    "chat": ("auto", "on", "off"),
}
SIZES = ("verify_examples", "test_examples", "batch_size")
"""Settings that may change while a study grows; a report made anew takes them as the last run had them."""
GENERATION = 8
"""Trials of a generation where several workers decode, if nothing else is asked for."""


class SharedOptions(TypedDict, total=False):
    """The settings that several searches may share, as keywords."""

    trials: int
    strategy: str | Path | dict[str, Any] | Strategy | None
    fix: dict[str, Any]
    objective: str
    max_drop: float
    cost: str
    cost_batch_size: int | None
    sampler: str
    storage: str | Path | None
    study: str | None
    seed: int
    examples: int
    verify_examples: int
    test_examples: int
    batch_size: int
    chat: str
    skip_long: bool
    timeout: float | None
    workers: int
    ray_address: str | None
    generation: int | None
    run_programs: bool


class Options(SharedOptions, total=False):
    """Every setting as a keyword; a test holds it to the fields of `Settings`."""

    out: str | Path | None


class Settings(Frozen):
    """What a search is asked to do."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    trials: int = Field(40, ge=1, description="Different strategies in all, earlier runs included.")
    strategy: str | Path | dict[str, Any] | Strategy | None = Field(
        None, description="A recipe or YAML: tune that composition only. A YAML with `space:` limits."
    )
    fix: dict[str, Any] = Field(
        default_factory=dict, description="Leave a choice out, e.g. scheduler=threshold. Repeatable."
    )
    objective: str = Field(
        next(iter(GOALS)), description=" ".join(f"{name}: {goal.said}." for name, goal in GOALS.items())
    )
    max_drop: float = Field(
        1.0,
        ge=0,
        le=100,
        description="Points of accuracy that may be lost, for --objective "
        + ", ".join(name for name, goal in GOALS.items() if goal.promises)
        + ".",
    )
    cost: str = Field(
        next(iter(COSTS)), description=" ".join(f"{name}: {cost.said}." for name, cost in COSTS.items())
    )
    cost_batch_size: int | None = Field(
        None,
        ge=1,
        description="Prompts timed together; if not given "
        + ", ".join(f"{'1' if one.one_by_one else '--batch-size'} for {name}" for name, one in TIMED.items())
        + ".",
    )
    sampler: str = Field("tpe", description="tpe or nsga2.")
    storage: str | Path | None = Field(
        None, description="A journal file or a database URL; OUT/study.journal if not given."
    )
    study: str | None = Field(None, description="The study's name; TASK-MODEL if not given.")
    seed: int = Field(0, ge=0, le=MAX_SEED, description="Of the search and of the decoding noise.")
    out: str | Path | None = Field(None, description="Folder of the results; dllm-search/TASK if not given.")
    examples: int = Field(200, ge=1, description="Of the tune split, for every trial.")
    verify_examples: int = Field(
        600, ge=1, description="Of the tune split, for the best few, before one is chosen."
    )
    test_examples: int = Field(500, ge=1, description="Of the test split, for the report.")
    batch_size: int = Field(64, ge=1, description="Examples decoded together.")
    chat: str = Field(
        "auto", description="Chat template for texts: auto (if the model has one), on, off (messages too)."
    )
    skip_long: bool = Field(
        False, description="Leave out examples over the model's context, rather than refuse them all."
    )
    timeout: float | None = Field(None, gt=0, le=1e9, description="Seconds after which no new trial is begun.")
    workers: int = Field(1, ge=1, description="Processes that decode, one GPU each where there are any.")
    ray_address: str | None = Field(
        None, description="A Ray cluster whose workers decode, e.g. auto; this machine if not given."
    )
    generation: int | None = Field(
        None,
        ge=1,
        description="Trials drawn together, which do not know each other's results; the study's own, else 8 with "
        "several workers, else 1.",
    )
    run_programs: bool = Field(
        False, description="Let the task run programs that the model wrote, on this machine."
    )

    def __init__(self, **options: Unpack[Options]) -> None:
        """Check the settings.

        Raises:
            ConfigError: A name that is unknown, or a value that cannot be meant.
        """
        fields = type(self).model_fields
        if unknown := next((name for name in options if name not in fields), None):
            raise ConfigError(f"{unknown}: {unknown_name('setting', unknown, fields)}")
        try:
            BaseModel.__init__(self, **options)
        except ValidationError as error:
            raise ConfigError(readable(error, "search")) from None

    @field_validator(*CHOICES)
    @classmethod
    def _check_choice(cls, value: str, info: Any) -> str:
        known = CHOICES[info.field_name]
        if value not in known:
            raise ValueError(unknown_name(info.field_name, value, known))
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Settings:
        if self.timed is not None and not self.goal.takes_time:
            raise ValueError(
                f"cost: objective {self.objective} is {self.goal.said}, so it takes a cost that is counted, such as "
                f"forwards, not {self.cost}"
            )
        if self.sampler not in self.goal.samplers:
            raise ValueError(
                f"sampler: objective {self.objective} takes sampler {' or '.join(self.goal.samplers)}, not {self.sampler}"
            )
        return self

    @property
    def goal(self) -> Goal:
        """What the search is for."""
        return GOALS[self.objective]

    @property
    def timed(self) -> type[TimedCost] | None:
        """The cost, if it is measured in time."""
        return timed_cost(self.cost)

    @property
    def verified(self) -> int:
        """Tuning examples on which the best few are looked at."""
        return max(self.verify_examples, self.examples)

    def timed_together(self) -> int:
        """Return how many prompts are decoded together where time is the cost."""
        if self.cost_batch_size is not None:
            return self.cost_batch_size
        return 1 if self.timed is not None and self.timed.one_by_one else self.batch_size

    def width(self) -> int:
        """Return how many trials a new study draws together."""
        several = self.workers > 1 or self.ray_address is not None
        return self.generation or (GENERATION if several else 1)

    def place(self) -> str | Path | None:
        """Return where the study is kept: the storage given, else a journal beside the results, else only in memory."""
        if self.storage is not None or self.out is None:
            return self.storage
        return Path(self.out) / "study.journal"

    def fixed(self) -> dict[str, Any]:
        """Return the settings that must stay the same while a study grows."""
        names = ["examples", "seed", "sampler", "objective", "cost"]
        if self.goal.promises:
            names.append("max_drop")
        if self.generation is not None:
            names.append("generation")
        if self.chat != "auto":
            names.append("chat")
        if self.skip_long:
            names.append("skip_long")
        timed = {"cost_batch_size": self.timed_together()} if self.timed is not None else {}
        return {**{name: getattr(self, name) for name in names}, **timed}
