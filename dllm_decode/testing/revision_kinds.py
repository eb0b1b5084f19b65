"""The conformance suites for revisers and forward plans, whose parts need each other or an adaptive scheduler.

Knows what the methods of both kinds may return; what holds for all parts is in `decode_suite`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from dllm_decode.parts.base import PartConfig
from dllm_decode.parts.revise import ReviseConfig
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.decode_suite import DecodeSuite
from dllm_decode.testing.kinds import not_tensor, shown


class ReviseSuite(DecodeSuite):
    """Conformance of revisers: `class TestMine(ReviseSuite): parts = [MyReviser()]`.

    One that reopens is tested with a threshold scheduler, one that declares a `plan` with that forward plan.
    """

    kind: ClassVar[str] = "revise"
    methods: ClassVar[tuple[str, ...]] = ("revise",)

    def strategy(self, part: PartConfig, **fields: Any) -> Strategy:
        """Return a strategy that holds the part and what it declares that it needs."""
        if isinstance(part, ReviseConfig):
            if part.reopens:
                fields = {"scheduler": {"name": "threshold", "threshold": 0.4}, **fields}
            if part.plan is not None:
                fields = {"forward": part.plan, **fields}
        return super().strategy(part, **fields)

    def fault(self, part: PartConfig, method: str, arguments: tuple[Any, ...], answer: Any) -> str | None:
        """None, or (B, R) bool positions inside `view.revisable`, with (B, R) int64 tokens if it overwrites."""
        view = arguments[0]
        if answer is None:
            return None
        where, tokens = getattr(answer, "where", answer), getattr(answer, "tokens", None)
        wrong = not_tensor(where, view.revisable.shape, torch.bool)
        if wrong is None and tokens is not None:
            wrong = not_tensor(tokens, view.revisable.shape, torch.int64)
        if wrong:
            return wrong
        if bool((where & ~view.revisable).any()):
            return "chose positions outside view.revisable; end with `& view.revisable`."
        if tokens is not None:
            masks = bool((tokens[where] == view.canvas.mask_id).any())
            return "wrote the mask token; return tokens=None to open positions again." if masks else None
        if not getattr(part, "reopens", False):
            return "returned positions to the mask without `reopens: ClassVar[bool] = True`."
        if bool((where.sum(1) >= view.chosen.sum(1).clamp_min(1)).any()):
            return "reopened as many positions as the forward committed; reopen fewer, so that a decode ends."
        return None


class ForwardSuite(DecodeSuite):
    """Conformance of forward plans: `class TestMine(ForwardSuite): parts = [MyPlan()]`."""

    kind: ClassVar[str] = "forward"
    methods: ClassVar[tuple[str, ...]] = ("plan", "read")

    def fault(self, part: PartConfig, method: str, arguments: tuple[Any, ...], answer: Any) -> str | None:
        """`plan` puts E columns after the canvas's; `read` makes one number of each."""
        if method == "read":
            logits = arguments[0]
            wrong = not_tensor(answer, logits.shape[:2], torch.float32)
            return wrong or ("returned NaN." if bool(answer.isnan().any()) else None)
        inputs = arguments[0]
        rows, length = inputs.tokens.shape
        total = length + getattr(answer, "extra", 0)
        if getattr(answer, "tokens", None) is None or tuple(answer.tokens.shape) != (rows, total):
            return f"returned {shown(getattr(answer, 'tokens', answer))} where tokens {(rows, total)} were expected."
        if not torch.equal(answer.tokens[:, :length], inputs.tokens):
            return "changed the canvas's own columns; extra columns stand after them."
        if answer.window != inputs.window:
            return f"changed the window {inputs.window} to {answer.window}; it is the engine's."
        if answer.attention is not None:
            wrong = not_tensor(answer.attention, torch.Size((rows, 1, total, total)), torch.bool)
            if wrong:
                return wrong
            if not bool(answer.attention.any(3).all()):
                return "left a column that may look at nothing; let it see at least itself."
        if answer.positions is not None:
            return not_tensor(answer.positions, torch.Size((rows, total)), torch.int64)
        return None
