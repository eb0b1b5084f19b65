"""What a call of `generate` or `infill` gives back, and how tokens become texts."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Self

from torch import Tensor

from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.decoding.trace import Trace
from dllm_decode.errors import ModelError
from dllm_decode.generation.table import Table
from dllm_decode.models.tokenizer import Tokenizer
from dllm_decode.strategy.strategy import Strategy

SHOWN_ROWS, SHOWN_ROWS_HTML = 5, 50
"""Of a generation, where it is printed and in a notebook."""
SHOWN_LETTERS = 100
"""Of an answer that is printed."""


@dataclass(frozen=True, slots=True, repr=False)
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
    _texts: list[str] | None = None

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

    @property
    def _cost(self) -> str:
        """The line of what it took."""
        passes = self.forward_passes
        each = f"{passes.float().mean():.1f}" if len(passes) else "no"
        return f"{each} forward passes a row, {self.model_calls} model calls, {self.seconds:.2f} s"

    def _named(self, place: int) -> str:
        return repr(self.tokens[place].tolist() if self._texts is None else self._texts[place])

    def __repr__(self) -> str:
        """Say what came out of which strategy at what cost, a row a line, the first few of many."""
        count = self.tokens.shape[0]
        head = f"<Generation of {self.strategy.name} {self.strategy.digest()}: {count} rows, {self._cost}>"
        rows = [f"  {place}: {_cut(self._named(place))}" for place in range(min(count, SHOWN_ROWS))]
        more = [f"  and {count - SHOWN_ROWS} more"] if count > SHOWN_ROWS else []
        return "\n".join([head, *rows, *more])

    def _repr_html_(self) -> str:
        """Return a table of the answers, for notebooks, and the trace if there is one."""
        passes = self.forward_passes.tolist()
        rows = "".join(
            f'<tr><td>{place}</td><td style="text-align:left;white-space:pre-wrap">{escape(self._shown(place))}</td>'
            f"<td>{passes[place]}</td></tr>"
            for place in range(min(len(passes), SHOWN_ROWS_HTML))
        )
        left = len(passes) - SHOWN_ROWS_HTML
        more = f"<p>and {left} more</p>" if left > 0 else ""
        head = f"<p><b>{escape(self.strategy.name)}</b> {self.strategy.digest()}: {self._cost}</p>"
        table = f"<table><tr><th></th><th>answer</th><th>forward passes</th></tr>{rows}</table>"
        return head + table + more + ("" if self.trace is None else self.trace._repr_html_())

    def _shown(self, place: int) -> str:
        return self._named(place) if self._texts is None else self._texts[place]


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_LETTERS else f"{text[: SHOWN_LETTERS - 1]}…"


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
