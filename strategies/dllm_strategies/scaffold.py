"""SAID, Scaffold-Aware Iterative Decoding: some positions of a block first, the detail between them afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny, model_validator

from dllm_decode.plugin import ConfigError, LayeringConfig, Stage, StageContext, Tune, even_quota, part_of
from dllm_strategies.chlg import ConfidenceLayers
from dllm_strategies.patterns import NAMES, ColumnPattern, Parity, Pattern


class Scaffold(LayeringConfig):
    """The scaffold is a pattern of positions; it gets the steps. The detail is decoded by a layering of its own.

    Source: SAID (arXiv 2606.04974) and its released `generate`, whose pattern is parity and which counts columns over
    the whole canvas. A pattern of several tiers (dilated, with `refine`) divides the steps evenly among them, the first
    ones taking the remainder.
    """

    name: Literal["scaffold"] = "scaffold"
    pattern: Annotated[
        Pattern,
        Field(
            description="Which positions are the scaffold: a pattern's name, or a mapping with its fields."
        ),
        Tune(choices=NAMES),
    ] = Parity()
    parity: Literal["region", "absolute"] = Field(
        "region",
        description="Whether columns count from the generation region or, as in the released code, from the canvas's "
        "first column, which makes a row depend on its prompt's length and its batch mates' padding.",
    )
    steps: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="A budget of the scaffold's own, e.g. inside another layering; null takes the block's share.",
    )
    detail: Annotated[SerializeAsAny[LayeringConfig], part_of("layering")] = Field(
        default_factory=ConfidenceLayers, description="How the other positions are decoded."
    )

    @model_validator(mode="after")
    def _only_columns_are_counted(self) -> Scaffold:
        if self.parity == "absolute" and not isinstance(self.pattern, ColumnPattern):
            raise ValueError(
                f"parity: absolute says how columns are counted, which the pattern {self.pattern.name!r} does not do"
            )
        return self

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """What the detail's probes read."""
        return self.detail.needs

    @property
    def probes(self) -> bool:
        """Where positions are not counted by column, and what the detail does."""
        return not isinstance(self.pattern, ColumnPattern) or self.detail.probes

    def stages(self, context: StageContext) -> Iterator[Stage]:
        """Yield a stage for each tier of the scaffold, then the detail's stages."""
        first = context.block.window.start - (context.canvas.prompt_length if self.parity == "region" else 0)
        tiers = self.pattern.tiers(context, first)
        budget = self.steps or context.steps
        detail, left = context.where, context.size
        for number, (where, size) in enumerate(tiers):
            name = "scaffold" if number == 0 else f"scaffold-{number + 1}"
            yield Stage(name, where, _share(budget, len(tiers), number), size=size)
            detail = detail & ~where
            left = None if left is None or size is None else left - size
        yield from self.detail.build().stages(context.within(detail, None, left))

    def forwards(self, steps: int | None, size: int) -> int:
        """Return the most forwards: the tiers', then the detail's, for the worst place that the block may have.

        Raises:
            ConfigError: There are fewer steps than tiers.
        """
        budget = self.steps or steps
        worst = 0
        for counts in self.pattern.possible_counts(size):
            if budget is not None and budget < len(counts):
                raise ConfigError(
                    f"steps: {budget} steps a block cannot serve the {len(counts)} tiers of the scaffold; give at "
                    f"least {len(counts)} steps a block, or a pattern of fewer tiers."
                )
            tiers = (
                min(_share(budget, len(counts), number) or count, count)
                for number, count in enumerate(counts)
            )
            worst = max(worst, sum(tiers) + self.detail.forwards(None, size - sum(counts)))
        return worst


def _share(budget: int | None, tiers: int, number: int) -> int | None:
    return None if budget is None else even_quota(budget, tiers, number)
