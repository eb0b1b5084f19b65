"""SAID, Scaffold-Aware Iterative Decoding: every other position first, the detail between them afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field, SerializeAsAny

from dllm_decode.config import LayeringConfig, part_of
from dllm_decode.state import Stage, StageContext
from dllm_strategies.chlg import ConfidenceLayers


class Scaffold(LayeringConfig):
    """The scaffold is the positions of even index; it gets the steps. The detail is decoded by a layering of its own.

    Source: SAID (arXiv 2606.04974) and its released `generate`, which counts columns over the whole canvas.
    """

    name: Literal["scaffold"] = "scaffold"
    parity: Literal["region", "absolute"] = Field(
        "region",
        description="Whether columns count from the generation region or, as in the released code, from the canvas's "
        "first column, which makes a row depend on its prompt's length and its batch mates' padding.",
    )
    detail: Annotated[SerializeAsAny[LayeringConfig], part_of("layering")] = Field(
        default_factory=ConfidenceLayers, description="How the odd positions are decoded."
    )

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """What the detail's probes read."""
        return self.detail.needs

    def stages(self, context: StageContext) -> Iterator[Stage]:
        """Yield the scaffold stage, then the detail's stages."""
        window = context.block.window
        first = window.start - (context.canvas.prompt_length if self.parity == "region" else 0)
        width = window.stop - window.start
        even = torch.arange(first, first + width, device=context.where.device) % 2 == 0  # (W,)
        evens = sum(1 for column in range(first, first + width) if column % 2 == 0)
        full = context.size == width
        yield Stage("scaffold", context.where & even, context.steps, size=evens if full else None)
        detail = context.within(context.where & ~even, None, width - evens if full else None)
        yield from self.detail.build().stages(detail)

    def forwards(self, steps: int | None, size: int) -> int:
        """Return the most forwards: the scaffold's, then the detail's; which has the odd position more is open."""
        halves = ((size + 1) // 2, size // 2)
        return max(
            min(steps or scaffold, scaffold) + self.detail.forwards(None, size - scaffold) for scaffold in halves
        )
