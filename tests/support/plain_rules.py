"""Blocks decoded by a rule written as a plain loop: one row, one column after the other, no tensors kept in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from dllm_decode.decoding.decoded import decode
from dllm_decode.strategy.strategy import Strategy
from tests.support.random_model import SPECIAL, FunctionModel, canvas_of, random_logits


class Rule(Protocol):
    """One row's rule, made anew for every block."""

    def choose(self, step: PlainStep) -> dict[int, int]:
        """Return columns and the tokens to write there; none is the best open column by `step.score`."""
        ...


class PlainStep:
    """A row before a commit: its tokens, the block's open columns, and what the model says of every column."""

    def __init__(self, tokens: list[int], block: range, model: int) -> None:
        self.tokens, self.block = tokens, block
        self.open = [column for column in block if tokens[column] == SPECIAL.mask]
        self.chances: Tensor = random_logits(torch.tensor([tokens]), None, model)[0].softmax(-1)  # (L, V)
        choice = self.chances.clone()
        choice[:, SPECIAL.mask] = -1
        self.best: list[int] = choice.argmax(-1).tolist()
        self.score: list[float] = choice.amax(-1).tolist()

    def ranked(self) -> list[int]:
        """The open columns, best first, ties to the smallest."""
        return sorted(self.open, key=lambda column: (-self.score[column], column))

    def tokens_of(self, columns: Sequence[int]) -> dict[int, int]:
        """What the model proposes there."""
        return {column: self.best[column] for column in columns}


def plain_decode(
    prompt: list[int], length: int, block: int, model: int, rule: Callable[[], Rule]
) -> tuple[list[int], int]:
    """Return the tokens of one row and the forwards they took."""
    tokens, forwards = [*prompt, *[SPECIAL.mask] * length], 0
    for start in range(len(prompt), len(tokens), block):
        now = rule()
        columns = range(start, min(start + block, len(tokens)))
        while any(tokens[column] == SPECIAL.mask for column in columns):
            step = PlainStep(tokens, columns, model)
            forwards += 1
            for column, token in (now.choose(step) or step.tokens_of(step.ranked()[:1])).items():
                tokens[column] = token
    return tokens, forwards


def assert_equal(
    strategy: Strategy,
    prompts: list[list[int]],
    length: int,
    block: int,
    model: int,
    rule: Callable[[], Rule],
) -> int:
    """Hold every row of a batch, its tokens and its forwards, against the plain loop; return all forwards."""
    done = decode(
        FunctionModel(lambda tokens, valid: random_logits(tokens, valid, model)),
        canvas_of(prompts, length),
        strategy,
    )
    for row, prompt in enumerate(prompts):
        tokens, forwards = plain_decode(prompt, length, block, model, rule)
        assert done.canvas.tokens[row, -length:].tolist() == tokens[-length:]
        assert int(done.forward_passes[row]) == forwards
    return int(done.forward_passes.sum())
