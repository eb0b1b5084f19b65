"""Trace credit: a token that was the model's first choice in earlier steps counts for more now.

Keeps every token's credit at every column of the window; which positions are committed is the scheduler's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from dllm_decode.plugin import ConfidenceConfig, Proposal, StepView, Tune
from dllm_strategies.memory import Memory

if TYPE_CHECKING:
    from torch import Tensor

_NEEDS = frozenset({"distribution"})


class TraceCredit(ConfidenceConfig):
    """The token and its probability after weight ln(1 + credit) is added to every logit.

    In each step credits shrink by `decay`, and each masked position of the block adds p^power to the credit of its most
    probable token, p its probability; every block starts without credit. The mask token earns none. At temperature
    above 0 a token that the noise chose is kept, scored by the same probabilities.
    Source: CreditDecoding (arXiv 2510.06133), as released in dInfer. Costs no forward of its own. Memory: rows x window
    x vocabulary x 4 bytes.
    """

    name: Literal["credit"] = "credit"
    weight: Annotated[
        float, Field(ge=0, le=100, description="How much credit adds to a logit."), Tune(0.1, 2.0)
    ] = 0.7
    decay: Annotated[
        float,
        Field(ge=0, le=1, description="The share of a credit that is left after a step."),
        Tune(0.0, 1.0),
    ] = 0.8
    power: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            description="Below 1, improbable first choices earn nearly as much as probable ones.",
        ),
        Tune(0.05, 1.0),
    ] = 0.2

    @property
    def needs(self) -> frozenset[str]:
        """The whole distribution."""
        return _NEEDS

    def build(self) -> Any:
        """Return a confidence without credit for one decode."""
        return _TraceCredit(self)


class _TraceCredit:
    needs = _NEEDS

    def __init__(self, config: TraceCredit) -> None:
        self.config, self.memory = config, Memory()

    def propose(self, view: StepView) -> Proposal:
        """Return tokens, (B, W), and their probabilities with credit."""
        plain = view.stats.log_probabilities  # (B, W, V)
        assert plain is not None, "declared in `needs`"
        mask = view.canvas.mask_id
        top, first = _best(plain, mask)
        logits = plain + self.config.weight * self._credit(view, top, first).log1p()
        _, token = _best(logits, mask)
        own = view.stats.token
        drawn = plain.gather(-1, own[..., None])[..., 0] < top  # by noise
        token = own.where(drawn, token)
        return Proposal(token, (logits.gather(-1, token[..., None])[..., 0] - logits.logsumexp(-1)).exp())

    def _credit(self, view: StepView, top: Tensor, first: Tensor) -> Tensor:
        """Return (B, W, V) float32, this step's earnings included."""
        assert view.stats.log_probabilities is not None, "declared in `needs`"
        seen, (credit,) = self.memory.recall(view, view.stats.log_probabilities.new_zeros(()))
        window = view.block.window
        earns = view.block.where[:, window] & view.canvas.undecided[:, window]
        credit = (
            (credit * (seen * self.config.decay)[..., None]).expand_as(view.stats.log_probabilities).clone()
        )
        credit.scatter_add_(-1, first[..., None], (top.exp() ** self.config.power * earns)[..., None])
        self.memory.keep(view, credit)
        return credit


def _best(logits: Tensor, mask: int) -> tuple[Tensor, Tensor]:
    """Return (B, W) values and (B, W) int64 tokens, the largest of (B, W, V) but for the mask's."""
    others = logits.clone()
    others[..., mask].fill_(float("-inf"))
    top, token = others.max(-1)
    return top, token
