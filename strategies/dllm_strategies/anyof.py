"""The scheduler that asks several others and commits what any of them would.

Knows adaptive schedulers and the confidences they are to read; leaves each bound or threshold to its own part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny, model_validator

from dllm_decode.plugin import (
    Confidence,
    ConfidenceConfig,
    Frozen,
    Proposal,
    Scheduler,
    SchedulerConfig,
    StepView,
    part_of,
)
from dllm_strategies.bounds import EntropyBoundedScheduler
from dllm_strategies.confidence import NegativeEntropy, TopProbability
from dllm_strategies.schedulers import ThresholdScheduler

if TYPE_CHECKING:
    from torch import Tensor


class Rule(Frozen):
    """One scheduler and the scores it reads."""

    scheduler: Annotated[SerializeAsAny[SchedulerConfig], part_of("scheduler")] = Field(
        description="Which tokens to commit; an adaptive scheduler."
    )
    confidence: Annotated[SerializeAsAny[ConfidenceConfig], part_of("confidence")] | None = Field(
        None, description="The scores it reads; null is the strategy's own confidence."
    )

    @model_validator(mode="after")
    def _goes_together(self) -> Rule:
        if not self.scheduler.adaptive:
            raise ValueError(
                f"scheduler: {self.scheduler.name!r} counts steps and cannot stand beside others; take an adaptive one"
            )
        if self.confidence is not None and self.scheduler.reads_probabilities and not self.confidence.unit:
            raise ValueError(
                f"scheduler {self.scheduler.name!r} compares scores with numbers between 0 and 1, and those of "
                f"{self.confidence.name!r} are not; take top-probability or margin"
            )
        return self


class AnyOf(SchedulerConfig):
    """Commits every position that at least one of its rules would commit.

    Each rule reads scores of its own, so that a bound on entropies can stand beside a threshold on probabilities: what
    is nearly certain need not use up the bound. The tokens are the strategy's. Cost: at most that of the boldest rule
    alone would be in each step; from one forward to one a token.
    """

    name: Literal["any-of"] = "any-of"
    adaptive: ClassVar[bool] = True
    rules: tuple[Rule, ...] = Field(
        (
            Rule(scheduler=EntropyBoundedScheduler(), confidence=NegativeEntropy()),
            Rule(scheduler=ThresholdScheduler(), confidence=TopProbability()),
        ),
        min_length=1,
        description="The schedulers to ask, each with the confidence it reads.",
    )

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """What the rules' schedulers and confidences read."""
        parts = [part for rule in self.rules for part in (rule.scheduler, rule.confidence) if part is not None]
        return frozenset().union(*(part.needs for part in parts))

    @property
    def reads_probabilities(self) -> bool:  # type: ignore[override]
        """Whether the strategy's own confidence is compared with numbers between 0 and 1."""
        return any(rule.confidence is None and rule.scheduler.reads_probabilities for rule in self.rules)

    def build(self) -> Any:
        """Return the rules built for one decode; a rule may have a memory."""
        return _AnyOf(self)


class _AnyOf:
    adaptive = True
    exact = False

    def __init__(self, config: AnyOf) -> None:
        self.name, self.needs = config.name, config.needs
        self.rules: list[tuple[Scheduler, Confidence | None]] = [
            (rule.scheduler.build(), None if rule.confidence is None else rule.confidence.build())
            for rule in config.rules
        ]

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        """Return (B, W) bool; the engine adds the best position of a row that has none."""
        chosen = view.open & False
        for scheduler, confidence in self.rules:
            own = proposal if confidence is None else confidence.propose(view)
            chosen = chosen | scheduler.select(view, own)
        return chosen
