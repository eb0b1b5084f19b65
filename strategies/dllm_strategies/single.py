"""The layering of most published methods: everything in the block is eligible from the beginning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from dllm_decode.plugin import LayeringConfig, Stage, StageContext, Tune


class SingleStage(LayeringConfig):
    """One stage."""

    name: Literal["single"] = "single"
    steps: Annotated[int, Field(ge=1), Tune(1, 16, log=True)] | None = Field(
        None,
        description="A budget of its own, for use inside another layering; null takes what that one passes on.",
    )

    def stages(self, context: StageContext) -> Iterator[Stage]:
        """Yield the one stage."""
        yield Stage("all", context.where, self.steps or context.steps, size=context.size)

    def forwards(self, steps: int | None, size: int) -> int:
        """Return the most forwards: never more than there are positions."""
        return min(self.steps or steps or size, size)
