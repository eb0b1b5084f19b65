"""Confidences: a score for the token proposed at each position."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dllm_decode.config import ConfidenceConfig
from dllm_decode.state import Proposal, StepView


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
        score = stats.probability if stats.content_probability is None or not self.ignore_ends else stats.content_probability
        return Proposal(stats.token, score)


class RandomConfidence(ConfidenceConfig):
    """Uniform noise: positions are committed in random order (LLaDA's `remasking="random"`)."""

    name: Literal["random"] = "random"

    def propose(self, view: StepView) -> Proposal:
        """Return the model's tokens, (B, W), scored by noise that depends on the row alone."""
        return Proposal(view.stats.token, view.noise.uniform())
