"""Block-wise SAID: a coarse grid of positions first, then finer ones, the odd positions last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny

from dllm_decode.lazy import torch
from dllm_decode.plugin import ConfigError, LayeringConfig, Stage, StageContext, Tune, part_of


class Grid(LayeringConfig):
    """K stages over a block: the positions divisible by 2^(K-1) first, then U_(K-1), ..., and U_1 last.

    U_k, about half of what is left, holds the positions p, counted from the block's start, with
    p mod 2^k = 2^(k-1). The last stage gets `rec_steps`; the others share the rest, the coarsest most.
    Source: SAID's released `generate_said`.
    """

    name: Literal["grid"] = "grid"
    stage_count: Annotated[int, Field(ge=1, le=8, description="K, the number of stages."), Tune(1, 4)] = 3
    rec_steps: Annotated[int, Field(ge=1, description="R, steps for the last stage."), Tune(1, 8)] = 2
    exact: bool = Field(
        False,
        description="Use the released budgets, which may give a stage more steps than positions and may exceed the "
        "block's share; otherwise what a stage cannot use goes to the next and the sum is kept.",
    )
    detail: Annotated[SerializeAsAny[LayeringConfig], part_of("layering")] | None = Field(
        None, description="A layering for the last stage instead of `rec_steps` even ones, such as chlg."
    )

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """What the detail's probes read."""
        return self.detail.needs if self.detail else frozenset()

    @property
    def probes(self) -> bool:
        """What the detail does."""
        return self.detail is not None and self.detail.probes

    def stages(self, context: StageContext) -> Iterator[Stage]:
        """Yield the stages from coarse to fine; those without positions are skipped."""
        block = context.block
        width = block.window.stop - block.window.start
        positions = [(p + block.window.start - block.start) for p in range(width)]
        members = self._members(positions)
        steps = context.steps
        if self.exact and block.budget is not None:
            steps = block.budget // block.count
        budgets = self._budgets(steps, [len(columns) for columns in members])
        full = context.size == width
        for number, (columns, budget) in enumerate(zip(members, budgets, strict=True)):
            if not columns:
                continue
            inside = torch.zeros(width, dtype=torch.bool, device=context.where.device)
            inside[columns] = True
            where, size = context.where & inside, len(columns) if full else None
            if self.detail is not None and number == self.stage_count - 1:
                yield from self.detail.build().stages(context.within(where, budget, size))
            else:
                yield Stage(f"grid-{number + 1}", where, budget, size=size)

    def _members(self, positions: list[int]) -> list[list[int]]:
        """Return the window columns of each stage, coarsest first."""
        finer: list[list[int]] = []
        left = list(range(len(positions)))
        for k in range(1, self.stage_count):
            finer.append([c for c in left if positions[c] % 2**k == 2 ** (k - 1)])
            left = [c for c in left if positions[c] % 2**k != 2 ** (k - 1)]
        return [left, *reversed(finer)]

    def _budgets(self, steps: int | None, sizes: list[int]) -> list[int | None]:
        """Return each stage's steps, coarsest first; None where it gets one token a step."""
        if steps is None:
            return [None] * self.stage_count
        budgets = released_budgets(steps, self.stage_count, self.rec_steps)
        if not self.exact:
            budgets = corrected_budgets(budgets, steps, sizes)
        return [max(0, budget) for budget in budgets]

    def forwards(self, steps: int | None, size: int) -> int:
        """Return the most forwards; refuses budgets that would leave positions undecided or stages without steps."""
        if steps is not None and self.stage_count == 2 and steps <= self.rec_steps:
            raise ConfigError(
                f"steps: {steps} steps a block leave none for the first of 2 stages after rec_steps={self.rec_steps}; "
                "the released code leaves masks in the output here. Give more steps or a smaller layering.rec_steps."
            )
        members = self._members(list(range(size)))
        sizes = [len(columns) for columns in members]
        stages = sum(1 for count in sizes if count)
        if steps is not None and not self.exact and steps < stages:
            raise ConfigError(
                f"steps: {steps} steps a block cannot serve {stages} stages; give at least {stages} steps a block "
                "or a smaller layering.stage_count."
            )
        budgets = self._budgets(steps, sizes)
        total = 0
        for number, (count, budget) in enumerate(zip(sizes, budgets, strict=True)):
            if self.detail is not None and number == self.stage_count - 1:
                total += self.detail.forwards(budget, count)
            else:
                total += min(count if budget is None else budget, count)
        return total


def released_budgets(steps: int, stages: int, rec_steps: int) -> list[int]:
    """Return the released code's steps of each stage, coarsest first; the sum may exceed `steps`."""
    if stages == 1:
        return [steps]
    rest = steps - rec_steps
    if stages == 2:
        return [rest, rec_steps]
    smallest = max(1, rest // (2 * (stages - 1)))
    largest = max(smallest, 2 * rest // (stages - 1) - smallest)
    gap = (smallest - largest) / (stages - 2)
    budgets = [max(1, round(largest + gap * i)) for i in range(stages - 1)]
    difference = rest - sum(budgets)
    for i in range(abs(difference)):
        budgets[i % (stages - 1)] += 1 if difference > 0 else -1
    return [*(max(1, budget) for budget in budgets), rec_steps]


def corrected_budgets(budgets: list[int], steps: int, sizes: list[int]) -> list[int]:
    """Return budgets that sum to `steps` where the positions allow it and give no stage more steps than positions.

    What a stage cannot use goes to the next one; what the last one cannot use goes back to the latest with room.
    """
    result = [budget if size else 0 for budget, size in zip(budgets, sizes, strict=True)]
    while sum(result) > steps and max(result) > 1:
        result[result.index(max(result))] -= 1
    carry = steps - sum(result)
    for number, size in enumerate(sizes):
        wanted = result[number] + carry
        result[number] = min(wanted, size)
        carry = wanted - result[number]
    for number in reversed(range(len(sizes))):
        room = min(carry, sizes[number] - result[number])
        result[number] += room
        carry -= room
    return result
