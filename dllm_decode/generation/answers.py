"""What a call of `generate` or `infill` gives back, and how tokens become texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from torch import Tensor

from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.decoding.trace import Trace
from dllm_decode.errors import ModelError
from dllm_decode.generation.table import Table
from dllm_decode.models.tokenizer import Tokenizer
from dllm_decode.strategy.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Generation:
    """Decoded rows in the order of the prompts, and what they cost. Tensors lie where the prompts lay."""

    tokens: Tensor
    """(B, gen_length) int64; of `infill`, the whole rows."""
    canvas: Tensor
    """(B, L) int64; prompts, padded on the left to the longest, and what was decoded."""
    valid: Tensor
    """(B, L) bool; False on the padding of `canvas`."""
    decided: Tensor
    """(B, G) bool; which of `tokens` were decided: all of an answer, the masked ones of a text that was filled in."""
    forward_passes: Tensor
    """(B,) int64; forwards in which the row had open positions: what it costs alone."""
    model_calls: int
    """Calls of the model, summed over the batches; the two halves of guidance are one call."""
    strategy: Strategy
    """The strategy that was run, overrides included."""
    seconds: float
    """Wall time of the decoding."""
    trace: Trace | None = None
    """Every commit, if asked for; its columns are those of `canvas`."""
    _texts: list[str] | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        table: Table,
        strategy: Strategy,
        forward_passes: Tensor,
        model_calls: int,
        seconds: float,
        trace: Trace | None = None,
    ) -> Self:
        """Gather a decoded table and what it took."""
        tokens = table.tokens[:, table.prompt_length or 0 :]
        return cls(
            tokens,
            table.tokens,
            table.valid,
            table.undecided[:, -tokens.shape[1] :],
            forward_passes,
            model_calls,
            strategy,
            seconds,
            trace,
        )

    @property
    def texts(self) -> list[str]:
        """The answers, cut at the first EOS or EOT, without special tokens; of `infill`, the whole texts.

        Raises:
            ModelError: The model came without a tokenizer.
        """
        if self._texts is None:
            raise ModelError("this model came without a tokenizer, so there are no texts; read .tokens.")
        return self._texts


def ended(answers: Tensor, special: SpecialTokens) -> Tensor:
    """Return (B, G) bool: the first EOS or EOT of each row of (B, G) int64 answers, and everything right of it."""
    return special.is_end(answers).cumsum(1) > 0


def answer_texts(tokenizer: Tokenizer, answers: Tensor, special: SpecialTokens) -> list[str]:
    """Return the texts of (B, G) int64 answers up to their first EOS or EOT."""
    lengths = (~ended(answers, special)).sum(1).tolist()
    rows = [row[:length] for row, length in zip(answers.tolist(), lengths, strict=True)]
    return [tokenizer.decode(row, skip_special_tokens=True) for row in rows]


def infilled_texts(tokenizer: Tokenizer, tokens: Tensor, valid: Tensor) -> list[str]:
    """Return the texts of (B, L) int64 rows without their padding, which is False in (B, L) bool `valid`."""
    rows = [row[keep].tolist() for row, keep in zip(tokens, valid, strict=True)]
    return [tokenizer.decode(row, skip_special_tokens=True) for row in rows]
