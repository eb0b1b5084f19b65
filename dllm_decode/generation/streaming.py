"""Decodes rows batch by batch and tells after every forward what of each answer is certain: its committed prefix.

Knows canvases and texts; the decode itself is the engine's.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.decoding.loop import Decode
from dllm_decode.forward.denoiser import Denoiser
from dllm_decode.generation.answers import answer_texts
from dllm_decode.generation.batches import Options, row_identities
from dllm_decode.generation.table import Table, grouped
from dllm_decode.models.tokenizer import Tokenizer
from dllm_decode.strategy.strategy import Strategy

HALF = "\ufffd"
"""What a tokenizer gives for a letter of which a token is still missing."""


class Prefix:
    """The text of one row as far as it is certain."""

    def __init__(self, tokenizer: Tokenizer, special: SpecialTokens) -> None:
        """Begin with nothing."""
        self._tokenizer, self._special = tokenizer, special
        self._length, self._text = 0, ""

    def grown(self, answer: Tensor, undecided: Tensor) -> str | None:
        """Return the text of the decided positions before the first undecided one, if it goes on from the last.

        Args:
            answer: (G,) int64.
            undecided: (G,) bool.
        """
        length = int((~undecided).int().cumprod(0).sum())
        if length <= self._length:
            return None
        self._length = length
        (text,) = answer_texts(self._tokenizer, answer[None, :length], self._special)
        if text == self._text or not text.startswith(self._text) or text.endswith(HALF):
            return None
        self._text = text
        return text


def stream_prefixes(
    denoiser: Denoiser,
    device: torch.device,
    table: Table,
    strategy: Strategy,
    options: Options,
    tokenizer: Tokenizer,
) -> Iterator[tuple[int, str]]:
    """Return places of rows and their texts so far; of each row the last is its whole answer.

    Each text but the last begins with the one before. Where a reviser may change what was decided nothing is certain
    before the end, so there is only the last.
    """
    identities = row_identities(options.row_ids, table.tokens.shape[0])
    batches = grouped(table, options.rows_at_once, by_length=False)

    def decode(rows: Tensor) -> Decode:
        canvas = table.canvas(rows, denoiser.special.mask, device)
        return Decode(denoiser, canvas, strategy, options.seed, identities[rows].to(device))

    # What is wrong with the options is said before the first text is asked for.
    certain = not strategy.revise
    return (told for rows in batches for told in _batch(rows, decode(rows), tokenizer, denoiser.special, certain))


def _batch(
    rows: Tensor, decode: Decode, tokenizer: Tokenizer, special: SpecialTokens, certain: bool
) -> Iterator[tuple[int, str]]:
    """Yield the texts of (R,) int64 rows that are decoded together; those before the last only if they are certain."""
    prefixes = [Prefix(tokenizer, special) for _ in rows]
    for _ in _forwards(decode):
        if not certain:
            continue
        answers, undecided = _answers(decode)
        for place, prefix, answer, open_ in zip(rows.tolist(), prefixes, answers, undecided, strict=True):
            if (text := prefix.grown(answer, open_)) is not None:
                yield place, text
    yield from zip(rows.tolist(), answer_texts(tokenizer, _answers(decode)[0], special), strict=True)


def _answers(decode: Decode) -> tuple[Tensor, Tensor]:
    """Return (R, G) int64 answers as they stand, and (R, G) bool what is undecided in them, on the host."""
    canvas = decode.canvas
    return canvas.tokens[:, canvas.region].cpu(), canvas.undecided[:, canvas.region].cpu()


def _forwards(decode: Decode) -> Iterator[None]:
    """Make a decode's forwards, and stop after each; between them the caller is not in inference mode."""
    asking = decode.questions()
    with torch.inference_mode():
        question = next(asking, None)
    while question is not None:
        with torch.inference_mode():
            reading = decode.reader.read(question)
            try:
                question = asking.send(reading)
            except StopIteration:
                return
        yield
