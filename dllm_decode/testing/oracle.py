"""A model that knows the answers: it favours the reference of whatever prompt a row holds, and is unsure where it is told.

With it a benchmark runs from its file to a report without weights, and accuracy and forwards are what was planned. Knows a
row by its prompt's ids; the tokens are the bytes of the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dllm_decode.data.inputs import ModelInputs, SpecialTokens
from dllm_decode.errors import ConfigError
from dllm_decode.generation.chat import Chat
from dllm_decode.generation.prompts import read_prompts
from dllm_decode.model import DiffusionLM
from dllm_decode.models.tokenizer import line_breaks
from dllm_decode.tasks.base import Example
from dllm_decode.testing.byte_tokenizer import EOS_ID, EOT_ID, MASK_ID, SIZE, byte_tokenizer

SURE, UNSURE = 0.98, 0.5
"""Probabilities of the favourite: over the thresholds in use, and under them."""

_ODD = (-7046029254386353131, -4417276706812531889)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A column of an answer at which the oracle is unsure, and for a while perhaps mistaken."""

    column: int
    """Of the answer, from 0."""
    until: int | None = None
    """While this column of the answer is undecided the favourite is the end of the text; None: it is right at once."""
    always: bool = False
    """Whether it stays mistaken, whatever is decided."""


class OracleDenoiser:
    """Answers prompts from a table. Confidence depends on the plan alone, not on how many columns are decided.

    Attributes:
        calls: Forwards so far.
    """

    def __init__(self, special: SpecialTokens, vocab_size: int, *, max_length: int | None = None) -> None:
        """Know no answers yet: see `learn`."""
        self.special, self.vocab_size, self.max_length = special, vocab_size, max_length
        self.calls = 0
        self._keys = torch.empty(0, dtype=torch.int64)
        self._answers = torch.empty(0, 0, dtype=torch.int64)
        self._doubts: list[tuple[Doubt, ...]] = []

    def learn(self, answers: Mapping[tuple[int, ...], Sequence[int]], doubts: Sequence[Sequence[Doubt]] = ()) -> None:
        """Know the answers of these prompts and no others, and be unsure of the n-th of them as the n-th of `doubts` says.

        What stands behind an answer is the end of the text.
        """
        width = max((len(ids) for ids in answers.values()), default=0) + 1
        end = self.special.ends[0]
        table = torch.full((len(answers), width), end, dtype=torch.int64)
        keys = []
        for row, (prompt, ids) in enumerate(answers.items()):
            table[row, : len(ids)] = torch.tensor(list(ids), dtype=torch.int64)
            one = torch.tensor([list(prompt)], dtype=torch.int64)
            keys.append(_prefix_keys(one, torch.ones_like(one, dtype=torch.bool))[0, -1])
        order = torch.stack(keys).argsort()
        self._keys, self._answers = torch.stack(keys)[order], table[order]
        given = [tuple(one) for one in doubts] or [()] * len(keys)
        self._doubts = [given[place] for place in order.tolist()]

    def logits(self, inputs: ModelInputs) -> Tensor:
        """Return (B, W, V) float32 logits: the favourite has its probability, all other tokens share the rest alike."""
        self.calls += 1
        tokens = inputs.tokens.cpu()  # (B, L)
        valid = torch.ones_like(tokens, dtype=torch.bool) if inputs.valid is None else inputs.valid.cpu()
        row, start = self._find(tokens, valid)  # (B,) known prompt, column where its answer begins
        columns = torch.arange(tokens.shape[1])[None] - start[:, None]  # (B, L), of the answer
        inside = columns.clamp(0, self._answers.shape[1] - 1)
        favourite = self._answers[row[:, None], inside]  # (B, L)
        sure = torch.full(tokens.shape, SURE)
        for place, number in enumerate(row.tolist()):
            for doubt in self._doubts[number]:
                self._doubt(doubt, int(start[place]), tokens[place], favourite[place], sure[place])
        favourite, sure = favourite[:, inputs.window], sure[:, inputs.window]
        strength = torch.log(sure * (self.vocab_size - 1) / (1 - sure))  # (B, W)
        logits = torch.zeros(*favourite.shape, self.vocab_size)
        return logits.scatter_(2, favourite[..., None], strength[..., None]).to(inputs.tokens.device)

    def _doubt(self, doubt: Doubt, start: int, tokens: Tensor, favourite: Tensor, sure: Tensor) -> None:
        """Write a doubt into a row's (L,) favourites and probabilities."""
        column = start + doubt.column
        if column >= len(tokens):
            return
        sure[column] = UNSURE
        waits = doubt.until is not None and int(tokens[start + doubt.until]) == self.special.mask
        if doubt.always or waits:
            favourite[column] = self.special.ends[0]

    def _find(self, tokens: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (B,) numbers of the longest known prompts that rows begin with, and the (B,) columns behind them."""
        keys = _prefix_keys(tokens, valid)  # (B, L)
        place = torch.searchsorted(self._keys, keys).clamp(max=max(len(self._keys) - 1, 0))
        found = (self._keys[place] == keys) & valid
        if not bool(found.any(1).all()):
            number = int((~found.any(1)).nonzero()[0])
            raise ConfigError(f"the oracle does not know the prompt of row {number}: it was made for other examples")
        last = tokens.shape[1] - 1 - found.flip(1).int().argmax(1)  # (B,)
        return place.gather(1, last[:, None])[:, 0], last + 1


def oracle(
    examples: Sequence[Example],
    doubts: Sequence[Sequence[Doubt]] = (),
    *,
    answers: Sequence[str] | None = None,
    chat: Chat = "auto",
    chat_template: bool = True,
    fingerprint: str | None = None,
) -> DiffusionLM:
    """Return a model that answers examples by their references.

    Args:
        examples: What it is to know; their prompts differ.
        doubts: Where it is unsure, for each example.
        answers: Texts to give instead of the references.
        chat: How prompts will be given to the model.
        chat_template: Whether its tokenizer has one.
        fingerprint: A name for exactly these examples and doubts; with one, outcomes are kept.
    """
    tokenizer: Any = byte_tokenizer(chat_template=chat_template)
    special = SpecialTokens(MASK_ID, EOS_ID, EOT_ID, line_breaks(tokenizer))
    denoiser = OracleDenoiser(special, SIZE)
    rows = read_prompts([one.prompt for one in examples], None, tokenizer, denoiser, infill=False, chat=chat)
    prompts = [tuple(ids[keep].tolist()) for ids, keep in zip(rows.tokens, rows.valid, strict=True)]
    texts = [one.reference for one in examples] if answers is None else answers
    known = {
        prompt: tokenizer(text, add_special_tokens=False)["input_ids"]
        for prompt, text in zip(prompts, texts, strict=True)
    }
    if len(known) < len(prompts):
        raise ConfigError("the oracle tells prompts apart by their ids, and two of the examples have the same prompt")
    denoiser.learn(known, doubts)
    return DiffusionLM(denoiser, tokenizer, name="oracle", fingerprint=fingerprint)


def _prefix_keys(tokens: Tensor, valid: Tensor) -> Tensor:
    """Return (B, L) int64 that name what every row holds up to each column, padding on its left left out."""
    places = valid.cumsum(1)
    mixed = tokens * _ODD[0] + places * _ODD[1]
    mixed = (mixed ^ (mixed >> 29)) * _ODD[1]
    return ((mixed ^ (mixed >> 32)) * valid).cumsum(1)
