"""The frequency-debiased confidence: tokens that are common everywhere are worth less than rare ones of equal score.

Knows token frequencies; leaves the score itself to another confidence and reading the file to `frequencies`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, model_validator

from dllm_decode.lazy import torch
from dllm_decode.plugin import Confidence, ConfidenceConfig, Proposal, StepView, part_of
from dllm_strategies.confidence import TopProbability, refuse_unbounded
from dllm_strategies.frequencies import fingerprint_of, read_frequencies

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 10.0
"""Scores are cut here, so that a token never seen does not win whatever its probability."""


class FrequencyDebiased(ConfidenceConfig):
    """Scores min(-c ln(f + 1e-10), 10): another confidence's score c, and the token's frequency f from a file.

    Full stops, line breaks and the like are proposed with high probability everywhere and would be committed first.
    Tokens that the file does not name have f = 0 and come first, so the file should name the end token, with its share
    of all answers' positions. Without a file nothing is known of any token and the score stays c.
    Source: PC-Sampler (arXiv 2508.13021). Costs no forward of its own.
    """

    name: Literal["frequency-debiased"] = "frequency-debiased"
    file: str | None = Field(
        None,
        description="JSON object or CSV of token id and frequency, each between 0 and 1, its path as seen from the "
        "working directory; `tiny` is the embedded model's table; null leaves the score as it is.",
    )
    fingerprint: str | None = Field(
        None,
        description="The first 12 hex digits of the file's SHA-256. Filled in when the strategy is read, so that its "
        "digest stands for the frequencies; a file that has changed is refused.",
    )
    of: Annotated[SerializeAsAny[ConfidenceConfig], part_of("confidence")] = Field(
        default_factory=TopProbability, description="The confidence whose score is debiased."
    )

    @model_validator(mode="before")
    @classmethod
    def _name_the_contents(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("file"), str) and data.get("fingerprint") is None:
            return {**data, "fingerprint": fingerprint_of(data["file"])}
        return data

    @model_validator(mode="after")
    def _usable(self) -> FrequencyDebiased:
        refuse_unbounded(self.of)
        if self.file is not None:
            found = fingerprint_of(self.file)
            if found != self.fingerprint:
                raise ValueError(
                    f"{self.file} has the fingerprint {found}, but the strategy was made with {self.fingerprint}; "
                    "give it that file, or set fingerprint to null to take this one"
                )
            read_frequencies(self.file, found)
        return self

    @property
    def needs(self) -> frozenset[str]:
        """What the debiased confidence reads."""
        return self.of.needs

    @property
    def unit(self) -> bool:
        """Only without a file: with one, scores go up to 10."""
        return self.file is None

    def build(self) -> Any:
        """Return the debiased confidence, the frequencies read, for one decode."""
        of = self.of.build()
        if self.file is None or self.fingerprint is None:
            return of
        return _Debiased(self, of, read_frequencies(self.file, self.fingerprint))


class _Debiased:
    def __init__(self, config: FrequencyDebiased, of: Confidence, frequencies: dict[int, float]) -> None:
        self.needs, self.of = config.needs, of
        self.information = information(frequencies)

    def propose(self, view: StepView) -> Proposal:
        """Return the inner confidence's tokens, (B, W), with their scores debiased."""
        proposal = self.of.propose(view)
        self.information = self.information.to(proposal.tokens.device)  # copied once, then left where it is
        known = self.information[proposal.tokens.clamp_max(len(self.information) - 1)]
        return Proposal(proposal.tokens, (proposal.score * known).clamp_max(LARGEST))


def information(frequencies: dict[int, float]) -> Tensor:
    """Return (N + 1,) float32, -ln(f + 1e-10) of token ids 0 to N - 1; the last entry serves every larger id."""
    shares = torch.zeros(max(frequencies) + 2, dtype=torch.float64)
    shares[list(frequencies)] = torch.tensor(list(frequencies.values()), dtype=torch.float64)
    return -(shares + 1e-10).log().float()
