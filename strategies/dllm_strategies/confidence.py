"""Confidences: a score for the token proposed at each position, read from one pass over the vocabulary.

Those that wrap another confidence have files of their own.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dllm_decode.plugin import ConfidenceConfig, Proposal, StepView


def refuse_unbounded(of: ConfidenceConfig) -> None:
    """Refuse to multiply scores that are not between 0 and 1, as a product would turn their order around.

    Raises:
        ValueError: The confidence's scores are of another kind.
    """
    if not of.unit:
        raise ValueError(
            f"of: the scores of {of.name!r} do not lie between 0 and 1 and cannot be weighted; "
            "take top-probability or margin"
        )


class TopProbability(ConfidenceConfig):
    """The probability of the proposed token under un-noised, untempered logits (LLaDA's `low_confidence`)."""

    name: Literal["top-probability"] = "top-probability"
    ignore_ends: bool = Field(
        False,
        description="Take EOS and EOT out of the vocabulary before probabilities are read, so that a proposed "
        "end scores 0 and is committed last (the released code's `confidence_eos_eot_inf`).",
    )

    @property
    def needs(self) -> frozenset[str]:
        """The statistic without end tokens where they are ignored."""
        return frozenset({"content"} if self.ignore_ends else ())

    def propose(self, view: StepView) -> Proposal:
        """Return the model's tokens, (B, W), scored by their probability."""
        stats = view.stats
        if self.ignore_ends:
            assert stats.content_probability is not None, "declared in `needs`"
            return Proposal(stats.token, stats.content_probability)
        return Proposal(stats.token, stats.probability)


class RandomConfidence(ConfidenceConfig):
    """Uniform noise: positions are committed in random order (LLaDA's `remasking="random"`)."""

    name: Literal["random"] = "random"

    def propose(self, view: StepView) -> Proposal:
        """Return the model's tokens, (B, W), scored by noise that depends on the row alone."""
        return Proposal(view.stats.token, view.noise.uniform())


class Margin(ConfidenceConfig):
    """The gap between the two most probable tokens, p1 - p2."""

    name: Literal["margin"] = "margin"

    @property
    def needs(self) -> frozenset[str]:
        """The two largest probabilities."""
        return frozenset({"second"})

    def propose(self, view: StepView) -> Proposal:
        """Return the model's tokens, (B, W), scored by the gap."""
        stats = view.stats
        assert stats.top_probability is not None and stats.second_probability is not None, (
            "declared in `needs`"
        )
        return Proposal(stats.token, stats.top_probability - stats.second_probability)


class NegativeEntropy(ConfidenceConfig):
    """Minus the entropy of the position's distribution, in nats: the most settled position first."""

    name: Literal["entropy"] = "entropy"

    @property
    def needs(self) -> frozenset[str]:
        """The entropy."""
        return frozenset({"entropy"})

    @property
    def unit(self) -> bool:
        """No: from minus the logarithm of the vocabulary's size up to 0."""
        return False

    def propose(self, view: StepView) -> Proposal:
        """Return the model's tokens, (B, W), scored by minus the entropy."""
        assert view.stats.entropy is not None, "declared in `needs`"
        return Proposal(view.stats.token, -view.stats.entropy)
