"""What every part promises, checked while decoding: shapes and dtypes at once, values without waiting for the device.

Knows how to name the part, its plugin, the stage and the step; the engine knows when to ask.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dllm_decode.data.canvas import Block, Canvas, Stage
from dllm_decode.data.views import Proposal, Revision, RevisionView, StepView
from dllm_decode.errors import ContractError
from dllm_decode.parts.base import PartConfig
from dllm_decode.parts.kinds import KINDS
from dllm_decode.parts.revise import Reviser
from dllm_decode.strategy.strategy import Strategy

_FAULTS = (
    ("denoiser", "gave no usable logits: NaN, or no finite value, in the window it was asked for"),
    ("confidence", "gave a NaN score to an open position; scores must be comparable numbers"),
    ("scheduler", "chose positions outside `view.open`; a selection must be a subset of the open positions"),
    ("confidence", "proposed the mask token for a chosen position; the mask token is never committed"),
    (
        "scheduler",
        "left more positions open than the stage's size and its own `commits` say, so that some were not read; "
        "`commits` is the fewest that every row commits in the step",
    ),
)
_REVISIONS = (
    "changed positions outside `view.revisable`",
    "reopened as many positions as the forward committed; a decode that does so need not end",
    "wrote the mask token; to open a position again, return a revision without tokens",
)


class Contract:
    """Collects the faults of one decode; values are looked at only when somebody waits for the device anyway."""

    def __init__(self, canvas: Canvas, strategy: Strategy) -> None:
        self.mask_id = canvas.mask_id
        self.idle = 0
        """Blocks and stages that began since the last commit."""
        # Every stage of a block of one column, and every block, may be empty; no sound policy offers more than that.
        self._patience = 16 * canvas.length + 64
        self.parts: dict[str, PartConfig] = {
            kind: part for kind in KINDS if isinstance(part := getattr(strategy, kind), PartConfig)
        }
        """Kind -> the one part of it; kinds of which there are several are named where they are called."""
        self._flags: list[Tensor] = []
        self._steps: list[tuple[Block, Stage, int, Any]] = []
        self._revision_flags: list[Tensor] = []
        self._revisions: list[tuple[Block, Reviser]] = []

    def count_block(self, block: Block) -> None:
        """Stop a block policy that yields empty blocks without end."""
        self._count("block", f"block {block.number}")

    def _count(self, kind: str, where: str) -> None:
        self.idle += 1
        if self.idle > self._patience:
            raise ContractError(
                f"{_who(kind, self.parts[kind])} has begun {self.idle} blocks and stages without a position to decide "
                f"(last: {where}); it must end when nothing is left."
            )

    def check_stage(self, block: Block, stage: Stage) -> None:
        """Refuse a stage whose positions have the wrong shape or dtype."""
        self._count("layering", f"stage {stage.name!r} of block {block.number}")
        width = block.window.stop - block.window.start
        _expect(
            "layering",
            self.parts["layering"],
            stage.where,
            (block.where.shape[0], width),
            torch.bool,
            stage,
            0,
        )

    def check_proposal(self, view: StepView, proposal: Proposal) -> None:
        """Check the shapes of a proposal, before a scheduler sees it."""
        shape, part = tuple(view.open.shape), self.parts["confidence"]
        tokens, score = getattr(proposal, "tokens", proposal), getattr(proposal, "score", proposal)
        _expect("confidence", part, tokens, shape, torch.int64, view.stage, view.step)
        _expect("confidence", part, score, shape, torch.float32, view.stage, view.step)

    def check_selection(self, view: StepView, chosen: Tensor, scheduler: Any) -> None:
        """Check the selection's shape, before it is committed."""
        self.idle = 0
        _expect("scheduler", scheduler, chosen, tuple(view.open.shape), torch.bool, view.stage, view.step)

    def check_values(
        self, view: StepView, proposal: Proposal, chosen: Tensor, scheduler: Any, most: int
    ) -> None:
        """Remember on the device whether the values of a proposal and its selection were at fault.

        `most` is how many open positions the host took a row to have.
        """
        open_, probability = view.open, view.stats.probability
        unusable = probability.isnan()
        not_comparable = unusable if proposal.score is probability else proposal.score.isnan()
        unread = (open_.sum(1, keepdim=True) > most).expand_as(open_)
        faults = torch.stack((unusable, not_comparable, chosen, proposal.tokens == self.mask_id, unread))
        where = torch.stack((open_, open_, ~open_, chosen, open_))
        self._flags.append((faults & where).flatten(1).any(1))  # (5,) bool, in the order of _FAULTS
        self._steps.append((view.block, view.stage, view.step, scheduler))

    def check_revision(self, reviser: Reviser, view: RevisionView, revision: Revision) -> None:
        """Check a revision's shapes now; remember on the device whether values were at fault."""
        shape, stage = tuple(view.revisable.shape), Stage("revise", revision.where, None)
        _expect("revise", reviser, revision.where, shape, torch.bool, stage, 0)
        outside = (revision.where & ~view.revisable).any()
        none = torch.zeros_like(outside)
        reopened = masks = none
        if revision.tokens is None:
            committed = view.chosen.sum(1)
            reopened = ((revision.where.sum(1) >= committed) & revision.where.any(1)).any()
        else:
            _expect("revise", reviser, revision.tokens, shape, torch.int64, stage, 0)
            masks = ((revision.tokens == self.mask_id) & revision.where).any()
        self._revision_flags.append(torch.stack((outside, reopened, masks)))  # (3,) bool
        self._revisions.append((view.block, reviser))

    def verify(self) -> None:
        """Raise for the first fault of the steps so far; waits for the device once."""
        if self._revision_flags:
            found = torch.stack(self._revision_flags).tolist()
            for (block, reviser), faults in zip(self._revisions, found, strict=True):
                for message, broken in zip(_REVISIONS, faults, strict=True):
                    if broken:
                        raise ContractError(f"{_who('revise', reviser)} {message} (block {block.number}).")
            self._revision_flags.clear()
            self._revisions.clear()
        if not self._flags:
            return
        flags = torch.stack(self._flags).tolist()  # steps x 5
        for (block, stage, step, scheduler), faults in zip(self._steps, flags, strict=True):
            for (kind, message), broken in zip(_FAULTS, faults, strict=True):
                if broken:
                    part = scheduler if kind == "scheduler" else self.parts.get(kind)
                    raise ContractError(
                        f"{_who(kind, part)} {message} (block {block.number}, stage {stage.name!r}, step {step})."
                    )
        self._flags.clear()
        self._steps.clear()

    def refuse_undecided(self, canvas: Canvas) -> None:
        """Raise where blocks and stages have not covered every undecided position."""
        left = int(canvas.undecided.sum())
        if left:
            raise ContractError(
                f"{_who('layering', self.parts['layering'])} and {_who('block', self.parts['block'])} "
                f"ended with {left} positions undecided; together their stages must cover every undecided position."
            )

    def refuse_leftover(self, block: Block, stage: Stage, scheduler: Any, open_: Tensor) -> None:
        """Raise where a stage has used its steps and (B, W) `open_` still holds positions."""
        self.verify()
        left = int(open_.sum())
        if left:
            raise ContractError(
                f"{_who('scheduler', scheduler)} left {left} positions open after the {stage.steps} steps of stage "
                f"{stage.name!r} (block {block.number}); a scheduler must finish a stage in its steps or be `adaptive`."
            )


def _expect(
    kind: str, part: Any, given: Any, shape: tuple[int, ...], dtype: torch.dtype, stage: Stage, step: int
) -> None:
    if isinstance(given, Tensor) and tuple(given.shape) == shape and given.dtype == dtype:
        return
    shown = f"{tuple(given.shape)} {given.dtype}" if isinstance(given, Tensor) else type(given).__name__
    raise ContractError(
        f"{_who(kind, part)} returned {shown} where {shape} {dtype} was expected (stage {stage.name!r}, step {step})."
    )


def _who(kind: str, part: Any) -> str:
    from dllm_decode.plugins.registry import load_registry

    if kind == "denoiser":
        return "the model"
    name = getattr(part, "name", type(part).__name__)
    return f"{kind} {name!r} ({load_registry().origin(kind, name)})"
