"""CHLG, Confidence-Hierarchical Layered Generation: positions the model is sure of in one step, the rest in a few."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dllm_decode.plugin import Frozen, LayeringConfig, Stage, StageContext, Tune
from dllm_strategies.schedulers import CommitAll


class ConfidenceLayer(Frozen):
    """One more layer between the easy and the hard positions."""

    threshold: float = Field(gt=0, le=1, description="The least probability of the layer's positions.")
    steps: int = Field(1, ge=1, description="Steps spent on the layer.")


class ConfidenceLayers(LayeringConfig):
    """Cuts the positions by the probability of their proposed token, read once before each layer.

    The released SAID code is one threshold with one step for the easy positions (they are committed from the very
    forward that judged them) and `hard_steps` for the rest. Budgets are the layering's own: the steps of the block are
    not read, so alone in blocks it takes at most the sum of its steps in each of them. The cut uses the plain
    probability: `ignore_ends` of the confidence does not apply to it.
    """

    name: Literal["chlg"] = "chlg"
    threshold: Annotated[
        float, Field(gt=0, le=1, description="Positions at or above it are easy."), Tune(0.3, 0.99)
    ] = 0.8
    easy_steps: int = Field(
        1, ge=1, description="Steps for the easy positions; 1 commits them from the forward that judged them."
    )
    hard_steps: Annotated[
        int, Field(ge=1, description="Steps for the positions below."), Tune(1, 16, log=True)
    ] = 3
    between: tuple[ConfidenceLayer, ...] = Field(
        (),
        description="Further layers with falling thresholds, between the easy positions and the hard ones.",
    )

    @model_validator(mode="after")
    def _thresholds_fall(self) -> ConfidenceLayers:
        thresholds = [self.threshold, *(layer.threshold for layer in self.between)]
        if any(low >= high for high, low in pairwise(thresholds)):
            raise ValueError(f"thresholds should fall from layer to layer, got {thresholds}")
        return self

    @property
    def probes(self) -> bool:
        """Before each layer."""
        return True

    def stages(self, context: StageContext) -> Iterator[Stage]:
        """Yield the easy stage, the layers between, and the hard stage."""
        layers = [ConfidenceLayer(threshold=self.threshold, steps=self.easy_steps), *self.between]
        for number, layer in enumerate(layers):
            if not bool(context.open.any()):
                return  # a probe would be a forward that commits nothing
            sure = context.open & (context.probe().probability >= layer.threshold)
            once = CommitAll() if layer.steps == 1 else None
            yield Stage("easy" if number == 0 else f"layer-{number + 1}", sure, layer.steps, once)
        yield Stage("hard", context.open, self.hard_steps)

    def forwards(self, steps: int | None, size: int) -> int:
        """Return the most forwards: the layers' budgets, and never more than one a position.

        A probe's forward is also the first one of the next stage with open positions.
        """
        layers = self.easy_steps + sum(layer.steps for layer in self.between)
        return min(layers + self.hard_steps, size)
