"""The conformance suites for the parts of a strategy, one class a kind.

Knows what the methods of each kind may return; what holds for all of them is in `decode_suite`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from dllm_decode.errors import ConfigError, DecodeError
from dllm_decode.parts.base import PartConfig
from dllm_decode.parts.block import BlockConfig
from dllm_decode.parts.confidence import ConfidenceConfig
from dllm_decode.parts.scheduler import CountingScheduler, SchedulerConfig
from dllm_decode.testing.config_suite import fail, label
from dllm_decode.testing.decode_suite import BUDGETS, DecodeSuite
from dllm_decode.testing.running import selections

_SCORES = (
    (0.31, 0.93, 0.12, 0.55, 0.74, 0.08, 0.97, 0.46, 0.62, 0.21, 0.88, 0.37),
    (0.91, 0.05, 0.66, 0.17, 0.42, 0.99, 0.28, 0.79, 0.34, 0.58, 0.13, 0.83),
)


class SchedulerSuite(DecodeSuite):
    """Conformance of schedulers: `class TestMine(SchedulerSuite): parts = [MyScheduler()]`."""

    kind: ClassVar[str] = "scheduler"
    methods: ClassVar[tuple[str, ...]] = ("select",)

    def fault(self, part: PartConfig, method: str, arguments: tuple[Any, ...], answer: Any) -> str | None:
        """A selection is (B, W) bool and a subset of `view.open`."""
        view = arguments[0]
        wrong = not_tensor(answer, view.open.shape, torch.bool)
        if wrong is None and bool((answer & ~view.open).any()):
            return "chose positions outside view.open; end with `& view.open`."
        return wrong

    def test_a_stage_ends_in_its_steps(self, part: SchedulerConfig) -> None:
        """Unless it is `adaptive`, a scheduler finishes n positions in S steps; an `exact` one in min(S, n)."""
        for positions in (1, 2, 5, 12):
            for steps in (None, 1, 2, 5, 12, 20):
                stage = f"{positions} positions and {steps or 'as many'} steps"
                taken = self._steps_taken(part, [row[:positions] for row in _SCORES], steps, stage)
                if part.exact and taken != min(steps or positions, positions):
                    fail(
                        f"{label(part)} is declared `exact`, and took {taken} steps for {stage}; leave `exact` out "
                        "unless a stage always takes exactly min(steps, positions) steps."
                    )

    def test_it_commits_what_it_promises(self, part: SchedulerConfig) -> None:
        """A scheduler with a method `commits` commits at least so many in every row; they are not read again."""
        if not isinstance(part, CountingScheduler):
            pytest.skip(f"{label(part)} promises no counts")
        for positions in (1, 5, 12):
            for steps in (None, 1, 2, 5, 12):
                scores = [row[:positions] for row in _SCORES]
                for step, chosen in enumerate(selections(part, scores, steps, **self.host)):
                    fewest, promised = int(chosen.sum(1).min()), part.commits(positions, steps, step)
                    if fewest < promised:
                        fail(
                            f"{label(part)}: of {positions} positions in {steps or 'as many'} steps, step {step} "
                            f"committed {fewest} in a row, and commits() promises {promised}; return the fewest."
                        )

    def test_ties_go_to_the_smallest_column(self, part: SchedulerConfig) -> None:
        """Of equal scores the smallest columns are committed, so that a result never hangs on a sort's whims."""
        tied = [(0.95,) * 9] * 2
        first = selections(part, tied, 3, **self.host)[0]
        if any(
            not torch.equal(selections(part, tied, 3, seed=seed, **self.host)[0], first) for seed in (1, 2, 3)
        ):
            return  # it draws from view.noise, which is how ties may also be broken
        counts = first.sum(1, keepdim=True)  # (B, 1)
        if not torch.equal(first, torch.arange(9) < counts):
            chosen = first[0].nonzero().flatten().tolist()
            fail(
                f"{label(part)}: of nine equal scores it chose columns {chosen}; ties go "
                "to the smallest column. Use numerics.top_by_quota, or sort with descending=True, stable=True."
            )

    def _steps_taken(
        self, part: SchedulerConfig, scores: list[tuple[float, ...]], steps: int | None, stage: str
    ) -> int:
        try:
            chosen = selections(part, scores, steps, **self.host)
        except DecodeError as error:
            fail(f"{label(part)} with {stage}: {error}")
            raise
        # The engine asks nothing of an `exact` scheduler and goes on when nothing is open any more.
        return sum(1 for step in chosen if bool(step.any()))


class ConfidenceSuite(DecodeSuite):
    """Conformance of confidences: `class TestMine(ConfidenceSuite): parts = [MyConfidence()]`."""

    kind: ClassVar[str] = "confidence"
    methods: ClassVar[tuple[str, ...]] = ("propose",)

    def fault(self, part: PartConfig, method: str, arguments: tuple[Any, ...], answer: Any) -> str | None:
        """A proposal holds (B, W) int64 tokens and (B, W) float32 scores that can be compared."""
        view = arguments[0]
        tokens, score = getattr(answer, "tokens", answer), getattr(answer, "score", answer)
        wrong = not_tensor(tokens, view.open.shape, torch.int64) or not_tensor(
            score, view.open.shape, torch.float32
        )
        if wrong:
            return wrong
        if bool((tokens[view.open] == view.canvas.mask_id).any()):
            return "proposed the mask token; keep view.stats.token, from which it is left out."
        if bool(score[view.open].isnan().any()):
            return "scored an open position NaN; scores must be comparable numbers (-inf is one)."
        if isinstance(part, ConfidenceConfig) and part.unit:
            scored = score[view.open]
            # A sum of float32 probabilities may pass 1 by rounding.
            if bool(((scored < 0) | (scored > 1 + 1e-5)).any()):
                return "gave scores outside 0 to 1; let `unit` return False, so that thresholds refuse them."
        return None


class LayeringSuite(DecodeSuite):
    """Conformance of layerings: `class TestMine(LayeringSuite): parts = [MyLayering()]`."""

    kind: ClassVar[str] = "layering"
    methods: ClassVar[tuple[str, ...]] = ("stages",)

    def fault(self, part: PartConfig, method: str, arguments: tuple[Any, ...], answer: Any) -> str | None:
        """A stage's positions are (B, W) bool inside the context's; a size it states is true of every row."""
        context, where = arguments[0], answer.where
        wrong = not_tensor(where, context.where.shape, torch.bool)
        if wrong:
            return wrong
        if bool((where & ~context.where).any()):
            return f"gave stage {answer.name!r} positions outside context.where; end with `& context.where`."
        if answer.steps is not None and answer.steps < 1:
            return (
                f"gave stage {answer.name!r} {answer.steps} steps; give at least 1, or None for one a token."
            )
        return _untrue_size(answer, context.canvas.undecided[:, context.block.window] & where)


class BlockSuite(DecodeSuite):
    """Conformance of block policies: `class TestMine(BlockSuite): parts = [MyBlocks()]`."""

    kind: ClassVar[str] = "block"
    methods: ClassVar[tuple[str, ...]] = ("blocks",)

    def fault(self, part: PartConfig, method: str, arguments: tuple[Any, ...], answer: Any) -> str | None:
        """A block's positions are (B, L) bool inside its window; a size it states is true of every row."""
        canvas = arguments[0].canvas
        shape = canvas.undecided.shape
        wrong = not_tensor(answer.where, shape, torch.bool)
        if answer.must_advance is not None:
            wrong = wrong or not_tensor(answer.must_advance, shape, torch.bool)
        if wrong:
            return wrong
        start, stop = answer.window.start, answer.window.stop
        if not 0 <= start < stop <= canvas.length:
            return f"gave window {start}:{stop} on a canvas of {canvas.length} columns."
        outside = answer.where.clone()
        outside[:, start:stop] = False
        if bool(outside.any()):
            return f"gave a block positions outside its own window {start}:{stop}; the window covers every row's."
        return _untrue_size(answer, canvas.undecided & answer.where)

    def test_the_plan_covers_the_region_and_keeps_to_the_budget(self, part: BlockConfig) -> None:
        """`plan` is what validation and `max_forwards` know before decoding."""
        for length, steps in BUDGETS:
            try:
                plan = part.plan(steps, length)
            except ConfigError:
                continue
            if plan is None:
                pytest.skip(f"the blocks of {label(part)} show only while decoding")
            if sum(columns for columns, _ in plan) < length or any(columns < 1 for columns, _ in plan):
                fail(f"{label(part)}.plan({steps}, {length}) = {plan} does not cover {length} columns.")
            shares = [share for _, share in plan if share is not None]
            if any(share < 1 for share in shares) or sum(shares) > (steps or 0):
                fail(
                    f"{label(part)}.plan({steps}, {length}) = {plan} shares out {sum(shares)} steps; every block "
                    "gets at least 1, all together no more than the budget."
                )


class LogitsSuite(DecodeSuite):
    """Conformance of logits processors: `class TestMine(LogitsSuite): parts = [MyProcessor()]`."""

    kind: ClassVar[str] = "logits"
    methods: ClassVar[tuple[str, ...]] = ("process",)

    def fault(self, part: PartConfig, method: str, arguments: tuple[Any, ...], answer: Any) -> str | None:
        """Logits keep their (B, W, V) shape, stay floating and leave some token possible."""
        logits = arguments[0]
        if not isinstance(answer, Tensor) or answer.shape != logits.shape or not answer.is_floating_point():
            return f"returned {shown(answer)} where floating logits {tuple(logits.shape)} were expected."
        if bool(answer.isnan().any()) or bool(answer.isneginf().all(-1).any()):
            return "left a position with NaN or without any possible token; forbid fewer tokens."
        return None


class StopSuite(DecodeSuite):
    """Conformance of stop rules: `class TestMine(StopSuite): parts = [MyStop()]`."""

    kind: ClassVar[str] = "stop"
    methods: ClassVar[tuple[str, ...]] = ("fill",)

    def fault(self, part: PartConfig, method: str, arguments: tuple[Any, ...], answer: Any) -> str | None:
        """None, or (B, L) bool positions and their (B, L) int64 tokens, none of them the mask."""
        if answer is None:
            return None
        canvas = arguments[0].canvas
        if not isinstance(answer, tuple) or len(answer) != 2:
            return f"returned {shown(answer)} where None or (positions, tokens) was expected."
        where, tokens = answer
        wrong = not_tensor(where, canvas.undecided.shape, torch.bool) or not_tensor(
            tokens, canvas.undecided.shape, torch.int64
        )
        if wrong is None and bool((tokens[where & canvas.undecided] == canvas.mask_id).any()):
            return "filled positions with the mask token; fill them with a token of the answer."
        return wrong


class CacheSuite(DecodeSuite):
    """Conformance of cache policies: `class TestMine(CacheSuite): parts = [MyCache()]`.

    The scripted model answers from columns as they were when last recomputed, and refuses a policy that recomputes
    part of a canvas it never saw whole.
    """

    kind: ClassVar[str] = "cache"
    methods: ClassVar[tuple[str, ...]] = ("recompute",)

    def fault(self, part: PartConfig, method: str, arguments: tuple[Any, ...], answer: Any) -> str | None:
        """None, or columns of the canvas that cover the block's window."""
        block, _, length = arguments
        if answer is None:
            return None
        window = block.window
        if not isinstance(answer, slice) or answer.start is None or answer.stop is None:
            return f"returned {shown(answer)} where None or slice(start, stop) was expected."
        if not 0 <= answer.start <= window.start < window.stop <= answer.stop <= length:
            return (
                f"returned {answer.start}:{answer.stop} for the window {window.start}:{window.stop} of {length} "
                "columns; the window must be covered."
            )
        return None


def not_tensor(answer: Any, shape: torch.Size, dtype: torch.dtype) -> str | None:
    """Say what was returned if it is no tensor of this shape and dtype."""
    if isinstance(answer, Tensor) and answer.shape == shape and answer.dtype == dtype:
        return None
    return f"returned {shown(answer)} where {tuple(shape)} {dtype} was expected."


def shown(answer: Any) -> str:
    """Name what was returned: shape and dtype of a tensor, else its type."""
    return f"{tuple(answer.shape)} {answer.dtype}" if isinstance(answer, Tensor) else type(answer).__name__


def _untrue_size(answer: Any, open_: Tensor) -> str | None:
    if answer.size is None or bool((open_.sum(1) == answer.size).all()):
        return None
    return (
        f"says that every row has {answer.size} open positions where rows have {open_.sum(1).tolist()}; leave `size` "
        "None unless it is known to be true."
    )
